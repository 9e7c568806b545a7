"""From counts to rates: what names come to in a second, and what of them was kept. PURE, and without Textual."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from devlink.tui.records import DnsStats

KEPT = 120
"""Values of each history, one a second."""
MINUTE = 60.0
"""Seconds: the span of a hit rate, and of failures."""
TOO_SOON = 0.5
"""Seconds. Counts that follow earlier make no value of their own: a second's worth in a tenth of it would be a peak."""
GAP = 5.0
"""Seconds without counts, from which on nobody knows what went on: the laptop slept, or nobody told."""

History = Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """What was counted in the last minute, or as much of it as is known."""

    asked: int = 0
    kept: int = 0
    """Answered by what was kept, stale answers among them."""
    failed: int = 0

    @property
    def hit_rate(self) -> float | None:
        """0 to 1. None where nobody asked."""
        return min(1.0, self.kept / self.asked) if self.asked else None


class _Counts(NamedTuple):
    asked: int
    kept: int
    failed: int

    def more(self, other: "_Counts") -> "_Counts":
        return _Counts(self.asked + other.asked, self.kept + other.kept, self.failed + other.failed)

    def less(self, other: "_Counts") -> "_Counts":
        return _Counts(self.asked - other.asked, self.kept - other.kept, self.failed - other.failed)


class Track:
    """The rate of one zone, of one server, or of all together."""

    def __init__(self) -> None:
        self.history: deque[float | None] = deque(maxlen=KEPT)
        """Questions a second, the newest last; None for a second of which nobody knows."""
        self._base: _Counts | None = None
        self._grown: deque[tuple[float, _Counts]] = deque()
        self._sum = _Counts(0, 0, 0)
        """Of the last minute: there may be hundreds of zones."""

    @property
    def per_second(self) -> float | None:
        """Now. None where two counts in a row are not known yet."""
        return self.history[-1] if self.history else None

    def recent(self, now: float) -> Recent:
        """Of the last minute before `now`, seconds as those of the counts."""
        while self._grown and self._grown[0][0] <= now - MINUTE:
            self._sum = self._sum.less(self._grown.popleft()[1])
        return Recent(asked=self._sum.asked, kept=self._sum.kept, failed=self._sum.failed)

    def add(self, at: float, seconds: float, counts: _Counts) -> None:
        """What had been counted at `at`, `seconds` after the counts before. Fewer than before: begun anew, a gap."""
        base, self._base = self._base, counts
        if base is None:
            return
        grown = counts.less(base)
        if min(grown.asked, grown.kept, grown.failed) < 0:
            self.miss(1)
            return
        self.history.append(grown.asked / seconds)
        self._grown.append((at, grown))
        self._sum = self._sum.more(grown)
        self.recent(at)

    def begin(self, counts: _Counts) -> None:
        """Count from here on."""
        self._base = counts

    def miss(self, seconds: int) -> None:
        """Nobody knows of so many seconds."""
        self.history.extend([None] * min(seconds, KEPT))


class DnsRates:
    """The rates of the forwarder, of its zones by suffix, and of its servers by address."""

    def __init__(self) -> None:
        self.total = Track()
        self.zones: dict[str, Track] = {}
        self.servers: dict[str, Track] = {}
        self.dropped = Track()
        """Questions that the forwarder did not take: there were too many."""
        self._at: float | None = None
        self._queries = 0

    @property
    def at(self) -> float:
        """Seconds of the last counts; 0 where there are none."""
        return self._at or 0.0

    @property
    def is_known(self) -> bool:
        """There were counts."""
        return self._at is not None

    def add(self, at: float, stats: DnsStats) -> None:
        """The counts at `at`, seconds of any clock that does not go back."""
        since = None if self._at is None else at - self._at
        is_anew = stats.queries < self._queries
        if since is not None and since < TOO_SOON and not is_anew:
            return
        self._at, self._queries = at, stats.queries
        self._keep_known(stats)
        for track, counts in self._counted(stats):
            if since is None:
                track.begin(counts)
            elif is_anew or since > GAP:
                track.begin(counts)
                track.miss(max(1, round(since)))
            else:
                track.add(at, since, counts)

    def _keep_known(self, stats: DnsStats) -> None:
        self.zones = {zone.suffix: self.zones.get(zone.suffix) or Track() for zone in stats.zones}
        self.servers = {server.server: self.servers.get(server.server) or Track() for server in stats.servers}

    def _counted(self, stats: DnsStats) -> Iterable[tuple[Track, _Counts]]:
        failed = sum(zone.failed for zone in stats.zones)
        yield self.total, _Counts(stats.queries, stats.cached + stats.stale, failed)
        yield self.dropped, _Counts(stats.dropped + stats.overloads, 0, 0)
        for zone in stats.zones:
            yield self.zones[zone.suffix], _Counts(zone.queries, zone.cached + zone.stale, zone.failed)
        for server in stats.servers:
            lost = server.timeouts + server.failures
            yield self.servers[server.server], _Counts(server.asked, 0, lost)

    def latency(self, stats: DnsStats) -> tuple[float | None, float | None]:
        """Milliseconds: the p50 of the zone in whose midst half of the last minute's questions lie, the greatest p99.

        The forwarder has no percentiles of all zones together, and they cannot be had from the zones'.
        """
        asked = [
            (zone.p50_ms, zone.p99_ms, self.zones[zone.suffix].recent(self.at).asked)
            for zone in stats.zones
            if zone.p50_ms is not None and zone.p99_ms is not None and zone.suffix in self.zones
        ]
        asked = [each for each in asked if each[2]] or asked
        if not asked:
            return None, None
        half, below = sum(count for _, _, count in asked) / 2, 0
        middle = 0.0
        for p50, _, count in sorted(asked):
            middle, below = p50, below + count
            if below >= half:
                break
        return middle, max(p99 for _, p99, _ in asked)
