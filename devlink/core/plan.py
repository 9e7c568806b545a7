"""From a profile and the observed network to what shall be installed, and why."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName, reverse_zones
from devlink.core.network import MAIN_TABLE, ObservedNetwork, ObservedRoute, Route, lookup
from devlink.core.prefixes import IPAddress, IPNetwork, host_prefix, is_within
from devlink.core.profile import BridgeProfile, ClusterDns, RoutingMode, Spec, Transport
from devlink.errors import VerificationError


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What one session wants installed: what the agent asks of the helper, and what the helper checks."""

    session: str
    """The profile's `metadata.name`."""
    routes: tuple[Route, ...] = ()
    zones: tuple[Zone, ...] = ()
    pins: tuple[IPAddress, ...] = ()
    """Addresses that must keep the way they have, besides those that the helper knows itself."""
    ca: str = ""
    """SHA-256 of the cluster's CA certificates, hex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one session wants of the machine, and why."""

    desired: Desired
    mode: RoutingMode
    """Never `auto`: what was chosen."""
    reason: str
    """Why that mode, one sentence."""
    findings: tuple[Finding, ...] = ()


def addresses_of_interest(profile: BridgeProfile) -> tuple[IPAddress, ...]:
    """The addresses whose present path a plan needs to know."""
    spec = profile.spec
    addresses = [g.address for g in spec.gateways or ()] + [n.address for n in spec.nodes or ()]
    addresses += [s.address for s in spec.dns.servers] if spec.dns else []
    return tuple(dict.fromkeys(addresses))


def make_plan(
    profile: BridgeProfile, observed: ObservedNetwork, *, with_routes: bool = True, with_dns: bool = True
) -> Plan:
    """What `profile` needs on a laptop whose network is `observed`.

    Raises VerificationError where the profile insists on next hops that are not on-link (facts: R1).
    """
    spec = profile.spec
    mode, reason = _choose_mode(spec, observed)
    routes = _routes(spec, mode, observed) if with_routes else ()
    findings = list(_findings(routes, observed))
    findings.append(_unauthenticated(spec))
    return Plan(
        desired=Desired(
            session=profile.metadata.name,
            routes=routes,
            zones=_zones(spec, spec.dns) if with_dns and spec.dns else (),
            ca=spec.identity.ca_hash if spec.identity else "",
        ),
        mode=mode,
        reason=reason if with_routes else "routes were not asked for",
        findings=tuple(findings),
    )


def _unauthenticated(spec: Spec) -> Finding:
    return Finding(
        code="DL-UNAUTHENTICATED",
        severity=Severity.INFO,
        title="Nothing proves yet that this is the cluster that the profile means.",
        evidence="this version does not check the cluster's certificate"
        if spec.identity
        else "the profile carries no cluster CA",
    )


def _choose_mode(spec: Spec, observed: ObservedNetwork) -> tuple[RoutingMode, str]:
    """The mode and the reason (DESIGN.md: per-node, gateway, router, in that order, from what is observed)."""
    gateways = _gateways_on_link(spec, observed)
    nodes = [n.address for n in spec.nodes or () if _on_link(n.address, observed)]
    wanted = spec.routing
    if wanted is RoutingMode.RELAY:
        raise VerificationError(
            "The profile asks for routing by relay, which this version does not have.",
            next_step="Use a profile with `routing: auto`.",
        )
    if wanted is RoutingMode.ROUTER:
        return wanted, "the profile says that the network carries these prefixes"
    if not spec.prefixes:
        return RoutingMode.ROUTER, "the profile has no prefixes to route"
    if wanted is not RoutingMode.GATEWAY and nodes:
        return (
            RoutingMode.PER_NODE,
            f"{_count(nodes, 'node')} of {len(spec.nodes or ())} on this link: each pod block by its own node",
        )
    if wanted is not RoutingMode.PER_NODE and gateways:
        return RoutingMode.GATEWAY, f"{gateways[0]} is on this link, and no node that owns a block is"
    off_link = [g.address for g in spec.gateways or ()] + [n.address for n in spec.nodes or ()]
    if wanted is RoutingMode.AUTO:
        if not off_link:
            return RoutingMode.ROUTER, "the profile names no gateway and no node: the network must carry its prefixes"
        return (
            RoutingMode.ROUTER,
            f"{_behind(off_link[0], observed)}, so it cannot be a next hop: the network must carry these prefixes",
        )
    if wanted is RoutingMode.GATEWAY:
        off_link = [g.address for g in spec.gateways or ()]
    raise VerificationError(
        f"No next hop of profile routing {wanted.value} is on this laptop's link.",
        why="; ".join(_behind(address, observed) for address in off_link[:4])
        + ". The kernel sends a packet to a next hop only out of a link, never through another router.",
        next_step="Use `routing: auto`, and have the network's router carry the prefixes; or join the nodes' network.",
    )


