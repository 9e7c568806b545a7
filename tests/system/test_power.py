"""The power goes, at any moment: at the next boot all is as before `up`, and names work before anyone logs in."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.system.machine import Machine
from tests.system.setups import SETUPS, params
from tests.system.world import snapshot, wait_for_names

pytestmark = pytest.mark.system
KEEPS_A_FILE = tuple(name for name, setup in SETUPS.items() if not setup.can_split)
"""Only where a file names us is there something on the disk."""
SHUT_DOWN = [pytest.param(name, marks=() if name == "plain" else pytest.mark.matrix) for name in KEEPS_A_FILE]
MOMENTS = [0.25, *(pytest.param(each, marks=pytest.mark.matrix) for each in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6))]
"""Seconds after the command, which takes about half a second."""


def cut_and_boot(laptop: Machine) -> None:
    laptop.run("rm", "/var/lib/systemd/linger/alice")  # nobody of hers is there at the next boot
    laptop.power_cut()
    laptop.boot()
    wait_for_names(laptop)
    assert laptop.pid("devlink-helper.service") == 0, "nobody has come who would need it"


def test_after_a_power_cut_names_work_before_anyone_logs_in(laptop: Machine) -> None:
    before = snapshot(laptop)
    laptop.devlink("up", "qa")
    cut_and_boot(laptop)
    assert before.diff(snapshot(laptop)) == []


def resolv_confs(disk: Path) -> dict[str, str]:
    """The texts of /etc/resolv.conf and what lies beside it; what a symbolic link leads to is on no disk."""
    found = (path for path in (disk / "etc").glob("*resolv.conf*") if not path.is_symlink())
    return {path.name: path.read_text() for path in found}


@pytest.mark.parametrize("setup", SHUT_DOWN, indirect=True)
def test_while_it_is_off_the_file_from_before_is_on_the_disk(laptop: Machine) -> None:
    """For who boots another system on it, or this one without devlink."""
    before = resolv_confs(laptop.disk)
    laptop.devlink("up", "qa")
    laptop.shut_down()
    assert resolv_confs(laptop.disk) == before


@pytest.mark.parametrize("setup", params(*KEEPS_A_FILE), indirect=True)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("command", ["up", "down"])
def test_it_may_go_in_the_middle_of_a_command(laptop: Machine, command: str, moment: float) -> None:
    before = snapshot(laptop)
    if command == "down":
        laptop.devlink("up", "qa")
    alice = ("systemd-run", "--quiet", "--collect", "--pipe", "--wait", "--uid=alice", "--property=PAMName=login")
    with subprocess.Popen(
        laptop.enter_argv(*alice, "/usr/bin/devlink", command, "qa"),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as running:  # fmt: skip
        time.sleep(moment)
        cut_and_boot(laptop)
        running.wait(10)
    changed = before.diff(snapshot(laptop))
    assert not changed, "\n".join(changed)
