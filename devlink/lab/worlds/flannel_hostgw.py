"""Network C: flannel host-gw behind a firewall."""

from devlink.lab.spec import (
    CONTROL_PLANE,
    ROUTER,
    Cluster,
    ClusterDnsProgram,
    Host,
    Masquerade,
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
    interface,
    ips,
    laptop_host,
    nets,
    node_processes,
    route,
    services,
    upstream,
)

FIREWALL_C = """
table ip firewall {
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    ip saddr 172.16.0.0/24 ip daddr { 172.16.1.0/24, 172.16.2.0/24, 172.20.0.0/16, 10.68.0.0/16 } meta l4proto != { tcp, icmp } drop
  }
}
"""  # noqa: E501
"""The firewall's policy toward the cluster is ALL_TCP, so UDP 53 to the cluster's DNS is lost without a word."""


def network_c(
    *,
    search: tuple[str, ...] = (),
    drop_invalid: bool = False,
    dns_program: ClusterDnsProgram = ClusterDnsProgram.AUTO,
    parts: Parts = Parts.BY_HAND,
    proxy_mode: ProxyMode = ProxyMode.NFTABLES,
) -> WorldSpec:
    """Network C: flannel host-gw behind a firewall that carries pods and services, and passes only TCP to them.

    What flannel does is by hand whatever the `parts` are: static routes, and rules that masquerade.
    """
    processes = node_processes(parts, Routes.BY_HAND)
    router = Host(
        name=ROUTER,
        interfaces=(
            interface("office", "172.16.0.1/24"),
            interface("nodes", "172.16.1.1/24", "172.16.2.1/24"),
            interface("internet", "192.0.2.1/24"),
        ),
        routes=(route("172.20.0.0/16", "172.16.1.106", "eth1"), route("10.68.0.0/16", "172.16.1.106", "eth1")),
        forwards=True,
        nftables=FIREWALL_C,
    )
    # host-gw needs the nodes on one link: each has the other's /24 there too.
    node1 = Host(
        name="node1",
        interfaces=(interface("nodes", "172.16.1.106/24"),),
        routes=(
            route("0.0.0.0/0", "172.16.1.1"), route("172.16.2.0/24"), route("172.20.2.0/24", "172.16.2.20"),
        ),
        forwards=True,
        processes=processes,
    )  # fmt: skip
    node2 = Host(
        name="node2",
        interfaces=(interface("nodes", "172.16.2.20/24"),),
        routes=(
            route("0.0.0.0/0", "172.16.2.1"), route("172.16.1.0/24"), route("172.20.1.0/24", "172.16.1.106"),
        ),
        forwards=True,
        processes=processes,
    )  # fmt: skip
    real = parts is Parts.REAL
    api_host = control_plane(
        "nodes", "172.16.1.20/24",
        (
            route("0.0.0.0/0", "172.16.1.1"), route("172.16.2.0/24"),
            route("172.20.1.0/24", "172.16.1.106"), route("172.20.2.0/24", "172.16.2.20"),
        ),
    )  # fmt: skip
    machine = laptop_host("office", "172.16.0.100/24", routes=(route("0.0.0.0/0", "172.16.0.1"),), search=search)
    out_there, records = upstream()
    cluster = Cluster(
        domain=CLUSTER_LOCAL,
        pods=nets("172.20.0.0/16"),
        services=nets("10.68.0.0/16"),
        gateways=("node1",),
        gateway_role="gateway",
        nodes=(
            NodeBlocks(host="node1", pods=nets("172.20.1.0/24")),
            NodeBlocks(host="node2", pods=nets("172.20.2.0/24")),
        ),
        pod_objects=(
            Pod(name="coredns", node="node1", processes=(Process.CLUSTER_DNS,), addresses=ips("172.20.1.2")),
            Pod(name="web-0", node="node1", addresses=ips("172.20.1.3")),
            Pod(name="api-0", namespace="qa", node="node2", addresses=ips("172.20.2.3")),
        ),
        service_objects=services(
            kubernetes="10.68.0.1", dns="10.68.0.2", web="10.68.0.10", api="10.68.0.11",
            api_server=CONTROL_PLANE if real else "node2",
        ),
        masquerade=Masquerade.FLANNEL,
        drop_invalid=drop_invalid,
        dns_program=dns_program,
        parts=parts,
        proxy_mode=proxy_mode,
    )  # fmt: skip
    return WorldSpec(
        name="flannel-hostgw", networks=("office", "nodes", "internet"),
        hosts=(router, *((api_host,) if real else ()), node1, node2, machine, out_there), cluster=cluster,
        upstream_records=records,
    )  # fmt: skip
