"""Processes that die while a profile is up: the link goes on, or is taken back, by itself."""

import itertools
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devlink import lab
from devlink.lab.snapshot import Snapshot
from devlink.run import argv
from tests.e2e.link import PROFILE, RESOLV_CONF, Link

pytestmark = pytest.mark.lab

ECHO = """
import socket
listener = socket.create_server(("", 9000))
print("ready", flush=True)
stream, _ = listener.accept()
while data := stream.recv(4096):
    stream.sendall(data)
"""
TALK = """
import socket, sys
stream = socket.create_connection((sys.argv[1], 9000), timeout=20)
for line in sys.stdin:
    stream.sendall(line.encode())
    print(stream.recv(4096).decode(), end="", flush=True)
"""
LONG_GRACE = 20.0
FIRST, LAST = "10.98.0.0/16", "10.97.0.0/16"
"""Routes that come and go to mark the beginning and the end of what a watch saw."""


class Stream:
    """One TCP connection from the laptop to a pod, which gives back what is said."""

    def __init__(self, talk: "subprocess.Popen[str]") -> None:
        self._talk = talk

    def say(self, line: str) -> None:
        assert self._talk.stdin is not None
        self._talk.stdin.write(line + "\n")
        self._talk.stdin.flush()

    def hear(self) -> str:
        assert self._talk.stdout is not None
        return self._talk.stdout.readline().strip()


@contextmanager
def stream_to(link: Link, pod: str) -> Iterator[Stream]:
    """A connection to the pod's own address that stays open while the block runs."""
    address = str(link.world.spec.pod(pod).address)
    with link.world.popen(pod, ["python3", "-c", ECHO]) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            talking = link.world.popen(lab.LAPTOP, ["python3", "-c", TALK, address], stdin=subprocess.PIPE)
            with talking as talk:
                yield Stream(talk)
        finally:
            server.kill()


def cluster_name_answers(link: Link) -> bool:
    name = link.world.spec.service_name("web")
    found = link.world.run(lab.LAPTOP, ["getent", "hosts", name], timeout=20).stdout
    return found.startswith(str(link.world.spec.service("web").address))


def ordinary_name_answers(link: Link) -> bool:
    return link.world.run(lab.LAPTOP, ["getent", "hosts", lab.ORDINARY_NAME], timeout=20).returncode == 0


def resolver_stamp(link: Link) -> str:
    """Changes whenever the resolver file, or its name, is touched."""
    return link.run("stat", "--format", "%i %z %Z", RESOLV_CONF) + link.run("cat", RESOLV_CONF)


def test_a_killed_helper_comes_back_and_the_link_with_it(link: Link) -> None:
    link.up()
    while_up = link.world.snapshot()
    with stream_to(link, "api-0") as stream:
        stream.say("before")
        assert stream.hear() == "before"
        assert link.kill("helper") == 1
        stream.say("meanwhile")
        link.wait_until(lambda: "degraded" in link.states().values(), "the agent has noticed")
        link.wait_until(lambda: set(link.states().values()) == {"up"}, "the link is up again by itself")
        assert stream.hear() == "meanwhile"
        stream.say("after")
        assert stream.hear() == "after"
    link.await_equal(while_up)
    assert cluster_name_answers(link)


def test_what_a_killed_agent_had_up_is_gone_when_its_grace_is_over(link: Link) -> None:
    before = link.world.snapshot()
    link.up()
    assert link.kill("agent") == 1
    link.await_equal(before)
    link.wait_until(lambda: not link.remains(), "only the helper runs")
    assert link.devlink("down").returncode == 3


@pytest.fixture
def long_grace(link: Link) -> Iterator[Link]:
    """The same laptop with a lease that outlives what the test does."""
    link.set_grace(LONG_GRACE)
    link.restart_helper()
    link.kill("agent", number=signal.SIGTERM)  # one of the test before may have an idle second left
    link.wait_until(lambda: not link.pids("agent"), "the next command has an agent of its own")
    yield link
    link.thaw()
    link.devlink("down", "--all")
    link.set_grace(0.3)
    link.restart_helper()


@contextmanager
def route_events(link: Link) -> Iterator[list[str]]:
    """What `ip monitor route` says on the laptop while the block runs; complete once the block is left."""
    seen: list[str] = []

    def mark(prefix: str) -> None:
        for action in ("add", "delete"):
            link.run("ip", "route", action, prefix, "via", "172.16.0.1")

    with link.world.popen(lab.LAPTOP, ["stdbuf", "-oL", "ip", "monitor", "route"]) as monitor:
        assert monitor.stdout is not None
        lines = iter(monitor.stdout)
        listening = threading.Event()

        def knock() -> None:
            while not listening.is_set():  # ip says nothing until something happens
                mark(FIRST)
                listening.wait(0.05)

        knocker = threading.Thread(target=knock)
        knocker.start()
        assert FIRST in next(lines)
        listening.set()
        knocker.join()
        try:
            yield seen
        finally:
            mark(LAST)
            seen += itertools.takewhile(lambda line: LAST not in line, lines)
            monitor.kill()


def test_route_events_are_seen(link: Link) -> None:
    """The watch that the next test stands on does see a route of ours."""
    with route_events(link) as seen:
        link.up()
    assert [line for line in seen if "proto 231" in line]
    link.down()


def test_an_agent_started_within_the_grace_takes_over_without_a_blink(long_grace: Link) -> None:
    link = long_grace
    link.up()
    stamp = resolver_stamp(link)
    with route_events(link) as seen:
        assert link.kill("agent") == 1
        assert "orphaned" in link.run("devlink", "helper", "status")
        link.up()
        assert set(link.states().values()) == {"up"}
        assert " up " in link.run("devlink", "helper", "status")
    assert not [line for line in seen if "proto 231" in line]
    assert resolver_stamp(link) == stamp
    link.down()


