"""Another version is laid over this one while a session is up, and the services are restarted, as a package does it."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from devlink import __version__
from tests.system import install
from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.world import Link, machine, snapshot, until, wait_for_names

pytestmark = pytest.mark.system
NEWER = "9.9.9"
SERVICES = ("devlink-helper.service", "devlink-forwarder.service", "devlink-files.service")
STREAMED = "/tmp/streamed"


@pytest.fixture(params=["bookworm", pytest.param("trixie", marks=pytest.mark.matrix)])
def laptop(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with machine(request.param, Link.NETWORKD) as booted:
        before = snapshot(booted)
        booted.devlink("up", "qa")
        yield booted
        assert before.diff(snapshot(booted)) == []


@pytest.fixture
def stream(laptop: Machine) -> Iterator["subprocess.Popen[bytes]"]:
    """A transfer from a pod, by its address; it goes on."""
    curl = ("curl", "--silent", "--no-buffer", "--output", STREAMED, f"http://{lan.WEB_POD}:8080{lan.STREAM}")
    with subprocess.Popen(laptop.enter_argv(*curl)) as transfer:
        try:
            goes_on(laptop, transfer)
            yield transfer
        finally:
            transfer.kill()
    numbers = laptop.read(STREAMED).splitlines()[:-1]
    assert numbers == [str(number) for number in range(len(numbers))]


def goes_on(laptop: Machine, transfer: "subprocess.Popen[bytes]") -> None:
    """Return when more bytes have come, by the same connection."""

    def size() -> int:
        return int(laptop.run("sh", "-c", f"cat {STREAMED} 2>/dev/null | wc -c").stdout)

    before = size()
    until(lambda: size() > before)
    assert transfer.poll() is None


def lay_over(laptop: Machine, expression: str, path: str) -> None:
    """Change a file of the package; as dpkg does, the new one is renamed over the old."""
    laptop.run("sed", "--in-place", expression, f"/{install.PROGRAMS}/devlink/{path}")


def lay_over_version(laptop: Machine) -> None:
    lay_over(laptop, f's/^__version__ = .*/__version__ = "{NEWER}"/', "__init__.py")


def restart_services(laptop: Machine) -> None:
    laptop.run("systemctl", "daemon-reload")
    laptop.run("systemctl", "try-restart", *SERVICES)


def end_agent(laptop: Machine, number: str = "-TERM") -> None:
    laptop.run("pkill", number, "-u", "alice", "-f", "devlink.agent")
    until(lambda: laptop.run("pgrep", "-u", "alice", "-f", "devlink.agent", check=False).returncode, 1)


def agents_account(laptop: Machine) -> "dict[str, object]":
    told: dict[str, object] = json.loads(laptop.devlink("status", "-o", "json", check=False).stdout)
    return told


def test_the_older_agent_goes_on_with_the_newer_helper_and_so_does_a_transfer(
    laptop: Machine, stream: "subprocess.Popen[bytes]"
) -> None:
    lay_over_version(laptop)
    restart_services(laptop)
    until(lambda: laptop.devlink("status", check=False).returncode, 0)
    goes_on(laptop, stream)
    wait_for_names(laptop, lan.WEB_NAME, lan.WEB)
    told = agents_account(laptop)
    assert (told["version"], told["helper_version"]) == (__version__, NEWER)
    (skew,) = (
        each
        for each in json.loads(laptop.devlink("doctor", "-o", "json", check=False).stdout)["findings"]
        if each["code"] == "DL-VERSION-SKEW"
    )
    assert skew["severity"] == "warning"
    assert skew["fix"] == "replace the agent: devlink down --all, then devlink up", "it is no service here"
    refused = laptop.devlink("up", "qa", check=False)
    assert refused.returncode == 6
    assert NEWER in refused.stderr
    laptop.devlink("down", "--all")


def test_helper_and_agent_may_both_be_replaced_at_once_and_a_transfer_goes_on(
    laptop: Machine, stream: "subprocess.Popen[bytes]"
) -> None:
    lay_over_version(laptop)
    end_agent(laptop, "-KILL")
    restart_services(laptop)
    laptop.devlink("up", "qa")
    goes_on(laptop, stream)
    told = agents_account(laptop)
    assert (told["version"], told["helper_version"]) == (NEWER, NEWER)
    laptop.devlink("down", "--all")


@pytest.mark.matrix
def test_an_older_agent_that_the_newer_helper_does_not_serve_says_what_to_restart(laptop: Machine) -> None:
    lay_over_version(laptop)
    lay_over(laptop, "s/^method Switch/method Turn/", "rpc/interfaces/io.devlink.Helper.varlink")
    restart_services(laptop)
    until(lambda: "do not understand each other" in laptop.devlink("status", check=False).stdout)
    said = laptop.devlink("status", check=False)
    assert said.returncode == 4
    assert "systemctl --user restart devlink-agent.service" in said.stdout
    assert laptop.run("ip", "route", "show", "proto", "231").stdout == "", "what nobody keeps is not there"
    end_agent(laptop)
    laptop.devlink("up", "qa")
    wait_for_names(laptop, lan.WEB_NAME, lan.WEB)
    laptop.devlink("down", "--all")
