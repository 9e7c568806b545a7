"""A path is root's alone only if each part of it is."""

import os
import sys
from pathlib import Path

import pytest

from devlink.errors import HelperError
from devlink.helper.access import user_name
from devlink.service import owned

ME = os.getuid()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system of this test's own: /usr/local/lib is its owner's alone."""
    tmp_path.chmod(0o755)
    (tmp_path / "usr/local/lib").mkdir(parents=True, mode=0o755)
    for part in ("usr", "usr/local", "usr/local/lib"):
        (tmp_path / part).chmod(0o755)
    return tmp_path


def weak(root: Path, path: str = "/usr/local/lib/devlink") -> owned.Weakness | None:
    return owned.weakness(path, root=root, owner=ME)


def test_a_path_whose_every_part_is_the_owners_alone_has_no_weakness(root: Path) -> None:
    assert weak(root) is None
    assert weak(root, "/usr/local/lib/python/../python") is None


@pytest.mark.parametrize("part", ["", "usr", "usr/local", "usr/local/lib"])
@pytest.mark.parametrize(("mode", "fix"), [(0o2775, "g-w"), (0o757, "o-w"), (0o1777, "go-w")])
def test_a_part_that_others_may_write_is_named_with_what_mends_it(root: Path, part: str, mode: int, fix: str) -> None:
    (root / part).chmod(mode)
    found = weak(root)
    assert found is not None
    assert found.part == f"/{part}"
    assert found.fix == f"sudo chmod {fix} /{part}"
    assert f"{mode:o}" in found.why


def test_a_part_of_another_user_is_named_with_its_owner(root: Path) -> None:
    found = owned.weakness("/usr/local", root=root, owner=ME + 1)
    assert found is not None
    assert (found.part, found.why) == ("/", f"/ belongs to user {user_name(ME)}.")


def test_the_last_part_may_be_another_known_users_and_no_part_before_it(root: Path) -> None:
    if ME != 0:
        pytest.skip("only root can give a file away")
    os.chown(root / "usr/local/lib", 4711, 0)
    assert owned.weakness("/usr/local/lib", root=root, owner=ME, also=[4711]) is None
    assert weak(root, "/usr/local/lib") is not None
    assert owned.weakness("/usr/local/lib/devlink/", root=root, owner=ME, also=[4711]) is not None


def test_a_link_is_followed_to_all_that_it_leads_through(root: Path) -> None:
    (root / "opt").mkdir(mode=0o755)
    (root / "opt").chmod(0o755)
    (root / "usr/local/lib/devlink").symlink_to("/opt/devlink")
    (root / "opt/devlink").symlink_to("../var/devlink")
    (root / "var/devlink").mkdir(parents=True)
    (root / "var").chmod(0o777)
    found = weak(root, "/usr/local/lib/devlink/1.0")
    assert found is not None
    assert found.part == "/var"
    (root / "var").chmod(0o755)
    (root / "var/devlink").chmod(0o755)
    assert weak(root, "/usr/local/lib/devlink/1.0") is None


def test_a_link_that_is_relative_leads_from_the_folder_that_it_lies_in(root: Path) -> None:
    (root / "usr/local/lib/devlink").symlink_to("elsewhere/devlink")
    (root / "usr/local/lib/elsewhere").mkdir()
    (root / "usr/local/lib/elsewhere").chmod(0o777)
    found = weak(root)
    assert found is not None
    assert found.part == "/usr/local/lib/elsewhere"


def test_links_in_a_circle_are_a_weakness(root: Path) -> None:
    (root / "a").symlink_to("/b")
    (root / "b").symlink_to("a")
    found = weak(root, "/a/devlink")
    assert found is not None
    assert "circle" in found.why


def test_what_lies_in_a_folder_is_looked_at_however_deep(root: Path) -> None:
    (root / "usr/local/lib/site-packages").mkdir(mode=0o777)
    (root / "usr/local/lib/site-packages").chmod(0o777)
    assert owned.weakness_below("/usr", root=root, owner=ME) is None
    deep = root / "usr/local/lib/deep"
    deep.touch()
    deep.chmod(0o666)
    found = owned.weakness_below("/usr", root=root, owner=ME)
    assert found is not None
    assert found.part == "/usr/local/lib/deep"


def python(root: Path, path: str, version: str = "[3, 11]", kind: str = "cpython", library: str = "/usr") -> Path:
    """A program that answers as a Python would that looks into `library`."""
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"""#!/bin/sh\necho '[{version}, ["{library}"], "{kind}"]'\n""")
    for part in (place, *place.parents):
        if part == root:
            break
        part.chmod(0o755)
    return place


def chosen(root: Path) -> str:
    return owned.interpreter("/opt/mine/bin/python3.13", (3, 13), root=root, owner=ME)


def test_the_systems_own_python_comes_first(root: Path) -> None:
    python(root, "/usr/local/bin/python3.13")
    assert chosen(root) == "/usr/local/bin/python3.13"
    python(root, "/usr/bin/python3.13")
    assert chosen(root) == "/usr/bin/python3.13"
    python(root, "/usr/bin/python3")
    assert chosen(root) == "/usr/bin/python3"


def test_a_python_that_others_may_change_is_passed_over_and_named_if_there_is_no_other(root: Path) -> None:
    program = python(root, "/opt/mine/bin/python3.13")
    program.parent.chmod(0o775)
    with pytest.raises(HelperError) as caught:
        chosen(root)
    assert "/opt/mine/bin may be written by" in caught.value.why
    program.parent.chmod(0o755)
    assert chosen(root) == "/opt/mine/bin/python3.13"


@pytest.mark.parametrize(
    ("how", "why"),
    [({"version": "[3, 10]"}, "cpython 3.10"), ({"kind": "pypy"}, "pypy 3.11"), ({"version": "?"}, "run")],
)
def test_a_python_that_is_too_old_or_another_is_passed_over(root: Path, how: dict[str, str], why: str) -> None:
    python(root, "/usr/bin/python3", **how)
    with pytest.raises(HelperError, match="no Python") as caught:
        chosen(root)
    assert why in caught.value.why


def test_a_python_whose_library_others_may_change_is_passed_over(root: Path) -> None:
    python(root, "/usr/bin/python3")
    (root / "usr/local/lib/os.py").touch()
    (root / "usr/local/lib/os.py").chmod(0o666)
    with pytest.raises(HelperError) as caught:
        chosen(root)
    assert "/usr/local/lib/os.py may be written by everyone" in caught.value.why


def test_none_at_all_says_what_to_install(root: Path) -> None:
    with pytest.raises(HelperError) as caught:
        chosen(root)
    assert "python3" in caught.value.next_step
    assert not str(caught.value).count(sys.executable)
