"""What the worlds have in common: how their data are written, the host out there, the cluster's services."""

import ipaddress
from collections.abc import Iterable, Mapping

from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.lab.spec import (
    CONTROL_PLANE,
    LAPTOP,
    UPSTREAM,
    Address,
    Host,
    HostRoute,
    Interface,
    Parts,
    Pod,
    Port,
    Process,
    Record,
    Resolver,
    Routes,
    Service,
)

CLUSTER_LOCAL = DomainName.parse("cluster.local")
NO_REDIRECTS = {f"ipv4.conf.{where}.accept_redirects": "0" for where in ("all", "default", "eth0")}
"""An ICMP redirect would hide R2: the laptop would learn the symmetric way by itself."""
ORDINARY_NAME = "www.example.com"
"""The name that the ordinary upstream knows."""


def address(text: str) -> Address:
    interface = ipaddress.ip_interface(text)
    return Address(address=interface.ip, length=interface.network.prefixlen)


def interface(network: str, *addresses: str) -> Interface:
    return Interface(network=network, addresses=tuple(address(text) for text in addresses))


def route(destination: str, next_hop: str | None = None, dev: str = "eth0") -> HostRoute:
    return HostRoute(
        destination=ipaddress.ip_network(destination),
        next_hop=ipaddress.ip_address(next_hop) if next_hop else None,
        dev=dev,
    )


def ips(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(ipaddress.ip_address(text) for text in texts)


def nets(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def ip4(text: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(text)


def node_processes(parts: Parts, routes: Routes) -> tuple[Process, ...]:
    """What runs on a node. BIRD first: what comes after it is ready only once it has been reached."""
    bird = (Process.BIRD,) if routes is Routes.BIRD else ()
    return (*bird, *((Process.KUBE_PROXY, Process.KUBELET) if parts is Parts.REAL else ()))


def control_plane(network: str, address: str, routes: Iterable[HostRoute]) -> Host:
    """The host of a real API server, a node of no pods: its routes stay by hand."""
    return Host(
        name=CONTROL_PLANE, interfaces=(interface(network, address),), routes=tuple(routes),
        processes=(Process.CONTROL_PLANE,),
    )  # fmt: skip


def laptop_host(network: str, *addresses: str, routes: Iterable[HostRoute], search: tuple[str, ...] = ()) -> Host:
    """The laptop, which asks the ordinary upstream for names."""
    resolver = Resolver(nameservers=ips("192.0.2.53"), search=tuple(DomainName.parse(text) for text in search))
    return Host(
        name=LAPTOP, interfaces=(interface(network, *addresses),), routes=tuple(routes), sysctls=NO_REDIRECTS,
        resolver=resolver,
    )  # fmt: skip


def upstream(*, ipv6: bool = False) -> tuple[Host, tuple[Record, ...]]:
    """The host out there, and what its DNS server knows."""
    host = Host(
        name=UPSTREAM,
        interfaces=(
            interface("internet", "192.0.2.53/24", "192.0.2.80/24", *(("2001:db8:53::53/64",) if ipv6 else ())),
        ),
        routes=(route("0.0.0.0/0", "192.0.2.1"), *((route("::/0", "2001:db8:53::1"),) if ipv6 else ())),
        processes=(Process.UPSTREAM_DNS, Process.HTTP),
    )
    records = (
        Record(name=".", type="SOA", data="a.root.example. hostmaster.root.example. 1 7200 900 86400 60", ttl=60),
        Record(name=f"{ORDINARY_NAME}.", type="A", data="192.0.2.80", ttl=60),
        Record(name="mail.example.com.", type="A", data="192.0.2.25", ttl=60),
        Record(name="example.com.", type="A", data="192.0.2.80", ttl=60),
        Record(name="example.com.", type="MX", data="10 mail.example.com.", ttl=60),
        Record(name="corp.example.", type="TXT", data='"the office"', ttl=60),
        Record(name="wiki.corp.example.", type="A", data="192.0.2.81", ttl=60),
        Record(name="53.2.0.192.in-addr.arpa.", type="PTR", data="ns.example.com.", ttl=60),
    )
    return host, records


def dns_pods(nodes: Iterable[str], addresses: Mapping[str, tuple[IPAddress, ...]]) -> tuple[Pod, ...]:
    """A pod of CoreDNS on each of `nodes`, at the address that the world has for one there."""
    names = ("coredns", "coredns-2")
    return tuple(
        Pod(
            name=name, node=node, namespace="kube-system", processes=(Process.CLUSTER_DNS,), addresses=addresses[node]
        )
        for name, node in zip(names, nodes, strict=False)
    )  # fmt: skip


def services(
    *, kubernetes: str, dns: str, web: str, api: str, api_server: str, dns_at: tuple[str, ...] = ("coredns",),
    v6_prefix: str | None = None,
) -> tuple[Service, ...]:  # fmt: skip
    """The same services in every world; `v6_prefix` gives each a second ClusterIP."""

    def cluster_ips(v4: str) -> tuple[IPAddress, ...]:
        if v6_prefix is None:
            return ips(v4)
        return ips(v4, f"{v6_prefix}{v4.rsplit('.', 1)[1]}")

    http = Port(name="http", port=80, target=8080)
    return (
        Service(
            name="kubernetes", namespace="default", cluster_ips=ips(kubernetes),
            ports=(Port(name="https", port=443, target=6443),), endpoints=(api_server,),
        ),
        Service(
            name="kube-dns", namespace="kube-system", cluster_ips=cluster_ips(dns), endpoints=dns_at,
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
