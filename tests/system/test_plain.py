"""A laptop whose /etc/resolv.conf is a plain file that nobody else writes."""

from collections.abc import Iterator

import pytest

from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.world import PLAIN, Link, machine, wait_for_names

pytestmark = pytest.mark.system
CAP_NET_BIND_SERVICE, CAP_NET_ADMIN = 10, 12
"""linux/capability.h"""


@pytest.fixture
def up() -> Iterator[Machine]:
    """A machine on which the profile is up."""
    with machine("bookworm", Link.STATIC, resolv_conf=PLAIN) as laptop:
        laptop.devlink("up", "qa")
        yield laptop


def test_each_process_has_a_user_and_rights_of_its_own(up: Machine) -> None:
    rights = {"helper": ("devlink", 1 << CAP_NET_ADMIN | 1 << CAP_NET_BIND_SERVICE), "forwarder": ("devlink-dns", 0)}
    for part, (user, capabilities) in rights.items():
        status = up.read(f"/proc/{up.pid(f'devlink-{part}.service')}/status")
        shown = {key: value.split() for key, value in (line.split(":", 1) for line in status.splitlines())}
        number = up.run("id", "-u", user).stdout.strip()
        assert shown["Uid"] == [number] * 4
        assert {int(shown[key][0], 16) for key in ("CapEff", "CapPrm", "CapBnd")} == {capabilities}


@pytest.mark.parametrize("part", ["helper", "forwarder"])
def test_a_part_that_is_killed_is_back(up: Machine, part: str) -> None:
    unit = f"devlink-{part}.service"
    for _ in range(6):  # more often than systemd's own limit of starts
        up.kill_and_wait(unit)
        wait_for_names(up, lan.WEB_NAME, lan.WEB)
    assert up.run("getent", "hosts", lan.WIKI).returncode == 0
    up.devlink("down", "qa")
    assert up.read("/etc/resolv.conf") == PLAIN
    assert up.state() == "running"


def test_what_stops_the_helper_gives_everything_back(up: Machine) -> None:
    up.run("systemctl", "stop", "devlink-helper.socket", "devlink-helper.service")
    assert up.read("/etc/resolv.conf") == PLAIN
    assert up.run("ip", "route", "show", "proto", "231").stdout == ""
