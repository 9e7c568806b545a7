"""Who carries the packets: the routing mode, its next hops, and a route for each of the cluster's prefixes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from devlink.core.findings import Finding, Severity
from devlink.core.neighbours import Neighbours
from devlink.core.network import Link, ObservedNetwork, Route
from devlink.core.prefixes import (
    Cover,
    IPAddress,
    IPNetwork,
    PrefixTable,
    Remainder,
    collapse,
    host_prefix,
    key_of,
    subtract,
)
from devlink.core.profile import Node, RoutingMode, Spec
from devlink.core.text import listed
from devlink.errors import VerificationError

MAX_NODE_CANDIDATES = 8
"""How many nodes are worth asking whether they carry the services; all that do are equally good."""
WITHOUT_NEXT_HOPS = (RoutingMode.ROUTER, RoutingMode.RELAY)
"""Modes in which nothing goes by a next hop of the profile's."""

Hop = tuple[IPAddress, str]
"""A next hop, and the link that it is on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carriers:
    """Whom the profile names and the laptop has on a link: nobody else can be a next hop (facts: R1)."""

    gateways: tuple[Hop, ...]
    """Best first; the order in the profile decides among equals."""
    nodes: tuple[tuple[Node, Hop], ...]
    for_pods: Mapping[int, Hop]
    """By family, who takes the pods that no node of their own is routed for."""
    for_services: Mapping[int, Hop]
    """By family, who takes the services: any node does, and the gateways may be all of the other family."""


def carriers(spec: Spec, observed: ObservedNetwork) -> Carriers:
    """The gateways and nodes of a profile that are on-link."""
    link_to = Neighbours(observed).link_to
    ranked = sorted(spec.gateways or (), key=lambda gateway: gateway.priority)
    gateways = [(g.address, oif) for g in ranked if (oif := link_to(g.address))]
    nodes = [(n, (n.address, oif)) for n in spec.nodes or () if (oif := link_to(n.address))]
    return Carriers(
        gateways=tuple(gateways),
        nodes=tuple(nodes),
        for_pods=_first_of_each_family(gateways),
        for_services=_first_of_each_family([*gateways, *(hop for _, hop in nodes)]),
    )


def _first_of_each_family(hops: Iterable[Hop]) -> dict[int, Hop]:
    first: dict[int, Hop] = {}
    for hop in hops:
        first.setdefault(hop[0].version, hop)
    return first


def choose_mode(
    spec: Spec, there: Carriers, observed: ObservedNetwork, asked: RoutingMode | None = None
) -> tuple[RoutingMode, str]:
    """The mode and the reason (DESIGN.md: per-node, gateway, router, in that order, from what is observed).

    `asked`: what the user wants instead of what the profile says. Relay is never chosen here: whether the network
    carries the prefixes is not seen, but tried.
    """
    wanted = asked or spec.routing
    by = "you asked for it" if asked is not None else "the profile says so"
    if wanted is RoutingMode.RELAY:
        if not spec.prefixes:
            raise VerificationError(
                "There is nothing to relay: the profile has no pod and no service networks.",
                next_step="Bring it up without --routing relay, or use a profile that names them.",
            )
        return wanted, by
    if wanted is RoutingMode.ROUTER:
        return wanted, by if asked else "the profile says that the network carries these prefixes"
    if not spec.prefixes:
        return RoutingMode.ROUTER, "the profile has no prefixes to route"
    if wanted is not RoutingMode.GATEWAY and there.nodes:
        return (
            RoutingMode.PER_NODE,
            f"{_count(there.nodes, 'node')} of {len(spec.nodes or ())} on this link: each pod block by its own node",
        )
    if wanted is not RoutingMode.PER_NODE and there.gateways:
        return RoutingMode.GATEWAY, f"{there.gateways[0][0]} is on this link, and no node that owns a block is"
    if wanted is RoutingMode.AUTO:
        nobody = why_nobody(spec, observed)
        if not _next_hops(spec):
            return RoutingMode.ROUTER, f"{nobody}: the network must carry its prefixes"
        return RoutingMode.ROUTER, f"{nobody}, so it cannot be a next hop: the network must carry these prefixes"
    off_link = _next_hops(spec) if wanted is RoutingMode.PER_NODE else [g.address for g in spec.gateways or ()]
    raise VerificationError(
        f"No next hop of {'profile ' if asked is None else ''}routing {wanted.value} is on this laptop's link.",
        why="; ".join(_behind(address, observed) for address in off_link[:4])
        + ". The kernel sends a packet to a next hop only out of a link, never through another router.",
        next_step="Use `routing: auto`, and have the network's router carry the prefixes; or join the nodes' network.",
    )


def why_nobody(spec: Spec, observed: ObservedNetwork) -> str:
    """Why none of the profile's next hops can be one here, in words, by the example of the first."""
    off_link = _next_hops(spec)
    return _behind(off_link[0], observed) if off_link else "the profile names no gateway and no node"


