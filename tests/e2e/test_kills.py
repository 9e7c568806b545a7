"""SIGKILL of each process at each step of `up` and `down`: it heals, and the laptop is as before."""

import os
import signal

import pytest

from devlink.lab.snapshot import Snapshot
from tests.e2e.faults import MET, OWNERS, run_into
from tests.e2e.link import ROLES, Link, at_rest

pytestmark = pytest.mark.lab

FOREIGN = (
    ("10.20.73.96/28", "static"),  # inside our prefixes, more specific
    ("10.99.0.0/16", "186"),
    ("10.254.7.0/24", "dhcp"),
)
"""Routes of other programs, with their protocols."""


@pytest.fixture(scope="module")
def before(node_lan: Link) -> Snapshot:
    """The laptop with other programs' routes, some of them inside ours."""
    for prefix, protocol in FOREIGN:
        node_lan.run("ip", "route", "add", prefix, "via", "172.16.0.1", "proto", protocol)
    return node_lan.world.snapshot()


def settle(link: Link) -> None:
    """Between two tests of one world: no agent that has a fault point in its environment, and no idle second."""
    link.thaw()
    link.wait_until(link.helper_answers, "the helper answers")
    link.kill("agent", "files", number=signal.SIGTERM)
    link.wait_until(lambda: not link.remains(), "only the helper runs")


ANOTHERS = {
    ("agent.applied", "helper"), ("agent.verified", "files"), ("helper.routes-added", "agent"),
    ("helper.resolver-on", "forwarder"), ("helper.forwarder-fed", "forwarder"), ("files.write.staged", "agent"),
}  # fmt: skip
"""Kills in each run of somebody else than who has stopped itself at the point."""
KILLS = [
    pytest.param(
        point, victim,
        marks=() if point.startswith(f"{victim}.") or (point, victim) in ANOTHERS else pytest.mark.matrix,
    )
    for point in MET
    for victim in ROLES
    if victim != "relay"  # here nothing is relayed
]  # fmt: skip


@pytest.mark.parametrize(("point", "victim"), KILLS)
def test_a_kill_heals(node_lan: Link, before: Snapshot, point: str, victim: str) -> None:
    link = node_lan
    running = run_into(link, point)
    link.kill(victim)
    link.thaw()
    link.await_end(running)
    link.wait_until(link.helper_answers, "a helper answers again")
    done = link.devlink("down", "--all")
    assert done.returncode in (0, 3), done.stderr + link.logs()
    link.await_equal(before)
    settle(link)
    link.assert_equal(before)


def test_an_order_to_write_from_a_helper_that_died_is_not_carried_out(node_lan: Link, before: Snapshot) -> None:
    """The next helper has looked already, and found nothing to take back."""
    link = node_lan
    running = run_into(link, "files.write.asked")
    (late,) = link.stopped()
    link.kill("agent", "helper")
    link.wait_until(link.helper_answers, "a helper answers again")
    os.kill(late, signal.SIGCONT)
    link.await_end(running)
    link.wait_until(lambda: not link.remains(), "only the helper runs")
    link.assert_equal(before)


def test_an_order_to_restore_from_a_helper_that_died_is_not_carried_out(node_lan: Link, before: Snapshot) -> None:
    """The next helper has brought the same up again."""
    link = node_lan
    running = run_into(link, "files.restore.asked")
    (late,) = link.stopped()
    link.kill("agent", "helper")
    link.wait_until(link.helper_answers, "a helper answers again")
    running.kill()
    link.await_end(running, thaw=False)
    link.up()
    while_up = link.world.snapshot()
    os.kill(late, signal.SIGCONT)
    link.wait_until(lambda: late not in link.pids("files"), "the late process ends")
    link.assert_equal(while_up)
    link.down()
    settle(link)
    link.assert_equal(before)


@pytest.mark.parametrize("point", ["helper.resolver-restored", "helper.routes-deleted"])
def test_what_was_to_go_down_is_not_brought_up_again(node_lan: Link, before: Snapshot, point: str) -> None:
    """A helper that dies over `down`: the next one undoes everything, and the agent leaves it so."""
    link = node_lan
    link.restart_helper(fault=point)
    link.up()
    with link.start("down") as running:
        link.wait_until(link.stopped, f"the helper comes to {point}")
        link.kill("helper")
        code, said = link.await_end(running)
    assert (code, "Next:" in said) == (6, True), said
    link.await_equal(before)
    link.wait_until(lambda: not link.remains(), "only the helper runs: the agent has nothing to wait for")
    link.assert_equal(before)
    link.down(expect=3)


IN_EACH_RUN = (
    "agent.applied",
    "helper.journal-written",
    "helper.resolver-on",
    "helper.routes-deleted",
    "files.write.staged",
)


@pytest.mark.parametrize(
    "point", [point if point in IN_EACH_RUN else pytest.param(point, marks=pytest.mark.matrix) for point in MET]
)
def test_after_a_kill_of_everything_restore_heals(node_lan: Link, before: Snapshot, point: str) -> None:
    link = node_lan
    running = run_into(link, point)
    link.stop_helper(signal.SIGKILL)
    link.kill(*ROLES)
    running.kill()
    link.await_end(running)
    link.run("devlink", "helper", "restore")
    link.kill("files", number=signal.SIGTERM)  # it would end by itself after an idle second
    link.wait_until(lambda: not link.remains(), "nothing of ours runs")
    after = link.world.snapshot()
    assert not at_rest(before).diff(at_rest(after))
    link.start_helper()
    link.assert_equal(before)


def test_afterwards_every_process_of_ours_ends_by_itself(node_lan: Link, before: Snapshot) -> None:
    link = node_lan
    link.up()
    link.down()
    link.wait_until(lambda: not link.remains(), "only the helper runs")
    link.stop_helper()
    assert not [argv for role in ROLES for argv in link.pids(role)]
    assert not at_rest(before).diff(at_rest(link.world.snapshot()))
    link.start_helper()


def test_each_process_has_its_points() -> None:
    assert {point.partition(".")[0] for point in MET} == set(OWNERS)
