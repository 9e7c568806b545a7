"""What lies in the layout is what others that name it have: doctor, and the package's maintainer scripts."""

import re
from pathlib import Path

import pytest

from devlink.doctor.laptop import packaged
from devlink.hints import HELPER_UNIT
from devlink.service import laying
from tests.service.test_laying import LAID, LAYOUT

SCRIPTS = Path(__file__).parents[2] / "packaging/deb"


def test_doctor_misses_each_unit_user_and_file_that_lacks() -> None:
    assert sorted({*packaged.UNITS, HELPER_UNIT}) == list(laying.units(LAID))
    assert sorted(packaged.SOCKETS) == list(laying.sockets(LAID))
    assert laying.names(LAID)[0] == packaged.USERS
    assert {packaged.RULES[0], packaged.ACTIONS[0], packaged.TMPFILES[0]} <= set(LAYOUT)


@pytest.mark.parametrize(("script", "variable", "wanted"), [
    ("postinst", "enabled", laying.enabled(LAID)),
    ("postrm", "units", laying.enabled(LAID)),
    ("postinst", "sockets", laying.sockets(LAID)),
    ("prerm", "sockets", laying.sockets(LAID)),
])  # fmt: skip
def test_the_packages_scripts_name_each_unit_that_is_enabled_or_listens(
    script: str, variable: str, wanted: tuple[str, ...]
) -> None:
    named = re.search(rf"^{variable}='(.*)'$", (SCRIPTS / script).read_text(), re.MULTILINE)
    assert named is not None
    assert sorted(named[1].split()) == list(wanted)
