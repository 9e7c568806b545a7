"""SIGKILL of each process at each step of `up` and `down`: it heals, and the laptop is as before."""

import importlib
import signal
from functools import partial

import pytest

from devlink.faults import POINTS, VARIABLE
from devlink.lab.snapshot import Snapshot
from devlink.lab.world import Entered
from tests.e2e.link import PROFILE, ROLES, Link

pytestmark = pytest.mark.lab

for module in ("devlink.agent.supervisor", "devlink.helper.machine", "devlink.resolvers.files.worker"):
    importlib.import_module(module)
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


def run_into(link: Link, point: str) -> Entered:
    """`up`, then `down`, until one of our processes has stopped itself at the point; the command that waits for it."""
    env = {VARIABLE: point} if point.startswith("agent.") else {}
    if not env:
        link.restart_helper(fault=point)
    for command in (("up", PROFILE), ("down",)):
        running = link.start(*command, env=env)
        link.wait_until(partial(_stopped_or_ended, link, running), f"{command} reaches {point} or ends")
        if link.stopped():
            return running
        code, said = link.await_end(running)
        assert code == 0, said + link.logs()
    pytest.fail(f"neither up nor down comes by {point}: take it off the list")


def _stopped_or_ended(link: Link, running: Entered) -> bool:
    return bool(link.stopped()) or running.poll() is not None


def settle(link: Link) -> None:
    """Between two tests of one world: no agent that has a fault point in its environment, and no idle second."""
    link.thaw()
    link.wait_until(link.helper_answers, "the helper answers")
    link.kill("agent", "files", number=signal.SIGTERM)
    link.wait_until(lambda: not link.remains(), "only the helper runs")


@pytest.mark.parametrize("victim", ROLES)
@pytest.mark.parametrize("point", POINTS)
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
