"""Network A with two gateways beside the node that has the pods, and what befalls them."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from devlink import lab
from devlink.lab.spec import Address, HostRoute, Interface, NodeBlocks
from tests.e2e.link import Link, linked

FIRST, SECOND, WORKER = "172.16.0.13", "172.16.0.16", "172.16.0.19"
HOSTS = {FIRST: "node1", SECOND: "node3", WORKER: "node2"}
GATEWAY, PER_NODE = "by-gateway", "by-node"
"""Names of the profiles."""
STREAM = """
import socket, sys, time
stream = socket.create_connection((sys.argv[1], 9000), timeout=30)
stream.settimeout(30)
stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
number, worst, last = 0, 0.0, time.monotonic()
print("ready", flush=True)
while True:
    stream.sendall(b"%d\\n" % number)
    answer = b""
    while not answer.endswith(b"\\n"):
        data = stream.recv(4096)
        if not data:
            sys.exit("the connection was closed")
        answer += data
    assert int(answer) == number, (answer, number)
    number += 1
    now = time.monotonic()
    if now - last > 0.15:
        print(f"gap {now - last:.3f}", flush=True)
    last = now
    if number % 50 == 0:
        print(f"at {number}", flush=True)
    time.sleep(0.01)
"""
"""Says something to a pod all the time, and tells of each gap."""
ECHO = """
import socket, threading
def serve(stream):
    while data := stream.recv(4096):
        stream.sendall(data)
listener = socket.create_server(("", 9000))
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def two_gateways() -> lab.WorldSpec:
    """Network A; node1 and node3 are the gateways, and have no pods; node2 has them all, the cluster's DNS too."""
    spec = lab.network_a()
    node1 = spec.host("node1")
    node3 = replace(
        node1,
        name="node3",
        interfaces=(Interface(network="nodes", addresses=(Address(address=ip_address(SECOND), length=24),)),),
    )
    block = ip_network("10.20.99.0/26")
    to_block = HostRoute(destination=block, next_hop=ip_address(SECOND), dev="eth0")
    node2 = replace(spec.host("node2"), routes=(*spec.host("node2").routes, to_block))
    moved = {"coredns": "10.20.120.140", "web-0": "10.20.120.141"}
    pods = tuple(
        replace(pod, node="node2", addresses=(ip_address(moved[pod.name]),)) if pod.name in moved else pod
        for pod in spec.cluster.pod_objects
    )
    cluster = replace(
        spec.cluster, gateways=("node1", "node3"), pod_objects=pods,
        nodes=(*spec.cluster.nodes, NodeBlocks(host="node3", pods=(block,))),
    )  # fmt: skip
    others = [host for host in spec.hosts if host.name != "node2"]
    return replace(spec, name="two-gateways", hosts=(*others, node2, node3), cluster=cluster)


class Gateways:
    """The world with devlink on its laptop, profiles by gateway and by node, and a pod that gives back what is said."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.world = link.world

        def by_gateway(spec: dict[str, Any]) -> None:
            spec["routing"] = "gateway"

        self.by_gateway = link.write_profile(GATEWAY, by_gateway)
        self.by_node = link.write_profile(PER_NODE)
        self.pod = str(self.world.spec.pod("api-0").address)

    # What befalls a gateway

    def power_off(self, address: str) -> None:
        self.world.run(HOSTS[address], ["ip", "link", "set", "eth0", "down"], check=True)

    def stop_forwarding(self, address: str) -> None:
        """It answers pings and ARP, and forwards nothing."""
        self.world.run(HOSTS[address], ["sysctl", "-qw", "net.ipv4.ip_forward=0"], check=True)

    def drop(self, address: str, verdict: str = "drop") -> None:
        """Its packet filter lets nothing pass."""
        rules = f"table ip wall {{ chain forward {{ type filter hook forward priority -10; {verdict}; }}; }}"
        self.world.run(HOSTS[address], ["nft", rules], check=True)

    def mend(self, *addresses: str) -> None:
        """It is well again."""
        for address in addresses or tuple(HOSTS):
            name = HOSTS[address]
            routes = [
                f"ip route replace {route.destination} via {route.next_hop}"
                for route in self.world.spec.host(name).routes
                if route.next_hop is not None
            ]
            commands = [
                "ip link set eth0 up", "sysctl -qw net.ipv4.ip_forward=1", "nft delete table ip wall 2>/dev/null || :",
                *routes,
            ]  # fmt: skip
            self.world.run(name, ["sh", "-ec", "\n".join(commands)], check=True)

    # What is seen

    def way(self) -> str:
        """By whom the laptop's packets to the pod go."""
        (found,) = json.loads(self.link.run("ip", "-j", "route", "get", self.pod))
        return str(found.get("gateway", ""))

    def session(self) -> dict[str, Any]:
        (session,) = self.link.status()["sessions"]
        found: dict[str, Any] = session
        return found

    def states(self) -> dict[str, str]:
        return {each["address"]: each["state"] for each in self.session()["gateways"]}

    def codes(self) -> set[str]:
        return {finding["code"] for finding in self.session()["findings"]}

    @contextmanager
    def stream(self) -> "Iterator[Stream]":
        """A TCP connection to the pod's own address, busy all the time."""
        with self.world.popen("api-0", ["python3", "-c", ECHO]) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == "ready\n"
                with self.world.popen(lab.LAPTOP, ["python3", "-c", STREAM, self.pod]) as talk:
                    try:
                        yield Stream(talk)
                    finally:
                        talk.kill()
            finally:
                server.kill()


class Stream:
    """What the busy connection says of itself."""

    def __init__(self, talk: "lab.world.Entered") -> None:
        self._talk = talk
        self.gaps: list[float] = []
        """Seconds, those above 0.15."""
        assert talk.stdout is not None
        assert talk.stdout.readline() == "ready\n"
        self.go_on()

    def go_on(self, pieces: int = 1) -> None:
        """Until 50 more have gone there and back, so often; the test fails where the connection ends."""
        assert self._talk.stdout is not None
        while pieces:
            line = self._talk.stdout.readline()
            assert line.startswith(("at ", "gap ")), f"the stream ended: {line}{self._talk.stdout.read()}"
            if line.startswith("gap "):
                self.gaps.append(float(line.split()[1]))
            else:
                pieces -= 1


@contextmanager
def beside_two(log: Path) -> Iterator[Gateways]:
    """The world, while the block runs."""
    with linked(two_gateways(), log) as link:
        yield Gateways(link)


@contextmanager
def up_beside_two() -> Iterator[Gateways]:
    """The same, for a bench: the laptop is up by the first gateway."""
    with tempfile.TemporaryDirectory() as folder, beside_two(Path(folder) / "helper.log") as gateways:
        gateways.link.up(gateways.by_gateway)
        yield gateways
