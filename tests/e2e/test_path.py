"""The path as the agent tells it to whoever looks: each leg by what is really sent, and the gateways that stand by."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from devlink import lab
from devlink.errors import NotUpError
from devlink.rpc.client import Client
from tests.e2e.link import Link
from tests.e2e.two_gateways import FIRST, GATEWAY, SECOND, WORKER, Gateways, beside_two

pytestmark = pytest.mark.lab
LEGS = ["laptop", "next hop", "gateway", "cluster"]
FOLLOW = "io.devlink.Agent.FollowPath"
LIMIT = 15.0
"""Seconds for anything that must come true; a failure, not a figure."""
WALL = "table inet wall {{ chain forward {{ type filter hook forward priority -10; ether saddr {} drop; }}; }}"
Path = dict[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    """Up by the first gateway."""
    with beside_two(tmp_path_factory.mktemp("path") / "helper.log") as gateways:
        gateways.link.up(gateways.by_gateway)
        yield gateways


@pytest.fixture
def mended(world: Gateways) -> Iterator[Gateways]:
    """Up by the first gateway, however the test leaves it."""
    yield world
    world.mend()
    for host in ("node1", "node2"):
        world.world.run(host, ["nft", "delete table inet wall"])
    with followed(world.link) as seen:
        until(seen, lambda path: set(states(path).values()) == {"ok"})
    if world.way() != FIRST:
        world.link.run("devlink", "failover", FIRST)


def line_to(link: Link) -> Client:
    return Client.connect(f"/proc/{link.world.anchor(lab.LAPTOP)}/root/run/user/0/devlink/agent")


@contextmanager
def followed(link: Link) -> Iterator[Iterator[Path]]:
    """What somebody is told who looks each half second."""
    with line_to(link) as line:
        yield line.stream(FOLLOW, {"session": GATEWAY, "interval": 0.5})


def look(link: Link, session: str = GATEWAY) -> Path:
    with line_to(link) as line:
        return line.call(FOLLOW, {"session": session})


def until(seen: Iterator[Path], true: Callable[[Path], object]) -> Path:
    deadline = time.monotonic() + LIMIT
    for path in seen:
        if true(path):
            return path
        assert time.monotonic() < deadline, path
    raise AssertionError("the stream has ended")


def leg(path: Path, name: str) -> dict[str, Any]:
    (found,) = [leg for leg in path["legs"] if leg["name"] == name]
    return dict(found)


def states(path: Path) -> dict[str, str]:
    return {each["name"]: each["state"] for each in path["legs"]}


def gateway_states(path: Path) -> dict[str, tuple[str, bool]]:
    return {each["address"]: (each["state"], each["carries"]) for each in path["gateways"]}


@contextmanager
def hesitating(gateways: Gateways, pod: str, seconds: float) -> Iterator[None]:
    """A pod whose programs stand still from now on for so long."""
    world = gateways.world
    place = os.readlink(f"/proc/{world.anchor(pod)}/ns/net")
    pids = [pid for pid, _ in world.processes() if os.readlink(f"/proc/{pid}/ns/net") == place]

    def send(number: int) -> None:
        for pid in pids:
            os.kill(pid, number)

    thread = threading.Timer(seconds, send, (signal.SIGCONT,))
    send(signal.SIGSTOP)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_where_all_is_well_each_leg_has_its_time_and_so_has_who_stands_by(world: Gateways) -> None:
    path = look(world.link)
    assert states(path) == dict.fromkeys(LEGS, "ok")
    assert list(states(path)) == LEGS
    assert leg(path, "laptop")["about"].startswith("eth0 172.16.0.")
    assert leg(path, "next hop")["about"] == FIRST
    assert leg(path, "gateway")["about"] == f"route-reflector {FIRST}"
    assert all(leg(path, name)["rtt_ms"] > 0 for name in LEGS[1:])
    assert gateway_states(path) == {FIRST: ("healthy", True), SECOND: ("healthy", False)}
    assert all(each["rtt_ms"] > 0 for each in path["gateways"])
    known = {each["address"]: each["state"] for each in world.session()["gateways"]}
    assert known[SECOND] == "unknown", "what decides over failovers has asked nobody who stands by"


def test_a_cluster_that_hesitates_is_slow_by_way_of_a_gateway_that_is_not(mended: Gateways) -> None:
    with hesitating(mended, "coredns", 0.7):
        path = look(mended.link)
    assert states(path) == {"laptop": "ok", "next hop": "ok", "gateway": "slow", "cluster": "slow"}
    assert leg(path, "next hop")["rtt_ms"] < min(leg(path, name)["rtt_ms"] for name in ("gateway", "cluster"))
    assert leg(path, "cluster")["text"] == "its DNS answers, slowly"


def test_a_gateway_that_forwards_no_more_is_silent_and_another_one_is_seen_to_carry(mended: Gateways) -> None:
    with followed(mended.link) as seen:
        next(seen)
        mended.stop_forwarding(FIRST)
        path = until(seen, lambda path: gateway_states(path)[FIRST] == ("silent", False))
    assert leg(path, "next hop")["about"] == SECOND
    assert leg(path, "gateway")["about"] == f"route-reflector {SECOND}"
    assert states(path) == dict.fromkeys(LEGS, "ok")


@pytest.mark.slow
def test_gateways_that_forward_no_more_are_told_from_silent_links_until_another_carries(mended: Gateways) -> None:
    link = mended.link
    address = link.run("cat", "/sys/class/net/eth0/address").strip()
    with followed(link) as seen:
        next(seen)
        mended.world.run("node2", ["nft", WALL.format(address)], check=True)  # a node would carry the services
        mended.stop_forwarding(SECOND)
        mended.stop_forwarding(FIRST)
        path = until(seen, lambda path: states(path)["gateway"] == states(path)["cluster"] == "silent")
        assert states(path)["next hop"] == "ok"
        assert leg(path, "next hop")["about"] == FIRST
        assert leg(path, "gateway")["rtt_ms"] is None
        mended.mend(SECOND)
        path = until(seen, lambda path: set(states(path).values()) == {"ok"})
        assert leg(path, "gateway")["about"] == f"route-reflector {SECOND}"
        assert gateway_states(path) == {FIRST: ("silent", False), SECOND: ("returning", True)}
        mended.mend(FIRST)
        path = until(seen, lambda path: gateway_states(path)[FIRST] == ("returning", False))
        assert leg(path, "next hop")["about"] == SECOND


def test_a_machine_that_answers_no_ping_is_not_silent(mended: Gateways) -> None:
    deaf = "table inet wall { chain in { type filter hook input priority 0; iif eth0 ip saddr 172.16.0.0/24 drop; }; }"
    mended.world.run("node1", ["nft", deaf], check=True)
    path = look(mended.link)
    assert states(path) == dict.fromkeys(LEGS, "ok")
    assert (leg(path, "next hop")["rtt_ms"], leg(path, "next hop")["text"]) == (None, "is on its link, answers no ping")


def test_a_machine_that_is_off_is_silent_on_its_link(mended: Gateways) -> None:
    with followed(mended.link) as seen:
        next(seen)
        for address in (WORKER, SECOND, FIRST):
            mended.power_off(address)
        path = until(seen, lambda path: states(path)["next hop"] == "silent")
    assert (states(path)["laptop"], states(path)["gateway"], states(path)["cluster"]) == ("ok", "silent", "silent")


def test_nobody_is_asked_when_nobody_looks(world: Gateways) -> None:
    with world.world.capture(lab.LAPTOP) as looked_at, followed(world.link) as seen:
        next(seen)
    assert looked_at.questions
    time.sleep(0.6)  # the last look's traffic has its gateway asked once more
    with world.world.capture(lab.LAPTOP) as left_alone:
        time.sleep(0.8)
    assert left_alone.questions == []


def test_a_link_without_a_carrier_is_down_and_the_cluster_with_it(world: Gateways) -> None:
    link = world.link
    with followed(link) as seen:
        next(seen)
        link.run("ip", "link", "set", "eth0", "down")
        path = until(seen, lambda path: states(path)["laptop"] == "down")
        assert leg(path, "laptop")["text"] == "no carrier"
        assert states(path)["cluster"] == "down"
        link.run("sh", "-ec", "ip link set eth0 up; ip route add default via 172.16.0.1 proto static")
        until(seen, lambda path: set(states(path).values()) == {"ok"})


def test_who_looks_is_told_when_the_session_ends(world: Gateways) -> None:
    with followed(world.link) as seen:
        next(seen)
        world.link.down()
        with pytest.raises(NotUpError, match=GATEWAY):
            until(seen, lambda _: False)
    with pytest.raises(NotUpError):
        look(world.link)
    world.link.up(world.by_gateway)


def test_where_the_network_carries_the_packets_its_router_is_next(world: Gateways) -> None:
    link = world.link
    router = link.write_profile("by-router", lambda spec: spec.update(routing="router"))
    for prefix in ("10.20.0.0/16", "10.254.0.0/16"):
        world.world.run(lab.ROUTER, ["ip", "route", "add", prefix, "via", FIRST], check=True)
    link.down()
    link.up(router)
    path = look(link, "by-router")
    link.down()
    link.up(world.by_gateway)
    assert leg(path, "next hop")["about"] == "172.16.0.1"
    assert states(path) == dict.fromkeys(LEGS, "ok")
    assert leg(path, "gateway")["text"] == "answers"
    assert leg(path, "cluster")["rtt_ms"] > 0
    assert path["gateways"] == []
