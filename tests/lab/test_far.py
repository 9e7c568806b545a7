"""The far world: only the API server is in reach, and through it the kubelet's port-forward is as on a real node."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devlink import lab
from devlink.lab.credentials import RELAYER, TENANT
from devlink.lab.world import World
from devlink.lab.worlds.far import HOME, OFFICE

pytestmark = pytest.mark.cluster
CURL = ("curl", "-sS", "--max-time", "5")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World.start(lab.far()) as made:
        for user in (RELAYER, TENANT):
            made.write_file(lab.LAPTOP, f"/root/{user}", made.kubeconfig(user))
        yield made


@contextmanager
def forwarded(world: World, pod: str = "web-0", port: int = 8080, user: str = RELAYER) -> Iterator[str]:
    """`kubectl port-forward` on the laptop while the block runs; what it said first."""
    argv = ["kubectl", "--kubeconfig", f"/root/{user}", "port-forward", pod, f"9000:{port}", "--address=127.0.0.1"]
    with world.popen(lab.LAPTOP, argv) as running:
        assert running.stdout is not None
        try:
            yield running.stdout.readline()
        finally:
            running.kill()


def served(world: World) -> str:
    return world.run(lab.LAPTOP, [*CURL, "http://127.0.0.1:9000"]).stdout


def test_who_may_port_forward_gets_in_and_who_may_elsewhere_does_not(world: World) -> None:
    with forwarded(world):
        assert served(world) == "web-0\n"
    with forwarded(world, user=TENANT) as said:
        assert "forbidden" in said


def test_no_packet_for_pods_and_services_passes_the_router_and_it_is_seen_there(world: World) -> None:
    cluster = world.spec.cluster
    with world.capture(lab.ROUTER, to=(*cluster.pods, *cluster.services)) as seen:
        done = world.run(lab.LAPTOP, ["curl", "-sS", "--max-time", "0.3", "http://10.20.73.67:8080"])
    assert done.returncode == 28, "dropped, and not refused"
    assert {packet.destination for packet in seen.packets} == {"10.20.73.67"}
    assert {packet.protocol for packet in seen.packets} == {socket.IPPROTO_TCP}


def test_the_cable_is_moved_to_the_nodes_and_back(world: World) -> None:
    reach = "ip route add 10.20.73.64/26 via 172.16.0.13; curl -sS --max-time 3 http://10.20.73.67:8080"
    world.plug(HOME)
    try:
        assert world.run(lab.LAPTOP, ["sh", "-c", reach]).stdout == "web-0\n"
    finally:
        world.plug(OFFICE)
    with forwarded(world):
        assert served(world) == "web-0\n"


HALF = """
import socket, sys
s = socket.create_connection(("127.0.0.1", 9000))
s.sendall(b"question")
s.shutdown(socket.SHUT_WR)
print(s.makefile().read(), end="")
"""
"""A client that says that it has said all, and waits."""
ANSWERING = """
import socket
s = socket.create_server(("", 7007))
print("ready", flush=True)
while True:
    c, _ = s.accept()
    print(c.makefile().read(), file=c.makefile("w"), end="")
    c.close()
"""
"""A server that answers what it was sent, once it has all of it."""


@pytest.mark.parametrize(("option", "answer"), [((), ""), (("-half-close",), "question")])
def test_a_clients_half_close_gets_no_further_than_a_runtime_lets_it(
    world: World, option: tuple[str, ...], answer: str
) -> None:
    world.restart_kubelets(*option)
    with world.popen("stream-0", ["python3", "-c", ANSWERING]) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            with forwarded(world, "stream-0", 7007):
                assert world.run(lab.LAPTOP, ["python3", "-c", HALF]).stdout == answer
        finally:
            server.kill()
            world.restart_kubelets()


def test_a_form_that_is_switched_off_is_refused(world: World) -> None:
    world.restart_kubelets("-refuse=spdy")
    try:
        with forwarded(world):
            assert served(world) == ""
    finally:
        world.restart_kubelets()
