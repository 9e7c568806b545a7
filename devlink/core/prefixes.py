"""IP prefixes as sets of addresses: what covers what, what overlaps, what is left."""

import ipaddress
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
T = TypeVar("T")
ALL_ONES = (1 << 128) - 1
MAX_LENGTH = {4: 32, 6: 128}


def host_prefix(address: IPAddress) -> IPNetwork:
    """The /32 or /128 of one address; a zone (RFC 4007) is no part of it."""
    return ipaddress.ip_network((int(address), address.max_prefixlen))


def key_of(prefix: IPNetwork) -> tuple[int, int, int]:
    """Version, first address and length: what hashes and sorts ten times as fast as ipaddress's own objects."""
    return prefix.version, int(prefix.network_address), prefix.prefixlen


def is_within(inner: IPNetwork, outer: IPNetwork) -> bool:
    """Whether every address of `inner` is in `outer`."""
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)


def overlap(a: IPNetwork, b: IPNetwork) -> bool:
    """Whether the two share an address; never across families."""
    return is_within(a, b) or is_within(b, a)


def collapse(prefixes: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """The fewest prefixes that hold the same addresses, IPv4 first, in order."""
    given = {key_of(prefix): prefix for prefix in prefixes}
    kept: list[tuple[int, int, int]] = []
    end = (0, 0)
    for version, first, length in sorted(given):
        bits = MAX_LENGTH[version]
        last = (version, first + (1 << (bits - length)) - 1)
        if last <= end:
            continue  # within the one before: of two that overlap, one holds the other
        end = last
        # Two halves make a whole, and that one may be the second half of another.
        while kept and kept[-1] == (version, first ^ (half := 1 << (bits - length)), length) and first & half:
            first, length = kept.pop()[1], length - 1
        kept.append((version, first, length))
    return tuple(given[key] if key in given else _network(*key) for key in kept)


def _network(version: int, first: int, length: int) -> IPNetwork:
    return ipaddress.IPv4Network((first, length)) if version == 4 else ipaddress.IPv6Network((first, length))


def outermost(prefixes: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """Those that no other one of them holds, in order: unlike `collapse`, neighbours stay apart."""
    given = {key_of(prefix): prefix for prefix in prefixes}
    kept = []
    end = (0, 0)
    for key in sorted(given):
        version, _, last = span(given[key])
        if (version, last) > end:
            end = (version, last)
            kept.append(given[key])
    return tuple(kept)


def subtract(prefixes: Iterable[IPNetwork], holes: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """What is left of each prefix, in its place, without the addresses of `holes`; the fewest that hold it."""
    remainder = Remainder(holes)
    return tuple(part for prefix in prefixes for part in remainder.of(prefix))


def covered(prefix: IPNetwork, by: Iterable[IPNetwork]) -> bool:
    """Whether every address of `prefix` is in some prefix of `by`, alone or together."""
    return any(is_within(prefix, outer) for outer in collapse(by))


def contains(prefixes: Iterable[IPNetwork], address: IPAddress) -> bool:
    """Whether some prefix holds `address`."""
    return any(address in prefix for prefix in prefixes)


def span(prefix: IPNetwork) -> tuple[int, int, int]:
    """Version, first and last address: ipaddress's own comparisons cost ten times as much, and there may be 20,000."""
    first = int(prefix.network_address)
    return prefix.version, first, first + (1 << (prefix.max_prefixlen - prefix.prefixlen)) - 1


class Cover:
    """Which of some prefixes holds a given one; a look-up takes the logarithm of their number."""

    def __init__(self, prefixes: Iterable[IPNetwork]) -> None:
        self._prefixes = collapse(prefixes)
        self._spans = [span(prefix) for prefix in self._prefixes]

    def find(self, prefix: IPNetwork) -> IPNetwork | None:
        """The prefix that holds all of `prefix`; neighbours count as the one prefix that they make together."""
        return self._find(*span(prefix))

    def find_address(self, address: IPAddress) -> IPNetwork | None:
        """The prefix that holds `address`."""
        return self._find(address.version, int(address), int(address))

    def _find(self, version: int, first: int, last: int) -> IPNetwork | None:
        index = bisect_right(self._spans, (version, first, ALL_ONES)) - 1
        if index < 0:
            return None
        outer_version, _, outer_last = self._spans[index]
        return self._prefixes[index] if outer_version == version and last <= outer_last else None


class Remainder:
    """What is left of prefixes without the addresses of some holes."""

    def __init__(self, holes: Iterable[IPNetwork]) -> None:
        cut = collapse(holes)
        self._cover = Cover(cut)
        self._starts = [span(hole)[:2] for hole in cut]

    def of(self, prefix: IPNetwork) -> Iterator[IPNetwork]:
        """The parts of `prefix` outside all holes: the fewest prefixes, in order."""
        if self._cover.find(prefix) is not None:
            return
        version, first, last = span(prefix)
        index = bisect_left(self._starts, (version, first))
        if index == len(self._starts) or self._starts[index] > (version, last):
            yield prefix
            return
        for half in prefix.subnets():
            yield from self.of(half)


class PrefixTable(Generic[T]):
    """A value for each of some prefixes, which may nest; a look-up takes as many steps as there are prefix lengths."""

    def __init__(self, items: Iterable[tuple[IPNetwork, T]]) -> None:
        """Of values for the same prefix the first one stays."""
        by_length: dict[tuple[int, int], dict[int, T]] = {}
        for prefix, value in items:
            version, length = prefix.version, prefix.prefixlen
            numbers = by_length.get((version, length))
            if numbers is None:
                numbers = by_length[version, length] = {}
            numbers.setdefault(int(prefix.network_address) >> (MAX_LENGTH[version] - length), value)
        self._lengths = {
            version: [(length, numbers) for (v, length), numbers in sorted(by_length.items(), reverse=True, key=_length)
                      if v == version]
            for version in (4, 6)
        }  # fmt: skip

    def around(self, prefix: IPNetwork) -> Iterator[T]:
        """The values of the prefixes that hold all of `prefix`, itself among them; the narrowest first."""
        number, bits = int(prefix.network_address), prefix.max_prefixlen
        for length, numbers in self._lengths[prefix.version]:
            if length <= prefix.prefixlen and (key := number >> (bits - length)) in numbers:
                yield numbers[key]

    def holding(self, prefix: IPNetwork, *, strictly: bool = False) -> T | None:
        """The value of the narrowest prefix that holds all of `prefix`; itself is none if `strictly`."""
        number, version, most = int(prefix.network_address), prefix.version, prefix.prefixlen - strictly
        bits = MAX_LENGTH[version]
        for length, numbers in self._lengths[version]:
            if length <= most and (key := number >> (bits - length)) in numbers:
                return numbers[key]
        return None

    def exact(self, prefix: IPNetwork) -> T | None:
        """The value of this very prefix."""
        number = int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen)
        return next(
            (numbers.get(number) for n, numbers in self._lengths[prefix.version] if n == prefix.prefixlen), None
        )

    def longest(self, address: IPAddress) -> T | None:
        """The value of the narrowest prefix that holds `address`."""
        number, bits = int(address), address.max_prefixlen
        for length, numbers in self._lengths[address.version]:
            if (key := number >> (bits - length)) in numbers:
                return numbers[key]
        return None


def _length(item: tuple[tuple[int, int], object]) -> tuple[int, int]:
    return item[0]
