"""Percentiles and the log's bounds."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.dns.counts import LOG_RECORDS, SAMPLES, Counts, RecentQueries, Record, ZoneCounts, percentile


def record(number: int) -> Record:
    return Record(float(number), b"\1a\0", 1, ".", "upstream", None, 0, 0.001)


def test_the_log_keeps_the_last_records_and_counts_the_lost_ones() -> None:
    log = RecentQueries()
    for number in range(LOG_RECORDS + 7):
        log.note(record(number))
    records, lost = log.take()
    assert [each.at for each in records] == [float(number) for number in range(7, LOG_RECORDS + 7)]
    assert lost == 7
    assert log.take() == ([], 0)
    log.note(record(1))
    assert log.take() == ([record(1)], 0)


def test_exactly_as_many_as_there_is_room_for_lose_none() -> None:
    log = RecentQueries()
    for number in range(LOG_RECORDS):
        log.note(record(number))
    assert log.take()[1] == 0


def test_nothing_measured_has_no_percentile() -> None:
    assert percentile(deque(), 0.5) is None


@given(st.lists(st.floats(0, 10), min_size=1, max_size=300), st.sampled_from([0.5, 0.99]))
def test_a_percentile_is_a_measured_value_that_its_share_does_not_exceed(seconds: list[float], share: float) -> None:
    found = percentile(deque(seconds), share)
    assert found is not None
    assert found in [round(1000 * each, 3) for each in seconds]
    below = sum(round(1000 * each, 3) <= found for each in seconds)
    above = sum(round(1000 * each, 3) >= found for each in seconds)
    assert below >= share * len(seconds) - 1e-9
    assert above >= (1 - share) * len(seconds) - 1e-9


def test_percentiles_are_in_milliseconds() -> None:
    latencies = deque(number / 1000 for number in range(1, 101))
    assert percentile(latencies, 0.5) == pytest.approx(50, abs=1)
    assert percentile(latencies, 0.99) == pytest.approx(100, abs=1)


def test_zones_are_counted_apart_and_samples_are_bounded() -> None:
    counts = Counts()
    assert counts.zone("a") is counts.zone("a")
    assert counts.zone("a") is not counts.zone("b")
    zone = ZoneCounts()
    zone.latencies.extend(range(10 * SAMPLES))
    assert len(zone.latencies) == SAMPLES
    assert all(getattr(counts, name) == 0 for name in counts.__slots__ if name != "zones")
