"""Answers that are kept: found by a question's very octets, aged once a second, bounded in size (RFC 2308, RFC 8767).

The table maps a whole packet without its id to an answer without its id, so a hit needs no parsing: the letters' case,
DO and CD differ for free. What `wire.Query.key` gives is itself such a packet, the plainest for its question; its entry
is the one that a server's reply made, and the packets that ask the same in other words get copies of it.
"""

from collections.abc import Container
from itertools import islice
from typing import Any

from devlink.dns import replies, wire
from devlink.dns.replies import Digest

STALE_FOR = 86400
"""Seconds behind its end for which an answer serves while no server answers (RFC 8767 section 5 allows three days)."""
STALE_TTL = 30
"""TTL of such an answer (RFC 8767 section 4)."""
HOT = 3
"""Hits that make a name worth being fetched before its answer ends."""
OVERHEAD = 240
"""Octets that an entry takes besides its key and its wire: the objects, and its share of the table."""
MAX_KNOWN = 4096
EVICTED_AT_ONCE = 64
"""Entries looked at when room is needed: finding the table's oldest ones costs a walk over what was deleted before."""

Key = bytes | tuple[bytes, str]
"""A packet without its id; a tuple, which no packet is, where the answer must not be found by packet alone."""


class Entry:
    """One answer."""

    __slots__ = ("edes", "ends", "hits", "prefetch_at", "tick", "ttl_offsets", "wire", "zone")

    def __init__(
        self,
        answer: bytes,
        ttl_offsets: tuple[int, ...],
        edes: bytes,
        zone: str,
        tick: int,
        ends: int,
        prefetch_at: int,
    ) -> None:
        self.wire = answer
        """All behind the id, aged to `tick`."""
        self.tick = tick
        """Second (monotonic) for which `wire` holds."""
        self.ends = ends
        """Second from which it is stale."""
        self.prefetch_at = prefetch_at
        """Second from which a hot name is fetched anew."""
        self.ttl_offsets = ttl_offsets
        """Where the TTLs stand in `wire`."""
        self.edes = edes
        """What the server said besides, as EDNS options; for clients that send OPT."""
        self.zone = zone
        self.hits = 0
        """Answers given from it; the server's loop counts here."""


class Cache:
    """The table. Times are whole monotonic seconds."""

    def __init__(self, limit: int) -> None:
        """`limit`: octets that keys and answers may take, by estimate; 0 keeps nothing."""
        self.limit = limit
        self.size = 0
        self.table: dict[Key, Entry] = {}
        self.past_hits: dict[str, int] = {}
        """Hits of entries that are gone, by zone."""
        self._known: dict[Any, Any] = {}
        """Equal times, and equal tuples of offsets, kept once."""
        self._has_large = False

    def find(self, place: Key) -> Entry | None:
        """The answer to a question, fresh or not. `place`: what `wire.Query.key` gives, with "do" beside it where the
        answer holds what DNSSEC needs."""
        entry = self.table.get(place)
        if entry is None and self._has_large and isinstance(place, bytes):
            return self.table.get((place, "large"))
        return entry

    def put(self, place: Key, digest: Digest, zone: str, now: int) -> None:
        """Keep a server's answer, if it may be kept, at a place as `find` takes it."""
        answer, offsets, lifetime, _, _, edes = digest
        if not lifetime or not self.limit:
            return
        if answer[0] & wire.AA:  # from here on it is hearsay
            answer = bytes((answer[0] & ~wire.AA,)) + answer[1:]
        if isinstance(place, bytes):
            is_large = len(answer) + 2 > wire.PLAIN_UDP_LIMIT
            self._has_large |= is_large
            if self._has_large:  # it may have been of another size before
                large = place, "large"
                self._drop(place if is_large else large)
                place = large if is_large else place
        known = self._known
        if len(known) > MAX_KNOWN:
            known.clear()
        ends = known.setdefault(now + lifetime, now + lifetime)
        prefetch_at = ends - max(1, lifetime // 10)
        self._add(
            place,
            Entry(
                answer,
                known.setdefault(offsets, offsets),
                edes,
                zone,
                known.setdefault(now, now),
                ends,
                known.setdefault(prefetch_at, prefetch_at),
            ),
        )

    def put_variant(self, packet: bytes, answer: bytes, origin: Entry) -> None:
        """Keep `answer` (with its id) for this very `packet`, as long as the entry that it was made from."""
        if self.table.get(packet[2:]) is origin:
            return
        variant = Entry(answer[2:], origin.ttl_offsets, b"", origin.zone, origin.tick, origin.ends, origin.prefetch_at)
        self._add(packet[2:], variant)

    def _drop(self, place: Key) -> None:
        entry = self.table.pop(place, None)
        if entry is not None:
            self._gone(place, entry)

    def age(self, entry: Entry, now: int) -> bool:
        """Make the entry hold for `now`; False: it is stale, and left as it is."""
        if now >= entry.ends:
            return False
        if now > entry.tick:
            entry.wire = replies.aged(entry.wire, entry.ttl_offsets, now - entry.tick)
            entry.tick = now
        return True

    def clear(self) -> int:
        """Forget everything; how many answers there were."""
        count = len(self.table)
        for key, entry in self.table.items():
            self._gone(key, entry)
        self.table.clear()
        self.size = 0
        self._has_large = False
        return count

    def count_only(self, zones: Container[str]) -> None:
        """Forget the past hits of all other zones."""
        self.past_hits = {zone: hits for zone, hits in self.past_hits.items() if zone in zones}

    def hits(self) -> dict[str, int]:
        """Hits by zone, of all entries that were ever there."""
        hits = dict(self.past_hits)
        for entry in self.table.values():
            if entry.hits:
                hits[entry.zone] = hits.get(entry.zone, 0) + entry.hits
        return hits

    def _add(self, key: Key, entry: Entry) -> None:
        if key in self.table:
            self._drop(key)  # not overwritten: a new answer goes to the end of the row
        self.table[key] = entry
        self.size += _size(key, entry)
        while self.size > self.limit and self.table:
            self._evict()

    def _evict(self) -> None:
        """The oldest go, but what was asked for since it came here gets a second round."""
        oldest = list(islice(self.table, EVICTED_AT_ONCE))
        spared = 0
        for key in oldest:
            entry = self.table.pop(key)
            if entry.hits >= HOT and spared < EVICTED_AT_ONCE // 2:
                spared += 1
                self.past_hits[entry.zone] = self.past_hits.get(entry.zone, 0) + entry.hits
                entry.hits = 0
                self.table[key] = entry
            else:
                self._gone(key, entry)

    def _gone(self, key: Key, entry: Entry) -> None:
        self.size -= _size(key, entry)
        if entry.hits:
            self.past_hits[entry.zone] = self.past_hits.get(entry.zone, 0) + entry.hits


def _size(key: Key, entry: Entry) -> int:
    return (len(key) if isinstance(key, bytes) else len(key[0])) + len(entry.wire) + OVERHEAD
