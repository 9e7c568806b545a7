"""From a profile and the observed network to what shall be installed, and why."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName, reverse_zones
from devlink.core.network import ObservedNetwork, Route
from devlink.core.overlaps import overlap_findings, pins
from devlink.core.overrides import override_routes
from devlink.core.policy_routing import ORDINARY_UID, WaysOfOthers, policy_findings, rivals_of
from devlink.core.prefixes import Cover, IPAddress, IPNetwork, covered
from devlink.core.profile import BridgeProfile, ClusterDns, RoutingMode, Spec, Transport
from devlink.core.relay_routes import relayed, relayed_routes
from devlink.core.routing import Hop, alternatives, carriers, choose_mode, make_routes, missing
from devlink.core.text import listed
from devlink.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One DNS server that the forwarder asks."""

    address: IPAddress
    port: int = 53
    transport: Transport = Transport.AUTO
    tls_name: str = ""
    """If given, it is asked over TLS (RFC 7858) alone, and its certificate must be valid for this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """Names that go to a cluster: everything at or below `suffix`."""

    suffix: DomainName
    servers: tuple[Upstream, ...]
    """In order of preference; never the ordinary upstreams."""
    namespaces: tuple[str, ...] | None = None
    """If given, `NAME.NAMESPACE.svc.SUFFIX` of other namespaces is refused locally (extended error 18)."""
    search: tuple[str, ...] = ()
    """Namespaces whose `NAME.NAMESPACE`, two labels, is answered as `NAME.NAMESPACE.svc.SUFFIX`."""


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
    proofs: tuple[ProofRecord, ...] = ()
    """Names that it answers itself."""
    tls_ca: str = ""
    """The certificates, PEM, that vouch for upstreams with a `tls_name`."""
    case_randomization: bool = False
    """Whether questions to ordinary upstreams go in mixed case (0x20), which an answer must repeat."""
    private: tuple[IPNetwork, ...] = ()
    """Where no ordinary name may point (rebinding protection): an answer that has such an address is withheld."""
    cache_bytes: int = 8 << 20
    """How much the answers that are kept may take, in octets; 0 keeps none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detour:
    """By whom the packets go meanwhile that a session's routes would send to `next_hop`."""

    next_hop: IPAddress
    """The preferred one, which the routes name."""
    via: IPAddress
    """The one that takes its place: on-link, of the same family, and covered by the trust record like any next hop."""
    oif: str
    """The link that `via` is on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaying:
    """That a session's prefixes are relayed: its routes lead to our own link, in its user's table, for that user alone.

    What is redirected to the relay is TCP to exactly the destinations of those routes; all else to them is refused.
    """

    containers: tuple[str, ...] = ()
    """Bridges whose containers are let in as well, by name."""
    draining: bool = False
    """Nothing new is redirected, and what was goes on to its end: the session has routes again, or goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What one session wants installed: what the agent asks of the helper, and what the helper checks."""

    session: str
    """The profile's `metadata.name`."""
    routes: tuple[Route, ...] = ()
    """Each with the next hop that it prefers."""
    detours: tuple[Detour, ...] = ()
    """At most one for each next hop: it was silent, or its user chose another."""
    zones: tuple[Zone, ...] = ()
    pins: tuple[IPAddress, ...] = ()
    """Addresses that must keep the way they have, besides those that the helper knows itself."""
    ca: str = ""
    """SHA-256 of the cluster's CA certificates, hex."""
    relay: Relaying | None = None
    """None where nothing of it is relayed."""

    @property
    def next_hops(self) -> tuple[IPAddress, ...]:
        """Those that the routes prefer, each once."""
        return tuple(dict.fromkeys(route.next_hop for route in self.routes if route.next_hop is not None))

    @property
    def all_next_hops(self) -> tuple[IPAddress, ...]:
        """Whom its packets may go by now: the preferred next hops and their detours."""
        return (*self.next_hops, *(detour.via for detour in self.detours))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one session wants of the machine, and why."""

    desired: Desired
    mode: RoutingMode
    """Never `auto`: what was chosen."""
    reason: str
    """Why that mode, one sentence."""
    alternatives: Mapping[IPAddress, tuple[Hop, ...]] = field(default_factory=dict)
    """For each next hop of the routes, who can take its place, best first."""
    findings: tuple[Finding, ...] = ()
    loses_routes: bool = False
    """Others win where ours were to: over all of a network that has routes, or in the table that is to win. A finding
    says who."""

    def candidates(self, next_hop: IPAddress) -> tuple[Hop, ...]:
        """Who can take the place of a next hop of the routes, best first; nobody for one that they do not name."""
        return self.alternatives.get(next_hop, ())


def addresses_of_interest(profile: BridgeProfile) -> tuple[IPAddress, ...]:
    """The addresses whose present path a plan needs to know."""
    spec = profile.spec
    addresses = [g.address for g in spec.gateways or ()] + [n.address for n in spec.nodes or ()]
    addresses += [s.address for s in spec.dns.servers] if spec.dns else []
    return tuple(dict.fromkeys(addresses))


def make_plan(
    profile: BridgeProfile,
    observed: ObservedNetwork,
    *,
    with_routes: bool = True,
    with_dns: bool = True,
    pins: Iterable[IPAddress] = (),
    exclude: tuple[IPNetwork, ...] = (),
    override: tuple[IPNetwork, ...] = (),
    uid: int = ORDINARY_UID,
    routing: RoutingMode | None = None,
    reason: str = "",
    containers: tuple[str, ...] = (),
) -> Plan:
    """What `profile` needs on a laptop whose network is `observed`; `pins` keep the way they have.

    What is in `exclude` gets no route. What is in `override` gets routes that win over everybody else's. `uid` is the
    user's: policy rules may tell users apart, and what is relayed is so for that one alone. `routing` goes before the
    profile's, for the `reason` that is given; `containers` are bridges that are relayed for as well.

    Raises ConflictError where somebody else routes what is to be relayed, UsageError where names are asked for and
    `exclude` takes the way to the cluster's DNS, VerificationError where the profile insists on next hops that are not
    on-link (facts: R1).
    """
    spec = profile.spec
    there = carriers(spec, observed)
    is_chosen = not reason
    if with_routes:
        mode, chosen = choose_mode(spec, there, observed, routing)
        reason = reason or chosen
    else:
        mode, reason = RoutingMode.ROUTER, "routes were not asked for"
    if with_dns and with_routes:
        _check_excluded_dns(profile, mode, exclude, observed)
    zones = _zones(spec, spec.dns, exclude) if with_dns and spec.dns else ()
    keep = tuple(pins)
    ca = spec.identity.ca_hash if spec.identity else ""
    name = profile.metadata.name
    if mode is RoutingMode.RELAY:
        ways, told = relayed_routes(
            spec.prefixes, observed, uid=uid, keep=keep, exclude=exclude, override=override
        )  # fmt: skip
        return Plan(
            desired=Desired(
                session=name, routes=ways, zones=zones, pins=keep, ca=ca, relay=Relaying(containers=containers)
            ),
            mode=mode,
            reason=reason,
            findings=(
                relayed(reason, (way.destination for way in ways), is_chosen=is_chosen),
                *told,
                *_without_identity(spec),
            ),
        )
    planned = make_routes(spec, mode, there, observed, exclude)
    routes = override_routes(planned, override, exclude, observed)
    rivals = rivals_of(routes, observed, uid)
    overlaps, is_taken = overlap_findings(routes, observed, spec.nodes or (), _dropped(planned, routes))
    findings = (
        *missing(spec, mode, there, exclude),
        *policy_findings(rivals),
        *overlaps,
        *_without_identity(spec),
    )
    return Plan(
        desired=Desired(
            session=name,
            routes=routes,
            zones=zones,
            pins=keep,
            ca=ca,
        ),
        mode=mode,
        reason=reason,
        alternatives=alternatives(spec, mode, there),
        findings=findings,
        loses_routes=is_taken or any(rival.is_whole for rival in rivals),
    )


def _dropped(planned: Iterable[Route], routes: Iterable[Route]) -> Iterable[IPNetwork]:
    """What has no route any more after the choice of what shall win: a network of the laptop's keeps all of it."""
    left = {route.destination for route in routes if route.kind == "unicast"}
    return (route.destination for route in planned if route.destination not in left)


