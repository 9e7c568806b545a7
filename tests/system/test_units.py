"""The units as they are packaged: systemd has nothing to say against them, and they expose little."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.system import install
from tests.system.machine import Machine
from tests.system.world import Link, machine

pytestmark = pytest.mark.system
UNITS = sorted(path.name for path in (install.SOURCES / "packaging/systemd").iterdir())
EXPOSURE = 20
"""In tenths, as `systemd-analyze security --threshold` has it."""


@pytest.fixture(scope="module", params=["bookworm", "trixie", "sid"])
def laptop(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with machine(request.param, Link.STATIC) as booted:
        yield booted


def test_systemd_has_nothing_to_say_against_them(laptop: Machine) -> None:
    # It ends with 0 even where it does not know a key.
    said = laptop.run("systemd-analyze", "verify", "--man=no", *UNITS)
    assert said.stdout + said.stderr == ""


def test_they_are_up_after_a_boot_and_none_has_failed(laptop: Machine) -> None:
    assert laptop.run("systemctl", "list-units", "--failed", "--no-legend", "devlink*").stdout == ""
    sockets = [unit for unit in UNITS if unit.endswith(".socket")]
    assert set(laptop.run("systemctl", "is-active", *sockets).stdout.split()) == {"active"}
    assert laptop.run("systemctl", "show", "--property=Result", "--value", "devlink-restore").stdout == "success\n"


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.endswith(".service")])
def test_they_expose_little(laptop: Machine, unit: str) -> None:
    laptop.run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", unit)


@pytest.mark.parametrize(("socket", "status"), [("helper", 0), ("forwarder", 1), ("files", 1)])
def test_only_the_helper_can_be_reached_by_everyone(laptop: Machine, socket: str, status: int) -> None:
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect('/run/devlink/{socket}')"
    done: subprocess.CompletedProcess[str] = laptop.run("python3", "-c", connect, user="bob", check=False)
    assert done.returncode == status, done.stderr
