"""What of a stranger's words ends up on a terminal."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.text import duration, host_and_port, listed, printable, printable_lines


@given(text=st.text())
def test_what_is_printable_is_one_line_that_does_nothing_to_a_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) == len(text)
    assert all(was in (character, "?") or not was.isprintable() for was, character in zip(text, shown, strict=True))


def test_what_people_write_stays_and_what_a_terminal_obeys_does_not() -> None:
    assert printable("naïve 名前 \x1b[2J\x9b\u202e\n") == "naïve 名前 ?[2J???"


def test_of_several_lines_only_the_ends_stay_as_they_are() -> None:
    assert printable_lines("a \x1b[2J\r\nb\u2028c\n") == "a ?[2J?\nb?c\n"


def test_a_list_for_people_is_short_and_harmless_on_a_terminal() -> None:
    assert listed(["a", "a", "b\x1b[2J", "\u202ec"]) == "a, b?[2J, ?c"
    assert listed(range(9)) == "0, 1, 2, 3, 4, 5 and 3 more"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h 0 min"), (7500, "2 h 5 min"),
        (86399, "23 h 59 min"), (86400, "1 d"), (4 * 86400 + 5, "4 d"),
    ],
)  # fmt: skip
def test_a_span_reads_as_people_say_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_ipv6_address_has_brackets_before_its_port() -> None:
    places = [host_and_port(host, 443) for host in ("api.example", ip_address("10.0.0.1"), ip_address("fd00::1"))]
    assert places == ["api.example:443", "10.0.0.1:443", "[fd00::1]:443"]
