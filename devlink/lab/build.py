"""Builds a world inside its PID namespace: a child for each host and pod enters its own namespaces and sets them up."""

import json
import os
import shutil
import socket
import subprocess
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from pyroute2 import IPRoute

from devlink.core.prefixes import IPAddress, host_prefix
from devlink.lab import kubeproxy, linux, processes, rootfs
from devlink.lab.order import Order
from devlink.lab.spec import Host, HostRoute, Pod, Tunnel, Underlay, WorldSpec

STAGE = "/sys"
"""Where each host's root is put together: a folder that every machine has and that holds nothing a root needs."""
POD_GATEWAY = "169.254.1.1"
"""What Calico gives pods as their IPv4 next hop; the node answers for it by proxy ARP."""
POD_GATEWAY_6 = "fe80::1"
QUIET = {
    # A new namespace takes IPv4 settings over from the machine's: what packets depend on is said here.
    "ipv4.conf.all.rp_filter": "0",
    "ipv4.conf.default.rp_filter": "0",
    "ipv4.conf.all.forwarding": "0",
    "ipv4.conf.default.forwarding": "0",
    # A redirect would teach the laptop the way round R2, and takes the token of the ICMP error that was to be seen.
    "ipv4.conf.all.send_redirects": "0",
    "ipv4.conf.default.send_redirects": "0",
    # Addresses are usable at once, and nothing appears later by itself.
    "ipv6.conf.default.disable_ipv6": "0",
    "ipv6.conf.default.accept_dad": "0",
    "ipv6.conf.default.dad_transmits": "0",
    "ipv6.conf.default.accept_ra": "0",
    "ipv6.conf.default.router_solicitations": "0",
}
TUNNEL_ID = 4096
TUNNEL_PORT = 4789
"""Calico's and the IANA's."""
NODAD = 0x02
"""IFA_F_NODAD (linux/if_addr.h): an IPv6 address that can be bound from its first moment, however busy the machine."""
CARRIER_PATIENCE = 3.0
"""Seconds; the kernel may hold back the news of a carrier for one."""


@dataclass(slots=True)
class _Child:
    """A host being built: its process, and the socket to it, one JSON line a message."""

    pid: int
    channel: socket.socket

    def receive(self) -> Any:
        with self.channel.makefile("rb") as lines:
            line = lines.readline()
        message = json.loads(line) if line else {"error": "its process died"}
        if "error" in message:
            raise RuntimeError(message["error"])
        return message["ok"]

    def send(self, value: object) -> None:
        _send(self.channel, {"ok": value})


def _send(channel: socket.socket, message: object) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")


def build(order: Order) -> dict[str, int]:
    """Build the world. Returns the PID of the process that holds each host's and pod's namespaces.

    Raises RuntimeError or OSError with the reason; whatever stands by then goes with the PID namespace.
    """
    spec = order.spec
    children: dict[str, _Child] = {}
    for name in (*(host.name for host in spec.hosts), *(pod.name for pod in spec.cluster.pod_objects)):
        children[name] = _fork(name, order, (child.channel for child in children.values()))
    for child in children.values():
        child.receive()
    _plug({name: child.pid for name, child in children.items()}, spec)
    for child in children.values():
        child.send("go")
    anchors = {}
    for name, child in children.items():
        try:
            anchors[name] = int(child.receive())
        except RuntimeError as error:
            raise RuntimeError(f"{name}: {error}") from error
    return anchors


def _fork(name: str, order: Order, others: Iterable[socket.socket]) -> _Child:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return _Child(pid, ours)
    ours.close()
    for channel in others:
        channel.close()
    try:
        _enter(name, order)
        _send(theirs, {"ok": None})
        with theirs.makefile("rb") as lines:
            lines.readline()
        _configure(name, order)
        _send(theirs, {"ok": _anchor()})
    except BaseException as error:
        _send(theirs, {"error": f"{error or type(error).__name__}\n{traceback.format_exc()}"})
    os._exit(0)


def _enter(name: str, order: Order) -> None:
    host = next((host for host in order.spec.hosts if host.name == name), None)
    linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWNS | linux.CLONE_NEWUTS)
    linux.sethostname(name)
    rootfs.enter(
        rootfs.RootSpec(hostname=name, resolver=host.resolver if host else None, keep=order.keep), STAGE
    )  # fmt: skip
    # Before the links come, which copy them.
    write_sysctls(QUIET)
    if host is not None and host.forwards:
        write_sysctls({"ipv4.ip_forward": "1", "ipv6.conf.all.forwarding": "1", "ipv6.conf.default.forwarding": "1"})


