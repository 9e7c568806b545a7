"""Who is at the other end of a unix socket, and who of them may drive a process behind one."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devlink.rpc.peer import Peer, is_feeder, is_running, peer_of, pidfd_of


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.listen()
        yield sock


def test_the_peer_is_the_process_that_connected(listener: socket.socket) -> None:
    script = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
        "print(os.getpid(), flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", script, listener.getsockname()]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        accepted, _ = listener.accept()
        with accepted:
            peer = peer_of(accepted)
            pidfd = pidfd_of(accepted)
        try:
            assert is_running(pidfd)
            said, _ = child.communicate()
            assert not is_running(pidfd)
        finally:
            os.close(pidfd)
    assert peer == Peer(pid=int(said), uid=os.getuid(), gid=os.getgid())
    assert peer.pid == child.pid


def peer(uid: int) -> Peer:
    return Peer(pid=1, uid=uid, gid=uid)


def test_root_and_this_very_user_may_feed(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 991)
    assert is_feeder(peer(0), listener)
    assert is_feeder(peer(991), listener)


def test_the_owner_of_the_sockets_file_may_feed_and_nobody_else(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 991)
    monkeypatch.setattr(os, "stat", lambda path: type("Status", (), {"st_uid": 990 if path else 0})())
    assert is_feeder(peer(990), listener)
    assert not is_feeder(peer(1000), listener)


def test_without_a_file_there_is_no_owner(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 991)
    os.unlink(listener.getsockname())
    assert not is_feeder(peer(990), listener)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not is_feeder(peer(990), ours)
