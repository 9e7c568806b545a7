"""The networks that the machine is plugged into, made and served from inside it: a unit starts this at each boot.

In namespaces of their own: `lan` has the bridges `office` (172.16.0.0/24) and `home` (192.168.7.0/24) with their
routers, DHCP and ordinary DNS servers, `node` is the gateway node of two clusters, with an address for each, and has
their pods' and services' addresses.
The machine's eth0 is plugged into the office; `plug` in tests/system/world.py makes eth1, into home. Every question
that a DNS server gets is a line of its log in LOGS, which outlives a power cut.
"""

import asyncio
import ctypes
import ipaddress
import itertools
import os
import socket
import subprocess
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from devlink.core.names import DomainName
from devlink.lab import network_a, standin_dns
from devlink.lab.spec import Pod, Port, Record, Service, WorldSpec
from devlink.lab.zones import ZoneData, cluster_zones
from devlink.rpc.activation import notify

LOGS = Path("/var/log/devlink-lab")
SETTINGS = Path("/var/lib/devlink-lab")
"""`static`, if it is there: eth0 gets its address from here. `unplugged`: its cable is out at boot, until `plug_in` of
tests/system/world.py. `options`: DHCP options that come first."""
DHCP_PID, DHCP_LOG = "/run/devlink-lab.dnsmasq", "/run/devlink-lab.dnsmasq.log"
LEASES = "/run/devlink-lab.leases"
OFFICE, OFFICE_ROUTER, OFFICE_DNS, OFFICE_DNS_2 = "172.16.0.0/24", "172.16.0.1", "172.16.0.53", "172.16.0.54"
HOME, HOME_ROUTER, HOME_DNS = "192.168.7.0/24", "192.168.7.1", "192.168.7.53"
LAPTOP, LAPTOP_HOME = "172.16.0.100", "192.168.7.100"
"""Of eth0 in the office, and of eth1 at home: DHCP gives the same."""
ETH0, ETH1 = "02:00:00:00:00:64", "02:00:00:00:01:64"
NODE = "172.16.0.13"
PODS, SERVICES = "10.20.0.0/16", "10.254.0.0/16"
CLUSTER_DNS, WEB, WEB_POD = "10.254.0.2", "10.254.10.10", "10.20.73.70"
ZONES = ("cluster.local", "20.10.in-addr.arpa", "254.10.in-addr.arpa")
"""The cluster's domain, and the reverse zones of PODS and SERVICES."""
ENDS = tuple(f"{zone}." for zone in ZONES)
WEB_NAME = "web.default.svc.cluster.local"
NODE_2 = "172.16.0.14"
PODS_2, SERVICES_2 = "10.40.0.0/16", "10.41.0.0/16"
CLUSTER_DNS_2, WEB_2, WEB_POD_2 = "10.41.0.2", "10.41.10.10", "10.40.73.70"
DOMAIN_2 = "cluster.prod"
WEB_NAME_2 = f"web.default.svc.{DOMAIN_2}"
"""Another cluster in the office, which has nothing in common with the first."""
WWW, WIKI, NAS = "www.example.com", "wiki.corp.example", "nas.home.example"
STREAM = "/stream"
ORDINARY: dict[str, dict[str, str]] = {
    OFFICE_DNS: {WWW: "192.0.2.80", WIKI: "172.16.0.81"},
    OFFICE_DNS_2: {WWW: "192.0.2.80", WIKI: "172.16.0.82"},
    HOME_DNS: {WWW: "192.0.2.180", NAS: "192.168.7.10"},
}
"""What each of the ordinary DNS servers knows. They have no other name, but say so at once."""
DnsServer = Callable[[], Coroutine[Any, Any, None]]
CLONE_NEWNET = 0x40000000

LINKS = f"""
link add office type bridge
link add home type bridge
link set lo up
link set office up
link set home up
address add {OFFICE_ROUTER}/24 dev office
address add {OFFICE_DNS}/24 dev office
address add {OFFICE_DNS_2}/24 dev office
address add {HOME_ROUTER}/24 dev home
address add {HOME_DNS}/24 dev home
link add node type veth peer name eth0 netns node
link set node master office up
"""
NODE_LINKS = f"""
link set lo up
link set eth0 up
address add {NODE}/24 dev eth0
address add {CLUSTER_DNS}/32 dev lo
address add {WEB}/32 dev lo
address add {WEB_POD}/32 dev lo
address add {NODE_2}/24 dev eth0
address add {CLUSTER_DNS_2}/32 dev lo
address add {WEB_2}/32 dev lo
route add default via {OFFICE_ROUTER}
"""
PLUG = f"""
link add eth0 address {ETH0} type veth peer name eth0 netns lan
"""
STATIC = f"""
link set lo up
link set eth0 up
address add {LAPTOP}/24 brd + dev eth0
route add default via {OFFICE_ROUTER}
"""


def cluster() -> WorldSpec:
    """The cluster's names."""
    web = Pod(name="web-0", node="node1", addresses=(ipaddress.ip_address(WEB_POD),))
    services = [
        Service(
            name=name, namespace=namespace, cluster_ips=(ipaddress.ip_address(address),), endpoints=("web-0",),
            ports=(Port(name="http", port=port, target=8080),),
        )
        for name, namespace, address, port in (
            ("kubernetes", "default", "10.254.0.1", 443), ("kube-dns", "kube-system", CLUSTER_DNS, 53),
            ("web", "default", WEB, 80), ("api", "qa", "10.254.10.11", 80),
        )
    ]  # fmt: skip
    services.append(Service(name="peers", namespace="default", ports=services[2].ports, endpoints=("web-0",)))
    spec = network_a()
    return replace(spec, cluster=replace(spec.cluster, pod_objects=(web,), service_objects=tuple(services)))


