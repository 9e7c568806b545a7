"""What keeps `up` from working is said with its exit code, and has changed nothing; so has what the user cancels."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devlink import lab
from devlink.faults import VARIABLE
from devlink.lab.snapshot import Snapshot
from devlink.lab.world import Entered, World
from tests.e2e.link import PROFILE, Link

pytestmark = pytest.mark.lab

APPLIED = "agent.applied"
UP_POINTS = ("agent.planned", APPLIED, "agent.verified", "agent.confirmed")


def only_in_matrix(value: object) -> object:
    """A parameter that is tried by `make test-system` only."""
    return pytest.param(value, marks=pytest.mark.matrix)


@pytest.fixture(scope="module", autouse=True)
def trusted_for_nobody(node_lan: Link) -> str:
    """A profile whose next hops are on the link and do not exist; its path."""

    def elsewhere(spec: dict[str, object]) -> None:
        spec["gateways"] = [{"address": "172.16.0.77", "role": "gateway", "priority": 10}]
        del spec["nodes"]

    return node_lan.write_profile("nobody", elsewhere)


@pytest.fixture
def before(link: Link) -> Snapshot:
    return link.world.snapshot()


@contextmanager
def route_of(link: Link, prefix: str, protocol: str) -> Iterator[None]:
    """A route of another program, while the block runs."""
    link.run("ip", "route", "add", prefix, "via", "172.16.0.1", "proto", protocol)
    try:
        yield
    finally:
        link.run("ip", "route", "delete", prefix)


@contextmanager
def silenced(world: World, host: str) -> Iterator[None]:
    """A host or pod that neither answers nor refuses, while the block runs."""
    rules = "add table inet silence; add chain inet silence input { type filter hook input priority 0; policy drop; }"
    world.run(host, ["nft", rules], check=True)
    try:
        yield
    finally:
        world.run(host, ["nft", "delete table inet silence"], check=True)


@contextmanager
def held_up(link: Link, point: str, *argv: str, stdin: int = subprocess.DEVNULL) -> Iterator[Entered]:
    """`devlink up`, or `argv`, whose agent has come to the point and waits there."""
    link.kill("agent", number=signal.SIGTERM)  # one that idles has no point in its environment
    link.wait_until(lambda: not link.pids("agent"), "no agent runs")
    command = argv or ("devlink", "up", PROFILE)
    with link.world.popen(lab.LAPTOP, command, env={VARIABLE: point}, stdin=stdin) as running:
        try:
            link.wait_until(link.stopped, f"the agent comes to {point}")
            yield running
        finally:
            running.kill()
            link.thaw()


@pytest.mark.parametrize(("protocol", "owner"), [("static", "static"), ("186", "bgp"), ("dhcp", "dhcp")])
@pytest.mark.parametrize("prefix", ["10.20.0.0/16", "10.20.120.128/26", "10.254.0.0/16"])
def test_a_route_of_another_program_is_a_conflict_that_names_its_owner(
    link: Link, prefix: str, protocol: str, owner: str
) -> None:
    with route_of(link, prefix, protocol):
        before = link.world.snapshot()
        said = link.up(expect=5)
        link.assert_equal(before)
    assert prefix in said
    assert owner in said.lower()


def test_an_excluded_part_is_left_to_the_program_that_routes_it(link: Link) -> None:
    with route_of(link, "10.20.120.128/26", "static"):
        before = link.world.snapshot()
        assert "devlink up --exclude 10.20.120.128/26" in link.up(expect=5)
        link.up(PROFILE, "--exclude", "10.20.120.128/26")
        assert "via 172.16.0.1 " in link.run("ip", "route", "get", "10.20.120.129")
        assert "  exclude   10.20.120.128/26" in link.devlink("status").stdout
        link.down()
        link.assert_equal(before)


def test_a_port_that_another_program_holds_is_said(link: Link) -> None:
    hold = (
        "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); "
        's.bind(("127.0.0.231", 53)); print("held", flush=True); time.sleep(60)'
    )
    with link.world.popen(lab.LAPTOP, ["python3", "-c", hold]) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = link.world.snapshot()
        said = link.up(expect=6)
        link.assert_equal(before)
        holder.kill()
    assert "Port 53 of 127.0.0.231" in said
    assert "Next:" in said


def test_without_a_helper_the_next_step_is_said(link: Link) -> None:
    link.stop_helper()
    before = link.world.snapshot()
    said = link.up(expect=6)
    link.assert_equal(before)
    assert "helper run" in said
    link.start_helper()


def test_a_silent_cluster_dns_rolls_everything_back(link: Link, before: Snapshot) -> None:
    with silenced(link.world, "coredns"):
        said = link.up(expect=4)
        link.assert_equal(before)
    assert "cluster's DNS" in said
    assert "Next:" in said


def test_next_hops_that_do_not_exist_roll_everything_back(
    link: Link, before: Snapshot, trusted_for_nobody: str
) -> None:
    link.up(trusted_for_nobody, expect=4)
    link.assert_equal(before)


@pytest.mark.parametrize("point", UP_POINTS)
def test_ctrl_c_rolls_back_and_says_so(link: Link, before: Snapshot, point: str) -> None:
    with held_up(link, point) as running:
        running.send_signal(signal.SIGINT)
        code, said = link.await_end(running)
    assert code == 130, said
    assert "taken back" in said, said + link.logs()
    assert "Traceback" not in said
    if point in ("agent.planned", "agent.applied"):
        assert "verified" not in said, "it did not go on after Ctrl-C"
    link.assert_equal(before)
    assert link.devlink("status").returncode == 3


@pytest.mark.parametrize("point", [point if point == APPLIED else only_in_matrix(point) for point in UP_POINTS])
def test_a_second_ctrl_c_does_not_cut_the_way_back(link: Link, before: Snapshot, point: str) -> None:
    with held_up(link, point) as running:
        running.send_signal(signal.SIGINT)
        running.send_signal(signal.SIGINT)
        link.thaw()
        running.send_signal(signal.SIGINT)
        code, said = link.await_end(running)
    assert code == 130, said
    link.await_equal(before)


def test_ctrl_c_in_a_terminal(link: Link, before: Snapshot) -> None:
    terminal = ("script", "--quiet", "--return", "--command", f"devlink up {PROFILE}", "/dev/null")
    with held_up(link, "agent.applied", *terminal, stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write("\x03")
        running.stdin.flush()
        code, said = link.await_end(running)
    assert code == 130, said
    assert "cancelled" in said
    assert "taken back" in said, said + link.logs()
    link.assert_equal(before)


@pytest.mark.parametrize("number", [signal.SIGKILL, only_in_matrix(signal.SIGHUP), only_in_matrix(signal.SIGTERM)])
@pytest.mark.parametrize("point", UP_POINTS[:-1])
def test_a_command_that_dies_over_up_leaves_nothing(link: Link, before: Snapshot, point: str, number: int) -> None:
    with held_up(link, point) as running:
        running.send_signal(number)
        link.await_end(running, thaw=False)  # dead before the agent goes on: else it may still be told that it is up
    link.await_equal(before)
    assert link.devlink("status").returncode == 3


def test_a_terminal_that_goes_away_over_up_leaves_nothing(link: Link, before: Snapshot) -> None:
    terminal = ("script", "--quiet", "--return", "--command", f"devlink up {PROFILE}", "/dev/null")
    with held_up(link, "agent.applied", *terminal, stdin=subprocess.PIPE) as running:
        running.kill()
        link.await_end(running)
    link.await_equal(before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_up_in_the_foreground_ends_with_its_command(link: Link, before: Snapshot, number: int) -> None:
    with link.start("up", PROFILE, "--foreground") as running:
        link.wait_until(lambda: "up" in link.states().values(), "it is up")
        assert running.stdout is not None
        while "Ctrl-C" not in running.stdout.readline():
            pass
        running.send_signal(number)
        code, said = link.await_end(running)
    assert (code, "is down" in said) == (0, True), said
    link.assert_equal(before)
