"""The version stands in one place, and the changelog tells of it."""

import re
import tomllib
from pathlib import Path

from devlink import __version__

ROOT = Path(__file__).parents[1]


def test_the_version_that_is_built_is_the_one_that_the_program_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"] == {"path": "devlink/__init__.py"}
    assert (ROOT / "devlink" / "__init__.py").read_text("utf-8").count(f'__version__ = "{__version__}"') == 1


def test_the_changelog_begins_with_this_version_and_the_older_ones_follow() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    told = [re.fullmatch(r"(\d+\.\d+\.\d+)( \(unreleased\)| - \d{4}-\d\d-\d\d)", heading) for heading in headings]
    versions = [match[1] for match in told if match is not None]
    assert len(versions) == len(headings), f"a heading is VERSION (unreleased), or VERSION - DATE: {headings}"
    assert versions[0] == __version__
    order = [tuple(map(int, version.split("."))) for version in versions]
    assert order == sorted(set(order), reverse=True)