def _check_excluded_dns(
    profile: BridgeProfile, mode: RoutingMode, exclude: tuple[IPNetwork, ...], observed: ObservedNetwork
) -> None:
    """Raise UsageError where names would go to servers that the user has taken the way to.

    Where somebody else, such as a VPN, routes them, they may be reached that way: verification sees.
    """
    dns = profile.spec.dns
    if dns is None or not exclude or mode is RoutingMode.ROUTER:
        return
    claimed, excluded = Cover(profile.spec.prefixes), Cover(exclude)
    ways = WaysOfOthers(observed)
    for server in dns.servers:
        cut = excluded.find_address(server.address)
        if cut is None or claimed.find_address(server.address) is None:
            return
        present = ways.of(server.address)
        if present is not None and present.destination.prefixlen and not present.is_connected:
            return
    servers = listed(server.address for server in dns.servers)
    raise UsageError(
        f"--exclude: the cluster's DNS ({servers}) is in it, so names would have nobody to ask.",
        why="What is excluded gets no route, and no other route leads to it.",
        next_step="Exclude less, or bring up the routes alone: devlink up --no-dns",
    )


def _without_identity(spec: Spec) -> Iterable[Finding]:
    """A hostile LAN can number itself like the cluster; without a CA or a ClusterIP nothing tells them apart."""
    lacking = "cluster CA (identity.ca)" if spec.identity is None else "service networks" if not spec.services else ""
    if lacking:
        yield Finding(
            code="DL-UNAUTHENTICATED",
            severity=Severity.INFO,
            title="Nothing proves that this is the cluster that the profile means.",
            evidence=f"the profile has no {lacking}",
            fix="use a profile that the cluster publishes: devlink profile fetch",
        )


def _zones(spec: Spec, dns: ClusterDns, exclude: tuple[IPNetwork, ...]) -> tuple[Zone, ...]:
    servers = tuple(Upstream(address=s.address, transport=s.transport) for s in dns.servers)
    zones = [Zone(suffix=dns.domain, servers=servers, namespaces=dns.namespaces, search=dns.search or ())]
    if dns.reverse:
        reached = [prefix for prefix in spec.prefixes if not covered(prefix, exclude)]
        zones += [Zone(suffix=zone, servers=servers) for prefix in reached for zone in reverse_zones(prefix)]
    return tuple(zones)


def protect(desired: Desired, others: Iterable[IPAddress], observed: ObservedNetwork) -> tuple[Route, ...]:
    """Host routes that keep the ways which no session may take over (DESIGN.md, promise 5).

    Those of the default gateways, the plan's next hops, detours and pins, and of `others`: the ordinary DNS servers,
    and whom other sessions' packets go by.
    """
    protected = (*observed.default_gateways, *desired.pins, *others, *desired.all_next_hops)
    return pins(desired.routes, protected, observed)


def proof_address(family: int) -> IPAddress:
    """What the forwarder answers for the proof name: documentation space (RFC 5737, RFC 3849), so nobody's host."""
    return ipaddress.ip_address("192.0.2.231" if family == 4 else "2001:db8::e7")
