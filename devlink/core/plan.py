"""From a profile and the observed network to what shall be installed, and why."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName, reverse_zones
from devlink.core.network import MAIN_TABLE, ObservedNetwork, ObservedRoute, Route, forwarding_table
from devlink.core.prefixes import Cover, IPAddress, IPNetwork, PrefixTable, collapse, host_prefix
from devlink.core.profile import BridgeProfile, ClusterDns, RoutingMode, Spec, Transport
from devlink.core.text import printable
from devlink.errors import VerificationError


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
    profile: BridgeProfile,
    observed: ObservedNetwork,
    *,
    with_routes: bool = True,
    with_dns: bool = True,
    pins: Iterable[IPAddress] = (),
) -> Plan:
    """What `profile` needs on a laptop whose network is `observed`; `pins` keep the way they have.

    Raises VerificationError where the profile insists on next hops that are not on-link (facts: R1).
    """
    spec = profile.spec
    if with_routes:
        mode, reason = _choose_mode(spec, observed)
    else:
        mode, reason = RoutingMode.ROUTER, "routes were not asked for"
    routes = _routes(spec, mode, observed)
    findings = [*_missing(spec, mode, routes), *_overlaps(routes, observed), *_without_identity(spec)]
    return Plan(
        desired=Desired(
            session=profile.metadata.name,
            routes=routes,
            zones=_zones(spec, spec.dns) if with_dns and spec.dns else (),
            pins=tuple(pins),
            ca=spec.identity.ca_hash if spec.identity else "",
        ),
        mode=mode,
        reason=reason,
        findings=tuple(findings),
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
    gateways = _gateways_on_link(spec, observed)
    nodes = [n for n in spec.nodes or () if _on_link(n.address, observed)]
    for_pods = _first_of_each_family(gateways)
    # Any node takes services, and the gateways may be all of the other family.
    for_services = _first_of_each_family(gateways + [n.address for n in nodes])
    ways = [(prefix, for_pods.get(prefix.version)) for prefix in spec.pods or ()]
    ways += [(prefix, for_services.get(prefix.version)) for prefix in spec.services or ()]
    if mode is RoutingMode.PER_NODE:
        ways += [(block, node.address) for node in nodes for block in node.pods]
    routes: dict[IPNetwork, Route] = {}
    for destination, hop in ways:
        if hop is not None:
            oif = observed.paths[hop].oif
            assert oif is not None
            routes[destination] = Route(destination=destination, next_hop=hop, oif=oif, mtu=spec.mtu)
    return tuple(routes.values())


def _first_of_each_family(hops: Iterable[IPAddress]) -> dict[int, IPAddress]:
    first: dict[int, IPAddress] = {}
    for hop in hops:
        first.setdefault(hop.version, hop)
    return first


def _missing(spec: Spec, mode: RoutingMode, routes: Iterable[Route]) -> Iterable[Finding]:
    """The parts of the cluster that get no route although others do.

    A pod network with listed blocks needs no route of its own: its blocks are looked at one by one.
    """
    if mode is RoutingMode.ROUTER:
        return
    cover = Cover(route.destination for route in routes)
    blocks = [block for node in spec.nodes or () for block in node.pods]
    holding = PrefixTable((prefix, prefix) for prefix in spec.pods or ())
    with_blocks = {holding.longest(block.network_address) for block in blocks}
    pods = [prefix for prefix in spec.pods or () if prefix not in with_blocks]
    for what, prefixes, besides in (
        ("services", spec.services or (), ", nor any node"),
        ("pods", pods, ""),
        ("pod blocks", blocks, ", nor are the nodes that own them"),
    ):
        for version in (4, 6):
            left = collapse(p for p in prefixes if p.version == version and cover.find(p) is None)
            if left:
                lacking = f"no IPv{version} gateway is on this link{besides}"
                yield Finding(
                    code="DL-ROUTE-MISSING",
                    severity=Severity.WARNING,
                    title=f"Some of the cluster's {what} (IPv{version}) have no route.",
                    evidence=f"{listed(left)}: {lacking}",
                    fix=f"name a gateway in the profile that has an IPv{version} address on this link",
                )


def _zones(spec: Spec, dns: ClusterDns) -> tuple[Zone, ...]:
    servers = tuple(Upstream(address=s.address, transport=s.transport) for s in dns.servers)
    zones = [Zone(suffix=dns.domain, servers=servers, namespaces=dns.namespaces, search=dns.search or ())]
    if dns.reverse:
        zones += [Zone(suffix=zone, servers=servers) for prefix in spec.prefixes for zone in reverse_zones(prefix)]
    return tuple(zones)


def conflicts(routes: Iterable[Route], observed: ObservedNetwork) -> tuple[tuple[Route, ObservedRoute], ...]:
    """Each of our routes whose destination somebody else routes already, with theirs. Blackholes do not count."""
    foreign = {r.destination: r for r in observed.foreign if r.table == MAIN_TABLE and r.kind == "unicast"}
    return tuple((route, foreign[route.destination]) for route in routes if route.destination in foreign)


def protect(desired: Desired, upstreams: Iterable[IPAddress], observed: ObservedNetwork) -> tuple[Route, ...]:
    """Host routes that keep the ways which no session may take over (DESIGN.md, promise 5).

    Those of the default gateways, the plan's next hops and its pins, and the ordinary `upstreams`.
    """
    hops = (route.next_hop for route in desired.routes if route.next_hop is not None)
    return pins(desired.routes, (*observed.default_gateways, *desired.pins, *upstreams, *hops), observed)


def pins(routes: Iterable[Route], protected: Iterable[IPAddress], observed: ObservedNetwork) -> tuple[Route, ...]:
    """Host routes that keep the present way of each protected address that `routes` would take over."""
    ours = PrefixTable((route.destination, route.destination.prefixlen) for route in routes)
    theirs = forwarding_table(observed.foreign)
    made: dict[IPAddress, Route] = {}
    for address in dict.fromkeys(protected):
        length = ours.longest(address)
        if length is None or length == address.max_prefixlen:
            continue
        present = theirs.longest(address)
        if present is None or present.oif is None or present.destination.prefixlen > length:
            continue  # unreachable anyway, or its own more specific route keeps it
        made[address] = Route(destination=host_prefix(address), next_hop=present.next_hop, oif=present.oif)
    return tuple(made.values())


def _overlaps(routes: tuple[Route, ...], observed: ObservedNetwork) -> Iterable[Finding]:
    """More specific routes of others inside ours, and wider ones around ours: legal, but worth knowing."""
    others = [r for r in observed.foreign if r.table == MAIN_TABLE and r.kind == "unicast" and r.destination.prefixlen]
    ours = PrefixTable((route.destination, route.destination) for route in routes)
    kept = []
    for other in others:
        around = next((d for d in ours.around(other.destination) if d != other.destination), None)
        if around is not None:
            kept.append(f"{other.destination} dev {other.oif} in {around}")
    if kept:
        yield Finding(
            code="DL-ROUTE-KEPT",
            severity=Severity.WARNING,
            title="A part of the cluster's networks does not reach the cluster.",
            evidence=f"more specific, and kept: {listed(kept)}",
            fix="remove these routes if their addresses should be the cluster's",
        )
    table = PrefixTable((r.destination, r) for r in others)
    inside: dict[str, list[IPNetwork]] = {}
    for route in routes:
        wider = next((r for r in table.around(route.destination) if r.destination != route.destination), None)
        if wider is not None:
            inside.setdefault(f"{wider.destination} dev {wider.oif}", []).append(route.destination)
    if inside:
        yield Finding(
            code="DL-ROUTE-INSIDE",
            severity=Severity.INFO,
            title="Networks of the cluster are taken out of wider ones.",
            evidence=listed(f"{wider} is around {listed(collapse(taken))}" for wider, taken in inside.items()),
        )


def listed(items: Iterable[object]) -> str:
    """The first six of `items`, fit for a terminal, and how many there are besides."""
    texts = [printable(text) for text in dict.fromkeys(map(str, items))]
    return ", ".join(texts[:6]) + (f" and {len(texts) - 6} more" if len(texts) > 6 else "")


def proof_address(family: int) -> IPAddress:
    """What the forwarder answers for the proof name: documentation space (RFC 5737, RFC 3849), so nobody's host."""
    return ipaddress.ip_address("192.0.2.231" if family == 4 else "2001:db8::e7")