def write_sysctls(values: Mapping[str, str]) -> None:
    """Set `net.` sysctls of this process's network namespace. A kernel without IPv6 lacks those. Raises OSError."""
    for name, value in values.items():
        family, *_ = name.split(".", 1)
        path = "/proc/sys/net/" + name.replace(".", "/")
        try:
            with open(path, "w") as file:
                file.write(value)
        except FileNotFoundError:
            if family != "ipv6":
                raise


def _plug(pids: Mapping[str, int], spec: WorldSpec) -> None:
    """Bridges in the init's own network namespace, and a cable from each interface to its bridge or node."""
    write_sysctls({"ipv6.conf.default.disable_ipv6": "1"})
    with IPRoute() as ip:
        for network in spec.networks:
            ip.link("add", ifname=network, kind="bridge", br_stp_state=0, br_forward_delay=0)
            ip.link("set", index=_index(ip, network), state="up")
        for host in spec.hosts:
            for number, interface in enumerate(host.interfaces):
                plug = f"{host.name}.{number}"
                peer = {"ifname": f"eth{number}", "net_ns_pid": pids[host.name]}
                ip.link("add", ifname=plug, kind="veth", peer=peer)
                ip.link("set", index=_index(ip, plug), master=_index(ip, interface.network), state="up")
        underlay = spec.cluster.underlay
        for pod in spec.cluster.pod_objects:
            if underlay is not None:
                _plug_into_lan(pids[pod.node], pids[pod.name])
            if underlay is None or underlay.has_veth:
                peer = {"ifname": _pod_end(spec), "mtu": spec.cluster.pod_mtu, "net_ns_pid": pids[pod.name]}
                ip.link(
                    "add", ifname=_node_end(pod), kind="veth", mtu=spec.cluster.pod_mtu, net_ns_pid=pids[pod.node],
                    peer=peer,
                )  # fmt: skip


def _plug_into_lan(node: int, pod: int) -> None:
    """The pod's eth0 beside its node's, by macvlan: made where the node's is, and handed over."""
    for command in (
        ["set", "eth0", "up"],
        ["add", "link", "eth0", "name", "pod", "netns", str(pod), "type", "macvlan", "mode", "bridge"],
    ):
        _command(["nsenter", f"--net=/proc/{node}/ns/net", "ip", "link", *command])
    _command(["nsenter", f"--net=/proc/{pod}/ns/net", "ip", "link", "set", "pod", "name", "eth0"])


