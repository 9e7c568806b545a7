"""What is told of names in words and signs: how well it goes, by zone and server, and each question. PURE, and without
Textual."""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from devlink.core.text import listed, printable
from devlink.tui.records import DnsStats, Query, ServerStats, ZoneStats
from devlink.tui.words.lines import milliseconds
from devlink.tui.words.rates import DnsRates, History, Track
from devlink.tui.words.telling import Told

ORDINARY = "."
"""The zone of ordinary names."""
BARS = " ▁▂▃▄▅▆▇█"
FAILING, FAILED_LEAST = 0.05, 3
"""The share of the last minute's questions that failed, and how many, from which on it is told."""

QTYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 28: "AAAA", 29: "LOC",
    33: "SRV", 35: "NAPTR", 39: "DNAME", 41: "OPT", 43: "DS", 44: "SSHFP", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY",
    50: "NSEC3", 52: "TLSA", 64: "SVCB", 65: "HTTPS", 251: "IXFR", 252: "AXFR", 255: "ANY", 257: "CAA",
}  # fmt: skip
"""Those that laptops ask for; a DNS library knows all, and takes 25 ms to import."""
RCODES = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET",
    8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE", 16: "BADVERS",
}  # fmt: skip
SAID = {
    "NXDOMAIN": "there is no such name",
    "SERVFAIL": "a failure",
    "REFUSED": "refused",
}
SOURCES = {
    "upstream": "asked just now",
    "cache": "kept from before",
    "stale": "kept from before, and too old: no server answers",
    "local": "the forwarder itself",
    "failed": "nobody",
}


def qtype_name(number: int) -> str:
    """As RFC 3597 writes those that have no name."""
    return QTYPES.get(number) or f"TYPE{number}"


def rcode_name(number: int) -> str:
    return RCODES.get(number) or f"RCODE{number}"


# How well it goes


class DnsRow(NamedTuple):
    """A zone or a server. `word` says its state; None where nothing is known."""

    tone: str
    word: str
    name: str
    history: History
    per_second: float | None
    hit_rate: float | None
    p50_ms: float | None
    p99_ms: float | None


def verdict(rates: DnsRates, stats: DnsStats | None, why: str) -> Told:
    """Whether names are well, in one sentence. `why`: there are no counts."""
    if stats is None:
        tone = "warning" if rates.is_known else "off"
        return Told(tone, f"no names are answered: {why}" if why else "nothing is known of names")
    silent = [server for server in stats.servers if server.state == "silent"]
    for zone in dict.fromkeys(zone for server in silent for zone in server.zones):
        if all(server.state == "silent" for server in stats.servers if zone in server.zones):
            who = [server for server in silent if zone in server.zones]
            return Told("error", f"{zone_name(zone)}: no server answers: {_servers(who)}", "See what it meets: o")
    recent = rates.total.recent(rates.at)
    failing = [
        (zone.suffix, counts)
        for zone in stats.zones
        if zone.suffix in rates.zones
        and (counts := rates.zones[zone.suffix].recent(rates.at)).failed >= FAILED_LEAST
        and counts.failed > FAILING * counts.asked
    ]
    if failing:
        suffix, counts = max(failing, key=lambda each: each[1].failed)
        return Told("error", f"{zone_name(suffix)}: {counts.failed} of {counts.asked} failed in the last minute")
    if silent:
        return Told("warning", f"{_servers(silent)}; others answer")
    if dropped := rates.dropped.recent(rates.at).asked:
        return Told("warning", f"too many at once: {dropped} not taken in the last minute")
    if not recent.asked:
        return Told("ok", "names are well: nobody asks")
    p50, p99 = rates.latency(stats)
    kept = f", {_share(recent.hit_rate)} kept" if recent.hit_rate is not None else ""
    times = f", p50/p99 {milliseconds(p50).removesuffix(' ms')}/{milliseconds(p99)}" if p50 is not None else ""
    return Told("ok", f"names are well: {rate(rates.total.per_second)}{kept}{times}")


def _servers(servers: Sequence[ServerStats]) -> str:
    reason = next((f" ({printable(server.reason)})" for server in servers if server.reason), "")
    return f"{listed(server.server for server in servers)} silent{reason}"


def zone_name(suffix: str) -> str:
    return "ordinary names" if suffix == ORDINARY else suffix


def rows(rates: DnsRates, stats: DnsStats) -> list[DnsRow]:
    """The zones, the busiest first, then the servers. A reverse zone that nobody has asked for is left out: a network
    may have a hundred of them."""
    zones = [zone for zone in stats.zones if zone.queries or not zone.suffix.endswith(".arpa")]
    zones.sort(key=lambda zone: -zone.queries)
    return [
        *(_zone_row(zone, rates.zones.get(zone.suffix) or Track(), rates.at) for zone in zones),
        *(_server_row(server, rates.servers.get(server.server) or Track()) for server in stats.servers),
    ]