def test_the_users_service_takes_over_from_an_agent_that_up_started_without_a_blink(long_grace: Link) -> None:
    link = long_grace
    link.up()
    stamp = resolver_stamp(link)
    (first,) = link.pids("agent")
    with route_events(link) as seen:
        service = link.world.popen(lab.LAPTOP, argv("devlink.agent", "--linger", "--login", "--profile", PROFILE))
        link.wait_until(lambda: first not in link.pids("agent"), "the first has ended")
        link.wait_until(lambda: set(link.states().values()) == {"up"}, "the service has it")
        assert " up " in link.run("devlink", "helper", "status")
    assert not [line for line in seen if "proto 231" in line]
    assert resolver_stamp(link) == stamp
    service.terminate()
    service.communicate(timeout=20)
    assert link.run("ip", "route", "show", "proto", "231") == ""


def test_an_agent_killed_before_up_was_verified_has_no_grace(long_grace: Link) -> None:
    link = long_grace
    before = link.world.snapshot()
    with link.start("up", "/root/profile.yaml", env={"DEVLINK_FAULT_POINT": "agent.verified"}) as running:
        link.wait_until(link.stopped, "the agent has verified")
        link.kill("agent")
        code, said = link.await_end(running)
    assert code != 0, said
    link.await_equal(before, limit=LONG_GRACE / 2)


def test_a_session_of_a_lost_agent_can_be_taken_down_without_one(long_grace: Link) -> None:
    link = long_grace
    before = link.world.snapshot()
    link.up()
    link.kill("agent")
    link.down()
    link.assert_equal(before)


def test_a_query_waits_for_the_forwarder_that_follows_a_killed_one(link: Link) -> None:
    link.up()
    stamp = resolver_stamp(link)
    backs = link.helper_log.count("the forwarder is back")
    (old,) = link.pids("forwarder")
    link.kill("forwarder", number=signal.SIGSTOP)
    ask = ["dig", "+short", "+tries=1", "+timeout=10", link.world.spec.service_name("web")]
    with link.world.popen(lab.LAPTOP, ask) as asking:
        link.wait_until(lambda: waiting_octets(link), "the query waits in the socket")
        assert link.kill("forwarder") == 1
        said, _ = asking.communicate(timeout=20)
    assert said.strip() == str(link.world.spec.service("web").address)
    assert resolver_stamp(link) == stamp
    assert link.helper_log.count("the forwarder is back") == backs + 1
    assert link.pids("forwarder") != [old]
    assert set(link.states().values()) == {"up"}


def waiting_octets(link: Link) -> int:
    """What the receive queue of the forwarder's UDP socket holds."""
    said = link.run("ss", "-Hlnu", "sport", "=", ":53").split()
    return int(said[1])


@contextmanager
def whenever_it_starts(link: Link, role: str, number: int) -> Iterator[None]:
    """A process that gets a signal in each start: it crashes each time, or hangs each time."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.005):
            link.kill(role, number=number)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()
        link.kill(role, number=signal.SIGCONT)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["crashing", "hanging"])
def test_while_no_forwarder_can_live_the_resolver_is_given_back(link: Link, number: int) -> None:
    before = link.world.snapshot()
    link.up()
    link.kill("forwarder")
    began = time.monotonic()
    with whenever_it_starts(link, "forwarder", number):
        link.wait_until(lambda: link.world.snapshot().resolver == before.resolver, "the resolver is given back")
        assert ordinary_name_answers(link)
        print(f"ordinary names work after {time.monotonic() - began:.1f} s")
    link.wait_until(lambda: cluster_name_answers(link), "cluster names are back with the forwarder")
    assert ordinary_name_answers(link)
    link.down()
    link.await_equal(before)


def test_a_change_and_its_rollback_that_both_fail_leave_ordinary_names(link: Link) -> None:
    """Whatever else is lost then, no program may be left with a nameserver that is not there."""
    before = link.world.snapshot()
    link.up()
    with whenever_it_starts(link, "forwarder", signal.SIGKILL):
        link.up(PROFILE, "--no-routes", expect=6)
        link.wait_until(lambda: link.world.snapshot().resolver == before.resolver, "the resolver is given back")
        assert ordinary_name_answers(link)
        assert set(link.states().values()) <= {"degraded"}
    link.up()
    assert set(link.states().values()) == {"up"}
    assert cluster_name_answers(link)
    link.down()
    link.await_equal(before)


def test_down_while_no_forwarder_can_live(link: Link) -> None:
    before = link.world.snapshot()
    link.up()
    with whenever_it_starts(link, "forwarder", signal.SIGKILL):
        link.down()
        link.await_equal(before)


def test_up_while_no_forwarder_can_live_is_rolled_back(link: Link) -> None:
    before = link.world.snapshot()
    with whenever_it_starts(link, "forwarder", signal.SIGKILL):
        link.up(expect=6)
        link.await_equal(before)


def test_a_stopped_helper_takes_everything_back_and_a_new_one_serves_the_agent_again(link: Link) -> None:
    before = link.world.snapshot()
    link.up()
    while_up = link.world.snapshot()
    link.stop_helper(signal.SIGTERM)
    assert_rested(before, link.world.snapshot())
    link.wait_until(lambda: set(link.states().values()) == {"degraded"}, "the agent says so")
    link.start_helper()
    link.wait_until(lambda: set(link.states().values()) == {"up"}, "the link is up again by itself")
    link.await_equal(while_up)


def assert_rested(before: Snapshot, after: Snapshot) -> None:
    assert (after.routes, after.rules, after.links, after.resolver) == (
        before.routes, before.rules, before.links, before.resolver,
    )  # fmt: skip
