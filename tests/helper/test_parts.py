"""The helper's own processes: each start reaches its own, none stays behind."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devlink.errors import HelperError
from devlink.helper import parts as module
from devlink.helper.parts import Parts
from devlink.rpc.client import Client

LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(tmp_path, private=True)
    yield parts
    parts.end()


def test_the_names_that_a_killed_helper_left_are_removed_and_no_others(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, used = tmp_path / f"files.{dead.pid}.1", tmp_path / f"forwarder.{os.getpid()}.0"
    others = [tmp_path / name for name in ("helper", "notes.1.2", "files.of.1")]
    for path in (left, used, *others):
        path.touch()
    Parts(tmp_path, private=True).end()
    assert sorted(tmp_path.iterdir()) == sorted([used, *others])


class Starts:
    """Notes each process that is started; `before_next` is run once, in the middle of the next start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pids: list[int] = []
        self.before_next: Callable[[], object] = lambda: None
        real = subprocess.Popen

        def start(*arguments: Any, **keywords: Any) -> "subprocess.Popen[bytes]":
            before, self.before_next = self.before_next, lambda: None
            before()
            child = real(*arguments, **keywords)
            self.pids.append(child.pid)
            return child

        monkeypatch.setattr("devlink.helper.parts.subprocess.Popen", start)


def version_at(sock: socket.socket) -> str:
    with Client(sock, timeout=LIMIT) as client:
        return str(client.call("org.varlink.service.GetInfo")["version"])


def is_there(pid: int) -> bool:
    """Whether a process is in the table: one that has ended and was not waited for is, too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + LIMIT
    while is_there(pid):
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.005)


def test_two_starts_of_one_part_at_once_each_reach_their_own(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = Starts(monkeypatch)
    inner: list[socket.socket] = []
    starts.before_next = lambda: inner.append(parts.connect("forwarder"))
    outer = parts.connect("forwarder")
    assert len(starts.pids) == 2
    assert version_at(outer) == version_at(inner[0])
    assert list(tmp_path.iterdir()) == [], "no name is left behind"


def test_a_part_that_ends_is_waited_for_at_once_and_not_at_the_next_start(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = Starts(monkeypatch)
    parts.connect("forwarder").close()
    wait_until_gone(starts.pids[0])


def test_a_part_that_dies_before_it_serves_is_an_end_and_no_silence(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.MODULES, "forwarder", "devlink.no_such_module")
    starts = Starts(monkeypatch)
    with parts.connect("forwarder") as sock:
        sock.settimeout(LIMIT)
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass
    wait_until_gone(starts.pids[0])


def test_a_part_that_does_not_end_is_killed_in_the_end(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_LIMIT", 0.2)
    starts = Starts(monkeypatch)
    with parts.connect("forwarder") as sock:
        os.kill(starts.pids[0], signal.SIGSTOP)
        sock.close()
        parts.end()
    assert not is_there(starts.pids[0])


@pytest.mark.slow
def test_of_one_part_all_that_hang_can_be_ended(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "END_LIMIT", 0.1)
    starts = Starts(monkeypatch)
    socks = [parts.connect(part) for part in ("forwarder", "forwarder", "files")]
    for pid in starts.pids:
        os.kill(pid, signal.SIGSTOP)
    parts.dismiss("forwarder")
    assert [is_there(pid) for pid in starts.pids] == [False, False, True]
    for sock in socks:
        sock.close()
    os.kill(starts.pids[2], signal.SIGCONT)


def test_a_part_can_be_dismissed_in_the_middle_of_a_start(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[BaseException | None] = []

    def dismiss() -> None:
        try:
            parts.dismiss("forwarder")
            outcomes.append(None)
        except RuntimeError as error:
            outcomes.append(error)

    dismissing = threading.Thread(target=dismiss)

    class Late(threading.Thread):
        """A reaper before whose start somebody else acts."""

        def start(self) -> None:
            dismissing.start()
            dismissing.join(0.1)
            super().start()

    monkeypatch.setattr("devlink.helper.parts.threading.Thread", Late)
    parts.connect("forwarder").close()
    dismissing.join()
    assert outcomes == [None]


def test_under_a_service_manager_the_socket_is_connected_to_and_nothing_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = Starts(monkeypatch)
    managed = Parts(tmp_path, private=False)
    with pytest.raises(HelperError, match="forwarder process cannot be reached") as error:
        managed.connect("forwarder")
    assert error.value.why == "No such file or directory."
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "forwarder"))
        listener.listen()
        managed.connect("forwarder").close()
    assert starts.pids == []
    managed.end()
