"""Sockets in the file system, and who may connect to them from their first moment on."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from devlink.rpc.listening import bind_private, bind_public


@pytest.fixture(autouse=True)
def lenient_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    found = path.lstat().st_mode
    assert stat.S_ISSOCK(found)
    return stat.S_IMODE(found)


def test_a_private_socket_is_private_from_its_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    class Watched(socket.socket):
        def listen(self, *arguments: int) -> None:
            modes.append(mode(tmp_path / "socket"))
            super().listen(*arguments)

    monkeypatch.setattr(socket, "socket", Watched)
    with bind_private(tmp_path / "socket") as listener:
        modes.append(mode(tmp_path / "socket"))
        assert not listener.get_inheritable()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "socket"))
    assert modes == [0o600, 0o600]


def test_what_lay_there_makes_way_and_a_link_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("somebody's")
    other.chmod(0o644)
    (tmp_path / "socket").symlink_to(other)
    with bind_private(tmp_path / "socket"):
        assert mode(tmp_path / "socket") == 0o600
    with bind_private(tmp_path / "socket"):
        assert mode(tmp_path / "socket") == 0o600, "one that a dead process left makes way too"
    assert (other.read_text(), stat.S_IMODE(other.stat().st_mode)) == ("somebody's", 0o644)


def test_a_public_socket_is_everyones_whatever_the_umask(tmp_path: Path) -> None:
    os.umask(0o077)
    with bind_public(tmp_path / "socket"):
        assert mode(tmp_path / "socket") == 0o666


def test_without_a_folder_it_fails_and_leaves_no_socket_open(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        bind_private(tmp_path / "none" / "socket")
