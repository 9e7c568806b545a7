"""Files put in place whole, for their user's eyes only."""

import stat
import threading
from pathlib import Path

import pytest

from devlink.private_files import write_private


def test_a_file_is_its_users_alone_and_so_is_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.json"
    for text in ("first", "second, as Ünicode"):
        write_private(path, text)
        assert path.read_text("utf-8") == text
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]
    assert [each.name for each in path.parent.iterdir()] == ["file.json"]


def test_what_cannot_be_written_whole_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_private(path, "before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(path, "after")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file.json", "before")]


def test_of_many_that_write_at_once_one_stays_whole_and_none_fails(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    failures: list[BaseException] = []

    def write(letter: str) -> None:
        try:
            for _ in range(20):
                write_private(path, letter * 10_000)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    text = path.read_text()
    assert (len(text), len(set(text))) == (10_000, 1)
    assert [each.name for each in tmp_path.iterdir()] == ["file.json"]