def _behind(address: IPAddress, observed: ObservedNetwork) -> str:
    path = observed.paths.get(address)
    if path is None or path.oif is None:
        return f"{address} has no route"
    if path.kind == "local":
        return f"{address} is this laptop's own"
    if path.next_hop is not None:
        return f"{address} is behind {path.next_hop}"
    return f"{address} is on link {path.oif}"


def _count(items: list[IPAddress], noun: str) -> str:
    return f"{len(items)} {noun}{'s' if len(items) != 1 else ''}"


def _on_link(address: IPAddress, observed: ObservedNetwork) -> bool:
    path = observed.paths.get(address)
    return path is not None and path.is_on_link


def _gateways_on_link(spec: Spec, observed: ObservedNetwork) -> list[IPAddress]:
    """Best first; order in the profile decides among equals."""
    ranked = sorted(spec.gateways or (), key=lambda g: g.priority)
    return [g.address for g in ranked if _on_link(g.address, observed)]


def _routes(spec: Spec, mode: RoutingMode, observed: ObservedNetwork) -> tuple[Route, ...]:
    if mode is RoutingMode.ROUTER:
        return ()
    routes: dict[IPNetwork, Route] = {}

    def via(destination: IPNetwork, hops: list[IPAddress]) -> None:
        hop = next((h for h in hops if h.version == destination.version), None)
        if hop is not None:
            oif = observed.paths[hop].oif
            assert oif is not None
            routes[destination] = Route(destination=destination, next_hop=hop, oif=oif, mtu=spec.mtu)

    gateways = _gateways_on_link(spec, observed)
    nodes = [n for n in spec.nodes or () if _on_link(n.address, observed)]
    for prefix in spec.pods or ():
        via(prefix, gateways)
    for prefix in spec.services or ():  # any node takes them, and the gateways may be all of the other family
        via(prefix, gateways + [n.address for n in nodes])
    if mode is RoutingMode.PER_NODE:
        for node in nodes:
            for block in node.pods:
                via(block, [node.address])
    return tuple(routes.values())


def _zones(spec: Spec, dns: ClusterDns) -> tuple[Zone, ...]:
    servers = tuple(Upstream(address=s.address, transport=s.transport) for s in dns.servers)
    zones = [Zone(suffix=dns.domain, servers=servers, namespaces=dns.namespaces)]
    if dns.reverse:
        zones += [Zone(suffix=zone, servers=servers) for prefix in spec.prefixes for zone in reverse_zones(prefix)]
    return tuple(zones)


def conflicts(routes: Iterable[Route], observed: ObservedNetwork) -> tuple[tuple[Route, ObservedRoute], ...]:
    """Each of our routes whose destination somebody else routes already, with theirs. Blackholes do not count."""
    foreign = {r.destination: r for r in observed.foreign if r.table == MAIN_TABLE and r.kind == "unicast"}
    return tuple((route, foreign[route.destination]) for route in routes if route.destination in foreign)


def pins(routes: Iterable[Route], protected: Iterable[IPAddress], observed: ObservedNetwork) -> tuple[Route, ...]:
    """Host routes that keep the present way of each protected address that `routes` would take over."""
    destinations = [route.destination for route in routes]
    made: dict[IPAddress, Route] = {}
    for address in protected:
        ours = max((d.prefixlen for d in destinations if address in d), default=None)
        if ours is None or ours == address.max_prefixlen:
            continue
        present = lookup(observed.foreign, address)
        if present is None or present.oif is None or present.destination.prefixlen > ours:
            continue  # unreachable anyway, or its own more specific route keeps it
        made[address] = Route(destination=host_prefix(address), next_hop=present.next_hop, oif=present.oif)
    return tuple(made.values())


def _findings(routes: Iterable[Route], observed: ObservedNetwork) -> Iterable[Finding]:
    """More specific routes of others inside ours, and wider ones around ours: legal, but worth knowing."""
    others = [r for r in observed.foreign if r.table == MAIN_TABLE and r.kind == "unicast" and r.destination.prefixlen]
    for route in routes:
        for other in others:
            if other.destination == route.destination:
                continue
            shown = f"{other.destination} dev {other.oif}"
            if is_within(other.destination, route.destination):
                yield Finding(
                    code="DL-ROUTE-KEPT",
                    severity=Severity.WARNING,
                    title=f"A part of {route.destination} does not reach the cluster.",
                    evidence=f"{shown} is more specific and was kept",
                    fix="remove that route if those addresses should be the cluster's",
                )
            elif is_within(route.destination, other.destination):
                yield Finding(
                    code="DL-ROUTE-INSIDE",
                    severity=Severity.INFO,
                    title=f"{route.destination} is taken out of a wider network.",
                    evidence=f"{shown} is around it",
                )


def proof_address(family: int) -> IPAddress:
    """What the forwarder answers for the proof name: documentation space (RFC 5737, RFC 3849), so nobody's host."""
    return ipaddress.ip_address("192.0.2.231" if family == 4 else "2001:db8::e7")
