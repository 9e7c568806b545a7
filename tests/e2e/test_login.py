"""The agent as a service of its user: it brings up by itself what it was told, as soon as it can."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from devlink import lab
from devlink.lab.world import Entered
from devlink.run import argv
from tests.e2e.link import PROFILE, Link

pytestmark = pytest.mark.lab


@contextmanager
def at_login(link: Link, *profiles: str) -> Iterator[Entered]:
    """The agent as the user's manager runs it, which is told to end as at logout."""
    link.wait_until(lambda: not link.pids("agent"), "no agent of an earlier test is left")
    words = [word for profile in profiles for word in ("--profile", profile)]
    agent = link.world.popen(lab.LAPTOP, argv("devlink.agent", "--linger", "--login", *words))
    try:
        yield agent
    finally:
        is_killed = agent.poll() is not None
        agent.terminate()
        said, _ = agent.communicate(timeout=20)
        print(said)
    assert is_killed or agent.returncode == 0


def waiting(link: Link) -> list[dict[str, Any]]:
    return list(link.status()["waiting"])


def test_without_a_network_it_waits_and_comes_up_when_there_is_one_and_goes_at_logout(link: Link) -> None:
    before = link.world.snapshot()
    link.run("ip", "link", "set", "eth0", "down")
    with at_login(link, PROFILE):
        link.wait_until(lambda: waiting(link), "it waits")
        said = link.devlink("status")
        assert said.returncode == 3
        assert f"{PROFILE}  waiting  for" in said.stdout
        assert "There is no network yet." in said.stdout
        link.run("ip", "link", "set", "eth0", "up")
        link.run("ip", "route", "replace", "default", "via", "172.16.0.1", "proto", "static")
        link.wait_until(lambda: list(link.states().values()) == ["up"], "it is up by itself")
        assert waiting(link) == []
    link.assert_equal(before)


def test_one_that_is_not_trusted_waits_until_it_is(link: Link) -> None:
    link.run("devlink", "trust", "revoke", link.world.spec.name)
    with at_login(link, PROFILE):
        link.wait_until(lambda: waiting(link), "it waits")
        (one,) = waiting(link)
        assert f"devlink trust {PROFILE}" in one["next_step"]
        link.trust(PROFILE)
        link.wait_until(lambda: list(link.states().values()) == ["up"], "it is up by itself")


def test_down_gives_up_what_waits(link: Link) -> None:
    link.run("devlink", "trust", "revoke", link.world.spec.name)
    with at_login(link, PROFILE):
        link.wait_until(lambda: waiting(link), "it waits")
        assert "[DL-WAITING]" in link.devlink("doctor", PROFILE).stdout
        assert f"{PROFILE} is down." in link.down()
        assert link.devlink("status").stdout == "Nothing is up.\n"
        link.down(expect=3)
    link.trust(PROFILE)


def test_what_its_user_takes_down_stays_down_though_the_agent_is_killed_and_until_the_next_login(link: Link) -> None:
    with at_login(link, PROFILE) as agent:
        link.wait_until(lambda: list(link.states().values()) == ["up"], "it is up by itself")
        link.down()
        agent.kill()
        agent.wait()
    with at_login(link, PROFILE):
        link.wait_until(lambda: "version" in link.status(), "the next agent answers")
        status = link.status()
        assert (status["sessions"], status["asking"], status["waiting"]) == ([], [], [])
    with at_login(link, PROFILE):
        link.wait_until(lambda: list(link.states().values()) == ["up"], "at the next login it is up again")
