"""Which routes a text means: the ones that hold it, or that an address or prefix is of. PURE, and without Textual."""

import ipaddress
from collections import Counter
from collections.abc import Sequence

from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.tui.records import RouteRow

FIRST = {"missing": 0, "taken": 1}
"""States that somebody has to do something about."""
Extent = tuple[int, int, int]
"""IP version, first and last address."""


class Sieve:
    """Rows, and what is known of them: found out when it is first asked for, because most tables are never sifted."""

    def __init__(self, rows: Sequence[RouteRow] = ()) -> None:
        self.rows: Sequence[RouteRow] = sorted(rows, key=lambda row: FIRST.get(row.state, 2))
        """What is missing or taken first, the others as they came."""
        self._texts: list[str] | None = None
        self._extents: list[Extent] | None = None

    def count(self) -> str:
        """How many of them there are of each kind, in words."""
        kinds = Counter(_kind(row) for row in self.rows)
        words = {"ours": "ours", "others": "of others", "missing": "missing", "taken": "taken"}
        return ", ".join(f"{kinds[kind]:,} {word}" for kind, word in words.items() if kinds[kind])

    def sift(self, text: str) -> Sequence[RouteRow]:
        """What the text means.

        An address: the routes that cover it, the longest prefix first, and those by way of it. A prefix: the routes
        that share an address with it. Anything else: the rows in which each of its words stands.
        """
        if not text:
            return self.rows
        network = network_of(text)
        if network is None:
            return self._with_words(text.casefold().split())
        wanted = (network.version, int(network.network_address), int(network.broadcast_address))
        found = [
            (row, extent)
            for row, extent in zip(self.rows, self._all_extents(), strict=True)
            if extent[0] == wanted[0] and extent[1] <= wanted[2] and wanted[1] <= extent[2]
        ]
        address = address_of(text)
        if address is not None:
            found.sort(key=lambda each: each[1][2] - each[1][1])
            next_hop = str(address)
            by_way = (row for row in self.rows if row.next_hop == next_hop)
            return list(dict.fromkeys((*(row for row, _ in found), *by_way)))
        return [row for row, _ in found]

    def _with_words(self, words: Sequence[str]) -> Sequence[RouteRow]:
        if self._texts is None:
            self._texts = [
                f"{row.destination} {row.next_hop or ''} {row.oif} {row.owner} {row.state} {row.note or ''}".casefold()
                for row in self.rows
            ]
        if len(words) == 1:
            (word,) = words
            return [row for row, text in zip(self.rows, self._texts, strict=True) if word in text]
        return [row for row, text in zip(self.rows, self._texts, strict=True) if all(word in text for word in words)]

    def _all_extents(self) -> list[Extent]:
        if self._extents is None:
            self._extents = [extent_of(row.destination) for row in self.rows]
        return self._extents


def _kind(row: RouteRow) -> str:
    if row.state in FIRST:
        return row.state
    return "others" if row.state == "foreign" else "ours"


def extent_of(destination: str) -> Extent:
    """The addresses of a destination as numbers; (0, 0, 0), which nothing shares, where it is none.

    Read here, and not by the library: that takes ten times as long, which the first key's answer would show.
    """
    host, _, length = destination.partition("/")
    version, bits, read = (6, 128, _ipv6) if ":" in host else (4, 32, _ipv4)
    try:
        first, size = read(host), 1 << (bits - int(length or bits))
    except ValueError:
        return (0, 0, 0)
    return (version, first, first + size - 1)


def _ipv4(host: str) -> int:
    a, b, c, d = map(int, host.split("."))
    return (a << 24) + (b << 16) + (c << 8) + d


def _ipv6(host: str) -> int:
    """As the library and the kernel write it (RFC 5952), without dots."""
    head, gap, tail = host.partition("::")
    before, after = (part.split(":") if part else [] for part in (head, tail))
    groups = [*before, *("0" * (8 - len(before) - len(after)) if gap else ""), *after]
    if len(groups) != 8:
        raise ValueError(host)
    return int("".join(group.rjust(4, "0") for group in groups), 16)


def address_of(text: str) -> IPAddress | None:
    """The address that a text is."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def network_of(text: str) -> IPNetwork | None:
    """The address or prefix that a text is; bits behind the prefix do not matter."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def command_for(row: RouteRow | None, wanted: str) -> str:
    """What is worth copying of a row: how the kernel sends what was looked for, else the destination."""
    address = address_of(wanted)
    if address is not None:
        return f"ip route get {address}"
    return row.destination if row is not None else ""
