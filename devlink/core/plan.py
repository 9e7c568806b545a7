"""From a profile and the observed network to what shall be installed, and why."""

from dataclasses import dataclass

from devlink.core.findings import Finding
from devlink.core.names import DomainName
from devlink.core.network import Route
from devlink.core.prefixes import IPAddress
from devlink.core.profile import RoutingMode, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One DNS server that the forwarder asks."""

    address: IPAddress
    port: int = 53
    transport: Transport = Transport.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """Names that go to a cluster: everything at or below `suffix`."""

    suffix: DomainName
    servers: tuple[Upstream, ...]
    """In order of preference; never the ordinary upstreams."""
    namespaces: tuple[str, ...] | None = None
    """If given, `NAME.NAMESPACE.svc.SUFFIX` of other namespaces is refused locally (extended error 18)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsPlan:
    """What the split shall be for one session."""

    zones: tuple[Zone, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one session wants of the machine."""

    session: str
    """The profile's `metadata.name`."""
    routes: tuple[Route, ...] = ()
    dns: DnsPlan = DnsPlan()
    mode: RoutingMode
    """Never `auto`: what was chosen."""
    reason: str
    """Why that mode, one sentence."""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRecord:
    """A name that the forwarder answers itself, so that a look-up through libc proves the whole way to it."""

    name: DomainName
    address: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwarderConfig:
    """All that the forwarder needs to know; it reads no file."""

    zones: tuple[Zone, ...] = ()
    """Of all sessions; the longest suffix wins."""
    upstreams: tuple[Upstream, ...] = ()
    """For everything else, in order of preference; never one of our own addresses."""
    proof: ProofRecord | None = None
