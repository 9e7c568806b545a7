"""On each kind of laptop any part may die, devlink's or the system's: ordinary names go on, the cluster's come back."""

import signal
import time
from collections.abc import Iterator

import pytest

from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.setups import SETUPS, Setup, params
from tests.system.world import brought_up, devlink_without_login, until, wait_for_names

pytestmark = pytest.mark.system
ANSWER_LIMIT = 10.0
"""Seconds for an ordinary name while something is being started again: libc asks for five, twice."""


def agents(laptop: Machine) -> list[str]:
    return laptop.run("pgrep", "-u", "alice", "-f", "devlink.agent", check=False).stdout.split()


def kill_agent(laptop: Machine) -> None:
    """And have it started again by its owner: nobody else does."""
    (pid,) = agents(laptop)
    laptop.run("kill", "-9", pid)
    laptop.devlink("up", "qa")


@pytest.fixture
def shared_up(shared_laptop: Machine) -> Iterator[Machine]:
    """As `up`."""
    yield from brought_up(shared_laptop)


def test_every_part_may_be_killed(shared_up: Machine, shared_setup: Setup) -> None:
    up, setup = shared_up, shared_setup
    for unit in ("devlink-helper.service", "devlink-forwarder.service", *setup.services, "the agent"):
        if unit == "the agent":
            kill_agent(up)
        else:
            killed = up.pid(unit)
            up.kill(unit)
            if setup.can_split and unit.startswith("devlink"):
                up.run("getent", "ahostsv4", lan.WIKI, timeout=ANSWER_LIMIT)
            while up.pid(unit) in (0, killed):
                time.sleep(0.02)
        wait_for_names(up, lan.WEB_NAME, lan.WEB)
        wait_for_names(up, lan.WIKI)
    assert up.devlink("status").returncode == 0


def test_a_forwarder_that_hangs_is_replaced(shared_up: Machine) -> None:
    up = shared_up
    hanging = up.pid("devlink-forwarder.service")
    up.kill("devlink-forwarder.service", signal.SIGSTOP)
    up.devlink("status", check=False)
    until(lambda: up.pid("devlink-forwarder.service") not in (0, hanging))
    wait_for_names(up, lan.WEB_NAME, lan.WEB)
    wait_for_names(up, lan.WIKI)
    assert up.devlink("status").returncode == 0


def test_who_is_frozen_with_the_users_slice_is_not_needed_for_names(shared_up: Machine) -> None:
    """As systemd does it around sleep, from 256 on; sometimes it stays so."""
    up = shared_up
    assert agents(up)
    up.run("systemctl", "freeze", "user.slice")
    try:
        for name in (lan.WEB_NAME, lan.WIKI):
            assert up.run("getent", "ahostsv4", name).stdout
    finally:
        up.run("systemctl", "thaw", "user.slice")
    assert up.devlink("status").returncode == 0


BUS = params(*(name for name, setup in SETUPS.items() if setup.services))


@pytest.mark.parametrize("setup", BUS, indirect=True)
def test_the_bus_may_die_for_good(laptop: Machine) -> None:
    """Debian's does not connect its clients again, NetworkManager ends, and who logs in after that has no session."""
    laptop.devlink("up", "qa")
    laptop.kill("dbus.service")
    for name in (lan.WEB_NAME, lan.WIKI):
        wait_for_names(laptop, name)
    devlink_without_login(laptop, "up", "qa")
    assert laptop.run("getent", "ahostsv4", lan.WEB_NAME).stdout
    devlink_without_login(laptop, "down", "qa")
    assert laptop.run("ip", "route", "show", "proto", "231").stdout == ""
    assert "devlink0" not in laptop.run("ip", "link").stdout
    assert laptop.run("getent", "ahostsv4", lan.WIKI, timeout=ANSWER_LIMIT).stdout
