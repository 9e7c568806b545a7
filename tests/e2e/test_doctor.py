"""`devlink doctor`, as people and scripts meet it: silent where all is well, whatever is up."""

import pytest

from tests.e2e.doctor import assert_silent, examine
from tests.e2e.link import PROFILE, Link

pytestmark = pytest.mark.lab


def test_it_is_silent_where_all_is_well_up_and_down(link: Link) -> None:
    assert_silent(link, PROFILE)
    link.up()
    assert_silent(link)
    link.down()


def test_without_a_profile_it_looks_at_the_laptop_all_the_same(link: Link) -> None:
    assert examine(link)["profiles"] == []


def test_its_text_fits_80_columns_and_has_no_colour_where_it_is_piped(link: Link) -> None:
    link.up()
    done = link.devlink("doctor")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
