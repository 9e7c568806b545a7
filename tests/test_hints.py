"""What a person types next: lines that run this very program, and units that exist."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from devlink import __version__, hints


@pytest.fixture(autouse=True)
def ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def program_in(folder: Path) -> Path:
    folder.mkdir()
    (folder / "devlink").write_text("#!/bin/sh\n")
    (folder / "devlink").chmod(0o755)
    return folder / "devlink"


def test_the_line_for_root_names_this_program_by_an_absolute_path_and_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = program_in(tmp_path / "my programs")
    monkeypatch.setattr(sys, "argv", [os.path.relpath(program)])
    line = hints.as_root("trust", "a file.yaml")
    assert shlex.split(line) == ["sudo", str(program), "trust", "a file.yaml"]


def test_a_process_that_was_not_called_as_the_command_names_the_command_beside_its_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = program_in(tmp_path / "bin")
    monkeypatch.setattr(sys, "argv", ["/usr/lib/python3/devlink/agent/__main__.py"])
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    assert shlex.split(hints.as_root("helper", "run")) == ["sudo", str(program), "helper", "run"]


def test_a_program_without_a_script_is_named_by_its_interpreter_and_that_line_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "argv", ["-c"])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(tmp_path / "python"))
        sudo, interpreter, *rest = shlex.split(hints.as_root("--version"))
    assert (sudo, interpreter) == ("sudo", str(tmp_path / "python"))
    done = subprocess.run([sys.executable, *rest], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"devlink {__version__}\n")


def test_root_needs_no_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert shlex.split(hints.as_root("helper", "run"))[0] != "sudo"


@pytest.mark.parametrize("hint", [hints.start_helper, hints.restart_helper])
def test_a_unit_is_named_only_where_it_is_installed(hint: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(hint)
    monkeypatch.setattr(hints, "has_unit", lambda unit: True)
    assert "systemctl" in hint()
    assert "devlink-helper.service" in hint()
    monkeypatch.setattr(hints, "has_unit", lambda unit: False)
    assert "systemctl" not in hint()
    assert hint().endswith(hints.as_root("helper", "run"))


def test_a_helper_is_installed_as_a_service_only_where_there_are_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "UNIT_FOLDERS", ())
    monkeypatch.setattr(hints, "MANAGED", str(tmp_path))
    assert f": {hints.as_root('helper', 'install')}; " in hints.start_helper()
    monkeypatch.setattr(hints, "MANAGED", str(tmp_path / "none"))
    assert "install" not in hints.start_helper()


def test_a_unit_is_there_where_systemd_runs_and_its_file_lies_in_one_of_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "UNIT_FOLDERS", (str(tmp_path / "none"), str(tmp_path)))
    monkeypatch.setattr(hints, "MANAGED", str(tmp_path))
    assert not hints.has_unit("devlink-helper.service")
    (tmp_path / "devlink-helper.service").touch()
    assert hints.has_unit("devlink-helper.service")
    assert "journalctl" in hints.log_of("devlink-helper.service", "otherwise")
    monkeypatch.setattr(hints, "MANAGED", str(tmp_path / "none"))
    assert not hints.has_unit("devlink-helper.service")
    assert hints.log_of("devlink-helper.service", "otherwise") == "otherwise"
