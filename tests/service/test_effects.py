"""Files are put in place whole, and programs run with nothing of the caller's."""

import errno
import os
import stat
from pathlib import Path

import pytest

from devlink.errors import HelperError
from devlink.service import effects


def test_a_program_has_nothing_of_the_callers_environment_folder_or_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("PATH", "/nowhere")
    looks = '[ -z "${LD_PRELOAD+set}$HOME" ] && [ "$PWD" = / ] && [ "$PATH" != /nowhere ] && ! read line'
    assert effects.run("sh", "-c", looks)


def test_a_program_that_fails_says_what_it_said_unless_it_may_fail() -> None:
    with pytest.raises(HelperError) as caught:
        effects.run("sh", "-c", "echo no space >&2; exit 3")
    assert caught.value.why == "no space"
    assert not effects.run("sh", "-c", "exit 3", optional=True)
    with pytest.raises(HelperError, match="`no-such-program` failed"):
        effects.run("no-such-program")
    assert not effects.run("no-such-program", optional=True)


def test_a_program_that_another_could_change_is_not_run(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\ntouch ran\n")
    program.chmod(0o777)
    with pytest.raises(HelperError, match="is not run"):
        effects.run(str(program))


@pytest.mark.parametrize("name", ["SUDO_UID", "PKEXEC_UID"])
def test_who_became_root_is_told_by_sudo_and_pkexec(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for each in ("SUDO_UID", "PKEXEC_UID"):
        monkeypatch.delenv(each, raising=False)
    nobody = effects.caller()
    monkeypatch.setenv(name, "4711")
    assert effects.caller() == 4711
    monkeypatch.setenv(name, "alice")
    assert effects.caller() == nobody


def test_a_file_takes_the_place_of_a_link_and_leaves_its_target_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "file").symlink_to("target")
    effects.write(tmp_path / "file", "ours", mode=0o755)
    assert (tmp_path / "target").read_text() == "theirs"
    assert (tmp_path / "file").read_text() == "ours"
    assert stat.S_IMODE((tmp_path / "file").lstat().st_mode) == 0o755
    assert sorted(os.listdir(tmp_path)) == ["file", "target"]


def test_programs_that_could_not_be_compiled_leave_the_older_ones_there(tmp_path: Path) -> None:
    target = tmp_path / "1.0"
    effects.lay_programs(target, {"a/b.py": b"old"}, lambda _: None)

    def fail(_: Path) -> None:
        raise HelperError("No.", next_step="Mend it.")

    with pytest.raises(HelperError):
        effects.lay_programs(target, {"a/b.py": b"new"}, fail)
    assert (target / "a/b.py").read_bytes() == b"old"
    (tmp_path / ".1.0.old/left").mkdir(parents=True)  # where the power went
    effects.lay_programs(target, {"a/c.py": b"new"}, lambda folder: (folder / "compiled").touch())
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "1.0", "1.0/a", "1.0/a/c.py", "1.0/compiled",
    ]  # fmt: skip


def test_a_file_that_the_disk_does_not_take_leaves_the_older_and_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects.write(tmp_path / "file", "older")

    def is_full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", is_full)
    with pytest.raises(OSError, match="No space"):
        effects.write(tmp_path / "file", "newer")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_a_person_is_told_from_a_services_user() -> None:
    assert [effects.logs_in(user) for user in ("root", "nobody", "no-such-user")] == [True, False, False]


def test_a_folder_with_something_in_it_is_left_and_an_empty_one_goes(tmp_path: Path) -> None:
    (tmp_path / "full/empty").mkdir(parents=True)
    effects.remove_empty(tmp_path / "full")
    assert (tmp_path / "full").exists()
    effects.remove_empty(tmp_path / "full/empty")
    effects.remove_empty(tmp_path / "full/empty")
    assert not (tmp_path / "full/empty").exists()
