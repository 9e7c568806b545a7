"""The agent as a service of its user, by a real manager: installed, killed, started anew, and gone without a trace."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.system.machine import Machine
from tests.system.world import Link, machine, snapshot, until

pytestmark = pytest.mark.system
UNIT = "devlink-agent.service"
FILE = f"/home/alice/.config/systemd/user/{UNIT}"
OTHER = "[Service]\nExecStart=/bin/true\n"
IMAGES = ["bookworm", *(pytest.param(image, marks=pytest.mark.matrix) for image in ("trixie", "sid"))]
AT_ONCE = "[Login]\nUserStopDelaySec=0\n"


@pytest.fixture(scope="module")
def booted() -> Iterator[Machine]:
    with machine("bookworm", Link.STATIC, files={"/etc/systemd/logind.conf.d/at-once.conf": AT_ONCE}) as laptop:
        yield laptop


@pytest.fixture
def laptop(booted: Machine) -> Iterator[Machine]:
    """The module's machine; afterwards nothing may be left."""
    before, files = snapshot(booted), home(booted)
    yield booted
    booted.devlink("service", "uninstall", check=False)
    booted.devlink("down", "--all", check=False)
    # An idle one that was started by hand stays for a while, and the next test's `up` would find it.
    agents = ("--uid", "alice", "--full", "devlink[.]agent")
    until(lambda: booted.run("pkill", "-KILL", *agents, check=False).returncode, 1)
    until(lambda: before.diff(snapshot(booted)), [])
    assert home(booted) == files


def home(machine: Machine) -> str:
    """All that lies there, but for the log of an agent that `up` started."""
    return machine.run("sh", "-c", "find /home/alice -path '*/.local*' -prune -o -print | sort").stdout


def systemctl(machine: Machine, *words: str) -> str:
    return machine.run("systemctl", "--user", *words, user="alice", check=False).stdout.strip()


def agent(machine: Machine) -> int:
    """The service's process; 0 where it has none."""
    return int(systemctl(machine, "show", "--property=MainPID", "--value", UNIT))


def states(machine: Machine) -> dict[str, str]:
    said = machine.devlink("status", "-o", "json", check=False).stdout
    return {session["name"]: session["state"] for session in json.loads(said)["sessions"]}


def routes(machine: Machine) -> str:
    return machine.run("ip", "route", "show", "proto", "231").stdout


def is_up(machine: Machine) -> None:
    until(lambda: states(machine), {"qa": "up"})


@contextmanager
def changes(machine: Machine) -> Iterator[list[str]]:
    """What the kernel tells of our routes meanwhile; complete once the block is left."""
    seen: list[str] = []
    watch = machine.enter_argv("timeout", "60", "stdbuf", "-oL", "ip", "monitor", "route")
    with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as monitor:
        assert monitor.stdout is not None

        def heard(prefix: str) -> list[str]:
            for action in ("add", "delete"):
                machine.run("ip", "route", action, prefix, "via", "172.16.0.1")
            assert monitor.stdout is not None
            lines = []
            for line in monitor.stdout:
                lines.append(line)
                if line.startswith("Deleted") and prefix in line:
                    return lines
            raise AssertionError("ip monitor has ended")

        machine.run("sleep", "0.2")  # until it listens; it says nothing of that
        heard("10.98.0.0/16")
        try:
            yield seen
        finally:
            # Gateways are asked by tables of their own (devlink/kernel/probe.py), which no packet of a session goes by.
            seen += [line for line in heard("10.97.0.0/16") if "proto 231" in line and " table " not in line]
            monitor.terminate()


@pytest.mark.parametrize(
    "image", ["bookworm", *(pytest.param(each, marks=pytest.mark.matrix) for each in ("trixie", "sid"))]
)
def test_systemd_has_nothing_to_say_against_the_unit(image: str) -> None:
    with machine(image, Link.STATIC, settled=False) as laptop:
        before = home(laptop)
        laptop.devlink("service", "install", "--no-start", "--profile", "qa", "--profile", "./a %n $b.yaml")
        said = laptop.run("systemd-analyze", "--user", "verify", "--man=no", FILE, user="alice")
        assert said.stdout + said.stderr == ""
        (command,) = [line for line in systemctl(laptop, "show", UNIT).splitlines() if line.startswith("ExecStart=")]
        assert "--profile qa --profile /home/alice/a %n $b.yaml ;" in command
        assert systemctl(laptop, "is-enabled", UNIT) == "enabled"
        assert systemctl(laptop, "is-active", UNIT) == "inactive"
        laptop.devlink("service", "install", "--no-start", "--profile", "prod")
        told = json.loads(laptop.devlink("service", "status", "-o", "json", check=False).stdout)
        assert (told["profiles"], told["enabled"], told["active"]) == (["prod"], True, "inactive")
        laptop.devlink("service", "uninstall")
        assert home(laptop) == before


