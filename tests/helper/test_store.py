"""Small files that must survive a power cut whole."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from devlink.helper.store import remove, write_atomically


def test_a_file_is_written_with_its_mode_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, "text ü\n", mode=0o600)
    assert path.read_text("utf-8") == "text ü\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["file"]


def test_until_the_rename_the_old_text_stands_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    seen: list[tuple[str, str]] = []
    order: list[str] = []
    sync, rename = os.fsync, Path.replace

    def fsync(fd: int) -> None:
        order.append("sync " + Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        sync(fd)

    def replace(self: Path, target: Path) -> Path:
        seen.append((target.read_text(), self.read_text()))
        order.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_atomically(path, "new")
    assert seen == [("old", "new")]
    assert order == ["sync .file.new", "rename", f"sync {tmp_path.name}"], "data, then name, then folder"


@pytest.mark.parametrize("leftover", ["whole", "longer than the new text"])
def test_what_an_earlier_power_cut_left_beside_it_does_not_get_in(tmp_path: Path, leftover: str) -> None:
    path = tmp_path / "file"
    (tmp_path / ".file.new").write_text(leftover)
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_what_a_link_in_its_way_leads_to_is_left_alone(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    link(tmp_path / ".file.new", victim)
    write_atomically(tmp_path / "file", "new")
    assert victim.read_text() == "precious"
    assert (tmp_path / "file").read_text() == "new"


def test_removing_is_for_good_and_may_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "x")
    remove(path)
    remove(path)
    remove(tmp_path / "no" / "folder")
    assert os.listdir(tmp_path) == []
