"""The undo journal: written before, read after a crash, cleared after the undo."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from devlink.helper.journal import Entry, Journal

ENTRY = Entry(resolver="direct", nameserver=ip_address("127.0.0.231"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.json"


def test_what_is_written_is_read_by_the_next_helper(path: Path) -> None:
    Journal(path).write(ENTRY)
    assert Journal(path).read() == ENTRY
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_written_and_cleared_are_the_same(path: Path) -> None:
    journal = Journal(path)
    assert journal.read() is None
    journal.clear()
    journal.write(ENTRY)
    journal.clear()
    assert journal.read() is None
    journal.clear()
    assert not path.exists()


@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"resolver": 1, "nameserver": "x"}', b"\0" * 4096]
)
def test_one_that_cannot_be_read_is_as_good_as_none_and_is_logged(
    path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(path)
    journal.write(ENTRY)
    path.write_bytes(garbage)
    assert journal.read() is None
    assert str(path) in caplog.text
    journal.write(ENTRY)
    assert journal.read() == ENTRY


def test_one_that_cannot_be_written_raises_before_anything_is_changed(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        Journal(path).write(ENTRY)