def test_what_was_up_by_hand_goes_over_to_the_service_and_a_restart_keeps_it_without_a_blink(laptop: Machine) -> None:
    laptop.devlink("up", "qa")
    with changes(laptop) as seen:
        said = laptop.devlink("service", "install", "--profile", "qa").stderr
        assert f"{FILE}:" in said
        assert "WantedBy=default.target" in said
        is_up(laptop)
        first = agent(laptop)
        assert first
        systemctl(laptop, "restart", UNIT)
        is_up(laptop)
        assert agent(laptop) not in (0, first)
    assert seen == []
    assert laptop.devlink("service", "status").returncode == 0
    systemctl(laptop, "stop", UNIT)
    assert routes(laptop) == ""
    assert laptop.devlink("service", "status", check=False).returncode == 3


def test_the_changes_of_a_route_are_seen(laptop: Machine) -> None:
    """The watch that another test stands on does see a route of ours."""
    with changes(laptop) as seen:
        laptop.devlink("up", "qa")
    assert seen


@pytest.mark.parametrize("number", ["KILL", "STOP"])
def test_one_that_dies_or_hangs_is_followed_by_another_that_has_what_was_up(laptop: Machine, number: str) -> None:
    laptop.devlink("service", "install", "--no-start", "--profile", "qa")
    quick = "[Service]\nWatchdogSec=1\nRestartSec=100ms\n"
    laptop.write(f"/run/systemd/user/{UNIT}.d/quick.conf", quick)
    systemctl(laptop, "daemon-reload")
    systemctl(laptop, "start", UNIT)
    is_up(laptop)
    first = agent(laptop)
    with changes(laptop) as seen:
        laptop.run("kill", f"-{number}", str(first))
        until(lambda: agent(laptop) not in (0, first))
        is_up(laptop)
    laptop.run("rm", "-r", f"/run/systemd/user/{UNIT}.d")
    assert seen == []


def test_up_starts_the_service_where_there_is_one(laptop: Machine) -> None:
    laptop.devlink("service", "install", "--no-start", "--profile", "qa")
    laptop.devlink("up", "qa")
    assert systemctl(laptop, "is-active", UNIT) == "active"
    laptop.devlink("down", "qa")
    assert routes(laptop) == ""
    laptop.run("kill", "-KILL", str(agent(laptop)))
    until(lambda: systemctl(laptop, "is-active", UNIT), "active")
    assert states(laptop) == {}


def test_doctor_says_that_one_that_is_installed_does_not_run(laptop: Machine) -> None:
    laptop.devlink("service", "install", "--no-start", "--profile", "qa")
    assert "[DL-SERVICE-STOPPED]" in laptop.devlink("doctor", "qa", check=False).stdout
    systemctl(laptop, "start", UNIT)
    is_up(laptop)
    assert "[DL-SERVICE-STOPPED]" not in laptop.devlink("doctor", check=False).stdout


def test_what_only_the_shell_knows_is_what_the_agent_knows_and_the_manager_finds_the_unit(laptop: Machine) -> None:
    shell = ("env", "XDG_CONFIG_HOME=/home/alice/odd", "KUBECONFIG=kube", "/usr/bin/devlink", "service")
    laptop.run(*shell, "install", "--profile", "qa", "--no-start", user="alice")
    assert systemctl(laptop, "is-enabled", UNIT) == "enabled"
    passed_on = systemctl(laptop, "show", "--property=Environment", "--value", UNIT).split()
    assert {"XDG_CONFIG_HOME=/home/alice/odd", "KUBECONFIG=/home/alice/kube"} <= set(passed_on)
    laptop.run(*shell, "uninstall", user="alice")
    assert systemctl(laptop, "show", "--property=LoadState", "--value", UNIT) == "not-found"


def test_one_that_was_started_by_hand_and_hangs_is_replaced(laptop: Machine) -> None:
    laptop.devlink("up", "qa")
    with changes(laptop) as seen:
        laptop.run("pkill", "-STOP", "--uid", "alice", "--full", "devlink[.]agent")
        laptop.devlink("service", "install", "--profile", "qa")
        is_up(laptop)
    assert seen == []


def test_a_unit_of_that_name_that_is_not_ours_is_left_alone(laptop: Machine) -> None:
    laptop.run("sh", "-c", f"mkdir -p {FILE.rpartition('/')[0]}; cat >{FILE}", user="alice", input=OTHER)
    for command in ("install", "uninstall"):
        refused = laptop.devlink("service", command, check=False)
        assert refused.returncode == 5
        assert FILE in refused.stderr
    assert laptop.read(FILE) == OTHER
    laptop.run("rm", "-r", "/home/alice/.config/systemd")


def test_what_is_half_gone_is_removed_all_the_same(laptop: Machine) -> None:
    laptop.devlink("service", "install", "--profile", "qa")
    laptop.run("rm", FILE)
    laptop.devlink("service", "uninstall")
    assert routes(laptop) == ""
    assert laptop.run("find", "/home/alice/.config", "-name", UNIT).stdout == ""
    assert "nothing to remove" in laptop.devlink("service", "uninstall").stderr
    laptop.run("find", "/home/alice/.config/systemd", "-depth", "-type", "d", "-empty", "-delete", check=False)


def test_without_a_manager_of_the_users_it_is_said_what_to_do(laptop: Machine) -> None:
    with pytest.raises(AssertionError, match=r"exit 2\n.*no manager of your own services") as caught:
        laptop.run(
            "setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "env", "HOME=/home/alice",
            "/usr/bin/devlink", "service", "install",
        )  # fmt: skip
    assert "Log in as this user" in str(caught.value)
