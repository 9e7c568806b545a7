"""Builds a world inside its PID namespace: a child for each host and pod enters its own namespaces and sets them up."""

import json
import os
import shutil
import socket
import subprocess
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any, NoReturn

from devlink.core.prefixes import IPAddress, host_prefix
from devlink.lab import control_plane, kubeproxy, linux, objects, processes, rootfs
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
    if spec.cluster.is_real:
        _tell_kubelets(spec, anchors)
    return anchors


def _tell_kubelets(spec: WorldSpec, anchors: Mapping[str, int]) -> None:
    """Which namespace each pod of a node is in."""
    pods = [(pod.node, pod.namespace, pod.name, pod.name) for pod in spec.cluster.pod_objects]
    pods += [
        (host, service.namespace, objects.host_pod(service, host), host)
        for service in spec.cluster.service_objects
        for host in objects.host_endpoints(spec, service)
    ]
    for node, namespace, pod, holder in pods:
        folder = f"/proc/{anchors[node]}/root{control_plane.PODS}"
        os.symlink(f"/proc/{anchors[holder]}/ns/net", f"{folder}/{namespace}_{pod}")


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
    _ip(_cables(pids, spec))
    if spec.cluster.underlay is not None:
        for pod in spec.cluster.pod_objects:
            _plug_into_lan(pids[pod.node], pids[pod.name])


def _cables(pids: Mapping[str, int], spec: WorldSpec) -> Iterator[str]:
    for network in spec.networks:
        yield f"link add {network} type bridge stp_state 0 forward_delay 0"
        yield f"link set {network} up"
    for host in spec.hosts:
        for number, interface in enumerate(host.interfaces):
            plug = f"{host.name}.{number}"
            yield f"link add {plug} type veth peer name eth{number} netns {pids[host.name]}"
            yield f"link set {plug} master {interface.network} up"
    if spec.cluster.underlay is None or spec.cluster.underlay.has_veth:
        for pod in spec.cluster.pod_objects:
            peer = f"peer name {_pod_end(spec)} mtu {spec.cluster.pod_mtu} netns {pids[pod.name]}"
            yield f"link add {_node_end(pod)} mtu {spec.cluster.pod_mtu} netns {pids[pod.node]} type veth {peer}"


def _plug_into_lan(node: int, pod: int) -> None:
    """The pod's eth0 beside its node's, by macvlan: made where the node's is, and handed over."""
    for command in (
        ["set", "eth0", "up"],
        ["add", "link", "eth0", "name", "pod", "netns", str(pod), "type", "macvlan", "mode", "bridge"],
    ):
        _command(["nsenter", f"--net=/proc/{node}/ns/net", "ip", "link", *command])
    _command(["nsenter", f"--net=/proc/{pod}/ns/net", "ip", "link", "set", "pod", "name", "eth0"])


def _command(argv: list[str], text: str = "") -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}\n{text}")
    return done.stdout


def _ip(commands: Iterable[str]) -> None:
    """Run commands of `ip`, all by one process. Raises RuntimeError."""
    _command(["ip", "-batch", "-"], "".join(f"{command}\n" for command in commands))


def _pod_end(spec: WorldSpec) -> str:
    return "eth0" if spec.cluster.underlay is None else "veth0"


def _node_end(pod: Pod) -> str:
    return f"cali-{pod.name}"[:15]


def _configure(name: str, order: Order) -> None:
    """Addresses, routes, filters and processes of one host or pod, in its namespaces."""
    spec = order.spec
    pod = next((pod for pod in spec.cluster.pod_objects if pod.name == name), None)
    if pod is not None:
        _ip(("link set lo up", *_pod_commands(pod, spec)))
        addresses, running = pod.addresses, pod.processes
    else:
        host = spec.host(name)
        _configure_host(host, spec)
        addresses, running = host.addresses, host.processes
    _await_carrier()
    for process in running:
        processes.start(process, name, addresses, order)


def _configure_host(host: Host, spec: WorldSpec) -> None:
    hosted = [
        pod
        for pod in spec.cluster.pod_objects
        if pod.node == host.name and (spec.cluster.underlay is None or spec.cluster.underlay.has_veth)
    ]
    _ip(
        (
            "link set lo up",
            *_interface_commands(host),
            *(() if host.tunnel is None else _tunnel_commands(host, host.tunnel)),
            *map(_route_command, host.routes),
            *(command for pod in hosted for command in _node_end_commands(pod)),
        )
    )
    if host.tunnel is not None:
        for remote in host.tunnel.remotes:
            _command(["bridge", "fdb", "append", "00:00:00:00:00:00", "dev", host.tunnel.name, "dst", str(remote)])
        write_sysctls(_answers_for_others(host.tunnel.name))
    for pod in hosted:
        write_sysctls(_answers_for_others(_node_end(pod)))
    write_sysctls(host.sysctls)
    _load_rules(host, spec)


