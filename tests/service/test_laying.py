"""What a copy in /usr/local has of the layout, and that nothing in it leads anywhere else."""

import re
from pathlib import Path

import pytest

import devlink
from devlink.service import laying

TOP = Path(devlink.__file__).parent / "service/layout"
LAYOUT = {str(path.relative_to(TOP)): path.read_text() for path in TOP.rglob("*") if path.is_file()}
PROGRAMS = f"{laying.LIB}/1.2.3"
PYTHON = "/usr/bin/python3"
LAID = laying.laid(LAYOUT, PROGRAMS, PYTHON)
UNITS = sorted(path for path in LAID if path.startswith(laying.UNITS))


@pytest.mark.parametrize("path", sorted(LAYOUT))
def test_each_file_of_the_layout_is_laid_down(path: str) -> None:
    assert path.startswith(tuple(laying.PLACES))


@pytest.mark.parametrize("path", sorted(LAID))
def test_nothing_leads_to_where_a_package_has_its_programs(path: str) -> None:
    assert "/usr/share/devlink" not in LAID[path]
    assert not re.search(r"/usr/bin/devlink\b", LAID[path])


@pytest.mark.parametrize("path", [path for path in UNITS if path.endswith(".service")])
def test_a_unit_runs_the_copy_with_a_python_that_sees_nothing_else(path: str) -> None:
    ours = f"{PYTHON} -I -S {PROGRAMS}/devlink/run.py devlink."
    lines = re.findall(r"^Exec\w+=[-+!@:|]*(.*)$", LAID[path], re.MULTILINE)
    assert lines
    assert [line for line in lines if not line.startswith(ours)] == []


@pytest.mark.parametrize("path", sorted(path for path in LAYOUT if path.endswith(".service")))
def test_a_packages_unit_that_runs_as_root_sees_no_modules_but_pythons_own_and_ours(path: str) -> None:
    lines = re.findall(r"^Exec\w+=(.*)$", LAYOUT[path], re.MULTILINE)
    assert "\nUser=" in LAYOUT[path] or all(line.startswith(f"{PYTHON} -I -S /usr/share/devlink/") for line in lines)


def test_the_command_runs_isolated_from_the_copy() -> None:
    text = laying.command(PROGRAMS, PYTHON)
    assert text.startswith(f"#!{PYTHON} -IS\n")
    assert f"sys.path.insert(0, '{PROGRAMS}')" in text


def test_units_are_told_apart_by_what_is_done_with_them() -> None:
    assert "devlink-restore.service" in laying.enabled(LAID)
    assert "devlink-restore.service" not in laying.services(LAID), "to start it would undo what is up"
    assert set(laying.sockets(LAID)) <= set(laying.enabled(LAID))
    assert {"devlink-helper.service", "devlink-forwarder.service"} <= set(laying.services(LAID))
    assert "work.conf" not in laying.units({f"{laying.UNITS}a.service.d/work.conf": "[Service]\n"})


def test_users_and_groups_are_those_of_sysusers() -> None:
    assert laying.names(LAID) == (("devlink", "devlink-dns"), ("devlink", "devlink-dns"))
    assert laying.names({"/etc/other.conf": "u root -\n"}) == ((), ())


def test_folders_come_before_what_lies_in_them() -> None:
    assert laying.folders_of(["/a/b/c", "/a/d"]) == ("/a", "/a/b")
