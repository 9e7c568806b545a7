"""The worlds that there are: networks A and C of the five that devlink is built for, each as data."""

import ipaddress
from enum import StrEnum

from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.lab.spec import (
    CONTROL_PLANE,
    LAPTOP,
    ROUTER,
    UPSTREAM,
    Address,
    Cluster,
    ClusterDnsProgram,
    Host,
    HostRoute,
    Interface,
    Masquerade,
    NodeBlocks,
    Parts,
    Pod,
    Port,
    Process,
    ProxyMode,
    Record,
    Resolver,
    Service,
    WorldSpec,
)

CLUSTER_LOCAL = DomainName.parse("cluster.local")
NO_REDIRECTS = {f"ipv4.conf.{where}.accept_redirects": "0" for where in ("all", "default", "eth0")}
"""An ICMP redirect would hide R2: the laptop would learn the symmetric way by itself."""
ORDINARY_NAME = "www.example.com"
"""The name that the ordinary upstream knows."""


class LaptopPlace(StrEnum):
    """Where the laptop of network A is plugged in."""

    NODE_LAN = "node-lan"
    BEHIND_ROUTER = "behind-router"


def _address(text: str) -> Address:
    interface = ipaddress.ip_interface(text)
    return Address(address=interface.ip, length=interface.network.prefixlen)


def _interface(network: str, *addresses: str) -> Interface:
    return Interface(network=network, addresses=tuple(_address(text) for text in addresses))


def _route(destination: str, next_hop: str | None = None, dev: str = "eth0") -> HostRoute:
    return HostRoute(
        destination=ipaddress.ip_network(destination),
        next_hop=ipaddress.ip_address(next_hop) if next_hop else None,
        dev=dev,
    )