def _next_hops(spec: Spec) -> list[IPAddress]:
    return [g.address for g in spec.gateways or ()] + [n.address for n in spec.nodes or ()]


def _behind(address: IPAddress, observed: ObservedNetwork) -> str:
    path = observed.paths.get(address)
    if path is None or path.oif is None:
        return f"{address} has no route"
    if path.kind == "local":
        return f"{address} is this laptop's own"
    if path.next_hop is not None:
        return f"{address} is behind {path.next_hop}"
    return f"{address} is not on a link: out of {path.oif} leads a route that is no network of that link"


def _count(items: Sequence[object], noun: str) -> str:
    return f"{len(items)} {noun}{'s' if len(items) != 1 else ''}"


def make_routes(
    spec: Spec, mode: RoutingMode, there: Carriers, observed: ObservedNetwork, exclude: Iterable[IPNetwork] = ()
) -> tuple[Route, ...]:
    """The routes that the mode asks for, each by the next hop that it prefers; none for what is in `exclude`.

    A block of pods that no node of its own carries has no route: the one of its pod network holds it.
    """
    if mode in WITHOUT_NEXT_HOPS:
        return ()
    ways = _wide_ways(spec, there)
    if mode is RoutingMode.PER_NODE:
        ways += _ways_by_node(spec, there)
    holes = tuple(exclude)
    if holes:
        remainder = Remainder(holes)
        ways = [(part, hop) for prefix, hop in ways for part in remainder.of(prefix)]
    links = {link.name: _LinkFacts(link) for link in observed.links}
    routes: dict[tuple[int, int, int], Route] = {}
    for destination, (hop, oif) in ways:
        link = links.get(oif)
        routes[key_of(destination)] = Route(
            destination=destination,
            next_hop=hop,
            oif=oif,
            # More than its link takes would only be a lie to every program that asks for the path's MTU.
            mtu=spec.mtu if link is None or spec.mtu is None or spec.mtu <= link.mtu else None,
            source=link.source(hop) if link is not None else None,
        )
    return tuple(routes.values())


def _wide_ways(spec: Spec, there: Carriers) -> list[tuple[IPNetwork, Hop]]:
    """Each pod and service network by whom all of it goes, where there is somebody."""
    for_pods, for_services = there.for_pods, there.for_services
    ways = [(prefix, for_pods[prefix.version]) for prefix in spec.pods or () if prefix.version in for_pods]
    return ways + [(p, for_services[p.version]) for p in spec.services or () if p.version in for_services]


def _ways_by_node(spec: Spec, there: Carriers) -> Iterable[tuple[IPNetwork, Hop]]:
    """Each block by the node that owns it; a node's neighbouring blocks as one, never across two pod networks."""
    networks = PrefixTable((prefix, number) for number, prefix in enumerate(spec.pods or ()))
    for node, hop in there.nodes:
        if len(node.pods) == 1:
            yield node.pods[0], hop
            continue
        together: dict[int | None, list[IPNetwork]] = {}
        for block in node.pods:
            together.setdefault(networks.longest(block.network_address), []).append(block)
        for blocks in together.values():
            for prefix in collapse(blocks):
                yield prefix, hop


