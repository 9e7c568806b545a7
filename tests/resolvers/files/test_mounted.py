"""A resolv.conf that is mounted: written in place, and given back to the octet, whenever we are killed."""

import ipaddress
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.resolvers.files import mounted as mounted_module
from devlink.resolvers.files import worker as worker_module
from devlink.resolvers.files.worker import Worker
from devlink.resolvers.resolv_conf import BACKUP_NAME, parse
from tests.kernel.private_network import in_private_network, mount_empty
from tests.resolvers.files.before_after import snapshot

OURS: IPAddress = ipaddress.ip_address("127.0.0.231")
OTHER: IPAddress = ipaddress.ip_address("127.0.0.99")
ETC = Path("/etc")
FILE = ETC / "resolv.conf"
SHORT = "nameserver 192.0.2.1\n"
LONG = "# by hand\n" * 100 + SHORT

pytestmark = pytest.mark.lab


def mount_file(outside: Path, text: str) -> None:
    """/etc of this test's own, with a file from outside mounted as resolv.conf; both on one file system."""
    mount_empty("/etc")
    Path("/etc/outside").write_text(text)
    Path("/etc/outside").chmod(0o640)
    FILE.touch()
    subprocess.run(["mount", "--bind", "/etc/outside", "/etc/resolv.conf"], check=True)


def in_mounted(tmp_path: Path, text: str, body: Callable[[Worker], None]) -> None:
    def run() -> None:
        mount_file(tmp_path, text)
        body(Worker(str(ETC)))

    in_private_network(run)


@pytest.mark.parametrize("text", [SHORT, LONG, ""])
def test_a_mounted_file_is_written_in_place_and_given_back_to_the_octet(tmp_path: Path, text: str) -> None:
    def body(worker: Worker) -> None:
        before = snapshot(ETC)
        worker.restore()
        assert snapshot(ETC) == before
        worker.write(OURS)
        found = parse(FILE.read_text())
        assert found.is_ours
        assert found.nameservers[:3] == (OURS, OURS, OURS)
        assert (ETC / BACKUP_NAME).read_text() == text
        assert (ETC / BACKUP_NAME).stat().st_mode == FILE.stat().st_mode
        once = snapshot(ETC)
        worker.write(OURS)
        assert snapshot(ETC) == once
        worker.write(OTHER)
        assert parse(FILE.read_text()).nameservers[0] == OTHER
        worker.restore(OURS)
        assert parse(FILE.read_text()).nameservers[0] == OTHER, "it is not this forwarder's"
        worker.restore(OTHER)
        assert snapshot(ETC) == before

    in_mounted(tmp_path, text, body)


def test_one_too_long_to_be_kept_whole_is_not_touched(tmp_path: Path) -> None:
    def body(worker: Worker) -> None:
        before = snapshot(ETC)
        with pytest.raises(HelperError, match="too large"):
            worker.write(OURS)
        assert snapshot(ETC) == before

    in_mounted(tmp_path, LONG * 100, body)


def test_a_pipe_that_is_mounted_is_an_error_and_not_waited_for(tmp_path: Path) -> None:
    def body() -> None:
        mount_empty("/etc")
        os.mkfifo("/etc/outside")
        FILE.touch()
        subprocess.run(["mount", "--bind", "/etc/outside", "/etc/resolv.conf"], check=True)
        with pytest.raises(HelperError, match="no file"):
            Worker(str(ETC)).write(OURS)
        assert not (ETC / BACKUP_NAME).exists()

    in_private_network(body)


@pytest.mark.parametrize("writes_before", [True, False])
def test_the_address_of_our_link_is_taken_out_of_anothers_text(tmp_path: Path, writes_before: bool) -> None:
    def body(worker: Worker) -> None:
        if writes_before:
            worker.write(OURS)
        worker.restore()
        assert FILE.read_text() == f"# mine\n{SHORT}"
        assert not (ETC / BACKUP_NAME).exists()

    in_mounted(tmp_path, f"# mine\nnameserver 169.254.53.53\n{SHORT}", body)


