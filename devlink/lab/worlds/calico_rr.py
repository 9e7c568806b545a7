"""Network A: Calico with in-cluster route reflectors."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from devlink.lab.bgp import Peer, Speaker
from devlink.lab.spec import (
    CONTROL_PLANE,
    ROUTER,
    Calico,
    Cluster,
    ClusterDnsProgram,
    Host,
    HostRoute,
    NodeBlocks,
    Parts,
    Pod,
    Process,
    ProxyMode,
    Routes,
    WorldSpec,
)
from devlink.lab.worlds.common import (
    CLUSTER_LOCAL,
    dns_pods,
    interface,
    ip4,
    ips,
    laptop_host,
    nets,
    node_processes,
    route,
    services,
    upstream,
)

AS_NUMBER = 63400
ROUTER_ADDRESS, ROUTER_AS = "172.16.0.1", 7675
CLUSTER_ID = ip4("172.16.20.1")


class LaptopPlace(StrEnum):
    """Where the laptop of network A is plugged in."""

    NODE_LAN = "node-lan"
    BEHIND_ROUTER = "behind-router"


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    address: str
    block: str
    address6: str
    block6: str
    reflects: bool = False


NODE1 = _Node("node1", "172.16.0.13", "10.20.73.64/26", "fd00:172:16::13", "fd00:10:20:73::/122", reflects=True)
NODE2 = _Node("node2", "172.16.0.19", "10.20.120.128/26", "fd00:172:16::19", "fd00:10:20:120::/122")
NODE3 = _Node("node3", "172.16.0.16", "10.20.101.0/26", "fd00:172:16::16", "fd00:10:20:101::/122", reflects=True)
SERVICES, SERVICES6 = "10.254.0.0/16", "fd00:10:254::/112"


def network_a(
    *,
    laptop: LaptopPlace = LaptopPlace.NODE_LAN,
    router_carries: bool | None = None,
    search: tuple[str, ...] = (),
    drop_invalid: bool = False,
    snat_services: bool = True,
    ipv6: bool = False,
    reflectors: int = 1,
    dns_nodes: tuple[str, ...] = ("node1",),
    dns_program: ClusterDnsProgram = ClusterDnsProgram.AUTO,
    parts: Parts = Parts.BY_HAND,
    proxy_mode: ProxyMode = ProxyMode.NFTABLES,
    routes: Routes = Routes.BY_HAND,
) -> WorldSpec:
    """Network A: Calico with in-cluster route reflectors.

    The laptop is on the node LAN or behind the router. The router carries pods and services (`router_carries`) where
    the laptop depends on it, unless told otherwise: without, a laptop behind it meets R1. Real `parts` come with a
    control plane on the node LAN, and with kube-proxy in `proxy_mode`. With two `reflectors` there is a third node,
    which is the second gateway. `routes` by BIRD: the nodes are the reflectors' clients, and the router that carries
    is their neighbour in an AS of its own. The cluster's DNS has a pod on each of `dns_nodes`.
    """
    six = ipv6
    nodes = (NODE1, NODE2, NODE3) if reflectors == 2 else (NODE1, NODE2)
    if router_carries is None:
        router_carries = laptop is LaptopPlace.BEHIND_ROUTER
    by_bird = routes is Routes.BIRD
    carried: tuple[HostRoute, ...] = ()
    if router_carries:
        carried = (
            *_to_blocks(nodes, by_bird=by_bird, ipv6=six),
            *(() if by_bird else (route(SERVICES, NODE1.address),)),
            *((route(SERVICES6, NODE1.address6),) if six else ()),
        )
    speaks = by_bird and router_carries
    router = Host(
        name=ROUTER,
        interfaces=(
            interface("nodes", "172.16.0.1/24", *(("fd00:172:16::1/64",) if six else ())),
            interface("office", "10.10.0.1/24", *(("fd00:10:10::1/64",) if six else ())),
            interface("internet", "192.0.2.1/24", *(("2001:db8:53::1/64",) if six else ())),
        ),
        routes=carried,
        forwards=True,
        bgp=_router_speaker(nodes) if speaks else None,
        processes=(Process.BIRD,) if speaks else (),
    )
    hosts = tuple(
        Host(
            name=node.name,
            interfaces=(interface("nodes", f"{node.address}/24", *((f"{node.address6}/64",) if six else ())),),
            routes=(
                *_by_router(six), *_to_blocks([n for n in nodes if n is not node], by_bird=by_bird, ipv6=six)
            ),
            forwards=True,
            bgp=_speaker(node, nodes, router=speaks) if by_bird else None,
            processes=node_processes(parts, routes),
        )
        for node in nodes
    )  # fmt: skip
    control_plane = Host(
        name=CONTROL_PLANE,
        interfaces=(interface("nodes", "172.16.0.10/24", *(("fd00:172:16::10/64",) if six else ())),),
        routes=(*_by_router(six), *_to_blocks(nodes, by_bird=False, ipv6=six)),
        processes=(Process.CONTROL_PLANE,),
    )
    if laptop is LaptopPlace.NODE_LAN:
        place = ("nodes", "172.16.0.100/24", *(("fd00:172:16::100/64",) if six else ()))
        gateways = ("172.16.0.1", "fd00:172:16::1")
    else:
        place = ("office", "10.10.0.100/24", *(("fd00:10:10::100/64",) if six else ()))
        gateways = ("10.10.0.1", "fd00:10:10::1")
    machine = laptop_host(
        *place, routes=(route("0.0.0.0/0", gateways[0]), *((route("::/0", gateways[1]),) if six else ())),
        search=search,
    )  # fmt: skip
    out_there, records = upstream(ipv6=six)
    dns = dns_pods(
        dns_nodes,
        {
            "node1": ips("10.20.73.66", *(("fd00:10:20:73::2",) if six else ())),
            "node2": ips("10.20.120.131", *(("fd00:10:20:120::3",) if six else ())),
        },
    )
    real = parts is Parts.REAL
    cluster = Cluster(
        domain=CLUSTER_LOCAL,
        pods=nets("10.20.0.0/16", *(("fd00:10:20::/48",) if six else ())),
        services=nets(SERVICES, *((SERVICES6,) if six else ())),
        gateways=tuple(node.name for node in nodes if node.reflects),
        gateway_role="route-reflector",
        nodes=tuple(
            NodeBlocks(host=node.name, pods=nets(node.block, *((node.block6,) if six else ()))) for node in nodes
        ),
        pod_objects=(
            *dns,
            Pod(name="web-0", node="node1", addresses=ips("10.20.73.67", *(("fd00:10:20:73::3",) if six else ()))),
            Pod(
                name="api-0", namespace="qa", node="node2",
                addresses=ips("10.20.120.130", *(("fd00:10:20:120::2",) if six else ())),
            ),
        ),
        service_objects=services(
            kubernetes="10.254.0.1", dns="10.254.0.2", web="10.254.0.10", api="10.254.0.11",
            dns_at=tuple(pod.name for pod in dns),
            v6_prefix="fd00:10:254::" if six else None, api_server=CONTROL_PLANE if real else "node2",
        ),
        pod_mtu=1480,
        calico=Calico(
            ipip="CrossSubnet", as_number=AS_NUMBER, cluster_id=CLUSTER_ID,
            reflectors=tuple(node.name for node in nodes if node.reflects),
            router=(ip4(ROUTER_ADDRESS), ROUTER_AS) if speaks else None, advertises_services=speaks,
        ),
        drop_invalid=drop_invalid,
        snat_services=snat_services,
        dns_program=dns_program,
        parts=parts,
        proxy_mode=proxy_mode,
    )  # fmt: skip
    return WorldSpec(
        name="calico-rr", networks=("nodes", "office", "internet"),
        hosts=(router, *((control_plane,) if real else ()), *hosts, machine, out_there), cluster=cluster,
        upstream_records=records,
    )  # fmt: skip


def _by_router(ipv6: bool) -> tuple[HostRoute, ...]:
    return (route("0.0.0.0/0", "172.16.0.1"), *((route("::/0", "fd00:172:16::1"),) if ipv6 else ()))


def _to_blocks(nodes: Iterable[_Node], *, by_bird: bool, ipv6: bool) -> tuple[HostRoute, ...]:
    """Each block by the node that owns it; IPv4's only where BIRD does not bring them."""
    nodes = tuple(nodes)
    return (
        *(() if by_bird else (route(node.block, node.address) for node in nodes)),
        *((route(node.block6, node.address6) for node in nodes) if ipv6 else ()),
    )


