"""The forwarder's logic without any I/O: packets and times in, small tuples that say what to do out."""

import heapq
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from devlink.core.plan import ForwarderConfig
from devlink.dns import wire
from devlink.dns.rules import BUDGET, Destination, Rules, Server, Step, Verdict
from devlink.dns.wire import Ede, Query, Rcode

MAX_IN_FLIGHT = 4096
"""Questions that wait for a server at one time; each costs about 2 KB and up to a handful of sockets.

Each group of servers has an equal share of them, and no more: were they first come, first served, the questions that
wait for a dead server would soon be all of them. Clients have none, for they cannot be told apart: all are 127.0.0.1.
"""
SLACK = 1024
"""Outdated timers that are kept for nothing, besides three for each question in flight."""
PREFER_TCP = 300.0
"""Seconds for which a server that was silent over UDP and answered over TCP is asked over TCP first."""


class Client(NamedTuple):
    """Whom an answer goes to."""

    host: str
    """The source address, as text."""
    stream: bool
    """Whether it asked over TCP."""
    reply_to: object
    """What the edge needs to find the way back; means nothing to the engine."""


class Answer(NamedTuple):
    """Send `packet` to the client. Each question gets at most one."""

    client: Client
    packet: bytes


class Drop(NamedTuple):
    """No answer: what the client sent is no question at all."""

    client: Client


class Ask(NamedTuple):
    """Send `packet` to a server from a fresh socket; what comes back belongs to `attempt`."""

    attempt: int
    server: Server
    tcp: bool
    packet: bytes


class Forget(NamedTuple):
    """Close the socket of an attempt."""

    attempt: int


Effect = Answer | Drop | Ask | Forget


@dataclass(slots=True)
class Stats:
    """Counts since the start."""

    queries: int = 0
    answered: int = 0
    """With what a server said."""
    local: int = 0
    """Answered here without asking: the proof name, names that must not leave."""
    refused: int = 0
    """Of the local ones, those with REFUSED."""
    malformed: int = 0
    """Answered FORMERR or NOTIMP."""
    timeouts: int = 0
    """Steps that ended in silence."""
    servfails: int = 0
    """Answered SERVFAIL by us: no server, or none answered."""
    mismatched: int = 0
    """Replies that answered another question, and were ignored."""
    dropped: int = 0
    """Packets that were no question, or from where nobody is served."""
    overloads: int = 0
    """Of the servfails, those because too many questions waited."""
    destinations: Counter[str] = field(default_factory=Counter)
    """Questions that were sent on, by zone."""


@dataclass(slots=True)
class _Attempt:
    transaction: "_Transaction"
    step: Step
    asked: bytes
    """The packet as it went out."""


@dataclass(slots=True)
class _Transaction:
    serial: int
    client: Client
    packet: bytes
    query: Query
    started: float
    destination: Destination
    steps: list[Step]
    """Still to be taken."""
    attempts: list[int] = field(default_factory=list)
    """Open ones, oldest first; a late answer of an older one is as good."""
    tried: set[Server] = field(default_factory=set)
    due: float = 0.0
    """When the next step is taken, or the answer is given up."""
    fallback: bytes | None = None
    """A failure that a server answered with; the client gets it if no other server does better."""
    silent: bool = False
    """Whether some step ended in silence."""