def second_cluster() -> WorldSpec:
    """The names of the other one: its DNS and one web server."""
    spec = network_a()
    web = Pod(name="web-0", node="node1", addresses=(ipaddress.ip_address(WEB_POD_2),))
    services = tuple(
        Service(
            name=name, namespace=namespace, cluster_ips=(ipaddress.ip_address(address),), endpoints=("web-0",),
            ports=(Port(name="http", port=port, target=8080),),
        )
        for name, namespace, address, port in (
            ("kubernetes", "default", "10.41.0.1", 443), ("kube-dns", "kube-system", CLUSTER_DNS_2, 53),
            ("web", "default", WEB_2, 80),
        )
    )  # fmt: skip
    cluster = replace(
        spec.cluster,
        domain=DomainName.parse(DOMAIN_2),
        pods=(ipaddress.ip_network(PODS_2),),
        services=(ipaddress.ip_network(SERVICES_2),),
        pod_objects=(web,),
        service_objects=services,
    )
    return replace(spec, cluster=cluster)


def ordinary(server: str) -> ZoneData:
    """The root zone as an ordinary server has it, with the reverse names of the server and of what it knows."""
    records = [Record(name=".", type="SOA", data="ns.example. hostmaster.example. 1 7200 900 86400 5", ttl=5)]
    for name, address in {**ORDINARY[server], "ns.example": server}.items():
        reverse = ipaddress.ip_address(address).reverse_pointer
        records.append(Record(name=f"{name}.", type="A", data=address, ttl=5))
        records.append(Record(name=f"{reverse}.", type="PTR", data=f"{name}.", ttl=5))
    return ZoneData(origin=DomainName(()), records=tuple(records))


def ip(batch: str, netns: str = "") -> None:
    subprocess.run(["ip", *(("-netns", netns) if netns else ()), "-batch", "-"], input=batch, text=True, check=True)


def enter(netns: str) -> None:
    """Sockets that are made from now on are of that namespace, and stay so."""
    with open(netns) as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def dns(address: str, zones: tuple[ZoneData, ...]) -> DnsServer:
    """A server that is bound, to be run when the loop does."""
    udp, tcp = standin_dns.bind([ipaddress.ip_address(address)])
    log = (LOGS / f"{address}.log").open("a", buffering=1)
    return lambda: standin_dns.serve(standin_dns.Zones(zones), udp, tcp, lambda line: print(line, file=log))


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers everything with `web`, but STREAM with lines without end."""
    try:
        asked = await reader.readuntil(b"\r\n\r\n")
        if asked.startswith(f"GET {STREAM} ".encode()):
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            for number in itertools.count():
                writer.write(b"%d\n" % number)
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nweb\n")
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


def dhcp() -> None:
    options = SETTINGS / "options"
    options.touch()
    command = [
        "dnsmasq", "--conf-file=/dev/null", "--port=0", "--user=root", f"--pid-file={DHCP_PID}",
        f"--dhcp-leasefile={LEASES}", "--dhcp-authoritative", "--no-ping", f"--log-facility={DHCP_LOG}",
        "--interface=office", "--interface=home", "--bind-interfaces", f"--dhcp-optsfile={options}",
        "--dhcp-range=set:office,172.16.0.100,172.16.0.120,255.255.255.0,12h",
        "--dhcp-range=set:home,192.168.7.100,192.168.7.120,255.255.255.0,12h",
        f"--dhcp-host={ETH0},{LAPTOP}", f"--dhcp-host={ETH1},{LAPTOP_HOME}",
        f"--dhcp-option=tag:office,option:router,{OFFICE_ROUTER}",
        f"--dhcp-option=tag:home,option:router,{HOME_ROUTER}",
        "--dhcp-option=tag:home,option:domain-name,home.example",
        f"--dhcp-option=tag:home,option:dns-server,{HOME_DNS}",
        "--dhcp-option=tag:office,option:domain-name,corp.example",
    ]  # fmt: skip
    if "dns-server" not in options.read_text():
        options.write_text(f"tag:office,option:dns-server,{OFFICE_DNS}\n")
    subprocess.run(["nsenter", "--net=/run/netns/lan", *command], check=True)


async def serve(servers: list[DnsServer], places: list[socket.socket]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for server in servers:
            tasks.create_task(server())
        for place in places:
            await asyncio.start_server(http, sock=place)
        notify("READY=1")


def main() -> None:
    for folder in (LOGS, SETTINGS):
        folder.mkdir(parents=True, exist_ok=True)
    # An address of IPv6 is there at once, and not `tentative` for a second: two snapshots are to be the same.
    for which in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{which}/accept_dad").write_text("0")
    for netns in ("lan", "node"):
        subprocess.run(["ip", "netns", "add", netns], check=True)
    ip(LINKS, "lan")
    ip(NODE_LINKS, "node")
    ip(PLUG)
    ip(f"link set eth0 master office {'down' if (SETTINGS / 'unplugged').exists() else 'up'}\n", "lan")
    if (SETTINGS / "static").exists():
        ip(STATIC)
    here = f"/proc/{os.getpid()}/ns/net"
    with open(here) as home:
        enter("/run/netns/lan")
        servers = [dns(address, (ordinary(address),)) for address in ORDINARY]
        enter("/run/netns/node")
        servers.append(dns(CLUSTER_DNS, cluster_zones(cluster())))
        servers.append(dns(CLUSTER_DNS_2, cluster_zones(second_cluster())))
        places = [socket.create_server(place) for place in ((WEB, 80), (WEB_POD, 8080), (WEB_2, 80))]
        enter(f"/proc/self/fd/{home.fileno()}")
    dhcp()
    asyncio.run(serve(servers, places))


if __name__ == "__main__":
    main()
