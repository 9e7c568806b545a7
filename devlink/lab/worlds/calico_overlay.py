"""Network B: Calico with a full mesh and an overlay for all traffic between nodes."""

from devlink.core.names import DomainName
from devlink.lab.bgp import Peer, Speaker
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
    ProxyMode,
    Routes,
    Tunnel,
    WorldSpec,
)
from devlink.lab.worlds.common import (
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

CLUSTER_KUBE = DomainName.parse("cluster.kube")
AS_NUMBER = 64512
TUNNEL = "tunl0"
MTU = 1450
"""Octets, the tunnel's and the pods'."""
NODES = {"node1": "214", "node2": "227", "node3": "228"}
"""Each with the last octet of its address, and the third of its pod block."""
SERVICES = "10.254.0.0/16"


def network_b(
    *,
    rp_filter: int = 0,
    dns_nodes: tuple[str, ...] = ("node1", "node2"),
    drop_invalid: bool = False,
    snat_services: bool = True,
    dns_program: ClusterDnsProgram = ClusterDnsProgram.AUTO,
    parts: Parts = Parts.BY_HAND,
    proxy_mode: ProxyMode = ProxyMode.NFTABLES,
    routes: Routes = Routes.BY_HAND,
) -> WorldSpec:
    """Network B: Calico, IPIP "Always", with a VXLAN device in IPIP's place, and the domain cluster.kube.

    All of 10.0.0.0/8 is on the laptop's link, the nodes and the router with it. Any node is a gateway. `rp_filter` is
    the tunnels' (1: R4). `routes` by BIRD: a full mesh.
    """
    by_bird = routes is Routes.BIRD
    router = Host(
        name=ROUTER, interfaces=(interface("lan", "10.20.16.1/8"), interface("internet", "192.0.2.1/24")), forwards=True
    )
    hosts = tuple(
        Host(
            name=name,
            interfaces=(interface("lan", f"{_address(name)}/8"),),
            routes=(
                route("0.0.0.0/0", "10.20.16.1"),
                *(() if by_bird else (route(_block(other), dev=TUNNEL) for other in NODES if other != name)),
            ),
            tunnel=Tunnel(
                name=TUNNEL, mtu=MTU, address=nets(_block(name))[0].network_address,
                remotes=ips(*(_address(other) for other in NODES if other != name)),
            ),
            sysctls={f"ipv4.conf.{TUNNEL}.rp_filter": str(rp_filter)},
            forwards=True,
            bgp=_speaker(name) if by_bird else None,
            processes=node_processes(parts, routes),
        )
        for name in NODES
    )  # fmt: skip
    real = parts is Parts.REAL
    api_host = control_plane(
        "lan", "10.20.16.210/8",
        (route("0.0.0.0/0", "10.20.16.1"), *(route(_block(name), _address(name)) for name in NODES)),
    )  # fmt: skip
    machine = laptop_host("lan", "10.20.99.10/8", routes=(route("0.0.0.0/0", "10.20.16.1"),))
    out_there, records = upstream()
    dns = dns_pods(dns_nodes, {"node1": ips("192.168.214.2"), "node2": ips("192.168.227.2")})
    cluster = Cluster(
        domain=CLUSTER_KUBE,
        pods=nets("192.168.0.0/16"),
        services=nets(SERVICES),
        gateways=tuple(NODES),
        gateway_role="gateway",
        nodes=tuple(NodeBlocks(host=name, pods=nets(_block(name))) for name in NODES),
        pod_objects=(
            *dns,
            Pod(name="web-0", node="node1", addresses=ips("192.168.214.3")),
            Pod(name="api-0", namespace="qa", node="node2", addresses=ips("192.168.227.3")),
        ),
        service_objects=services(
            kubernetes="10.254.0.1", dns="10.254.0.2", web="10.254.0.10", api="10.254.0.11",
            dns_at=tuple(pod.name for pod in dns),
            api_server=CONTROL_PLANE if real else "node2",
        ),
        pod_mtu=MTU,
        calico=Calico(block_length=24, ipip="Always", has_mesh=True, as_number=AS_NUMBER),
        drop_invalid=drop_invalid,
        snat_services=snat_services,
        dns_program=dns_program,
        parts=parts,
        proxy_mode=proxy_mode,
    )  # fmt: skip
    return WorldSpec(
        name="calico-overlay", networks=("lan", "internet"),
        hosts=(router, *((api_host,) if real else ()), *hosts, machine, out_there), cluster=cluster,
        upstream_records=records,
    )  # fmt: skip


def _address(name: str) -> str:
    return f"10.20.16.{NODES[name]}"


def _block(name: str) -> str:
    return f"192.168.{NODES[name]}.0/24"


def _speaker(name: str) -> Speaker:
    return Speaker(
        router_id=ip4(_address(name)), as_number=AS_NUMBER, announces=nets(_block(name)), device=TUNNEL,
        peers=tuple(
            Peer(name=other, address=ip4(_address(other)), as_number=AS_NUMBER) for other in NODES if other != name
        ),
    )  # fmt: skip
