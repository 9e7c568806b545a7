"""`devlink logs` where there is no journal, and where it may not be read."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devlink.agent.places import log_file
from devlink.cli import root
from devlink.doctor.report import logs

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def devlink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process, for a user whose agent has said two things, where there is no journal."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(logs, "JOURNALS", (tmp_path / "journal",))
    path = log_file()
    path.parent.mkdir(parents=True)
    path.write_text("2026-11-22 10:00:00,125 INFO one\n2026-11-22 10:00:02,000 INFO two\x1b[31m\n")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["devlink", "logs", *arguments])
        code = root.run()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_without_a_journal_it_shows_the_agents_file_and_says_so(devlink: Command) -> None:
    code, out, err = devlink()
    assert code == 0
    assert out == (
        "2026-11-22 10:00:00.125 agent     INFO one\n"
        "2026-11-22 10:00:02.000 agent     INFO two?[31m\n"
    )  # fmt: skip
    assert "no journal" in err


def test_only_as_many_lines_as_are_wanted(devlink: Command) -> None:
    assert devlink("-n", "1")[1].splitlines()[0].endswith("INFO two?[31m")
    assert devlink("-n", "0")[1] == ""
    assert devlink("-n", "-1")[0] == 2


def _journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A journal of the system that nobody may read, and a journalctl that does what the script says."""
    folder = tmp_path / "journal" / "machine"
    folder.mkdir(parents=True)
    (folder / "system.journal").write_text("")
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_journal_and_file_are_shown_as_one_by_time(
    devlink: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = devlink()
    (entry,) = logs.of_lines(["2026-11-22 10:00:01,000 x"], "agent")
    moment = {"__REALTIME_TIMESTAMP": str(int(entry.time * 1e6))}
    line = json.dumps({**moment, "MESSAGE": "a\nb", "_SYSTEMD_UNIT": "devlink-helper.service"})
    _journal(tmp_path, monkeypatch, f"echo '{line}'".replace("\\n", "\\\\n"))
    one, *middle, two = devlink()[1].splitlines()
    assert [one, two] == out.splitlines()
    assert middle == ["2026-11-22 10:00:01.000 helper    a", " " * 34 + "b"]


def test_a_journal_that_may_not_be_read_is_said_with_the_way_to_read_it(
    devlink: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _journal(tmp_path, monkeypatch, "exit 0")
    monkeypatch.setattr(logs, "is_hidden", lambda: True)
    code, out, err = devlink()
    assert (code, len(out.splitlines())) == (0, 2)
    assert "may not read the system's journal" in err
    assert "usermod -aG systemd-journal " in err
    assert "sudo devlink" not in err


def test_a_user_without_a_name_is_told_by_number(
    devlink: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _journal(tmp_path, monkeypatch, "exit 0")
    monkeypatch.setattr(logs, "is_hidden", lambda: True)
    monkeypatch.setattr(os, "getuid", lambda: 4_100_100_100)
    code, _, err = devlink()
    assert code == 0
    assert "usermod -aG systemd-journal 4100100100" in err


def test_a_journal_that_fails_is_said_and_the_file_shown(
    devlink: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _journal(tmp_path, monkeypatch, "echo damaged >&2; exit 1")
    code, out, err = devlink()
    assert (code, len(out.splitlines())) == (0, 2)
    assert "cannot be read: damaged" in err