def _ips(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(ipaddress.ip_address(text) for text in texts)


def _nets(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def _upstream(*, ipv6: bool) -> tuple[Host, tuple[Record, ...]]:
    """The host out there, and what its DNS server knows."""
    host = Host(
        name=UPSTREAM,
        interfaces=(
            _interface("internet", "192.0.2.53/24", "192.0.2.80/24", *(("2001:db8:53::53/64",) if ipv6 else ())),
        ),
        routes=(_route("0.0.0.0/0", "192.0.2.1"), *((_route("::/0", "2001:db8:53::1"),) if ipv6 else ())),
        processes=(Process.UPSTREAM_DNS, Process.HTTP),
    )
    records = (
        Record(name=".", type="SOA", data="a.root.example. hostmaster.root.example. 1 7200 900 86400 60", ttl=60),
        Record(name=f"{ORDINARY_NAME}.", type="A", data="192.0.2.80", ttl=60),
        Record(name="mail.example.com.", type="A", data="192.0.2.25", ttl=60),
        Record(name="example.com.", type="MX", data="10 mail.example.com.", ttl=60),
        Record(name="corp.example.", type="TXT", data='"the office"', ttl=60),
        Record(name="wiki.corp.example.", type="A", data="192.0.2.81", ttl=60),
        Record(name="53.2.0.192.in-addr.arpa.", type="PTR", data="ns.example.com.", ttl=60),
    )
    return host, records


def _services(
    *, kubernetes: str, dns: str, web: str, api: str, v6_prefix: str | None, api_server: str
) -> tuple[Service, ...]:
    """The same services in every world; `v6_prefix` gives each a second ClusterIP."""

    def cluster_ips(v4: str) -> tuple[IPAddress, ...]:
        if v6_prefix is None:
            return _ips(v4)
        return _ips(v4, f"{v6_prefix}{v4.rsplit('.', 1)[1]}")

    http = Port(name="http", port=80, target=8080)
    return (
        Service(
            name="kubernetes", namespace="default", cluster_ips=_ips(kubernetes),
            ports=(Port(name="https", port=443, target=6443),), endpoints=(api_server,),
        ),
        Service(
            name="kube-dns", namespace="kube-system", cluster_ips=cluster_ips(dns), endpoints=("coredns",),
            ports=(
                Port(name="dns", port=53, target=53, protocol="udp"), Port(name="dns-tcp", port=53, target=53),
            ),
        ),
        Service(name="web", namespace="default", cluster_ips=cluster_ips(web), ports=(http,), endpoints=("web-0",)),
        Service(name="api", namespace="qa", cluster_ips=cluster_ips(api), ports=(http,), endpoints=("api-0",)),
        Service(
            name="peers", namespace="default", ports=(Port(name="http", port=8080, target=8080),),
            endpoints=("web-0", "api-0"),
        ),
        Service(name="docs", namespace="default", external_name=DomainName.parse(ORDINARY_NAME)),
    )  # fmt: skip


def network_a(
    *,
    laptop: LaptopPlace = LaptopPlace.NODE_LAN,
    router_carries: bool | None = None,
    search: tuple[str, ...] = (),
    drop_invalid: bool = False,
    snat_services: bool = True,
    ipv6: bool = False,
    dns_program: ClusterDnsProgram = ClusterDnsProgram.AUTO,
    parts: Parts = Parts.BY_HAND,
    proxy_mode: ProxyMode = ProxyMode.NFTABLES,
) -> WorldSpec:
    """Network A: Calico with in-cluster route reflectors.

    The laptop is on the node LAN or behind the router. The router carries pods and services (`router_carries`) where
    the laptop depends on it, unless told otherwise: without, a laptop behind it meets R1. Real `parts` come with a
    control plane on the node LAN, and with kube-proxy in `proxy_mode`.
    """
    real = parts is Parts.REAL
    if router_carries is None:
        router_carries = laptop is LaptopPlace.BEHIND_ROUTER
    six = ipv6
    lan6 = ("fd00:172:16::1/64", "fd00:172:16::13/64", "fd00:172:16::19/64", "fd00:172:16::100/64")
    block1, block2 = "10.20.73.64/26", "10.20.120.128/26"
    block1_6, block2_6 = "fd00:10:20:73::/122", "fd00:10:20:120::/122"
    carried = (
        _route(block1, "172.16.0.13"), _route(block2, "172.16.0.19"), _route("10.254.0.0/16", "172.16.0.13"),
        *((
            _route(block1_6, "fd00:172:16::13"), _route(block2_6, "fd00:172:16::19"),
            _route("fd00:10:254::/112", "fd00:172:16::13"),
        ) if six else ()),
    )  # fmt: skip
    router = Host(
        name=ROUTER,
        interfaces=(
            _interface("nodes", "172.16.0.1/24", *(lan6[:1] if six else ())),
            _interface("office", "10.10.0.1/24", *(("fd00:10:10::1/64",) if six else ())),
            _interface("internet", "192.0.2.1/24", *(("2001:db8:53::1/64",) if six else ())),
        ),
        routes=carried if router_carries else (),
        forwards=True,
    )
    node1 = Host(
        name="node1",
        interfaces=(_interface("nodes", "172.16.0.13/24", *(lan6[1:2] if six else ())),),
        routes=(
            _route("0.0.0.0/0", "172.16.0.1"), _route(block2, "172.16.0.19"),
            *((_route("::/0", "fd00:172:16::1"), _route(block2_6, "fd00:172:16::19")) if six else ()),
        ),
        forwards=True,
        processes=(Process.KUBE_PROXY,) if real else (),
    )  # fmt: skip
    node2 = Host(
        name="node2",
        interfaces=(_interface("nodes", "172.16.0.19/24", *(lan6[2:3] if six else ())),),
        routes=(
            _route("0.0.0.0/0", "172.16.0.1"), _route(block1, "172.16.0.13"),
            *((_route("::/0", "fd00:172:16::1"), _route(block1_6, "fd00:172:16::13")) if six else ()),
        ),
        forwards=True,
        processes=(Process.KUBE_PROXY,) if real else (),
    )  # fmt: skip
    control_plane = Host(
        name=CONTROL_PLANE,
        interfaces=(_interface("nodes", "172.16.0.10/24", *(("fd00:172:16::10/64",) if six else ())),),
        routes=(
            _route("0.0.0.0/0", "172.16.0.1"), _route(block1, "172.16.0.13"), _route(block2, "172.16.0.19"),
            *((
                _route("::/0", "fd00:172:16::1"), _route(block1_6, "fd00:172:16::13"),
                _route(block2_6, "fd00:172:16::19"),
            ) if six else ()),
        ),
        processes=(Process.CONTROL_PLANE,),
    )  # fmt: skip
    resolver = Resolver(nameservers=_ips("192.0.2.53"), search=tuple(DomainName.parse(text) for text in search))
    if laptop is LaptopPlace.NODE_LAN:
        place = _interface("nodes", "172.16.0.100/24", *(lan6[3:] if six else ()))
        gateways = ("172.16.0.1", "fd00:172:16::1")
    else:
        place = _interface("office", "10.10.0.100/24", *(("fd00:10:10::100/64",) if six else ()))
        gateways = ("10.10.0.1", "fd00:10:10::1")
    machine = Host(
        name=LAPTOP,
        interfaces=(place,),
        routes=(_route("0.0.0.0/0", gateways[0]), *((_route("::/0", gateways[1]),) if six else ())),
        sysctls=NO_REDIRECTS,
        resolver=resolver,
    )
    upstream, records = _upstream(ipv6=six)
    cluster = Cluster(
        domain=CLUSTER_LOCAL,
        pods=_nets("10.20.0.0/16", *(("fd00:10:20::/48",) if six else ())),
        services=_nets("10.254.0.0/16", *(("fd00:10:254::/112",) if six else ())),
        gateways=("node1",),
        gateway_role="route-reflector",
        nodes=(
            NodeBlocks(host="node1", pods=_nets(block1, *((block1_6,) if six else ()))),
            NodeBlocks(host="node2", pods=_nets(block2, *((block2_6,) if six else ()))),
        ),
        pod_objects=(
            Pod(
                name="coredns", node="node1", processes=(Process.CLUSTER_DNS,),
                addresses=_ips("10.20.73.66", *(("fd00:10:20:73::2",) if six else ())),
            ),
            Pod(name="web-0", node="node1", addresses=_ips("10.20.73.67", *(("fd00:10:20:73::3",) if six else ()))),
            Pod(name="api-0", node="node2", addresses=_ips("10.20.120.130", *(("fd00:10:20:120::2",) if six else ()))),
        ),
        service_objects=_services(
            kubernetes="10.254.0.1", dns="10.254.0.2", web="10.254.0.10", api="10.254.0.11",
            v6_prefix="fd00:10:254::" if six else None, api_server=CONTROL_PLANE if real else "node2",
        ),
        pod_mtu=1480,
        drop_invalid=drop_invalid,
        snat_services=snat_services,
        dns_program=dns_program,
        parts=parts,
        proxy_mode=proxy_mode,
    )  # fmt: skip
    return WorldSpec(
        name="calico-rr", networks=("nodes", "office", "internet"),
        hosts=(router, *((control_plane,) if real else ()), node1, node2, machine, upstream), cluster=cluster,
        upstream_records=records,
    )  # fmt: skip


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


def network_c(*, search: tuple[str, ...] = (), dns_program: ClusterDnsProgram = ClusterDnsProgram.AUTO) -> WorldSpec:
    """Network C: flannel host-gw behind a firewall that carries pods and services, and passes only TCP to them."""
    router = Host(
        name=ROUTER,
        interfaces=(
            _interface("office", "172.16.0.1/24"),
            _interface("nodes", "172.16.1.1/24", "172.16.2.1/24"),
            _interface("internet", "192.0.2.1/24"),
        ),
        routes=(_route("172.20.0.0/16", "172.16.1.106", "eth1"), _route("10.68.0.0/16", "172.16.1.106", "eth1")),
        forwards=True,
        nftables=FIREWALL_C,
    )
    # host-gw needs the nodes on one link: each has the other's /24 there too.
    node1 = Host(
        name="node1",
        interfaces=(_interface("nodes", "172.16.1.106/24"),),
        routes=(
            _route("0.0.0.0/0", "172.16.1.1"), _route("172.16.2.0/24"), _route("172.20.2.0/24", "172.16.2.20"),
        ),
        forwards=True,
    )  # fmt: skip
    node2 = Host(
        name="node2",
        interfaces=(_interface("nodes", "172.16.2.20/24"),),
        routes=(
            _route("0.0.0.0/0", "172.16.2.1"), _route("172.16.1.0/24"), _route("172.20.1.0/24", "172.16.1.106"),
        ),
        forwards=True,
    )  # fmt: skip
    machine = Host(
        name=LAPTOP,
        interfaces=(_interface("office", "172.16.0.100/24"),),
        routes=(_route("0.0.0.0/0", "172.16.0.1"),),
        sysctls=NO_REDIRECTS,
        resolver=Resolver(
            nameservers=_ips("192.0.2.53"), search=tuple(DomainName.parse(text) for text in search)
        ),
    )  # fmt: skip
    upstream, records = _upstream(ipv6=False)
    cluster = Cluster(
        domain=CLUSTER_LOCAL,
        pods=_nets("172.20.0.0/16"),
        services=_nets("10.68.0.0/16"),
        gateways=("node1",),
        gateway_role="gateway",
        nodes=(
            NodeBlocks(host="node1", pods=_nets("172.20.1.0/24")),
            NodeBlocks(host="node2", pods=_nets("172.20.2.0/24")),
        ),
        pod_objects=(
            Pod(name="coredns", node="node1", processes=(Process.CLUSTER_DNS,), addresses=_ips("172.20.1.2")),
            Pod(name="web-0", node="node1", addresses=_ips("172.20.1.3")),
            Pod(name="api-0", node="node2", addresses=_ips("172.20.2.3")),
        ),
        service_objects=_services(
            kubernetes="10.68.0.1", dns="10.68.0.2", web="10.68.0.10", api="10.68.0.11", v6_prefix=None,
            api_server="node2",
        ),
        masquerade=Masquerade.FLANNEL,
        dns_program=dns_program,
    )  # fmt: skip
    return WorldSpec(
        name="flannel-hostgw", networks=("office", "nodes", "internet"),
        hosts=(router, node1, node2, machine, upstream), cluster=cluster, upstream_records=records,
    )  # fmt: skip
