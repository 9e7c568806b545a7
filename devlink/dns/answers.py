"""What clients get: from a server, from the cache, stale, or made here; counted, noted, and fitted to each client.

Of an answer that all share, each client gets its own: with its id, its spelling of the question, its OPT and its size.
"""

import json

from devlink.dns import replies, wire
from devlink.dns.cache import STALE_TTL, Cache, Entry
from devlink.dns.counts import Counts, RecentQueries, Record
from devlink.dns.effects import Answer, Effect
from devlink.dns.questions import Waiter
from devlink.dns.replies import Digest
from devlink.dns.rules import Verdict
from devlink.dns.servers import Step
from devlink.dns.wire import Ede, Rcode

LARGEST_KEPT = 1400
"""Octets of an answer that is found by its packet alone; what is larger is put together each time."""


class Answers:
    """Turns what is known into answers, one for each waiter."""

    def __init__(self, cache: Cache, counts: Counts) -> None:
        self.log: RecentQueries | None = None
        """Where each question is noted; None: nowhere."""
        self._cache = cache
        self._counts = counts

    def from_server(
        self, digest: Digest, zone: str, step: Step, waiters: list[Waiter], now: float, effects: list[Effect]
    ) -> None:
        """What a server said just now."""
        self._counts.answered += len(waiters)
        latencies = self._counts.zone(zone).latencies
        body, edes = digest.body, digest.edes
        for waiter in waiters:
            latencies.append(now - waiter.began)
            edns = waiter.query.edns
            options = edes
            if edns is not None and edns.options:
                options += _trace(waiter, zone, "upstream", step, now)
            effects.append(Answer(waiter.client, answer_to(waiter, body, options)))
            if self.log is not None:
                self._note(waiter, zone, "upstream", digest.rcode, now, server=str(step.server))

    def from_cache(self, entry: Entry, waiter: Waiter, now: float, effects: list[Effect]) -> None:
        """What a server said a while ago. The entry has been aged."""
        entry.hits += 1
        answer = answer_to(waiter, entry.wire, entry.edes + _trace(waiter, entry.zone, "cache", None, now))
        effects.append(Answer(waiter.client, answer))
        query = waiter.query
        # A client that mixes its letters would fill the table with spellings that nobody asks for twice.
        is_odd = waiter.is_alias or waiter.packet[wire.HEADER : query.question_end - 4] != query.octets
        is_odd = is_odd or bool(answer[2] & wire.TC) or (query.edns is not None and query.edns.options != b"")
        if not is_odd and len(answer) <= min(query.udp_limit, LARGEST_KEPT):
            self._cache.put_variant(waiter.packet, answer, entry)
        if self.log is not None:
            self._note(waiter, entry.zone, "cache", entry.wire[1] & 0x0F, now)

    def stale(self, entry: Entry, waiters: list[Waiter], now: float, effects: list[Effect]) -> None:
        """What was true before, because no server answers (RFC 8767)."""
        body = replies.with_ttl(entry.wire, entry.ttl_offsets, STALE_TTL)
        ede = entry.edes + wire.ede_option(Ede.STALE_ANSWER, "no server answers; this was true before")
        self._counts.stale += len(waiters)
        self._counts.zone(entry.zone).stale += len(waiters)
        for waiter in waiters:
            options = ede + _trace(waiter, entry.zone, "stale", None, now)
            effects.append(Answer(waiter.client, answer_to(waiter, body, options)))
            if self.log is not None:
                self._note(waiter, entry.zone, "stale", body[1] & 0x0F, now)

    def local(self, verdict: Verdict, waiter: Waiter, now: float, effects: list[Effect]) -> None:
        """What needs no server, or what is left to say when none could be asked."""
        rcode, records, ede, text, zone = verdict
        is_failure = rcode == Rcode.SERVFAIL
        counts = self._counts.zone(zone)
        if is_failure:
            self._counts.servfails += 1
            counts.failed += 1
        else:
            self._counts.local += 1
            self._counts.refused += rcode == Rcode.REFUSED
            counts.local += 1
        source = "failed" if is_failure else "local"
        options = b"" if ede is None else wire.ede_option(ede, text)
        options += _trace(waiter, zone, source, None, now, text)
        packet = wire.local_reply(waiter.packet, waiter.query, rcode, records=records, options=options)
        effects.append(Answer(waiter.client, packet))
        if self.log is not None:
            self._note(waiter, zone, source, rcode, now, reason=text)

    def _note(
        self,
        waiter: Waiter,
        zone: str,
        source: str,
        rcode: int,
        now: float,
        *,
        server: str | None = None,
        reason: str = "",
    ) -> None:
        assert self.log is not None
        name, qtype = waiter.query.octets, waiter.query.qtype
        self.log.note(Record(now, name, qtype, zone, source, server, rcode, now - waiter.began, reason))


def answer_to(waiter: Waiter, body: bytes, options: bytes) -> bytes:
    """From the body that all share (`replies.Digest.body`); `options` only where the client sent OPT."""
    query = waiter.query
    if waiter.is_alias:
        body = replies.alias_body(body, query.octets)
    answer = replies.answer_of(body, waiter.packet, query, options)
    if body[0] & wire.TC:  # a part of an answer would only tempt a client to use it
        return replies.truncate(answer, query, options)
    if len(answer) <= wire.PLAIN_UDP_LIMIT:
        return answer
    limit = wire.MAX_MESSAGE if waiter.client.stream else query.udp_limit
    if len(answer) > limit and options:  # better the answer than why it is so
        options = b""
        answer = replies.answer_of(body, waiter.packet, query)
    return answer if len(answer) <= limit else replies.truncate(answer, query)


def _trace(waiter: Waiter, zone: str, source: str, step: Step | None, now: float, reason: str = "") -> bytes:
    """How the answer came to be, as an option, where the client asked for that (`wire.TRACE_OPTION`)."""
    edns = waiter.query.edns
    if edns is None or not any(code == wire.TRACE_OPTION for code, _ in wire.options_of(edns.options)):
        return b""
    tree = {
        "zone": zone,
        "source": source,
        "server": None if step is None else str(step.server),
        "transport": None if step is None else step.transport,
        "ms": round(1000 * (now - waiter.began), 3),
        "reason": reason,
    }
    return wire.option(wire.TRACE_OPTION, json.dumps(tree).encode())
