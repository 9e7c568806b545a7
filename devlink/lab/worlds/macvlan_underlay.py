"""Network D: pods with addresses of the LAN itself."""

from devlink.lab.spec import (
    CONTROL_PLANE,
    ROUTER,
    Cluster,
    ClusterDnsProgram,
    Host,
    NodeBlocks,
    Parts,
    Pod,
    Process,
    ProxyMode,
    Routes,
    Underlay,
    WorldSpec,
)
from devlink.lab.worlds.common import (
    CLUSTER_LOCAL,
    control_plane,
    dns_pods,
    interface,
    ips,
    laptop_host,
    nets,
    node_processes,
    route,
    services,
    upstream,
)


def network_d(
    *,
    has_veth: bool = True,
    dns_on_host: bool = True,
    drop_invalid: bool = False,
    dns_program: ClusterDnsProgram = ClusterDnsProgram.AUTO,
    parts: Parts = Parts.BY_HAND,
    proxy_mode: ProxyMode = ProxyMode.NFTABLES,
) -> WorldSpec:
    """Network D: macvlan, pods 10.10.20.50 and up out of the LAN, CoreDNS on its node's network.

    `has_veth`: a chained plugin joins each pod with its own node. Without it a node does not reach its own pods, and so
    neither does who comes by a ClusterIP; that is why CoreDNS is on the host's network, unless `dns_on_host` is false.
    """
    real = parts is Parts.REAL
    processes = node_processes(parts, Routes.BY_HAND)
    dns = () if dns_on_host else dns_pods(["node1"], {"node1": ips("10.10.20.52")})
    router = Host(
        name=ROUTER, interfaces=(interface("lan", "10.10.20.254/24"), interface("internet", "192.0.2.1/24")),
        forwards=True,
    )  # fmt: skip
    node1 = Host(
        name="node1", interfaces=(interface("lan", "10.10.20.152/24"),), routes=(route("0.0.0.0/0", "10.10.20.254"),),
        forwards=True, processes=(*processes, *((Process.CLUSTER_DNS,) if dns_on_host else ())),
    )  # fmt: skip
    node2 = Host(
        name="node2", interfaces=(interface("lan", "10.10.20.153/24"),), routes=(route("0.0.0.0/0", "10.10.20.254"),),
        forwards=True, processes=processes,
    )  # fmt: skip
    api_host = control_plane("lan", "10.10.20.151/24", (route("0.0.0.0/0", "10.10.20.254"),))
    machine = laptop_host("lan", "10.10.20.100/24", routes=(route("0.0.0.0/0", "10.10.20.254"),))
    out_there, records = upstream()
    cluster = Cluster(
        domain=CLUSTER_LOCAL,
        pods=nets("10.10.20.48/28"),
        services=nets("10.96.0.0/12"),
        gateways=("node1",),
        gateway_role="gateway",
        nodes=(NodeBlocks(host="node1", pods=()), NodeBlocks(host="node2", pods=())),
        names_nodes=False,
        pod_objects=(
            *dns,
            Pod(name="web-0", node="node1", addresses=ips("10.10.20.50")),
            Pod(name="api-0", namespace="qa", node="node2", addresses=ips("10.10.20.51")),
        ),
        service_objects=services(
            kubernetes="10.96.0.1", dns="10.96.0.10", web="10.96.0.20", api="10.96.0.21",
            api_server=CONTROL_PLANE if real else "node2",
            dns_at=("node1",) if dns_on_host else ("coredns",),
        ),
        underlay=Underlay(length=24, gateway=ips("10.10.20.254")[0], has_veth=has_veth),
        drop_invalid=drop_invalid,
        dns_program=dns_program,
        parts=parts,
        proxy_mode=proxy_mode,
    )  # fmt: skip
    return WorldSpec(
        name="macvlan-underlay", networks=("lan", "internet"),
        hosts=(router, *((api_host,) if real else ()), node1, node2, machine, out_there), cluster=cluster,
        upstream_records=records,
    )  # fmt: skip