def _zone_row(zone: ZoneStats, track: Track, now: float) -> DnsRow:
    recent = track.recent(now)
    is_failing = recent.failed >= FAILED_LEAST and recent.failed > FAILING * recent.asked
    tone, word = ("error", "fails") if is_failing else ("ok", "ok") if recent.asked else ("off", "idle")
    return DnsRow(
        tone, word, zone_name(zone.suffix), track.history, track.per_second, recent.hit_rate, zone.p50_ms,
        zone.p99_ms,
    )  # fmt: skip


def _server_row(server: ServerStats, track: Track) -> DnsRow:
    tone, word = {"silent": ("error", "silent"), "unasked": ("off", "unused"), "tcp": ("info", "by TCP")}.get(
        server.state, ("ok", "ok")
    )
    return DnsRow(
        tone, word, server.server, track.history, track.per_second, None, server.p50_ms, server.p99_ms
    )  # fmt: skip


def rate(per_second: float | None) -> str:
    """In at most seven cells."""
    if per_second is None:
        return "-"
    return f"{per_second:.0f}/s" if per_second >= 10 or per_second == int(per_second) else f"{per_second:.1f}/s"


def _share(part: float | None) -> str:
    return "-" if part is None else f"{int(part * 100)} %"


def cells(row: DnsRow, bars: int) -> tuple[str, ...]:
    """Name, sparkline of so many cells, rate, hit rate, p50, p99."""
    return (
        row.name, sparkline(row.history, bars)[0], rate(row.per_second), _share(row.hit_rate),
        milliseconds(row.p50_ms), milliseconds(row.p99_ms),
    )  # fmt: skip


def sparkline(history: History, width: int, height: int = 1) -> list[str]:
    """So many lines of block characters, the newest at the right; from zero up to the greatest that is seen.

    A value above zero has a bar always; nothing stands where nothing is known, and `▁` is zero.
    """
    seen = list(history)[-width:] if width > 0 else []
    most = max((value for value in seen if value is not None), default=0.0)
    steps = 8 * height
    columns: list[int | None] = [None] * (width - len(seen))
    columns += [None if value is None else _bar(value, most, steps) for value in seen]
    return [
        "".join(" " if bar is None else BARS[max(0, min(8, bar - 8 * row))] for bar in columns)
        for row in reversed(range(height))
    ]


def _bar(value: float, most: float, steps: int) -> int:
    if value <= 0 or most <= 0:
        return 1
    return max(2, round(value / most * steps))


# The questions


def tone_of(query: Query) -> str:
    """Of the answer: a name that is not there is no failure."""
    if query.source == "failed" or query.rcode not in (0, 3):
        return "error"
    if query.source == "stale":
        return "warning"
    return "info" if query.rcode == 3 else "ok"


class Filter:
    """A text that is looked for in name, type, rcode, source, server and zone, small and capital letters alike.

    More words than one: all of them; a word after `!`: those without it.
    """

    def __init__(self, text: str) -> None:
        words = text.lower().split()
        self._wanted = tuple(word for word in words if not word.startswith("!"))
        self._unwanted = tuple(word[1:] for word in words if word.startswith("!") and len(word) > 1)

    def __bool__(self) -> bool:
        return bool(self._wanted or self._unwanted)

    def fits(self, query: Query) -> bool:
        """Asked of thousands in a second."""
        text = (
            f"{query.name} {QTYPES.get(query.qtype) or qtype_name(query.qtype)} "
            f"{RCODES.get(query.rcode) or rcode_name(query.rcode)} {query.source} {query.server or ''} {query.zone}"
        ).lower()
        return all(word in text for word in self._wanted) and not any(word in text for word in self._unwanted)


def command(query: Query) -> str:
    """What asks the same again, safe to paste into a shell: anybody may ask for whatever name they like."""
    return f"devlink dns query {shlex.quote(printable(query.name))} {qtype_name(query.qtype)}"


def details(query: Query, clock: str) -> list[str]:
    """All that is known of it, line by line; `clock` is its time for people."""
    rcode = rcode_name(query.rcode)
    said = f": {SAID[rcode]}" if rcode in SAID else ""
    server = f" {query.server}" if query.server else ""
    found = [
        f"{query.name} {qtype_name(query.qtype)}",
        f"{clock}  {rcode}{said}  {milliseconds(query.ms)}",
        f"{query.source}{server}: {SOURCES.get(query.source, query.source)}; by the rule for {zone_name(query.zone)}",
    ]
    if query.reason:
        found.append(query.reason)
    return [printable(line) for line in found]
