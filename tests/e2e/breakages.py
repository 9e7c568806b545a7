"""What keeps packets from coming back: each made on the nodes of one world, whose DNS is not on its gateway."""

from collections.abc import Iterator
from contextlib import contextmanager

from devlink import lab
from tests.certificates import Authority, Issued
from tests.e2e.link import Link

GATEWAY, WORKER = "node1", "node2"
DNS_POD = "10.20.120.131"
R2 = "ct state invalid drop"
R4 = f"ip daddr {DNS_POD} ct original ip daddr {DNS_POD} drop"
UDP_53 = "ip daddr { 10.20.0.0/16, 10.254.0.0/16 } udp dport 53 drop"


def dns_elsewhere() -> lab.WorldSpec:
    """Network A, whose cluster DNS is on another node than the gateway."""
    return lab.network_a(dns_nodes=(WORKER,))


def shell(link: Link, host: str, command: str) -> str:
    """What it printed."""
    return link.world.run(host, ["sh", "-ec", command], check=True).stdout


@contextmanager
def changed(link: Link, host: str, broken: str, mended: str) -> Iterator[None]:
    """A host after one command, until the other one."""
    shell(link, host, broken)
    try:
        yield
    finally:
        shell(link, host, mended)


@contextmanager
def dropping(link: Link, rule: str, node: str = GATEWAY) -> Iterator[None]:
    """A node's packet filter that has one rule more."""
    chain = f"chain forward {{\ntype filter hook forward priority -200;\n{rule}\n}}\n"
    link.world.run(node, ["nft", f"table ip broken {{\n{chain}}}"], check=True)
    try:
        yield
    finally:
        link.world.run(node, ["nft", "delete table ip broken"], check=True)


@contextmanager
def without_snat(link: Link) -> Iterator[None]:
    """R3: the node that takes ClusterIPs leaves the source as it is."""
    link.world.run(GATEWAY, ["nft", "flush chain ip kube-proxy postrouting"], check=True)
    try:
        yield
    finally:
        link.world.run(GATEWAY, ["nft", "add rule ip kube-proxy postrouting meta mark 0x4000 masquerade"], check=True)


@contextmanager
def not_forwarding(link: Link) -> Iterator[None]:
    link.world.run(GATEWAY, ["sysctl", "-qw", "net.ipv4.ip_forward=0"], check=True)
    try:
        yield
    finally:
        link.world.run(GATEWAY, ["sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)


@contextmanager
def without_endpoints(link: Link) -> Iterator[None]:
    """The service of the cluster's DNS has no pod that is ready: kube-proxy rejects what is for it.

    The kernel tells one peer of a refusal six times at once and then once a second (icmp_ratelimit): where others have
    been told before, it is silence.
    """
    service = link.world.spec.cluster_dns.address
    to_dns = [f"ip daddr {service} {each} dport 53 dnat to {DNS_POD}:53" for each in ("tcp", "udp")]
    mended = "; ".join(f"nft add rule ip kube-proxy services {rule}" for rule in to_dns)
    limit = "sysctl -qw net.ipv4.icmp_ratelimit"
    broken = f"{limit}=0; nft flush chain ip kube-proxy services"
    with changed(link, GATEWAY, broken, f"{limit}=1000; {mended}"):
        yield


@contextmanager
def narrow(link: Link, mtu: int) -> Iterator[None]:
    """The way to the pod of the DNS takes packets of `mtu` octets at most, and nobody is told of it."""
    quiet = "table ip quiet { chain out { type filter hook output priority 0; icmp type 3 drop; }; }"
    broken = f"ip link set cali-coredns mtu {mtu}; nft '{quiet}'"
    with changed(link, WORKER, broken, "ip link set cali-coredns mtu 1500; nft delete table ip quiet"):
        yield


TLS = """
import socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/server.pem")
with socket.create_server(("0.0.0.0", 6443)) as server:
    print("ready", flush=True)
    while True:
        try:
            with context.wrap_socket(server.accept()[0], server_side=True) as talk:
                talk.recv(1)
        except OSError:
            pass
"""
"""An API server as far as its certificate goes."""
TO_ITSELF = """
table ip stranger {
chain prerouting {
type nat hook prerouting priority -110
ip daddr 10.254.0.1 tcp dport 443 redirect to :6443
}
}
"""


@contextmanager
def api(link: Link, host: str, issued: Issued) -> Iterator[None]:
    """An API server on a node, with that certificate."""
    link.world.write_file(host, "/root/server.pem", issued.certificate + issued.key)
    with link.world.popen(host, ["python3", "-c", TLS]) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.kill()


@contextmanager
def stranger(link: Link, host: str) -> Iterator[None]:
    """A gateway that has a cluster of its own, with the same numbers."""
    with api(link, host, Authority.another().issue("kubernetes.default.svc")):
        link.world.run(host, ["nft", TO_ITSELF], check=True)
        try:
            yield
        finally:
            link.world.run(host, ["nft", "delete table ip stranger"], check=True)
