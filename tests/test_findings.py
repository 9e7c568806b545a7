"""The reference of findings says what each code means, how to see it, and what cures it; and nothing else."""

import re
from collections import Counter
from pathlib import Path

import devlink
from devlink.doctor.reference import sections

ROOM = Path(devlink.__file__).parent
CODE = re.compile(r'"(DL-[A-Z0-9-]+)"')
PARTS = re.compile(r"\S.*?\n\n- \*\*Look\*\*: \S.*?\n- \*\*Cure\*\*: \S.*", re.DOTALL)


def codes_in_the_source() -> set[str]:
    return {code for path in ROOM.rglob("*.py") for code in CODE.findall(path.read_text())}


def test_each_code_in_the_source_has_exactly_one_section_and_each_section_a_code_in_the_source() -> None:
    counted = Counter(section.code for section in sections())
    assert {code for code, count in counted.items() if count > 1} == set()
    assert set(counted) == codes_in_the_source()


def test_each_section_says_what_it_means_how_to_see_it_and_what_cures_it_in_this_order() -> None:
    lacking = [section.code for section in sections() if not PARTS.fullmatch(section.text)]
    assert lacking == []


def test_each_section_is_in_a_chapter_and_names_no_code_that_there_is_not() -> None:
    codes = {section.code for section in sections()}
    assert all(section.chapter for section in sections())
    named = {code for section in sections() for code in re.findall(r"DL-[A-Z0-9-]+[A-Z0-9]", section.text)}
    assert named - codes == set()


def test_no_line_is_longer_than_120_characters_and_no_command_goes_by_sudo_devlink() -> None:
    text = (ROOM / "findings.md").read_text()
    assert [line for line in text.splitlines() if len(line) > 120] == []
    assert "sudo devlink" not in text


def test_the_reference_is_a_file_of_the_package_so_that_every_installation_has_it() -> None:
    assert (ROOM / "findings.md").is_file()