class Engine:
    """All questions in flight. Every method that returns effects expects them to be carried out in order."""

    def __init__(
        self,
        entropy: Callable[[int], bytes],
        *,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        """`entropy(n)` gives n unpredictable octets: the ids of questions are the first line against forged replies."""
        self._entropy = entropy
        self._max_in_flight = max_in_flight
        self._rules = Rules(ForwarderConfig())
        self._own_hosts: frozenset[str] = frozenset()
        self._transactions: dict[int, _Transaction] = {}
        self._waiting: Counter[str] = Counter()
        """Questions in flight by the group of servers that they wait for."""
        self._attempts: dict[int, _Attempt] = {}
        self._last_serial = 0
        """Of transactions and attempts alike; never used twice."""
        self._timers: list[tuple[float, int]] = []
        """A heap of (due, serial of the transaction); entries that no longer hold are skipped when they come up."""
        self._prefer_tcp: dict[Server, float] = {}
        self.stats = Stats()

    @property
    def in_flight(self) -> int:
        """Questions that wait for a server."""
        return len(self._transactions)

    def configure(self, config: ForwarderConfig, own: Set[Server], now: float) -> list[Effect]:
        """Put new rules in force. Questions in flight go on; those whose servers changed are asked anew.

        Otherwise a retry would carry a name to servers that it must not reach any more.
        """
        self._rules = Rules(config, own)
        self._own_hosts = frozenset(server.host for server in own)
        self._prefer_tcp.clear()
        effects: list[Effect] = []
        for transaction in list(self._transactions.values()):
            decision = self._rules.decide(transaction.query)
            if decision == transaction.destination:
                continue
            self._close_attempts(transaction, effects)
            if isinstance(decision, Verdict):
                self._answer_locally(transaction.client, transaction.packet, transaction.query, decision, effects)
                self._remove(transaction)
            else:
                self._leave(transaction.destination)
                self._waiting[decision.group] += 1
                transaction.destination = decision
                transaction.steps = self._order(decision, now)
                transaction.tried.clear()
                transaction.fallback = None
                self._take_next_step(transaction, now, effects)
        return effects

    def receive_query(self, packet: bytes, client: Client, now: float) -> list[Effect]:
        """A client's packet."""
        self.stats.queries += 1
        query = wire.parse_query(packet) if self._serves(client.host) else None
        if query is None:
            self.stats.dropped += 1
            return [Drop(client)]
        if isinstance(query, Rcode):
            self.stats.malformed += 1
            return [Answer(client, wire.local_reply(packet, None, query))]
        effects: list[Effect] = []
        decision = self._rules.decide(query)
        if isinstance(decision, Destination) and not self._has_room_for(decision):
            self.stats.overloads += 1
            # An answer at once also ends a loop through another resolver, which silence would keep alive.
            decision = Verdict(Rcode.SERVFAIL, ede=Ede.OTHER, text="too many questions wait for an answer")
        if isinstance(decision, Verdict):
            self._answer_locally(client, packet, query, decision, effects)
            return effects
        self.stats.destinations[decision.name] += 1
        self._last_serial += 1
        steps = self._order(decision, now)
        transaction = _Transaction(self._last_serial, client, packet, query, now, decision, steps)
        self._transactions[transaction.serial] = transaction
        self._waiting[decision.group] += 1
        self._take_next_step(transaction, now, effects)
        return effects

    def receive_reply(self, attempt: int, packet: bytes, now: float) -> list[Effect]:
        """A packet from the server of an attempt. What does not answer the very question is ignored."""
        found = self._attempts.get(attempt)
        if found is None:
            return []
        transaction, step = found.transaction, found.step
        if not wire.is_reply_to(packet, found.asked, transaction.query.question_end):
            self.stats.mismatched += 1
            return []
        effects: list[Effect] = []
        if wire.is_truncated(packet) and not step.tcp and transaction.client.stream:
            self._close_attempt(attempt, effects)
            transaction.steps.insert(0, Step(step.server, True, 2 * step.wait))
            self._take_next_step(transaction, now, effects)
            return effects
        if wire.rcode_of(packet) in (Rcode.SERVFAIL, Rcode.REFUSED):
            self._close_attempt(attempt, effects)
            transaction.fallback = packet
            self._go_on(transaction, now, effects)
            return effects
        if step.tcp and self._waits_for_udp_of(step.server, transaction):
            self._prefer_tcp[step.server] = now + PREFER_TCP
        self._finish(transaction, packet, effects)
        return effects

    def upstream_failed(self, attempt: int, now: float) -> list[Effect]:
        """The socket of an attempt is of no use: refused, unreachable, closed by the server, or not to be had."""
        found = self._attempts.get(attempt)
        if found is None:
            return []
        transaction = found.transaction
        effects: list[Effect] = []
        is_latest = transaction.attempts[-1] == attempt
        if found.step.tcp:
            self._prefer_tcp.pop(found.step.server, None)
        self._close_attempt(attempt, effects)
        if is_latest:
            self._go_on(transaction, now, effects)
        return effects

    def handle_timer(self, now: float) -> list[Effect]:
        """Do what is due at `now`."""
        effects: list[Effect] = []
        while (due := self.next_deadline()) is not None and due <= now:
            transaction = self._transactions[heapq.heappop(self._timers)[1]]
            transaction.due = 0.0
            transaction.silent = True
            self.stats.timeouts += 1
            if transaction.attempts and (step := self._attempts[transaction.attempts[-1]].step).tcp:
                self._prefer_tcp.pop(step.server, None)
            self._go_on(transaction, now, effects)
        return effects

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called, or None: nothing is in flight."""
        timers = self._timers
        while timers:
            due, serial = timers[0]
            transaction = self._transactions.get(serial)
            if transaction is not None and transaction.due == due:
                return due
            heapq.heappop(timers)
        return None

    def _serves(self, host: str) -> bool:
        """Only programs of this machine: they come from loopback, or from the very address that they ask."""
        return host.startswith("127.") or host == "::1" or host in self._own_hosts

    def _waits_for_udp_of(self, server: Server, transaction: _Transaction) -> bool:
        steps = (self._attempts[attempt].step for attempt in transaction.attempts)
        return any(step.server == server and not step.tcp for step in steps)

    def _order(self, destination: Destination, now: float) -> list[Step]:
        steps = list(destination.steps)
        preferred = {server for server, until in self._prefer_tcp.items() if until > now}
        if preferred:  # their TCP first, their UDP last
            steps.sort(key=lambda step: (1, 1) if step.server not in preferred else (0, 0) if step.tcp else (2, 2))
        return steps

    def _go_on(self, transaction: _Transaction, now: float, effects: list[Effect]) -> None:
        """The latest step brought nothing: take the next one, wait for what is still open, or give up."""
        untried = any(step.server not in transaction.tried for step in transaction.steps)
        if transaction.fallback is not None and not untried:
            self._finish(transaction, transaction.fallback, effects)
            return
        if transaction.steps and now < transaction.started + BUDGET:
            self._take_next_step(transaction, now, effects)
        elif transaction.attempts and now < transaction.started + BUDGET:
            self._wait(transaction, transaction.started + BUDGET)
        else:
            self._give_up(transaction, effects)

    def _take_next_step(self, transaction: _Transaction, now: float, effects: list[Effect]) -> None:
        step = transaction.steps.pop(0)
        attempt = self._last_serial = self._last_serial + 1
        asked = wire.with_id(transaction.packet, self._entropy(2))
        self._attempts[attempt] = _Attempt(transaction, step, asked)
        transaction.attempts.append(attempt)
        transaction.tried.add(step.server)
        end = transaction.started + BUDGET
        self._wait(transaction, min(now + step.wait, end) if transaction.steps else end)
        effects.append(Ask(attempt, step.server, step.tcp, asked))

    def _wait(self, transaction: _Transaction, due: float) -> None:
        transaction.due = due
        heapq.heappush(self._timers, (due, transaction.serial))
        if len(self._timers) > 4 * len(self._transactions) + SLACK:
            self._timers = [(t.due, t.serial) for t in self._transactions.values()]
            heapq.heapify(self._timers)

    def _give_up(self, transaction: _Transaction, effects: list[Effect]) -> None:
        self._close_attempts(transaction, effects)
        servers = transaction.destination.servers
        if transaction.silent:
            verdict = Verdict(Rcode.SERVFAIL, ede=Ede.NO_REACHABLE_AUTHORITY, text=f"no answer from {servers}")
        else:
            verdict = Verdict(Rcode.SERVFAIL, ede=Ede.NETWORK_ERROR, text=f"cannot reach {servers}")
        self._answer_locally(transaction.client, transaction.packet, transaction.query, verdict, effects)
        self._remove(transaction)

    def _finish(self, transaction: _Transaction, reply: bytes, effects: list[Effect]) -> None:
        self._close_attempts(transaction, effects)
        client, query = transaction.client, transaction.query
        reply = wire.with_id(reply, transaction.packet[:2])
        if not client.stream and len(reply) > query.udp_limit:
            reply = wire.truncate(reply, query)
        self.stats.answered += 1
        effects.append(Answer(client, reply))
        self._remove(transaction)

    def _answer_locally(
        self, client: Client, packet: bytes, query: Query, verdict: Verdict, effects: list[Effect]
    ) -> None:
        if verdict.rcode == Rcode.SERVFAIL:
            self.stats.servfails += 1
        else:
            self.stats.local += 1
            self.stats.refused += verdict.rcode == Rcode.REFUSED
        reply = wire.local_reply(
            packet, query, verdict.rcode, records=verdict.records, ede=verdict.ede, text=verdict.text
        )
        effects.append(Answer(client, reply))

    def _close_attempt(self, attempt: int, effects: list[Effect]) -> None:
        self._attempts.pop(attempt).transaction.attempts.remove(attempt)
        effects.append(Forget(attempt))

    def _close_attempts(self, transaction: _Transaction, effects: list[Effect]) -> None:
        for attempt in tuple(transaction.attempts):
            self._close_attempt(attempt, effects)

    def _remove(self, transaction: _Transaction) -> None:
        del self._transactions[transaction.serial]
        self._leave(transaction.destination)

    def _has_room_for(self, destination: Destination) -> bool:
        share = max(1, self._max_in_flight // self._rules.groups)
        return len(self._transactions) < self._max_in_flight and self._waiting[destination.group] < share

    def _leave(self, destination: Destination) -> None:
        self._waiting[destination.group] -= 1
        if not self._waiting[destination.group]:
            del self._waiting[destination.group]