def _speaker(node: _Node, nodes: tuple[_Node, ...], *, router: bool) -> Speaker:
    """As the BGPPeers say: `!has(route-reflector)` with `has(route-reflector)`, and the reflectors with each other."""
    peers = tuple(
        Peer(
            name=each.name, address=ip4(each.address), as_number=AS_NUMBER,
            is_client=node.reflects and not each.reflects,
        )
        for each in nodes
        if each is not node and (node.reflects or each.reflects)
    )  # fmt: skip
    if router and node.reflects:
        peers += (Peer(name="tor", address=ip4(ROUTER_ADDRESS), as_number=ROUTER_AS),)
    services = nets(SERVICES)
    return Speaker(
        router_id=ip4(node.address), as_number=AS_NUMBER, peers=peers, ignores=services,
        announces=(*nets(node.block), *(services if node.reflects else ())),
        cluster_id=CLUSTER_ID if node.reflects else None,
    )  # fmt: skip


def _router_speaker(nodes: tuple[_Node, ...]) -> Speaker:
    return Speaker(
        router_id=ip4(ROUTER_ADDRESS), as_number=ROUTER_AS,
        peers=tuple(
            Peer(name=node.name, address=ip4(node.address), as_number=AS_NUMBER) for node in nodes if node.reflects
        ),
    )  # fmt: skip
