"""A report's file is there whole or not at all, for its user only, and never over another."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from devlink.doctor.report.archive import Target, pack
from devlink.doctor.report.collecting import Piece
from devlink.errors import UsageError


@pytest.fixture(params=["without a name", "by its name"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Also where the filesystem knows no files without a name."""
    if request.param == "by its name":
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)
    return tmp_path


def test_the_file_is_there_whole_and_private(folder: Path) -> None:
    old = os.umask(0)
    try:
        with Target(folder / "r.tar.gz") as target:
            assert list(folder.iterdir()) == []
            target.put(b"x" * 100_000)
    finally:
        os.umask(old)
    (path,) = folder.iterdir()
    assert path.read_bytes() == b"x" * 100_000
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_left_of_one_that_is_given_up(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Target(folder / "r.tar.gz"):
        raise KeyboardInterrupt
    assert list(folder.iterdir()) == []


def test_one_that_cannot_be_written_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with Target(folder / "r.tar.gz") as target:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(UsageError, match="No space left"):
            target.put(b"x")
    assert list(folder.iterdir()) == []


def test_another_is_never_overwritten(folder: Path) -> None:
    path = folder / "r.tar.gz"
    with Target(path) as target:
        path.write_text("another's")  # it came meanwhile
        with pytest.raises(UsageError, match="there already"):
            target.put(b"x")
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(UsageError, match="there already"):
        Target(path)
    assert [each.name for each in folder.iterdir()] == ["r.tar.gz"]


def test_a_folder_that_is_not_there_or_no_folder_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, why in (("none/r.tar.gz", "No such file"), ("file/r.tar.gz", "Not a directory")):
        with pytest.raises(UsageError, match=why):
            Target(tmp_path / path)


def test_an_archive_holds_the_texts_and_not_whose_it_is() -> None:
    pieces = [Piece(path="a/b.txt", what="", text="ä\udcff"), Piece(path="README.txt", what="", text="")]
    with tarfile.open(fileobj=io.BytesIO(pack("top", pieces, 1795341600.0))) as archive:
        members = archive.getmembers()
        assert [each.name for each in members] == ["top/a/b.txt", "top/README.txt"]
        assert {(each.uid, each.gid, each.uname, each.gname, each.mode) for each in members} == {(0, 0, "", "", 0o600)}
        first = archive.extractfile(members[0])
        assert first is not None
        assert first.read() == "ä?".encode()
