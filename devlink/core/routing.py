"""Who carries the packets: the routing mode, its next hops, and a route for each of the cluster's prefixes."""

from collections.abc import Iterable

from devlink.core.findings import Finding, Severity
from devlink.core.network import ObservedNetwork, Route
from devlink.core.prefixes import Cover, IPAddress, IPNetwork, PrefixTable, collapse
from devlink.core.profile import RoutingMode, Spec
from devlink.core.text import listed
from devlink.errors import VerificationError


def choose_mode(spec: Spec, observed: ObservedNetwork) -> tuple[RoutingMode, str]:
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


def make_routes(spec: Spec, mode: RoutingMode, observed: ObservedNetwork) -> tuple[Route, ...]:
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


def missing(spec: Spec, mode: RoutingMode, routes: Iterable[Route]) -> Iterable[Finding]:
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
