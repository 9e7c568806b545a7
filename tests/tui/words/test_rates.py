"""Rates from counts."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.codec import decode
from devlink.tui.records import DnsStats
from devlink.tui.words.rates import GAP, KEPT, MINUTE, DnsRates
from tests.tui.scripted import dns_stats


def counts(queries: int, **changes: object) -> DnsStats:
    return decode(DnsStats, dns_stats(queries, **changes)["stats"])


def rates_of(*queries: int, step: float = 1.0) -> DnsRates:
    """Counts that many seconds apart."""
    rates = DnsRates()
    for number, each in enumerate(queries):
        rates.add(number * step, counts(each))
    return rates


def test_a_rate_is_what_was_counted_by_the_seconds_between() -> None:
    assert list(rates_of(100, 112, 136, step=2.0).total.history) == [6.0, 12.0]


def test_zones_and_servers_have_rates_of_their_own() -> None:
    rates = rates_of(800, 880)
    assert rates.zones["cluster.local"].per_second == 40
    assert rates.servers["10.96.0.10"].per_second == 10


def test_one_count_says_nothing_of_a_rate() -> None:
    assert rates_of(100).total.per_second is None


def test_the_hit_rate_is_of_the_last_minute_alone() -> None:
    rates = DnsRates()
    rates.add(0, counts(0, cached=0))
    rates.add(1, counts(100, cached=0))
    for second in range(2, 63):
        rates.add(second, counts(100 + second, cached=second))
    assert rates.total.recent(62).hit_rate == 1.0
    assert rates.total.recent(62).asked == MINUTE
    assert rates.total.recent(1000).hit_rate is None


def test_stale_answers_are_hits() -> None:
    rates = DnsRates()
    rates.add(0, counts(0, cached=0))
    rates.add(1, counts(10, cached=4, stale=5))
    assert rates.total.recent(1).hit_rate == 0.9


def test_a_forwarder_that_was_started_anew_is_a_gap_and_no_negative_peak() -> None:
    rates = rates_of(1000, 1010, 5, 15)
    assert list(rates.total.history) == [10, None, 10]
    assert list(rates.zones["cluster.local"].history)[1] is None


def test_a_zone_whose_counts_alone_fall_begins_anew() -> None:
    rates = rates_of(1000, 1010)
    fewer = dns_stats(1020)["stats"]
    fewer["zones"][0] |= {"queries": 1, "cached": 0}
    rates.add(2, decode(DnsStats, fewer))
    assert rates.zones["cluster.local"].history[-1] is None
    assert rates.total.history[-1] == 10


def test_a_laptop_that_slept_has_a_gap_as_long_as_its_sleep() -> None:
    rates = rates_of(100, 110)
    rates.add(1 + 3 * GAP, counts(5000))
    assert list(rates.total.history) == [10, *[None] * round(3 * GAP)]
    rates.add(2 + 3 * GAP, counts(5007))
    assert rates.total.per_second == 7


def test_counts_that_come_at_once_make_no_peak() -> None:
    rates = rates_of(100, 110)
    rates.add(1.01, counts(120))
    rates.add(2, counts(121))
    assert list(rates.total.history) == [10, 11]


def test_a_zone_that_is_gone_is_forgotten() -> None:
    rates = rates_of(100, 110)
    rates.add(2, counts(120, zones=[]))
    assert rates.zones == {}


def test_the_latency_is_of_the_zone_in_the_midst_and_the_slowest() -> None:
    def told(near: int, far: int) -> DnsStats:
        tree = dns_stats(100)["stats"]
        tree["zones"][0]["queries"], tree["zones"][1]["queries"] = near, far
        return decode(DnsStats, tree)

    rates = DnsRates()
    rates.add(0, told(0, 0))
    rates.add(1, told(90, 10))
    assert rates.latency(told(90, 10)) == (0.9, 60.0)
    rates.add(2, told(90, 500))
    assert rates.latency(told(90, 500)) == (12.0, 60.0)
    assert rates.latency(counts(1, zones=[])) == (None, None)


@given(st.lists(st.tuples(st.floats(0.6, 4.9), st.integers(0, 10**6)), min_size=1, max_size=8))
def test_the_rates_sum_up_to_what_was_counted(steps: Sequence[tuple[float, int]]) -> None:
    rates, at, count = DnsRates(), 0.0, 0
    rates.add(at, counts(count))
    times = []
    for seconds, asked in steps:
        before, at, count = at, at + seconds, count + asked
        rates.add(at, counts(count))
        times.append(at - before)
    history = [value or 0.0 for value in rates.total.history]
    assert sum(map(float.__mul__, history, times)) == pytest.approx(count)


@given(st.lists(st.tuples(st.floats(0, 200), st.integers(0, 10**6)), max_size=8))
def test_no_rate_is_ever_negative(told: Sequence[tuple[float, int]]) -> None:
    rates, at = DnsRates(), 0.0
    for seconds, count in told:
        at += seconds
        rates.add(at, counts(count))
    tracks = [rates.total, rates.dropped, *rates.zones.values(), *rates.servers.values()]
    for track in tracks:
        assert all(value is None or value >= 0 for value in track.history)
        assert len(track.history) <= KEPT
        recent = track.recent(at)
        assert min(recent.asked, recent.kept, recent.failed) >= 0
