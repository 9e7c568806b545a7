"""Which program is found, and that nobody but root can have put it there."""

import os
from pathlib import Path

import pytest

from devlink.resolvers.programs import find_program

NAME = "resolvconf"
PROGRAM = "mnt/opt/tools/real"
FOLDERS = ("", "usr", "usr/sbin", "etc", "etc/alternatives", "mnt", "mnt/opt", "mnt/opt/tools")
SYMLINKS = ("usr/sbin/resolvconf", "etc/alternatives/resolvconf", "opt")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """In which three symlinks lead to the program, one of them in the place of a folder."""
    root = tmp_path / "root"
    for folder in ("usr/sbin", "usr/local/bin", "etc/alternatives", "mnt/opt/tools"):
        (root / folder).mkdir(parents=True)
    for path in (root, *root.rglob("*")):
        path.chmod(0o755)
    (root / "usr/sbin/resolvconf").symlink_to(root / "etc/alternatives/resolvconf")
    (root / "etc/alternatives/resolvconf").symlink_to("../../opt/./tools/../tools/real")
    (root / "opt").symlink_to("mnt/opt")
    install(root / PROGRAM)
    return root


def install(path: Path) -> None:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def test_a_program_is_found_by_where_its_symlinks_end(root: Path) -> None:
    assert find_program(NAME, root) == root / PROGRAM


@pytest.mark.parametrize("changeable", [*FOLDERS, PROGRAM])
def test_where_others_may_write_on_the_way_to_a_program_the_next_one_is_taken(root: Path, changeable: str) -> None:
    install(root / "usr/local/bin/resolvconf")
    (root / changeable).chmod(0o775)
    found = find_program(NAME, root)
    assert found == (None if changeable in ("", "usr") else root / "usr/local/bin/resolvconf")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
@pytest.mark.parametrize("owned", [*FOLDERS, *SYMLINKS, PROGRAM])
def test_where_another_user_owns_a_part_of_the_way_to_a_program_the_next_one_is_taken(root: Path, owned: str) -> None:
    install(root / "usr/local/bin/resolvconf")
    os.chown(root / owned, 1000, 1000, follow_symlinks=False)
    found = find_program(NAME, root)
    assert found == (None if owned in ("", "usr") else root / "usr/local/bin/resolvconf")


def test_in_a_folder_as_tmp_a_program_and_its_symlinks_are_roots_alone(root: Path) -> None:
    for folder in ("usr/sbin", "mnt/opt/tools"):
        (root / folder).chmod(0o1777)
    assert find_program(NAME, root) == root / PROGRAM


def test_a_symlink_in_a_circle_is_no_program(root: Path) -> None:
    (root / "mnt/opt/tools/real").unlink()
    (root / "mnt/opt/tools/real").symlink_to("real")
    assert find_program(NAME, root) is None
