"""systemd-resolved forgets what it read in our resolv.conf before its own file is back."""

import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devlink.faults import VARIABLE
from devlink.resolvers.files import forgetting
from devlink.resolvers.files.worker import Worker
from devlink.resolvers.resolv_conf import BACKUP_NAME, parse
from tests.resolvers.files.before_after import snapshot

OURS = ipaddress.ip_address("127.0.0.231")
NEWER = "nameserver 198.51.100.7\n"


class Resolved:
    """Its socket and its file of uplinks; it reads /etc/resolv.conf when it is asked."""

    def __init__(self, folder: Path, etc: Path, *, is_deaf: bool = False) -> None:
        self.read: list[str] = []
        self.times: list[int] = []
        self.asked: list[object] = []
        (folder / "resolv.conf").write_text("nameserver 192.0.2.1\nsearch corp.example\n")
        (etc / "resolv.conf").symlink_to(folder / "resolv.conf")
        self._etc = etc
        self._is_deaf = is_deaf
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / forgetting.SOCKET))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    self.asked.append(json.loads(connection.recv(4096).rstrip(b"\0")))
                    self.read.append((self._etc / "resolv.conf").read_text())
                    self.times.append((self._etc / "resolv.conf").stat().st_mtime_ns)
                    if self._is_deaf:
                        connection.recv(1)
                    else:
                        connection.sendall(b'{"error":"io.systemd.Resolve.NoSource"}\0')
        except OSError:
            pass


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    monkeypatch.setattr(forgetting, "RESOLVED_FOLDER", str(folder))
    return folder


@pytest.fixture
def resolved(run: Path, etc: Path) -> Iterator[Resolved]:
    made = Resolved(run, etc)
    yield made
    made.close()


def test_it_is_asked_while_the_file_names_nobody_it_would_take(resolved: Resolved, etc: Path) -> None:
    before = snapshot(etc)
    worker = Worker(str(etc))
    worker.write(OURS)
    worker.restore()
    assert snapshot(etc) == before
    assert resolved.asked == [
        {"method": "io.systemd.Resolve.ResolveHostname", "parameters": {"name": "example.com", "flags": 1 << 15}}
    ]
    (seen,) = resolved.read
    words = [line.split()[1] for line in seen.splitlines() if line.startswith("nameserver")]
    assert words == ["127.0.0.53", f"{OURS};"], "its own stub, and what it cannot read"
    assert parse(seen).is_ours
    assert parse(seen).kept == ()


def test_killed_in_between_the_next_one_restores_all(resolved: Resolved, etc: Path, run: Path) -> None:
    before = snapshot(etc)
    worker = Worker(str(etc))
    worker.write(OURS)
    code = (
        "import sys; from devlink.resolvers.files import forgetting; from devlink.resolvers.files.worker import Worker;"
        "forgetting.RESOLVED_FOLDER = sys.argv[2]; Worker(sys.argv[1]).restore()"
    )
    argv = [sys.executable, "-c", code, str(etc), str(run)]
    with subprocess.Popen(argv, env={**os.environ, VARIABLE: "files.forget.put"}) as child:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        child.send_signal(signal.SIGKILL)
    assert os.WIFSTOPPED(status)
    assert parse((etc / "resolv.conf").read_text()).is_ours
    worker.write(OURS)
    assert parse((etc / "resolv.conf").read_text()).nameservers[0] == OURS, "whole again"
    worker.restore(OURS)
    assert snapshot(etc) == before


def test_the_files_time_tells_it_of_a_change_within_one_tick_of_the_kernels_clock(
    resolved: Resolved, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(str(etc))
    worker.write(OURS)
    monkeypatch.setattr(time, "time_ns", lambda: 12345)
    worker.restore()
    assert resolved.times == [12345]


def renamed(etc: Path) -> None:
    (etc / "theirs").write_text(NEWER)
    (etc / "theirs").rename(etc / "resolv.conf")


def in_place(etc: Path) -> None:
    (etc / "resolv.conf").write_text(NEWER)


@pytest.mark.parametrize("overwrite", [renamed, in_place])
def test_a_file_that_another_program_writes_meanwhile_is_kept(
    resolved: Resolved, etc: Path, monkeypatch: pytest.MonkeyPatch, overwrite: Callable[[Path], None]
) -> None:
    worker = Worker(str(etc))
    worker.write(OURS)
    monkeypatch.setattr(forgetting, "fault_point", lambda name: overwrite(etc))
    worker.restore()
    assert {path.name: path.read_text() for path in etc.iterdir()} == {"resolv.conf": NEWER}


def test_what_is_not_ours_is_not_written_into(resolved: Resolved, etc: Path) -> None:
    (etc / "resolv.conf").rename(etc / BACKUP_NAME)
    in_place(etc)
    before = snapshot(etc)
    folder = os.open(etc, os.O_RDONLY)
    forgetting.have_forgotten(folder, str(etc), OURS)
    os.close(folder)
    assert snapshot(etc) == before
    assert resolved.asked == []


def test_one_that_does_not_answer_holds_nothing_up_for_long(run: Path, etc: Path) -> None:
    deaf = Resolved(run, etc, is_deaf=True)
    before = snapshot(etc)
    worker = Worker(str(etc))
    worker.write(OURS)
    start = time.monotonic()
    worker.restore()
    assert time.monotonic() - start < 1.0
    assert snapshot(etc) == before
    deaf.close()


def test_one_that_is_not_there_is_no_error(run: Path, etc: Path) -> None:
    (run / "resolv.conf").write_text("nameserver 192.0.2.1\n")  # as its last run left it
    (etc / "resolv.conf").symlink_to(run / "resolv.conf")
    before = snapshot(etc)
    worker = Worker(str(etc))
    worker.write(OURS)
    worker.restore()
    assert snapshot(etc) == before


@pytest.mark.parametrize("target", ["run/nothing", "elsewhere"])
def test_it_is_left_alone_where_the_file_is_none_of_its_own(
    resolved: Resolved, etc: Path, run: Path, target: str
) -> None:
    (etc.parent / "elsewhere").write_text("nameserver 192.0.2.1\n")
    (etc / "resolv.conf").unlink()
    (etc / "resolv.conf").symlink_to(f"../{target}")
    worker = Worker(str(etc))
    worker.write(OURS)
    worker.restore()
    assert resolved.asked == []
