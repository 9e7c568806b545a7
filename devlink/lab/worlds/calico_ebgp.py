"""Network E: Calico's route reflectors speak eBGP with a switch."""

from enum import StrEnum

from devlink.lab.bgp import NextHop, Peer, Speaker
from devlink.lab.spec import (
    CONTROL_PLANE,
    ROUTER,
    Calico,
    Cluster,
    ClusterDnsProgram,
    Host,
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
    control_plane,
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

AS_NUMBER, SWITCH_AS = 64512, 7675
SWITCH = "172.31.13.116"
NODES = {"node1": "172.31.13.27", "node2": "172.31.13.28", "node3": "172.31.13.29"}
REFLECTORS = ("node1", "node2")
BLOCKS = {"node1": "172.27.208.0/26", "node2": "172.27.208.64/26", "node3": "172.27.209.0/26"}
CLUSTER_ID = ip4("172.31.13.27")
SERVICES = "10.96.0.0/12"


class Attachment(StrEnum):
    """Where the laptop of network E is plugged in."""

    BEHIND_SWITCH = "behind-switch"
    """The switch is its default gateway, and carries all."""
    BESIDE_SWITCH = "beside-switch"
    """On the nodes' LAN, where another router is its default gateway."""


class Peering(StrEnum):
    """How the switch and the reflectors are set up for each other, which decides where the switch sends packets."""

    SINGLE_HOP = "single-hop"
    """Neighbours on one link: to the node that owns the block."""
    MULTIHOP = "multihop"
    """To the reflector that told it (R2)."""
    MULTIHOP_KEEP = "multihop-keep"
    """Multihop with `nextHopMode: Keep`: to the owner again."""


def network_e(
    *,
    attachment: Attachment = Attachment.BEHIND_SWITCH,
    peering: Peering = Peering.SINGLE_HOP,
    advertises_services: bool = True,
    dns_nodes: tuple[str, ...] = ("node1", "node3"),
    drop_invalid: bool = False,
    dns_program: ClusterDnsProgram = ClusterDnsProgram.AUTO,
    parts: Parts = Parts.BY_HAND,
    proxy_mode: ProxyMode = ProxyMode.NFTABLES,
    routes: Routes = Routes.BY_HAND,
) -> WorldSpec:
    """Network E: Calico without overlay and NAT, eBGP from two route reflectors to a switch (the world's router).

    The profile names the switch as the first gateway and no nodes. `advertises_services`: Calico's serviceClusterIPs.
    """
    by_bird = routes is Routes.BIRD
    multihop = peering is Peering.MULTIHOP
    carried = (
        *(route(block, NODES["node1"] if multihop else NODES[name]) for name, block in BLOCKS.items()),
        *((route(SERVICES, NODES["node1"]),) if advertises_services else ()),
    )
    switch = Host(
        name=ROUTER,
        interfaces=(
            interface("nodes", f"{SWITCH}/24"),
            interface("office", "10.30.0.1/24"),
            interface("internet", "192.0.2.1/24"),
        ),
        routes=() if by_bird else carried,
        forwards=True,
        bgp=switch_speaker(peering) if by_bird else None,
        processes=(Process.BIRD,) if by_bird else (),
    )
    hosts = tuple(
        Host(
            name=name,
            interfaces=(interface("nodes", f"{address}/24"),),
            routes=(
                route("0.0.0.0/0", SWITCH),
                *(() if by_bird else (route(BLOCKS[other], NODES[other]) for other in NODES if other != name)),
            ),
            forwards=True,
            bgp=node_speaker(name, peering, advertises_services=advertises_services) if by_bird else None,
            processes=node_processes(parts, routes),
        )
        for name, address in NODES.items()
    )
    real = parts is Parts.REAL
    api_host = control_plane(
        "nodes", "172.31.13.20/24",
        (route("0.0.0.0/0", SWITCH), *(route(BLOCKS[name], NODES[name]) for name in NODES)),
    )  # fmt: skip
    others: tuple[Host, ...] = ()
    if attachment is Attachment.BEHIND_SWITCH:
        machine = laptop_host("office", "10.30.0.100/24", routes=(route("0.0.0.0/0", "10.30.0.1"),))
    else:
        machine = laptop_host("nodes", "172.31.13.200/24", routes=(route("0.0.0.0/0", "172.31.13.1"),))
        # It knows nothing of the cluster.
        other = Host(
            name="other-router",
            interfaces=(interface("nodes", "172.31.13.1/24"), interface("internet", "192.0.2.2/24")),
            forwards=True,
        )
        others = (other,)
    out_there, records = upstream()
    dns = dns_pods(dns_nodes, {"node1": ips("172.27.208.2"), "node3": ips("172.27.209.2")})
    cluster = Cluster(
        domain=CLUSTER_LOCAL,
        pods=nets("172.27.208.0/22"),
        services=nets(SERVICES),
        gateways=(ROUTER, *REFLECTORS),
        gateway_role="gateway",
        nodes=tuple(NodeBlocks(host=name, pods=nets(block)) for name, block in BLOCKS.items()),
        names_nodes=False,
        pod_objects=(
            *dns,
            Pod(name="web-0", node="node1", addresses=ips("172.27.208.3")),
            Pod(name="api-0", namespace="qa", node="node3", addresses=ips("172.27.209.3")),
        ),
        service_objects=services(
            kubernetes="10.96.0.1", dns="10.96.0.10", web="10.96.0.20", api="10.96.0.21",
            dns_at=tuple(pod.name for pod in dns),
            api_server=CONTROL_PLANE if real else "node3",
        ),
        calico=Calico(
            nat_outgoing=False, as_number=AS_NUMBER, reflectors=REFLECTORS, cluster_id=CLUSTER_ID,
            router=(ip4(SWITCH), SWITCH_AS), advertises_services=advertises_services,
        ),
        drop_invalid=drop_invalid,
        dns_program=dns_program,
        parts=parts,
        proxy_mode=proxy_mode,
    )  # fmt: skip
    return WorldSpec(
        name="calico-ebgp", networks=("nodes", "office", "internet"),
        hosts=(switch, *((api_host,) if real else ()), *others, *hosts, machine, out_there), cluster=cluster,
        upstream_records=records,
    )  # fmt: skip


def node_speaker(name: str, peering: Peering, *, advertises_services: bool = True) -> Speaker:
    """What a node says: a reflector's client, or a reflector, which also speaks with the switch."""
    reflects = name in REFLECTORS
    peers = tuple(
        Peer(
            name=other, address=ip4(address), as_number=AS_NUMBER, is_client=reflects and other not in REFLECTORS
        )
        for other, address in NODES.items()
        if other != name and (reflects or other in REFLECTORS)
    )  # fmt: skip
    if reflects:
        keep = NextHop.KEEP if peering is Peering.MULTIHOP_KEEP else NextHop.AUTO
        peers += (
            Peer(
                name="switch", address=ip4(SWITCH), as_number=SWITCH_AS, next_hop=keep,
                is_multihop=peering is not Peering.SINGLE_HOP,
            ),
        )  # fmt: skip
    services = nets(SERVICES)
    return Speaker(
        router_id=ip4(NODES[name]), as_number=AS_NUMBER, peers=peers, ignores=services,
        announces=(*nets(BLOCKS[name]), *(services if reflects and advertises_services else ())),
        cluster_id=CLUSTER_ID if reflects else None,
    )  # fmt: skip


def switch_speaker(peering: Peering) -> Speaker:
    """What the switch says."""
    return Speaker(
        router_id=ip4(SWITCH), as_number=SWITCH_AS,
        peers=tuple(
            Peer(
                name=name, address=ip4(NODES[name]), as_number=AS_NUMBER,
                is_multihop=peering is not Peering.SINGLE_HOP,
            )
            for name in REFLECTORS
        ),
    )  # fmt: skip
