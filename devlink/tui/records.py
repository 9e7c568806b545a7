"""What the agent says, as data: `io.devlink.Agent` has the meaning of each field. PURE, and without Textual."""

from collections.abc import Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any, NamedTuple

from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import IPAddress
from devlink.core.relay import RelayState


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A next hop that carries packets, or could."""

    address: IPAddress
    role: str
    state: str
    """unknown, healthy, suspect, silent, returning."""
    since: float
    """Seconds, when it was told."""
    carries: bool
    by_hand: bool
    rtt_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """One session. Times are seconds, when it was told."""

    name: str
    state: str
    """connecting, up, degraded, suspended."""
    since: float
    mode: str
    reason: str
    revision: str
    context: str
    """Of the cluster that gave the profile; empty for a file."""
    age: float
    """Of the profile."""
    routes: tuple[str, ...]
    """Empty here: the dashboard asks for their number only."""
    route_count: int
    gateways: tuple[Gateway, ...]
    exclude: tuple[str, ...]
    override: tuple[str, ...]
    zones: tuple[str, ...]
    search: tuple[str, ...]
    resolver: str
    resolver_reason: str
    findings: tuple[Finding, ...]
    relay: RelayState | None = None
    """None where nothing of it is relayed."""

    @property
    def routing(self) -> tuple[object, ...]:
        """What its routes come from, and what is told of them: while this is the same, so is their table."""
        carry = tuple(gateway.address for gateway in self.gateways if gateway.carries)
        wish = (self.revision, self.mode, self.exclude, self.override)
        return (self.state, self.route_count, *wish, carry, self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What shall be up since login and is not yet: the agent brings it up by itself."""

    profile: str
    """Empty for the default one."""
    why: str
    next_step: str
    since: float
    """Seconds, when it was told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """All that is up, or on its way."""

    version: str
    helper: str
    """connected, or not connected."""
    helper_version: str
    sessions: tuple[SessionStatus, ...]
    asking: tuple[str, ...]
    """What each `up` that waits for its profile was asked for; empty for the default one."""
    waiting: tuple[Waiting, ...] = ()

    def session(self, name: str) -> SessionStatus | None:
        """The one of that name."""
        return next((session for session in self.sessions if session.name == name), None)


class RouteRow(NamedTuple):
    """A place in the table of routes: texts, because there may be ten thousand of them."""

    destination: str
    next_hop: str | None
    oif: str
    owner: str
    state: str
    """installed, missing, taken, left, foreign."""
    note: str | None = None


class Query(NamedTuple):
    """A name that was asked for, and how it was answered: thousands may come in a second."""

    time: float
    """Unix seconds."""
    name: str
    qtype: int
    zone: str
    """A suffix, or `.` for ordinary names."""
    source: str
    """upstream, cache, stale, local, failed."""
    rcode: int
    ms: float
    server: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What was noticed."""

    time: float
    """Unix seconds."""
    session: str
    """Empty for what is of all."""
    severity: Severity
    text: str
    code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One leg of the path."""

    name: str
    """laptop, next hop, gateway, cluster; of what is relayed: laptop, API server, node, pod."""
    about: str
    state: str
    """ok, slow, silent, down, unknown."""
    text: str
    rtt_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """From the laptop to the cluster, as it was seen just now."""

    legs: tuple[Leg, ...]
    gateways: tuple[Gateway, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneStats:
    """Counts of one zone since the forwarder's start."""

    suffix: str
    queries: int
    cached: int
    stale: int
    local: int
    failed: int
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStats:
    """Counts of one server since the forwarder's start."""

    server: str
    zones: tuple[str, ...]
    state: str
    asked: int
    answered: int
    timeouts: int
    failures: int
    reason: str | None = None
    rtt_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """What the forwarder keeps, in octets."""

    entries: int
    bytes: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsStats:
    """The forwarder's counts since its start."""

    in_flight: int
    queries: int
    answered: int
    cached: int
    stale: int
    prefetched: int
    coalesced: int
    local: int
    refused: int
    malformed: int
    timeouts: int
    servfails: int
    mismatched: int
    dropped: int
    overloads: int
    cache: CacheStats
    zones: tuple[ZoneStats, ...]
    servers: tuple[ServerStats, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProfile:
    """A profile that `up` knows by its name."""

    name: str
    file: str
    context: str
    age: float
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """What can be brought up."""

    profiles: tuple[KnownProfile, ...]
    default: str
    """Its name; empty where there is none."""
    contexts: tuple[str, ...]
    """Clusters that may publish one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One look of doctor."""

    check: str
    session: str
    outcome: str
    """ok, info, warning, error, skipped, follows."""
    seen: str
    follows: str
    seconds: float
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminedProfile:
    """Whom doctor looked at."""

    name: str
    up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What doctor found."""

    profiles: tuple[ExaminedProfile, ...]
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link of the way to what was asked for."""

    link: str
    about: str
    outcome: str
    """ok, info, warning, error, skipped."""
    seen: str
    finding: str | None = None
    """Its code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What was asked for."""

    text: str
    scheme: str
    host: str
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """The way to what was asked for."""

    asked: Target
    whole: bool
    links: tuple[Link, ...]
    findings: tuple[Finding, ...]


class Queries(NamedTuple):
    """A piece of the log of questions."""

    queries: list[Query]
    lost: int
    restarted: bool
    zones: tuple[str, ...] | None
    """Whose are shown; None for all."""


def route_rows(told: Mapping[str, Any]) -> list[RouteRow]:
    """The reply to `ListRoutes`. Of ten thousand most say the same but for the destination: that is kept once."""
    return [
        RouteRow(
            each["destination"], intern(each["next_hop"]) if each.get("next_hop") else None, intern(each["oif"]),
            intern(each["owner"]), intern(each["state"]), intern(each["note"]) if each.get("note") else None,
        )
        for each in told["routes"]
    ]  # fmt: skip


def queries(told: Mapping[str, Any]) -> Queries:
    """A reply to `FollowDnsLog`. Thousands are kept: what is the same in many of them is kept once."""
    zones = told.get("zones")
    return Queries(
        [
            Query(
                each["time"], each["name"], each["qtype"], intern(each["zone"]), intern(each["source"]), each["rcode"],
                each["ms"], intern(each["server"]) if each.get("server") else None, each.get("reason"),
            )
            for each in told["records"]
        ],
        int(told["lost"]), bool(told["restarted"]), tuple(zones) if zones is not None else None,
    )  # fmt: skip
