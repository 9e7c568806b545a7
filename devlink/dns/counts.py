"""What the forwarder counts and notes for people."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

SAMPLES = 512
"""Latencies that are kept for the percentiles."""
LOG_RECORDS = 1000
"""Records of the query log that wait to be taken."""


class Record(NamedTuple):
    """One line of the query log."""

    at: float
    """When it was answered, in seconds of the loop's clock."""
    name: bytes
    """Uncompressed."""
    qtype: int
    zone: str
    source: str
    """upstream, cache, stale, local or failed."""
    server: str | None
    rcode: int
    seconds: float
    """From question to answer."""
    reason: str = ""
    """Why it is local or failed."""


class ZoneCounts:
    """Of one zone, or of the ordinary names. Hits of the cache are counted there."""

    __slots__ = ("failed", "latencies", "local", "queries", "stale")

    def __init__(self) -> None:
        self.queries = self.stale = self.local = self.failed = 0
        self.latencies: deque[float] = deque(maxlen=SAMPLES)
        """Seconds that the last questions took that a server answered."""


class Counts:
    """Since the start."""

    __slots__ = (
        "answered",
        "coalesced",
        "dropped",
        "local",
        "malformed",
        "mismatched",
        "overloads",
        "prefetched",
        "queries",
        "refused",
        "servfails",
        "stale",
        "timeouts",
        "zones",
    )

    def __init__(self) -> None:
        self.queries = 0
        """Packets of clients, but for those that the cache answered."""
        self.answered = 0
        """With what a server said just now."""
        self.stale = 0
        """With what a server said long ago, because none says anything now."""
        self.prefetched = 0
        """Answers fetched before their predecessor ended; nobody waited for them."""
        self.coalesced = 0
        """Questions that waited for an answer which another one had asked for."""
        self.local = 0
        """Answered here without asking: the proof name, names that must not leave."""
        self.refused = 0
        """Of the local ones, those with REFUSED."""
        self.malformed = 0
        """Answered FORMERR, NOTIMP or BADVERS."""
        self.timeouts = 0
        """Steps that ended in silence."""
        self.servfails = 0
        """Answered SERVFAIL by us: no server, or none answered."""
        self.mismatched = 0
        """Replies that answered another question, or made no sense, and were ignored."""
        self.dropped = 0
        """Packets that were no question, or from where nobody is served."""
        self.overloads = 0
        """Of the servfails, those because too many questions waited."""
        self.zones: dict[str, ZoneCounts] = {}

    def keep_only(self, zones: Iterable[str]) -> None:
        """Count for these from now on, and forget all others."""
        self.zones = {name: self.zone(name) for name in zones}

    def zone(self, name: str) -> ZoneCounts:
        counts = self.zones.get(name)
        if counts is None:
            counts = self.zones[name] = ZoneCounts()
        return counts


class RecentQueries:
    """The last records; the oldest ones give way."""

    def __init__(self) -> None:
        self.records: deque[Record] = deque(maxlen=LOG_RECORDS)
        self.lost = 0

    def note(self, record: Record) -> None:
        self.lost += len(self.records) == LOG_RECORDS
        self.records.append(record)

    def take(self) -> tuple[list[Record], int]:
        """What came since the last time, and how many more there were."""
        taken, lost = list(self.records), self.lost
        self.records.clear()
        self.lost = 0
        return taken, lost


def percentile(latencies: deque[float], share: float) -> float | None:
    """In milliseconds; None where nothing was measured."""
    if not latencies:
        return None
    ordered = sorted(latencies)
    return round(1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)], 3)
