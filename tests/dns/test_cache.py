"""The table of answers by itself: its bounds, its second chances, its exact accounts."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devlink.dns import replies
from devlink.dns.cache import EVICTED_AT_ONCE, HOT, OVERHEAD, Cache, Key
from devlink.dns.replies import Digest
from devlink.dns.wire import Query, parse_query
from tests.dns.moved_engine import query, respond


def key_of(qname: str, do: bool = False) -> Key:
    packet = query(qname)
    parsed = parse_query(packet)
    assert isinstance(parsed, Query)
    key = parsed.key
    return (key, "do") if do else key


def digest_of(qname: str, *, ttl: int = 300, records: int = 1) -> Digest:
    asked = query(qname)
    return replies.digest(respond(asked, *(f"@ {ttl} A 192.0.2.{i}" for i in range(records))), len(asked))


def size_of(cache: Cache) -> int:
    """What the cache says of itself, counted anew."""
    octets = (key if isinstance(key, bytes) else key[0] for key in cache.table)
    return sum(map(len, octets)) + sum(len(entry.wire) + OVERHEAD for entry in cache.table.values())


def test_what_is_put_is_found_and_ages() -> None:
    cache = Cache(1 << 20)
    cache.put(key_of("a.example"), digest_of("a.example"), ".", 1000)
    entry = cache.find(key_of("a.example"))
    assert entry is not None
    assert cache.find(key_of("a.example", True)) is None
    before = entry.wire
    assert cache.age(entry, 1000)
    assert entry.wire == before
    assert cache.age(entry, 1299)
    assert entry.wire == replies.aged(before, entry.ttl_offsets, 299)
    assert entry.tick == 1299
    assert not cache.age(entry, 1300)
    assert entry.tick == 1299, "left as it is, for stale answers"


def test_a_hot_name_is_prefetched_in_the_last_tenth_but_at_least_the_last_second() -> None:
    cache = Cache(1 << 20)
    for ttl, early in ((1, 1), (5, 1), (19, 1), (20, 2), (300, 30), (86400, 8640)):
        cache.put(key_of("a.example"), digest_of("a.example", ttl=ttl), ".", 1000)
        entry = cache.find(key_of("a.example"))
        assert entry is not None
        assert (entry.ends - entry.prefetch_at, entry.ends) == (early, 1000 + ttl)


@pytest.mark.slow
@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "put", "variant", "hit", "clear"]),
            st.integers(0, 9),
            st.booleans(),
            st.sampled_from([1, 3, 60]),
        ),
        max_size=60,
    ),
    st.sampled_from([0, 300, 2000, 6000, 1 << 20]),
)
def test_its_account_of_bytes_and_hits_is_exact_whatever_happens(
    actions: list[tuple[str, int, bool, int]], limit: int
) -> None:
    cache, hits = Cache(limit), 0
    for action, number, do, records in actions:
        qname = f"n{number}.example"
        entry = cache.find(key_of(qname, do))
        if action == "put":
            cache.put(key_of(qname, do), digest_of(qname, records=records), ".", 1000)
        elif action == "clear":
            count = len(cache.table)
            assert cache.clear() == count
        elif entry is not None and action == "hit":
            entry.hits += 1
            hits += 1
        elif entry is not None:
            packet = query(qname, payload=4096, do=do)
            parsed = parse_query(packet)
            assert isinstance(parsed, Query)
            cache.put_variant(packet, replies.answer_of(entry.wire, packet, parsed), entry)
            assert limit < 1000 or packet[2:] in cache.table or cache.size <= limit
        assert cache.size == size_of(cache)
        assert cache.size <= limit
        assert sum(cache.hits().values()) == hits


def test_when_room_is_needed_the_oldest_go_and_what_is_hot_gets_one_more_round() -> None:
    cache = Cache(300 * 300)
    names = [f"n{number:04}.example" for number in range(700)]
    hot = set(random.Random(1).sample(names[:150], 20))
    for qname in names[:200]:
        cache.put(key_of(qname), digest_of(qname), ".", 1000)
    for qname in hot:
        entry = cache.find(key_of(qname))
        assert entry is not None
        entry.hits = HOT
    added = 200
    while cache.find(key_of(names[EVICTED_AT_ONCE - 1])) or not added:
        cache.put(key_of(names[added]), digest_of(names[added]), ".", 1000)
        added += 1
    first = names[:EVICTED_AT_ONCE]
    spared = [qname for qname in first if cache.find(key_of(qname))]
    assert set(spared) == hot & set(first)
    assert {entry.hits for qname in spared for entry in [cache.find(key_of(qname))] if entry is not None} == {0}
    assert sum(cache.hits().values()) == HOT * len(hot), "and no hit is forgotten"
    for qname in names[added:]:
        cache.put(key_of(qname), digest_of(qname), ".", 1000)
    assert not any(cache.find(key_of(qname)) for qname in first)
    assert cache.find(key_of(names[-1])) is not None


def test_an_entry_that_is_larger_than_all_room_leaves_an_empty_table() -> None:
    cache = Cache(100)
    cache.put(key_of("a.example"), digest_of("a.example"), ".", 1000)
    assert (len(cache.table), cache.size) == (0, 0)


def test_equal_shapes_are_kept_once_and_not_without_bound() -> None:
    cache = Cache(1 << 20)
    for number in range(50):
        cache.put(key_of(f"n{number:02}.example"), digest_of(f"n{number:02}.example"), ".", 1000)
    assert len({id(entry.ttl_offsets) for entry in cache.table.values()}) == 1


def test_hits_are_told_by_zone() -> None:
    cache = Cache(1 << 20)
    for number, zone in enumerate((".", "cluster.local", "cluster.local")):
        qname = f"n{number}.example"
        cache.put(key_of(qname), digest_of(qname), zone, 1000)
        entry = cache.find(key_of(qname))
        assert entry is not None
        entry.hits += number + 1
    assert cache.hits() == {".": 1, "cluster.local": 5}
    cache.put(key_of("n1.example"), digest_of("n1.example"), "cluster.local", 1000)
    assert cache.hits() == {".": 1, "cluster.local": 5}, "a new answer in its place starts with none of its own"
