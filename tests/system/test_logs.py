"""`devlink logs` and `devlink report` on booted systems: what the journal has, for whom."""

import subprocess
import tarfile
from collections.abc import Iterator

import pytest

from tests.system.machine import Machine
from tests.system.setups import SETUPS
from tests.system.world import snapshot, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def laptop() -> Iterator[Machine]:
    """A system with systemd-resolved on which alice's session is up."""
    with SETUPS["bookworm-resolved"].boot() as booted:
        booted.devlink("up", "qa")
        yield booted


def test_root_sees_what_helper_and_forwarder_have_said(laptop: Machine) -> None:
    done = laptop.devlink("logs", "-n", "500", user="root")
    parts = {line.split()[2] for line in done.stdout.splitlines() if line[:2] == "20"}
    assert {"helper", "forwarder", "restore"} <= parts
    assert "proto 231" in done.stdout
    assert done.stderr == ""


def test_a_user_without_the_right_is_told_what_is_missing_and_how_to_get_it(laptop: Machine) -> None:
    done = laptop.devlink("logs")
    assert " helper " not in done.stdout
    assert "may not read the system's journal" in done.stderr
    assert "sudo usermod -aG systemd-journal alice" in done.stderr
    laptop.run("usermod", "-aG", "systemd-journal", "alice")
    try:
        done = laptop.devlink("logs", "-n", "500")
        assert " helper " in done.stdout
        assert done.stderr == ""
    finally:
        laptop.run("gpasswd", "--delete", "alice", "systemd-journal")


def test_the_journal_is_followed_from_where_the_past_ends(laptop: Machine) -> None:
    argv = laptop.enter_argv("/usr/bin/devlink", "logs", "--follow", "-n", "1")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        try:
            assert running.stdout is not None
            first = next(iter(running.stdout))
            laptop.devlink("down", "qa")
            said = ""
            while "nexthop del" not in said:
                said = next(iter(running.stdout))
                assert said != first, "it was shown twice"
        finally:
            laptop.run("pkill", "-INT", "-f", "devlink logs --follow")
        assert running.wait(10) == 0
    assert laptop.run("pgrep", "journalctl", check=False).stdout == ""
    laptop.devlink("up", "qa")


def test_a_report_holds_the_systems_state_and_changes_nothing(laptop: Machine) -> None:
    before = snapshot(laptop)
    laptop.devlink("report", "/tmp/r.tar.gz", user="root")
    assert before.diff(snapshot(laptop)) == []
    texts = {}
    with tarfile.open(f"/proc/{laptop.init}/root/tmp/r.tar.gz") as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            texts[member.name.partition("/")[2]] = file.read().decode()
    assert "cluster.local" in texts["resolver/resolvectl.txt"]
    assert "is a symbolic link to" in texts["resolver/resolv.conf"]
    assert "proto 231" in texts["logs/devlink-helper.journal.txt"]
    assert "systemd 252" in texts["versions/systemd.txt"]
    assert '"name": "qa"' in texts["settings/trust.d/qa.json"]


def test_a_report_starts_no_resolver_that_does_not_run(laptop: Machine) -> None:
    laptop.devlink("down", "qa")
    laptop.run("systemctl", "stop", "systemd-resolved")
    try:
        path = laptop.devlink("report").stdout.strip()  # without a name, in the present folder
        assert path.startswith("/home/alice/devlink-report-20")
        assert laptop.run("stat", "-c", "%U %a", path).stdout == "alice 600\n"
        assert laptop.run("systemctl", "is-active", "systemd-resolved", check=False).stdout == "inactive\n"
    finally:
        laptop.run("systemctl", "start", "systemd-resolved")
    until(lambda: laptop.run("systemctl", "is-active", "systemd-resolved", check=False).stdout, "active\n")
