"""A user with the service: up by itself at login, gone with the logout, whoever else is there."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.system.inside import lan
from tests.system.logins import AT_ONCE, RETRIED, SERVICE, is_there, log_out_everywhere, logged_in, set_linger, state
from tests.system.machine import Machine
from tests.system.world import PROFILE, Link, MachineSnapshot, add_user, address, machine, snapshot, until

pytestmark = pytest.mark.system
FILES = {**AT_ONCE, "/etc/devlink/policy.toml": "lease_grace = 0.3\n"}

MOMENTS = [0.4, *(pytest.param(each, marks=pytest.mark.matrix) for each in (0.0, 0.2, 0.6, 0.8, 1.0))]
"""Seconds after the login; it is up within one, where nothing else is done."""


@pytest.fixture(scope="module", params=["bookworm", pytest.param("trixie", marks=pytest.mark.matrix)])
def laptop(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with machine(request.param, Link.NETWORKD, files=FILES) as booted:
        add_user(booted, "carol", {"qa.yaml": PROFILE})
        yield booted


@pytest.fixture
def installed(laptop: Machine) -> Iterator[Machine]:
    """carol has the service, and is not there."""
    with logged_in(laptop, "carol"):
        laptop.devlink("service", "install", "--profile", "qa", "--no-start", user="carol")
    until(lambda: is_there(laptop, "carol"), False)
    yield laptop
    with logged_in(laptop, "carol"):
        laptop.devlink("service", "uninstall", user="carol")
    until(lambda: is_there(laptop, "carol"), False)


def sessions(laptop: Machine) -> list[tuple[str, str]]:
    """Of carol's agent, with their states."""
    text = laptop.devlink("status", "-o", "json", user="carol", check=False).stdout
    return [(each["name"], each["state"]) for each in json.loads(text)["sessions"]]


def files(laptop: Machine) -> list[str]:
    """All of carol's, with owner and mode, but what every program may leave: logs and caches."""
    text = laptop.run("find", "/home/carol", "-printf", "%p %M %u %g %l\n").stdout
    return sorted(
        line for line in text.splitlines() if not line.startswith(("/home/carol/.local", "/home/carol/.cache"))
    )


def test_it_is_up_from_login_to_logout_and_then_all_is_as_before(installed: Machine) -> None:
    before = snapshot(installed)
    with logged_in(installed, "carol"):
        until(lambda: address(installed, lan.WEB_NAME), lan.WEB)
        until(lambda: sessions(installed), [("qa", "up")])
        assert installed.run("curl", "-sS", f"http://{lan.WEB_NAME}/", user="bob").stdout == "web\n"
    check_all_is_as(before, installed)
    assert address(installed, lan.WEB_NAME) == ""


def test_sessions_of_one_user_share_it_and_the_last_one_takes_it_away(installed: Machine) -> None:
    with logged_in(installed, "carol"):
        with logged_in(installed, "carol"):
            until(lambda: address(installed, lan.WEB_NAME), lan.WEB)
            assert installed.run("pgrep", "--uid", "carol", "--full", "--count", "devlink[.]agent").stdout == "1\n"
        assert sessions(installed) == [("qa", "up")]
        assert address(installed, lan.WEB_NAME) == lan.WEB
    until(lambda: address(installed, lan.WEB_NAME), "")


@pytest.mark.matrix
def test_what_was_taken_down_stays_down_until_the_next_login(installed: Machine) -> None:
    with logged_in(installed, "carol"):
        until(lambda: sessions(installed), [("qa", "up")])
        installed.devlink("down", "qa", user="carol")
        installed.run("pkill", "-KILL", "--uid", "carol", "--full", "devlink[.]agent")
        until(lambda: service(installed, "ActiveState"), "active")
        assert sessions(installed) == []
        assert address(installed, lan.WEB_NAME) == ""
    with logged_in(installed, "carol"):
        until(lambda: sessions(installed), [("qa", "up")])


def test_with_linger_it_stays_when_nobody_is_logged_in(installed: Machine) -> None:
    try:
        with logged_in(installed, "carol"):
            set_linger(installed, "carol", "enable")
            until(lambda: sessions(installed), [("qa", "up")])
        until(lambda: state(installed, "carol"), "lingering")
        assert address(installed, lan.WEB_NAME) == lan.WEB
    finally:
        set_linger(installed, "carol", "disable")
    until(lambda: address(installed, lan.WEB_NAME), "")
    until(lambda: is_there(installed, "carol"), False)


@pytest.mark.parametrize("moment", MOMENTS)
def test_who_logs_out_while_it_comes_up_leaves_nothing(installed: Machine, moment: float) -> None:
    before = snapshot(installed)
    with logged_in(installed, "carol"):
        time.sleep(moment)
    check_all_is_as(before, installed)


def test_an_agent_that_is_killed_at_logout_leaves_nothing(installed: Machine) -> None:
    """A session manager that is out of patience, or memory that was short."""
    before = snapshot(installed)
    with logged_in(installed, "carol"):
        until(lambda: sessions(installed), [("qa", "up")])
        installed.run("pkill", "-KILL", "--uid", "carol")
    log_out_everywhere(installed, "carol")
    check_all_is_as(before, installed)


def test_after_uninstalling_nothing_of_it_is_there(laptop: Machine) -> None:
    with logged_in(laptop, "carol"):
        before, had = snapshot(laptop), files(laptop)
        laptop.devlink("service", "install", "--profile", "qa", user="carol")
        until(lambda: address(laptop, lan.WEB_NAME), lan.WEB)
        laptop.devlink("service", "uninstall", user="carol")
        assert before.diff(snapshot(laptop)) == []
        assert files(laptop) == had
        assert laptop.run("pgrep", "--uid", "carol", "--full", "devlink", check=False).stdout == ""
    with logged_in(laptop, "carol"):
        assert service(laptop, "LoadState") == "not-found"


def test_a_new_member_of_the_group_need_not_log_in_again(laptop: Machine) -> None:
    add_user(laptop, "dave", {"qa.yaml": PROFILE})
    laptop.run("gpasswd", "--delete", "dave", "devlink")
    with logged_in(laptop, "dave"):
        laptop.devlink("service", "install", "--profile", "qa", user="dave")
        until(lambda: "waiting" in laptop.devlink("status", user="dave", check=False).stdout)
        told = laptop.devlink("status", user="dave", check=False)
        assert told.returncode == 3
        assert "usermod -aG devlink dave" in told.stdout
        laptop.run("usermod", "--append", "--groups", "devlink", "dave")
        until(lambda: address(laptop, lan.WEB_NAME), lan.WEB, RETRIED)
        laptop.devlink("service", "uninstall", user="dave")
        assert address(laptop, lan.WEB_NAME) == ""


def check_all_is_as(before: MachineSnapshot, laptop: Machine) -> None:
    """Once carol is gone, and the helper says that no session is there any more: till then nothing stands still."""
    until(lambda: is_there(laptop, "carol"), False)
    until(lambda: "session" in laptop.run("/usr/bin/devlink", "helper", "status").stdout, False)
    assert before.diff(snapshot(laptop)) == []


def service(laptop: Machine, key: str) -> str:
    """What carol's manager says of the unit."""
    asked = ("systemctl", "--user", "show", f"--property={key}", "--value", SERVICE)
    return laptop.run(*asked, user="carol").stdout.strip()
