"""Prefix arithmetic against sets of addresses in a space small enough to enumerate."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from devlink.core.prefixes import (
    Cover,
    IPNetwork,
    PrefixTable,
    collapse,
    contains,
    covered,
    host_prefix,
    is_within,
    outermost,
    overlap,
    subtract,
)

BASE = int(ipaddress.ip_address("10.0.0.0"))
SMALL = st.builds(
    lambda number, length: ipaddress.IPv4Network((BASE + number, length), strict=False),
    st.integers(0, 63),
    st.integers(26, 32),
)


def addresses(*prefixes: IPNetwork) -> set[int]:
    return {int(prefix.network_address) + i for prefix in prefixes for i in range(prefix.num_addresses)}


@given(SMALL, SMALL)
def test_within_and_overlap_are_what_the_addresses_say(a: IPNetwork, b: IPNetwork) -> None:
    assert is_within(a, b) == (addresses(a) <= addresses(b))
    assert overlap(a, b) == bool(addresses(a) & addresses(b))


@given(st.lists(SMALL, max_size=6), SMALL)
def test_collapse_keeps_the_addresses_and_covered_counts_neighbours_together(
    prefixes: list[IPNetwork], prefix: IPNetwork
) -> None:
    collapsed = collapse(prefixes)
    assert addresses(*collapsed) == addresses(*prefixes)
    assert len(collapsed) <= len(set(prefixes))
    assert covered(prefix, prefixes) == (addresses(prefix) <= addresses(*prefixes))


@given(st.lists(SMALL, max_size=12))
def test_collapse_agrees_with_the_standard_library(prefixes: list[IPNetwork]) -> None:
    assert list(collapse(prefixes)) == list(ipaddress.collapse_addresses(prefixes))  # type: ignore[type-var]  # all v4


@given(st.lists(SMALL, max_size=6), st.lists(SMALL, max_size=6))
def test_what_is_left_of_each_prefix_is_its_addresses_without_the_holes(
    prefixes: list[IPNetwork], holes: list[IPNetwork]
) -> None:
    assert addresses(*subtract(prefixes, holes)) == addresses(*prefixes) - addresses(*holes)
    for prefix in prefixes:
        left = subtract([prefix], holes)
        assert list(left) == list(collapse(left))
    apart = [hole for hole in holes if not any(overlap(hole, prefix) for prefix in prefixes)]
    assert subtract(prefixes, apart) == tuple(prefixes)


@given(st.lists(SMALL, max_size=6))
def test_the_outermost_prefixes_are_those_that_no_other_holds(prefixes: list[IPNetwork]) -> None:
    expected = {p for p in prefixes if not any(is_within(p, other) and p != other for other in prefixes)}
    found = outermost(prefixes)
    assert set(found) == expected
    assert len(found) == len(expected)


@given(st.lists(SMALL, max_size=6), SMALL)
def test_a_table_finds_a_prefix_itself_and_nothing_around_it(prefixes: list[IPNetwork], prefix: IPNetwork) -> None:
    table = PrefixTable((each, each) for each in prefixes)
    assert table.exact(prefix) == (prefix if prefix in prefixes else None)


@given(st.lists(SMALL, max_size=6), st.integers(0, 63))
def test_contains_asks_every_prefix(prefixes: list[IPNetwork], number: int) -> None:
    assert contains(prefixes, ipaddress.ip_address(BASE + number)) == (BASE + number in addresses(*prefixes))


def test_the_families_never_meet() -> None:
    everything4, everything6 = ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")
    assert not overlap(everything4, everything6)
    assert not is_within(everything4, everything6)
    assert collapse([everything6, everything4]) == (everything4, everything6)
    assert not contains([everything6], ipaddress.ip_address("10.0.0.1"))


def test_one_address_is_a_prefix_of_its_own() -> None:
    assert str(host_prefix(ipaddress.ip_address("10.0.0.1"))) == "10.0.0.1/32"
    assert str(host_prefix(ipaddress.ip_address("fd00::1"))) == "fd00::1/128"
    assert str(host_prefix(ipaddress.ip_address("::1"))) == "::1/128"
    assert host_prefix(ipaddress.ip_address("fe80::1%eth0")) == ipaddress.ip_network("fe80::1/128")


@given(st.lists(SMALL, max_size=6), SMALL, st.integers(0, 63))
def test_a_cover_holds_what_its_prefixes_hold_together(
    prefixes: list[IPNetwork], prefix: IPNetwork, number: int
) -> None:
    cover, address = Cover(prefixes), ipaddress.ip_address(BASE + number)
    assert (cover.find(prefix) is not None) == covered(prefix, prefixes)
    assert (cover.find_address(address) is not None) == contains(prefixes, address)
    assert (found := cover.find(prefix)) is None or is_within(prefix, found)


@given(st.lists(SMALL, max_size=12), SMALL, st.integers(0, 63))
def test_a_table_finds_the_narrowest_prefix_and_all_around_it(
    prefixes: list[IPNetwork], prefix: IPNetwork, number: int
) -> None:
    table, address = PrefixTable((p, p) for p in prefixes), ipaddress.ip_address(BASE + number)
    holding = sorted({p for p in prefixes if address in p}, key=lambda p: -p.prefixlen)
    assert table.longest(address) == (holding[0] if holding else None)
    assert list(table.around(prefix)) == sorted(
        {p for p in prefixes if is_within(prefix, p)}, key=lambda p: -p.prefixlen
    )


def test_a_table_keeps_the_families_apart_and_the_first_of_equal_prefixes() -> None:
    v4, v6 = ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")
    table = PrefixTable([(v4, "first"), (v4, "second"), (v6, "six")])
    assert table.longest(ipaddress.ip_address("10.0.0.1")) == "first"
    assert table.longest(ipaddress.ip_address("fd00::1")) == "six"
    assert list(table.around(ipaddress.ip_network("10.0.0.0/8"))) == ["first"]
    assert PrefixTable[str]([]).longest(ipaddress.ip_address("10.0.0.1")) is None