def test_what_another_program_wrote_into_it_stays_and_becomes_what_is_given_back(tmp_path: Path) -> None:
    def body(worker: Worker) -> None:
        newer = "nameserver 192.0.2.99\n"
        worker.write(OURS)
        FILE.write_text(newer)
        worker.restore()
        assert FILE.read_text() == newer
        assert not (ETC / BACKUP_NAME).exists()
        worker.write(OURS)
        FILE.write_text(SHORT)
        worker.write(OURS)
        worker.restore()
        assert FILE.read_text() == SHORT
        assert not (ETC / BACKUP_NAME).exists()

    in_mounted(tmp_path, LONG, body)


def test_a_program_that_writes_between_our_steps_is_not_overwritten_unseen(tmp_path: Path) -> None:
    def body(worker: Worker) -> None:
        done: list[str] = []

        def interrupt(name: str) -> None:
            if name == "files.mounted.copied" and not done:
                done.append(name)
                FILE.write_text("nameserver 192.0.2.99\n")

        vars(mounted_module)["fault_point"] = interrupt
        worker.write(OURS)
        assert done
        worker.restore()
        assert FILE.read_text() == "nameserver 192.0.2.99\n"

    in_mounted(tmp_path, SHORT, body)


def test_libc_finds_a_whole_text_at_every_moment(tmp_path: Path) -> None:
    def body(worker: Worker) -> None:
        seen: list[tuple[IPAddress, ...]] = []
        real = os.ftruncate

        def look(file: int, length: int) -> None:
            seen.append(parse(FILE.read_text()).nameservers[:1])
            real(file, length)
            seen.append(parse(FILE.read_text()).nameservers[:1])

        vars(os)["ftruncate"] = look
        worker.write(OURS)
        worker.restore()
        upstream = ipaddress.ip_address("192.0.2.1")
        assert seen == [(OURS,), (OURS,), (upstream,), (upstream,)]

    in_mounted(tmp_path, SHORT, body)


@pytest.mark.parametrize("text", [SHORT, LONG])
@pytest.mark.parametrize(
    ("call", "point"),
    [
        ("write", "files.write.locked"),
        ("write", "files.mounted.copied"),
        ("write", "files.mounted.put"),
        ("restore", "files.restore.locked"),
        ("restore", "files.mounted.put"),
        ("restore", "files.restore.renamed"),
        ("restore", "files.restore.dropped"),
    ],
)
def test_killed_at_any_step_the_next_one_gives_all_back(tmp_path: Path, text: str, call: str, point: str) -> None:
    def body(worker: Worker) -> None:
        for successor in ("restore", "write"):
            before = snapshot(ETC)
            if call == "restore":
                worker.write(OURS)
            kill_at(point, worker, call)
            if successor == "write":
                worker.write(OURS)
                assert parse(FILE.read_text()).is_ours
            worker.restore()
            assert snapshot(ETC) == before, successor

    in_mounted(tmp_path, text, body)


@pytest.mark.parametrize(
    "left", ["", "# Written by", "# Written by devlink: the names of Kub", "\0\0\0", SHORT + "\n\n"]
)
def test_the_beginning_of_ours_that_a_power_cut_left_is_known_and_undone(tmp_path: Path, left: str) -> None:
    def body(worker: Worker) -> None:
        for call in ("restore", "write"):
            before = snapshot(ETC)
            worker.write(OURS)
            FILE.write_text(left)
            if call == "write":
                worker.write(OURS)
                assert parse(FILE.read_text()).nameservers[3:] == (ipaddress.ip_address("192.0.2.1"),)
            worker.restore()
            assert snapshot(ETC) == before

    in_mounted(tmp_path, SHORT, body)


def test_in_place_of_a_lost_copy_comes_one_that_is_the_same_for_libc(tmp_path: Path) -> None:
    def body(worker: Worker) -> None:
        before = parse(FILE.read_text())
        worker.write(OURS)
        (ETC / BACKUP_NAME).unlink()
        worker.restore()
        assert parse(FILE.read_text()) == before

    in_mounted(tmp_path, "search corp.example\n" + SHORT, body)


def kill_at(point: str, worker: Worker, call: str) -> None:
    child = os.fork()
    if child == 0:

        def stop(name: str) -> None:
            if name == point:
                os.kill(os.getpid(), signal.SIGKILL)

        vars(worker_module)["fault_point"] = vars(mounted_module)["fault_point"] = stop
        if call == "write":
            worker.write(OURS)
        else:
            worker.restore()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, f"{point} was not reached"
