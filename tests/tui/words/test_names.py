"""What is told of names."""

import shlex

import pytest
from dnslib import QTYPE, RCODE
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.codec import decode
from devlink.tui.records import DnsStats, Query
from devlink.tui.words import names
from devlink.tui.words.names import Filter, sparkline
from devlink.tui.words.rates import DnsRates
from tests.tui.scripted import dns_stats, query


def counted(*trees: dict[str, object]) -> tuple[DnsRates, DnsStats]:
    """The rates after these, a second apart, and the last one."""
    rates, stats = DnsRates(), None
    for second, tree in enumerate(trees):
        stats = decode(DnsStats, tree["stats"])
        rates.add(float(second), stats)
    assert stats is not None
    return rates, stats


def test_names_are_well_where_nothing_is_wrong() -> None:
    told = names.verdict(*counted(dns_stats(100), dns_stats(112)), "")
    assert told == ("ok", "names are well: 12/s, 75 % kept, p50/p99 0.9/60 ms", "")


def test_that_names_are_well_is_one_line_of_a_panel_in_sixty_columns() -> None:
    told = names.verdict(*counted(dns_stats(100), dns_stats(1099)), "")
    assert told.text.startswith("names are well: 999/s")
    assert len(f"✓ {told.text}") <= 56


def test_a_forwarder_whom_nobody_asks_is_well() -> None:
    assert names.verdict(*counted(dns_stats(100), dns_stats(100)), "").text == "names are well: nobody asks"


def test_why_there_are_no_counts_is_said() -> None:
    rates, _ = counted(dns_stats(100))
    assert names.verdict(rates, None, "The helper went away.") == (
        "warning", "no names are answered: The helper went away.", "",
    )  # fmt: skip
    assert names.verdict(DnsRates(), None, "Nothing is up.").tone == "off"


def test_a_zone_all_of_whose_servers_are_silent_is_an_error_that_names_them() -> None:
    tree = dns_stats(100)
    tree["stats"]["servers"][0] |= {"state": "silent", "reason": "no route to host"}
    told = names.verdict(*counted(tree), "")
    assert told.tone == "error"
    assert told.text == "cluster.local: no server answers: 10.96.0.10 silent (no route to host)"


def test_a_silent_server_beside_one_that_answers_is_a_warning() -> None:
    tree = dns_stats(100)
    for server in tree["stats"]["servers"]:
        server["zones"] = ["cluster.local"]
    tree["stats"]["servers"][1]["state"] = "silent"
    told = names.verdict(*counted(tree), "")
    assert told[:2] == ("warning", "192.168.1.1 silent; others answer")


def test_a_zone_that_fails_is_named_with_how_many() -> None:
    before, after = dns_stats(100), dns_stats(200)
    after["stats"]["zones"][0]["failed"] = 20
    told = names.verdict(*counted(before, after), "")
    assert told[:2] == ("error", "cluster.local: 20 of 50 failed in the last minute")
    assert names.rows(*counted(before, after))[0].word == "fails"


def test_two_failures_of_fifty_are_no_trouble() -> None:
    before, after = dns_stats(100), dns_stats(200)
    after["stats"]["zones"][0]["failed"] = 2
    assert names.verdict(*counted(before, after), "").tone == "ok"


def test_questions_that_were_not_taken_are_a_warning() -> None:
    told = names.verdict(*counted(dns_stats(100), dns_stats(200, dropped=3, overloads=4)), "")
    assert told[:2] == ("warning", "too many at once: 7 not taken in the last minute")


def test_reverse_zones_that_nobody_asked_for_are_left_out() -> None:
    tree = dns_stats(100)
    empty = dict.fromkeys(("queries", "cached", "stale", "local", "failed"), 0)
    tree["stats"]["zones"] += [{**empty, "suffix": "20.10.in-addr.arpa"}, {**empty, "suffix": "corp.example"}]
    assert [line.name for line in names.rows(*counted(tree))] == [
        "cluster.local", "ordinary names", "corp.example", "10.96.0.10", "192.168.1.1",
    ]  # fmt: skip


def test_each_state_of_a_server_has_a_sign_and_a_word_of_its_own() -> None:
    seen = set()
    for state in ("ok", "silent", "tcp", "unasked"):
        tree = dns_stats(100)
        tree["stats"]["servers"][0]["state"] = state
        line = names.rows(*counted(tree))[2]
        seen.add((line.tone, line.word))
    assert len({tone for tone, _ in seen}) == len({word for _, word in seen}) == 4


@pytest.mark.parametrize(
    ("history", "drawn"),
    [
        ([], "    "),
        ([0, 0], "  ▁▁"),
        ([8, 4, 0, None], "█▄▁ "),
        ([1, 1, 1, 1, 1], "████"),
        ([1000, 1], "  █▂"),
    ],
)
def test_a_sparkline_goes_from_zero_to_the_most_that_is_seen(history: list[float | None], drawn: str) -> None:
    assert sparkline(history, 4) == [drawn]


@given(st.lists(st.none() | st.floats(0, 1e9), max_size=20), st.integers(0, 25), st.integers(1, 4))
def test_a_sparkline_is_as_large_as_it_is_wanted(history: list[float | None], width: int, height: int) -> None:
    lines = sparkline(history, width, height)
    assert [len(line) for line in lines] == [width] * height


def test_two_lines_of_a_sparkline_stand_on_each_other() -> None:
    assert sparkline([16, 8, 4], 3, 2) == ["█  ", "██▄"]


def record(**changes: object) -> Query:
    return Query(**query(**changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("web", True), ("WEB.Default", True), ("aaaa", True), ("nxdomain", True), ("10.96", True), ("upstream", True),
        ("corp", False), ("web 10.96", True), ("web corp", False), ("!web", False), ("!corp", True),
        ("web !aaaa", False), ("!", True), ("", True),
    ],
)  # fmt: skip
def test_a_filter_looks_at_all_that_a_line_says(text: str, fits: bool) -> None:
    assert Filter(text).fits(record(qtype=28, rcode=3)) is fits


def test_a_filter_of_nothing_is_none() -> None:
    assert not Filter(" ! ")
    assert Filter("!web")


def test_types_and_rcodes_have_the_names_that_a_dns_library_has() -> None:
    for number, name in names.QTYPES.items():
        assert QTYPE.forward[number] == name
    for number, name in names.RCODES.items():
        assert number == 16 or RCODE.forward[number] == name
    assert names.qtype_name(65280) == "TYPE65280"
    assert names.rcode_name(99) == "RCODE99"


@given(st.text("a.-é'\"$`;|&\\ \n\x1b", min_size=1))
def test_a_copied_command_is_three_words_and_the_name_whatever_was_asked_for(name: str) -> None:
    words = shlex.split(names.command(record(name=name)))
    assert words[:3] == ["devlink", "dns", "query"]
    assert words[4:] == ["A"]
    assert names.command(record(name=name)).isprintable()


def test_a_name_that_is_not_there_is_no_failure() -> None:
    tones = [names.tone_of(record(**each)) for each in ({}, {"rcode": 3}, {"rcode": 2}, {"source": "stale"})]
    assert tones == ["ok", "info", "error", "warning"]
    assert names.tone_of(record(source="failed")) == "error"


def test_the_details_of_a_question_leave_out_nothing() -> None:
    text = "\n".join(names.details(record(rcode=2, reason="the server\x1b said so"), "12:00:00.250"))
    for part in (
        "web.default.svc.cluster.local A",
        "12:00:00.250",
        "SERVFAIL",
        "0.9 ms",
        "10.96.0.10",
        "cluster.local",
    ):
        assert part in text
    assert "the server? said so" in text
