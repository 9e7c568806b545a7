"""A laptop whose /etc/resolv.conf is a plain file that nobody else writes."""

import time
from collections.abc import Iterator

import pytest

from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.world import PLAIN, Link, leaks, machine, questions, snapshot, wait_for_names

pytestmark = pytest.mark.system


def test_names_work_while_it_is_up_and_all_is_as_it_was_afterwards() -> None:
    with machine("bookworm", Link.STATIC, resolv_conf=PLAIN) as laptop:
        before = snapshot(laptop)
        laptop.devlink("up", "qa")
        assert laptop.run("getent", "hosts", lan.WEB_NAME, user="bob").stdout.split()[0] == lan.WEB
        assert laptop.run("getent", "hosts", lan.WIKI).stdout.split()[0] == lan.ORDINARY[lan.OFFICE_DNS][lan.WIKI]
        assert laptop.run("curl", "-sS", f"http://{lan.WEB_NAME}/").stdout == "web\n"
        laptop.devlink("down", "qa")
        assert before.diff(snapshot(laptop)) == []
        assert f"{lan.WIKI}. A" in questions(laptop)
        assert leaks(laptop) == []


@pytest.fixture
def up() -> Iterator[Machine]:
    """A machine on which the profile is up."""
    with machine("bookworm", Link.STATIC, resolv_conf=PLAIN) as laptop:
        laptop.devlink("up", "qa")
        yield laptop


@pytest.mark.parametrize("part", ["helper", "forwarder"])
def test_a_part_that_is_killed_is_back(up: Machine, part: str) -> None:
    unit = f"devlink-{part}.service"
    for _ in range(6):  # more often than systemd's own limit of starts
        killed = up.pid(unit)
        up.kill(unit)
        while up.pid(unit) in (0, killed):
            time.sleep(0.02)
        wait_for_names(up, lan.WEB_NAME, lan.WEB)
    assert up.run("getent", "hosts", lan.WIKI).returncode == 0
    up.devlink("down", "qa")
    assert up.read("/etc/resolv.conf") == PLAIN
    assert up.state() == "running"


def test_what_stops_the_helper_gives_everything_back(up: Machine) -> None:
    up.run("systemctl", "stop", "devlink-helper.socket", "devlink-helper.service")
    assert up.read("/etc/resolv.conf") == PLAIN
    assert up.run("ip", "route", "show", "proto", "231").stdout == ""


def test_after_a_power_cut_names_work_before_anyone_logs_in() -> None:
    with machine("bookworm", Link.STATIC, resolv_conf=PLAIN) as laptop:
        before = snapshot(laptop)
        laptop.devlink("up", "qa")
        assert laptop.read("/etc/resolv.conf") != PLAIN
        laptop.run("rm", "/var/lib/systemd/linger/alice")  # nobody of hers is there at the next boot
        laptop.power_cut()
        laptop.boot()
        wait_for_names(laptop)
        assert laptop.read("/etc/resolv.conf") == PLAIN
        assert laptop.pid("devlink-helper.service") == 0
        assert before.diff(snapshot(laptop)) == []