def _command(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")


def _pod_end(spec: WorldSpec) -> str:
    return "eth0" if spec.cluster.underlay is None else "veth0"


def _index(ip: IPRoute, name: str) -> int:
    found = ip.link_lookup(ifname=name)
    if not found:
        raise RuntimeError(f"there is no link {name}")
    return int(found[0])


def _node_end(pod: Pod) -> str:
    return f"cali-{pod.name}"[:15]


def _configure(name: str, order: Order) -> None:
    """Addresses, routes, filters and processes of one host or pod, in its namespaces."""
    spec = order.spec
    with IPRoute() as ip:
        ip.link("set", index=_index(ip, "lo"), state="up")
        pod = next((pod for pod in spec.cluster.pod_objects if pod.name == name), None)
        if pod is not None:
            _configure_pod(ip, pod, spec)
            addresses, running = pod.addresses, pod.processes
        else:
            host = spec.host(name)
            _configure_host(ip, host)
            for hosted in spec.cluster.pod_objects:
                if hosted.node == name and (spec.cluster.underlay is None or spec.cluster.underlay.has_veth):
                    _configure_node_end(ip, hosted)
            addresses, running = host.addresses, host.processes
            _load_rules(host, spec)
    _await_carrier()
    for process in running:
        processes.start(process, name, addresses, order)


def _configure_host(ip: IPRoute, host: Host) -> None:
    for number, interface in enumerate(host.interfaces):
        index = _index(ip, f"eth{number}")
        ip.link("set", index=index, state="up")
        for address in interface.addresses:
            ip.addr("add", index=index, address=str(address.address), prefixlen=address.length, flags=NODAD)
    if host.tunnel is not None:
        _configure_tunnel(ip, host, host.tunnel)
    for route in host.routes:
        _add_route(ip, route)
    write_sysctls(host.sysctls)


def _configure_tunnel(ip: IPRoute, host: Host, tunnel: Tunnel) -> None:
    ip.link(
        "add", ifname=tunnel.name, kind="vxlan", vxlan_id=TUNNEL_ID, vxlan_port=TUNNEL_PORT, vxlan_learning=1,
        vxlan_local=str(host.address), mtu=tunnel.mtu,
    )  # fmt: skip
    index = _index(ip, tunnel.name)
    for remote in tunnel.remotes:
        ip.fdb("append", ifindex=index, lladdr="00:00:00:00:00:00", dst=str(remote))
    ip.link("set", index=index, state="up")
    ip.addr("add", index=index, address=str(tunnel.address), prefixlen=tunnel.address.max_prefixlen)
    write_sysctls(_answers_for_others(tunnel.name))


def _answers_for_others(interface: str) -> dict[str, str]:
    """The settings of proxy ARP, without the pause that the kernel makes before such an answer."""
    return {f"ipv4.conf.{interface}.proxy_arp": "1", f"ipv4.neigh.{interface}.proxy_delay": "0"}


def _add_route(ip: IPRoute, route: HostRoute) -> None:
    family = socket.AF_INET if route.destination.version == 4 else socket.AF_INET6
    values: dict[str, object] = {"dst": str(route.destination), "family": family}
    if route.next_hop is not None:
        values["gateway"] = str(route.next_hop)
        if route.dev != "eth0":
            values["oif"] = _index(ip, route.dev)
    else:
        values["oif"] = _index(ip, route.dev)
        values["scope"] = "link" if family == socket.AF_INET else "universe"
    ip.route("add", **values)


def _configure_node_end(ip: IPRoute, pod: Pod) -> None:
    name = _node_end(pod)
    index = _index(ip, name)
    ip.link("set", index=index, state="up")
    write_sysctls(_answers_for_others(name))
    if any(address.version == 6 for address in pod.addresses):
        ip.addr("add", index=index, address=POD_GATEWAY_6, prefixlen=64, flags=NODAD)
    for address in pod.addresses:
        _add_route(ip, HostRoute(destination=host_prefix(address), dev=name))


def _configure_pod(ip: IPRoute, pod: Pod, spec: WorldSpec) -> None:
    index = _index(ip, "eth0")
    ip.link("set", index=index, state="up")
    if spec.cluster.underlay is not None:
        _configure_underlay(ip, pod, spec, spec.cluster.underlay)
        return
    for address in pod.addresses:
        ip.addr("add", index=index, address=str(address), prefixlen=address.max_prefixlen, flags=NODAD)
        _add_pod_default(ip, index, address)


def _configure_underlay(ip: IPRoute, pod: Pod, spec: WorldSpec, underlay: Underlay) -> None:
    """A place on the LAN; and by the second interface the own node, and the services, which are the node's work."""
    index = _index(ip, "eth0")
    for address in pod.addresses:
        ip.addr("add", index=index, address=str(address), prefixlen=underlay.length, flags=NODAD)
    ip.route("add", dst="0.0.0.0/0", gateway=str(underlay.gateway), oif=index)
    if not underlay.has_veth:
        return
    second, node = _index(ip, "veth0"), str(spec.host(pod.node).address)
    ip.link("set", index=second, state="up")
    ip.route("add", dst=f"{node}/32", oif=second, scope="link", prefsrc=str(pod.address))
    for prefix in spec.cluster.services:
        ip.route("add", dst=str(prefix), gateway=node, oif=second, prefsrc=str(pod.address))


def _add_pod_default(ip: IPRoute, index: int, address: IPAddress) -> None:
    if address.version == 4:
        ip.route("add", dst=f"{POD_GATEWAY}/32", oif=index, scope="link")
        ip.route("add", dst="0.0.0.0/0", gateway=POD_GATEWAY, oif=index)
    else:
        ip.route("add", dst="::/0", gateway=POD_GATEWAY_6, oif=index, family=socket.AF_INET6)


def _load_rules(host: Host, spec: WorldSpec) -> None:
    rules = host.nftables
    for node in spec.cluster.nodes:
        if node.host == host.name:
            rules += kubeproxy.masquerading(spec, node) + ("" if spec.cluster.is_real else kubeproxy.ruleset(spec))
    if rules:
        done = subprocess.run(["nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"nft: {done.stderr.strip()}")


def _await_carrier() -> None:
    """Wait until the kernel has noticed that every cable is plugged: a link that is not `up` yet changes later."""
    deadline = time.monotonic() + CARRIER_PATIENCE
    with IPRoute() as ip:
        while any(
            link.get("state") == "up" and link.get("operstate") not in ("UP", "UNKNOWN") for link in ip.get_links()
        ):
            if time.monotonic() > deadline:
                raise RuntimeError("a link stays without carrier")
            time.sleep(0.005)


def _anchor() -> int:
    """A process that does nothing but hold this host's namespaces. Its PID."""
    program = shutil.which("sleep") or "/bin/sleep"
    pid = os.fork()
    if pid:
        return pid
    _exec_anchor(program)


def _exec_anchor(program: str) -> NoReturn:
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.execv(program, [program, "infinity"])
