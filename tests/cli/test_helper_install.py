"""`devlink helper install` and `uninstall` as their user meets them: who may, what is shown, what is asked."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from devlink.cli import root
from devlink.service import effects, machine, manifest, owned, sources
from devlink.service.machine import Place
from devlink.service.sources import Sources
from tests.service.test_laying import LAYOUT

ME = os.getuid()
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def devlink(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str, uid: int = 0) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["/home/alice/venv/bin/devlink", *arguments])
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        here, umask = os.getcwd(), os.umask(0o022)
        try:
            code = root.run()
        finally:
            os.chdir(here)
            os.umask(umask)
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system in which it may be installed; no program is run."""
    for folder in ("run/systemd/system", "etc", "usr/local/lib"):
        (tmp_path / folder).mkdir(parents=True)
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755)
    place = Place(tmp_path, owner=ME, run=lambda *words, optional=False: True, who=lambda kind, name: False)
    files = {f"{sources.LAYOUT}{path}": text.encode() for path, text in LAYOUT.items()}
    read = Sources(files={**files, "devlink/run.py": b""}, origin="/home/alice/venv/site", owners=(0, 4711))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(machine, "Place", lambda: place)
    monkeypatch.setattr(sources, "read_sources", lambda allowed: read)
    monkeypatch.setattr(owned, "interpreter", lambda *_: "/usr/bin/python3")
    monkeypatch.setattr(effects, "caller", lambda: 4711)
    monkeypatch.setattr(machine, "new_member", lambda uid: "alice")
    monkeypatch.setattr(manifest, "read_manifest", lambda: _read(tmp_path))
    return tmp_path


_read = manifest.read_manifest


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_an_ordinary_user_gets_the_one_line_for_root(devlink: Command, verb: str) -> None:
    code, said = devlink("helper", verb, uid=1000)
    assert code == 6
    assert f"helper {verb}" in said
    assert "sudo /" in said


def test_all_that_will_be_written_is_shown_and_nothing_is_without_a_yes(devlink: Command, system: Path) -> None:
    before = sorted(system.rglob("*"))
    code, said = devlink("helper", "install")
    assert code == 6
    assert "no terminal" in said
    assert sorted(system.rglob("*")) == before
    assert devlink("helper", "install", "--yes")[0] == 0
    written = [f"/{path.relative_to(system)}" for path in system.rglob("*") if path.is_file()]
    programs = "/usr/local/lib/devlink/0"
    assert [path for path in written if f"  {path}\n" not in said and not path.startswith(programs)] == []
    assert "user 4711" in said, "whose content it is"
    for word in ("devlink-dns", "alice becomes a member", "/usr/bin/python3", "devlink-helper.socket", "SHA-256"):
        assert word in said


def test_nobody_becomes_a_member_who_is_left_out(devlink: Command, system: Path) -> None:
    assert "becomes a member" not in devlink("helper", "install", "--yes", "--no-member")[1]


def test_what_is_answered_at_a_terminal_decides(
    devlink: Command, system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: False)
    assert devlink("helper", "install")[0] == 6
    assert not (system / "usr/local/lib/devlink").exists()
    monkeypatch.setattr(click, "confirm", lambda *_, **__: True)
    assert devlink("helper", "install")[0] == 0
    assert (system / "usr/local/lib/devlink").exists()


def test_uninstall_shows_what_goes_and_says_so_where_there_is_nothing(devlink: Command, system: Path) -> None:
    assert "installed nothing" in devlink("helper", "uninstall")[1]
    devlink("helper", "install", "--yes")
    code, said = devlink("helper", "uninstall")
    assert code == 6
    assert "  /etc/systemd/system/devlink-helper.service\n" in said
    assert (system / "usr/local/lib/devlink/manifest.json").exists()
    assert devlink("helper", "uninstall", "--yes")[0] == 0
    assert not (system / "usr/local/lib/devlink").exists()
