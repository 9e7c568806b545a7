"""What goes into a report is bounded in time and size, and what cannot be had is noted."""

import asyncio
import os
from pathlib import Path

import pytest

from devlink.doctor.report import collecting
from devlink.doctor.report.collecting import Command, Piece, read, run
from tests.processes import wait_until_ended


def _run(*argv: str, limit: float = 5.0) -> Piece:
    return asyncio.run(run(Command(path="x", what="x", argv=argv), os.environ, limit=limit))


def test_what_a_command_says_goes_in_with_the_command() -> None:
    piece = _run("sh", "-c", "echo out; echo err >&2")
    assert piece.text == "$ sh -c echo out; echo err >&2\nout\nerr\n"
    assert piece.note == ""


def test_one_that_fails_is_missing_or_silent_is_noted() -> None:
    assert _run("sh", "-c", "echo why; exit 3").note == "it ended with exit code 3"
    assert _run("devlink-no-such-program").note == "not installed"
    assert _run("true").note == "it said nothing"


@pytest.mark.slow
def test_one_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    piece = _run("sh", "-c", f"echo first; sleep 60 & echo $! >{tmp_path}/pid; wait", limit=1.0)
    assert piece.text.endswith("first\n")
    assert piece.note == "cut off: it took more than 1 s"
    wait_until_ended(int((tmp_path / "pid").read_text()))


def test_one_that_does_not_stop_talking_is_cut_off() -> None:
    piece = _run("yes")
    assert "too long" in piece.note
    assert len(piece.text) < 2 * collecting.SIZE_LIMIT


def test_of_a_file_that_is_too_long_the_end_goes_in(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first" + b"\0" * collecting.SIZE_LIMIT + b"\nlast")
    piece = read("x", "x", str(path))
    assert piece.text == "last"
    assert "too long" in piece.note


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_of_another_encoding_is_read_so_that_its_secrets_are_known(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x").write_bytes("token = canary\n".encode(encoding))
    assert "token = canary\n" in read("x", "x", str(tmp_path / "x")).text


def test_a_file_that_is_not_there_or_is_no_file_is_noted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert read("x", "x", str(tmp_path / "none")).note == f"not there: {tmp_path}/none"
    assert "cannot be read" in read("x", "x", str(tmp_path)).note
    assert read("x", "x", str(tmp_path / "fifo")).text == ""


def test_of_the_environment_only_what_matters_goes_in() -> None:
    said = collecting._environment({"https_proxy": "http://p:3128", "AWS_THING": "x", "PATH": "/bin", "HOME": "/root"})
    assert said == "https_proxy=http://p:3128\nPATH=/bin\n"