class _LinkFacts:
    """What a route needs to know of its link."""

    def __init__(self, link: Link) -> None:
        self.mtu = link.mtu
        self._sources = [
            (address, host_prefix(address).supernet(new_prefix=length))
            for address, length in link.addresses
            if address.version == 6 and not address.is_link_local
        ]

    def source(self, hop: IPAddress) -> IPAddress | None:
        """The address to send from by a next hop, where the kernel would not choose it by itself.

        IPv4 takes the link's address in the next hop's subnet (inet_select_addr). IPv6 compares with the destination
        instead (RFC 6724), so of two subnets on one link it may take the wrong one. Where several addresses share the
        next hop's subnet, as with privacy extensions (RFC 8981), the choice stays with the kernel: one of them expires.
        """
        if len(self._sources) < 2:
            return None
        sharing = [address for address, subnet in self._sources if hop in subnet]
        return sharing[0] if len(sharing) == 1 else None


def alternatives(spec: Spec, mode: RoutingMode, there: Carriers) -> Mapping[IPAddress, tuple[Hop, ...]]:
    """For each next hop of the routes, in order, who can take its place: `Detour`s to choose from.

    Gateways carry everything. Where each node carries its own pods, any of them takes the services too; in gateway mode
    the profile has said who carries.
    """
    if mode in WITHOUT_NEXT_HOPS:
        return {}
    gateways = {v: tuple(hop for hop in there.gateways if hop[0].version == v) for v in (4, 6)}
    services, pods = there.for_services if spec.services else {}, there.for_pods if spec.pods else {}
    found: dict[IPAddress, tuple[Hop, ...]] = {}
    if mode is RoutingMode.PER_NODE:
        found = {hop[0]: gateways[hop[0].version] for _, hop in there.nodes}
    # The few that carry whole networks, and gateways that are nodes: nobody takes their own place.
    few = {hop[0] for hop in (*services.values(), *pods.values())} | {g for g, _ in there.gateways if g in found}
    for address in few:
        others = list(gateways[address.version])
        takes_services = address.version in services and services[address.version][0] == address
        if mode is RoutingMode.PER_NODE and takes_services:
            others += [hop for _, hop in there.nodes if hop[0].version == address.version][: MAX_NODE_CANDIDATES + 1]
        found[address] = tuple(hop for hop in dict.fromkeys(others) if hop[0] != address)
    return found


def missing(spec: Spec, mode: RoutingMode, there: Carriers, exclude: Iterable[IPNetwork] = ()) -> Iterable[Finding]:
    """The parts of the cluster that get no route although others do; what is in `exclude` shall get none.

    A pod network with listed blocks needs no route of its own: its blocks are looked at one by one.
    """
    if mode in WITHOUT_NEXT_HOPS:
        return
    cover = Cover(prefix for prefix, _ in _wide_ways(spec, there))
    pods = [prefix for prefix in spec.pods or () if cover.find(prefix) is None]
    blocks: list[IPNetwork] = []
    if pods:  # else whatever node is away, its blocks go with their network
        routed = {id(node) for node, _ in there.nodes} if mode is RoutingMode.PER_NODE else set()
        holding = PrefixTable((prefix, number) for number, prefix in enumerate(pods))
        with_blocks = {holding.longest(block.network_address) for node in spec.nodes or () for block in node.pods}
        blocks = [block for node in spec.nodes or () if id(node) not in routed for block in node.pods]
        pods = [prefix for number, prefix in enumerate(pods) if number not in with_blocks]
    for what, prefixes, besides in (
        ("services", spec.services or (), ", nor any node"),
        ("pods", pods, ""),
        ("pod blocks", blocks, ", nor are the nodes that own them"),
    ):
        for version in (4, 6):
            lost = (p for p in prefixes if p.version == version and cover.find(p) is None)
            left = collapse(subtract(lost, exclude))
            if left:
                lacking = f"no IPv{version} gateway is on this link{besides}"
                yield Finding(
                    code="DL-ROUTE-MISSING",
                    severity=Severity.WARNING,
                    title=f"Some of the cluster's {what} (IPv{version}) have no route.",
                    evidence=f"{listed(left)}: {lacking}",
                    fix=f"name a gateway in the profile that has an IPv{version} address on this link",
                )
