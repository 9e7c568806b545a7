"""With the service and linger the clusters are there again after a boot, before anybody logs in."""

import json
from collections.abc import Iterator

import pytest

from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.world import Link, address, leaks, machine, plug_in, snapshot, until, wait_for_link, wait_for_names

pytestmark = pytest.mark.system
UNPLUGGED = f"{lan.SETTINGS}/unplugged"


@pytest.fixture(params=["trixie", *(pytest.param(each, marks=pytest.mark.matrix) for each in ("bookworm", "sid"))])
def laptop(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """alice, who lingers, has the service."""
    with machine(request.param, Link.NETWORKD, files={"/etc/devlink/policy.toml": "lease_grace = 0.3\n"}) as booted:
        before = snapshot(booted)
        booted.devlink("service", "install", "--profile", "qa")
        until(lambda: address(booted, lan.WEB_NAME), lan.WEB)
        yield booted
        booted.devlink("service", "uninstall")
        assert before.diff(snapshot(booted)) == []
        assert leaks(booted) == []


def test_it_is_up_by_itself_after_a_shutdown_and_after_a_power_cut(laptop: Machine) -> None:
    for end in (laptop.shut_down, laptop.power_cut):
        end()
        laptop.boot()
        until(lambda: address(laptop, lan.WEB_NAME), lan.WEB)
        assert laptop.run("curl", "-sS", f"http://{lan.WEB_NAME}/").stdout == "web\n"
        users = laptop.run("loginctl", "list-sessions", "--no-legend").stdout.splitlines()
        assert [line for line in users if "manager" not in line and "alice" in line] == [], "nobody has logged in"


@pytest.mark.matrix
def test_without_a_network_it_waits_and_says_so_and_comes_up_with_the_network(laptop: Machine) -> None:
    laptop.write(UNPLUGGED, "")
    laptop.shut_down()
    laptop.boot()
    until(lambda: bool(status(laptop)["waiting"]))
    (waiting,) = status(laptop)["waiting"]
    assert waiting["profile"] == "qa"
    assert waiting["why"]
    assert waiting["next_step"]
    done = laptop.devlink("status", check=False)
    assert done.returncode == 3
    assert "waiting" in done.stdout
    assert laptop.run("ip", "route", "show", "proto", "231").stdout == ""
    laptop.run("rm", UNPLUGGED)
    plug_in(laptop)
    wait_for_link(laptop)
    until(lambda: address(laptop, lan.WEB_NAME), lan.WEB)
    assert status(laptop)["waiting"] == []
    wait_for_names(laptop)


def status(laptop: Machine) -> dict[str, list[dict[str, str]]]:
    said: dict[str, list[dict[str, str]]] = json.loads(laptop.devlink("status", "-o", "json", check=False).stdout)
    return said
