"""What a service manager hands over and wants to hear, with a real child that inherits a real socket."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devlink.rpc import activation

CHILD = """
import os, subprocess, sys
from devlink.rpc.activation import listen_sockets
sockets = listen_sockets()
print([s.getsockname() for s in sockets], [s.get_inheritable() for s in sockets],
      sorted(k for k in os.environ if k.startswith("LISTEN")), len(listen_sockets()))
"""


def start(path: Path, *, pid: str = "$$", count: str = "1") -> str:
    """What a child says that was started as sd_listen_fds(3) has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        script = f'LISTEN_PID={pid} LISTEN_FDS={count} LISTEN_FDNAMES=helper exec "$@" 3<&0 0</dev/null'
        argv = ["/bin/sh", "-c", script, "sh", sys.executable, "-W", "ignore", "-c", CHILD]
        return subprocess.run(argv, stdin=listener.fileno(), capture_output=True, text=True, check=True).stdout.strip()


def test_a_passed_socket_is_taken_once_and_goes_to_no_child(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    assert start(path) == f"['{path}'] [False] [] 0"


@pytest.mark.parametrize(("pid", "count"), [("1", "1"), ("$$", "x"), ("$$", "-1"), ("$$", "0")])
def test_what_was_meant_for_another_or_for_nobody_is_left(tmp_path: Path, pid: str, count: str) -> None:
    assert start(tmp_path / "socket", pid=pid, count=count) == "[] [] [] 0"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(10)
        yield receiver


def test_the_manager_is_told(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    activation.notify("READY=1")
    assert manager.recv(100) == b"READY=1"


def test_a_manager_with_an_abstract_socket_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0devlink-test-" + str(os.getpid()))
        receiver.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", "@devlink-test-" + str(os.getpid()))
        activation.notify("STOPPING=1")
        assert receiver.recv(100) == b"STOPPING=1"


def test_nobody_to_tell_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    activation.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    activation.notify("READY=1")