def _interface_commands(host: Host) -> Iterator[str]:
    for number, interface in enumerate(host.interfaces):
        yield f"link set eth{number} up"
        for address in interface.addresses:
            yield _address_command(f"eth{number}", address.address, address.length)


def _address_command(dev: str, address: IPAddress, length: int | None = None) -> str:
    # An IPv6 address can be bound from its first moment, however busy the machine.
    at_once = " nodad" if address.version == 6 else ""
    return f"address add {address}/{address.max_prefixlen if length is None else length} dev {dev}{at_once}"


def _tunnel_commands(host: Host, tunnel: Tunnel) -> Iterator[str]:
    yield (
        f"link add {tunnel.name} mtu {tunnel.mtu} type vxlan id {TUNNEL_ID} dstport {TUNNEL_PORT} learning "
        f"local {host.address}"
    )
    yield f"link set {tunnel.name} up"
    yield _address_command(tunnel.name, tunnel.address)


def _answers_for_others(interface: str) -> dict[str, str]:
    """The settings of proxy ARP, without the pause that the kernel makes before such an answer."""
    return {f"ipv4.conf.{interface}.proxy_arp": "1", f"ipv4.neigh.{interface}.proxy_delay": "0"}


def _route_command(route: HostRoute) -> str:
    if route.next_hop is None:
        return f"route add {route.destination} dev {route.dev} proto static"
    dev = "" if route.dev == "eth0" else f" dev {route.dev}"
    return f"route add {route.destination} via {route.next_hop}{dev} proto static"


def _node_end_commands(pod: Pod) -> Iterator[str]:
    name = _node_end(pod)
    yield f"link set {name} up"
    if any(address.version == 6 for address in pod.addresses):
        yield _address_command(name, IPv6Address(POD_GATEWAY_6), 64)
    for address in pod.addresses:
        yield _route_command(HostRoute(destination=host_prefix(address), dev=name))


def _pod_commands(pod: Pod, spec: WorldSpec) -> Iterator[str]:
    yield "link set eth0 up"
    if spec.cluster.underlay is not None:
        yield from _underlay_commands(pod, spec, spec.cluster.underlay)
        return
    for address in pod.addresses:
        yield _address_command("eth0", address)
        if address.version == 4:
            yield f"route add {POD_GATEWAY} dev eth0 proto static"
            yield f"route add 0.0.0.0/0 via {POD_GATEWAY} dev eth0 proto static"
        else:
            yield f"route add ::/0 via {POD_GATEWAY_6} dev eth0 proto static"


def _underlay_commands(pod: Pod, spec: WorldSpec, underlay: Underlay) -> Iterator[str]:
    """A place on the LAN; and by the second interface the own node, and the services, which are the node's work."""
    for address in pod.addresses:
        yield _address_command("eth0", address, underlay.length)
    yield f"route add 0.0.0.0/0 via {underlay.gateway} dev eth0 proto static"
    if not underlay.has_veth:
        return
    node = spec.host(pod.node).address
    yield "link set veth0 up"
    yield f"route add {node} dev veth0 src {pod.address} proto static"
    for prefix in spec.cluster.services:
        yield f"route add {prefix} via {node} dev veth0 src {pod.address} proto static"


def _load_rules(host: Host, spec: WorldSpec) -> None:
    rules = host.nftables
    for node in spec.cluster.nodes:
        if node.host == host.name:
            rules += kubeproxy.masquerading(spec, node) + ("" if spec.cluster.is_real else kubeproxy.ruleset(spec))
    if rules:
        _command(["nft", "-f", "-"], rules)


def _await_carrier() -> None:
    """Wait until the kernel has noticed that every cable is plugged: a link that is not `up` yet changes later."""
    deadline = time.monotonic() + CARRIER_PATIENCE
    while any(
        "UP" in link["flags"] and link["operstate"] not in ("UP", "UNKNOWN")
        for link in json.loads(_command(["ip", "-json", "link"]))
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
