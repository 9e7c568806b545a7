"""How journal and files become one log."""

import json
import os
import time
from pathlib import Path

import pytest

from devlink.doctor.report import logs
from devlink.doctor.report.logs import Entry, Tail

PACKAGED = Path(__file__).parents[3] / "devlink/service/layout/usr/lib/systemd/system"


def _journal(**fields: object) -> str:
    return json.dumps({"__REALTIME_TIMESTAMP": "1795341600500000", "__CURSOR": "s=1", **fields})


def test_every_service_of_the_package_is_asked_for() -> None:
    assert set(logs.SYSTEM_UNITS) == {path.name for path in PACKAGED.glob("*.service")}


def test_an_entry_of_the_journal_tells_whose_it_is() -> None:
    entry = logs.of_journal(_journal(MESSAGE="serving", _SYSTEMD_UNIT="devlink-helper.service"))
    assert entry == Entry(time=1795341600.5, part="helper", text="serving", cursor="s=1")


def test_what_systemd_says_of_a_unit_is_told_as_systemds() -> None:
    whose = {"UNIT": "devlink-files.service", "_SYSTEMD_UNIT": "init.scope", "SYSLOG_IDENTIFIER": "systemd"}
    entry = logs.of_journal(_journal(MESSAGE="Started it.", **whose))
    assert entry is not None
    assert (entry.part, entry.text) == ("files", "systemd: Started it.")


def test_a_message_that_is_not_text_or_too_long_is_shown_all_the_same() -> None:
    octets = logs.of_journal(_journal(MESSAGE=[0x1B, 0x5B, 0x6D, 0xFF], _SYSTEMD_UNIT="devlink-helper.service"))
    assert octets is not None
    assert octets.text == "\x1b[m\N{REPLACEMENT CHARACTER}"
    nothing = logs.of_journal(_journal(MESSAGE=None))
    assert nothing is not None
    assert "too long" in nothing.text


def test_a_journal_is_there_where_it_has_files_and_hidden_where_the_systems_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "JOURNALS", (tmp_path / "none", tmp_path))
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/journalctl")
    (tmp_path / "machine").mkdir()
    assert (logs.has_journal(), logs.is_hidden()) == (False, False)
    (tmp_path / "machine" / "user-1000.journal").touch()
    assert (logs.has_journal(), logs.is_hidden()) == (True, False)
    (tmp_path / "machine" / "system.journal").touch()
    assert (logs.has_journal(), logs.is_hidden()) == (True, False)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert (logs.has_journal(), logs.is_hidden()) == (True, True)


def test_what_is_no_entry_is_none() -> None:
    assert [logs.of_journal(line) for line in ("", "{", "[]", "{}", '{"__REALTIME_TIMESTAMP": "x"}')] == [None] * 5


def test_a_line_without_a_time_belongs_to_the_one_before() -> None:
    first, second = logs.of_lines(["2026-11-22 10:11:46,250 INFO agent: up", "Traceback"], "agent")
    assert time.strftime("%F %T", time.localtime(first.time)) == "2026-11-22 10:11:46"
    assert (first.text, second.text) == ("INFO agent: up", "Traceback")
    assert second.time == first.time


def test_two_logs_become_one_by_time_and_the_last_lines_are_kept() -> None:
    ones = [Entry(time=each, part="a", text="") for each in (1.0, 3.0, 5.0)]
    others = [Entry(time=each, part="b", text="") for each in (2.0, 5.0)]
    assert [(each.time, each.part) for each in logs.last([ones, others], 4)] == [(2, "b"), (3, "a"), (5, "a"), (5, "b")]
    assert logs.last([ones, others], 0) == []


def test_the_end_of_a_log_goes_back_into_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    logs.rotated(path).write_text("1\n2\n3\n")
    path.write_text("4\n5\n")
    assert logs.tail(path, 3, 100) == ["3", "4", "5"]
    assert logs.tail(path, 9, 3) == ["3", "5"]  # a line that is cut is none
    assert logs.tail(path, 9, 100, until=2) == ["1", "2", "3", "4"]
    assert logs.tail(tmp_path / "none", 9, 100) == []


def test_what_is_followed_may_come_later_grow_be_rotated_and_be_emptied(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    tail = Tail(path)
    assert tail.read() == []
    path.write_text("1\n")
    assert tail.read() == ["1"]
    with path.open("a") as file:
        file.write("2\n3")
        file.flush()
        assert tail.read() == ["2"]
        file.write("3\n4\n")
    path.rename(logs.rotated(path))
    assert tail.read() == ["33", "4"]
    path.write_text("5\n6\n7\n")
    assert tail.read() == ["5", "6", "7"]
    path.write_text("8\n")
    assert tail.read() == ["8"]
    tail.close()


def test_what_was_there_before_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    path.write_text("before\n")
    tail = Tail(path)
    assert (tail.begin, tail.read()) == (7, [])
    tail.close()


@pytest.mark.timeout(10)
def test_what_is_no_file_has_no_lines_and_nobody_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    os.mkfifo(path)
    assert logs.tail(path, 9, 100) == []
    tail = Tail(path)
    assert (tail.begin, tail.read()) == (0, [])
    path.unlink()
    path.write_text("1\n")
    assert tail.read() == ["1"]
    tail.close()
