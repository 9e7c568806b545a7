"""The forwarder's logic without any I/O: packets and times in, small tuples that say what to do out.

A question's way: `receive_query` → an answer from the cache, or local by the rules, or a transaction, which all equal
questions share → `Ask` for each try at a server → `receive_reply` → the answer, into the cache and to all who wait.
"""

from collections.abc import Callable, Mapping, Set

from devlink.dns import replies, wire
from devlink.dns.answers import Answers
from devlink.dns.asking import FAILURES, NEVER, Asking, Outcome
from devlink.dns.cache import HOT, STALE_FOR, Cache, Entry, Key
from devlink.dns.config import Config
from devlink.dns.counts import Counts, RecentQueries
from devlink.dns.effects import Answer, Drop, Effect, Forget
from devlink.dns.questions import Attempt, Client, Transaction, Waiter
from devlink.dns.replies import Digest
from devlink.dns.rules import Alias, Destination, Rules, Verdict
from devlink.dns.servers import Servers
from devlink.dns.wire import Ede, Query, Rcode

MAX_IN_FLIGHT = 4096
"""Questions that wait for a server at one time.

Each group of servers has a share of them, and no more: were they first come, first served, the questions that wait for
a dead server would soon be all of them. Clients have none, for they cannot be told apart: all are 127.0.0.1.
"""
MANY, PAUSE = 64, 0.02
"""With so many questions in flight their timers are looked at no sooner than after so many seconds: each look is a walk
over all of them."""
_NOBODY: Mapping[Key, Entry] = {}


class Engine:
    """All questions in flight, and the cache. What its methods return is to be carried out in order."""

    def __init__(self, entropy: Callable[[int], bytes], *, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        """`entropy(n)` gives n unpredictable octets."""
        self.cache = Cache(0)
        self.counts = Counts()
        self._answers = Answers(self.cache, self.counts)
        self._asking = Asking(entropy, self.counts)
        self._max_in_flight = max_in_flight
        self._config = Config()
        self._own: Set[tuple[str, int]] = frozenset()
        self._rules = Rules(self._config)
        self._transactions: dict[Key, Transaction] = {}
        self._waiting = [0]
        """Clients' questions in flight, by the group of servers that they wait for."""
        self._asked = [0]
        """Transactions, by the same; some have nobody who waits."""
        self._shares = [max_in_flight]
        """How many of each there may be: half for the ordinary servers, and the rest for the groups of zones."""

    @property
    def servers(self) -> Servers:
        """What is known of each."""
        return self._asking.servers

    @property
    def log(self) -> RecentQueries | None:
        """Where each question is noted; None: nowhere."""
        return self._answers.log

    @log.setter
    def log(self, log: RecentQueries | None) -> None:
        self._answers.log = log

    @property
    def in_flight(self) -> int:
        """Questions that wait for a server."""
        return sum(self._waiting)

    @property
    def zones(self) -> list[str]:
        """Their suffixes as text, and the name of the ordinary ones."""
        return list(self._rules.destinations)

    def zones_of(self, server: object) -> list[str]:
        """Which zones a server is asked for."""
        destinations = self._rules.destinations.values()
        return [each.zone for each in destinations if any(u.server == server for u in each.upstreams)]

    @property
    def hot(self) -> Mapping[Key, Entry]:
        """Answers that the edge may give by itself, to a packet found in here (without its id), if the entry's `tick`
        is this second: it counts one more of the entry's `hits`. Empty while every question is noted in the log."""
        return self.cache.table if self._answers.log is None else _NOBODY

    def configure(self, config: Config, own: Set[tuple[str, int]], now: float) -> list[Effect]:
        """Put new rules in force. Questions in flight go on; those whose servers changed are asked anew.

        Otherwise a retry would carry a name to servers that it must not reach any more. `own`: our own sockets.
        """
        effects: list[Effect] = []
        is_same = config._replace(proofs=()) == self._config._replace(proofs=()) and own == self._own
        self._config, self._own = config, own
        self._asking.mixes_case = config.case_randomization
        self._rules = Rules(config, own)
        if is_same:
            return effects
        self.cache.clear()
        self.cache.count_only(self._rules.destinations)
        self.counts.keep_only(self._rules.destinations)
        self.cache.limit = config.cache_bytes
        self.servers.keep_only({u.server for d in self._rules.destinations.values() for u in d.upstreams})
        kept: list[Transaction] = []
        again: list[tuple[Waiter, Destination]] = []
        for transaction in list(self._transactions.values()):
            waiters, destination = transaction.waiters, transaction.destination
            if waiters and all(self._still_goes_to(waiter, destination) for waiter in waiters):
                transaction.stale = None
                kept.append(transaction)
            else:
                again += [(waiter, destination) for waiter in self._remove(transaction, effects)]
        self._waiting, self._asked = [0] * self._rules.groups, [0] * self._rules.groups
        self._shares = self._shared_out()
        for transaction in kept:
            transaction.destination = self._rules.destinations[transaction.destination.zone]
            self._waiting[transaction.destination.group] += len(transaction.waiters)
            self._asked[transaction.destination.group] += 1
        for waiter, destination in again:
            anew = Waiter(waiter.client, waiter.packet, waiter.query, waiter.began)
            if destination.is_cluster and self._goes_to_ordinary_servers(waiter):
                text = "the cluster that this name was asked at is gone"
                verdict = Verdict(Rcode.REFUSED, (), Ede.PROHIBITED, text, destination.zone)
                self._answers.local(verdict, anew, now, effects)
            else:
                self._route(anew, now, effects, is_new=False)
        return effects

    def _shared_out(self) -> list[int]:
        others = self._rules.groups - 1
        half = self._max_in_flight if not others else max(1, self._max_in_flight // 2)
        shares = [max(1, half // others) if others else half] * self._rules.groups
        shares[self._rules.ordinary.group] = half
        return shares

    def flush(self) -> int:
        """Forget all cached answers, those that are on their way, and how servers are reached; how many there were."""
        self.servers.forget_network()
        for transaction in self._transactions.values():
            transaction.stale, transaction.is_kept = None, False
        return self.cache.clear()

    def receive_query(self, packet: bytes, client: Client, now: float) -> list[Effect]:
        """A client's packet."""
        entry = self.cache.table.get(packet[2:])
        if (
            entry is not None
            and self._answers.log is None
            and self.cache.age(entry, int(now))
            and (entry.hits < HOT or now < entry.prefetch_at)
        ):
            entry.hits += 1
            return [Answer(client, packet[:2] + entry.wire)]
        query = wire.parse_query(packet)
        if isinstance(query, Query) and (query.edns is None or not query.edns.version):
            effects: list[Effect] = []
            hot = entry if entry is not None and entry.hits >= HOT and int(now) < entry.ends else None
            self._route(Waiter(client, packet, query, now), now, effects, is_new=True, hot=hot)
            return effects
        self.counts.queries += 1
        if query is None:
            self.counts.dropped += 1
            return [Drop(client)]
        self.counts.malformed += 1
        if isinstance(query, Rcode):
            return [Answer(client, wire.local_reply(packet, None, query))]
        return [Answer(client, wire.local_reply(packet, query, Rcode.BADVERS))]

    def receive_reply(self, attempt: Attempt, packet: bytes, now: float) -> list[Effect]:
        """A packet from the attempt's server under its id. What does not answer the very question is ignored."""
        effects: list[Effect] = []
        transaction = attempt.transaction
        outcome = self._asking.receive_reply(attempt, packet, now, effects)
        if outcome is not None and transaction is not None:
            self._end(transaction, outcome, now, effects)
        return effects

    def upstream_failed(self, attempt: Attempt, now: float, trouble: str = "") -> list[Effect]:
        """The attempt can bring nothing: refused, unreachable, closed by the server, or no socket was to be had.

        `trouble` says why, for people, where it is more than that.
        """
        effects: list[Effect] = []
        transaction = attempt.transaction
        trouble = trouble or f"cannot reach {attempt.step.server.host}"
        outcome = self._asking.fail(attempt, trouble, now, effects)
        if outcome is not None and transaction is not None:
            self._end(transaction, outcome, now, effects)
        return effects

    def handle_timer(self, now: float) -> list[Effect]:
        """Do what is due at `now`."""
        effects: list[Effect] = []
        asking = self._asking
        if now < asking.next_due:
            return effects
        for transaction in list(self._transactions.values()):
            if transaction.due > now:
                continue
            if now < transaction.step_due:  # then it is those who wait whose patience ends
                self._give_stale(transaction, now, effects)
                asking.wait(transaction, transaction.step_due)
                continue
            outcome = asking.time_out(transaction, now, effects)
            if outcome is not None:
                self._end(transaction, outcome, now, effects)
        asking.next_due = min((each.due for each in self._transactions.values()), default=NEVER)
        if len(self._transactions) > MANY:
            asking.next_due = max(asking.next_due, now + PAUSE)
        return effects

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called, or None: nothing is in flight."""
        return self._asking.next_due if self._transactions else None

    # Where a question goes

    def _route(
        self, waiter: Waiter, now: float, effects: list[Effect], *, is_new: bool, hot: Entry | None = None
    ) -> None:
        """Answer it, or have it wait for an answer. One that is not new has been counted already; one that many ask
        has a `hot` answer of its own."""
        query = waiter.query
        key = query.key
        decision = self._rules.decide(query)
        if isinstance(decision, Verdict):
            if is_new:
                self.counts.queries += 1
                self.counts.zone(decision.zone).queries += 1
            self._answers.local(decision, waiter, now, effects)
            return
        if isinstance(decision, Alias):
            waiter.is_alias = True
            key = wire.question_key(key[0], key[1], decision.octets, key[-4:])
            decision = decision.destination
        place: Key = (key, "do") if query.edns is not None and query.edns.dnssec_ok else key
        entry = self.cache.find(place)
        if entry is None and hot is not None:  # what it was made from is gone
            hot.hits += 1
            effects.append(Answer(waiter.client, waiter.packet[:2] + hot.wire))
            self._prefetch(key, place, decision, now, effects)
            return
        if entry is not None and self.cache.age(entry, int(now)):
            self._answers.from_cache(entry, waiter, now, effects)
            if entry.prefetch_at <= now and (hot is not None or entry.hits >= HOT):
                self._prefetch(key, place, decision, now, effects)
            return
        if is_new:
            self.counts.queries += 1
            self.counts.zone(decision.zone).queries += 1
        stale = entry if entry is not None and now < entry.ends + STALE_FOR else None
        if not self._has_room_for(decision):
            if stale is not None:
                self._answers.stale(stale, [waiter], now, effects)
                return
            # An answer at once also ends a loop through another resolver, which silence would keep alive.
            self.counts.overloads += 1
            text = "too many questions wait for an answer"
            self._answers.local(Verdict(Rcode.SERVFAIL, (), Ede.OTHER, text, decision.zone), waiter, now, effects)
            return
        self._waiting[decision.group] += 1
        transaction = self._transactions.get(place)
        if transaction is not None:
            self._join(transaction, waiter, now, effects)
            return
        self._begin(Transaction(key, place, decision, stale, [waiter], now), now, effects)
        if stale is not None and all(self.servers.state(u.server).is_silent for u in decision.upstreams):
            self._give_stale(self._transactions[place], now, effects)

    def _goes_to_ordinary_servers(self, waiter: Waiter) -> bool:
        decision = self._rules.decide(waiter.query)
        return isinstance(decision, Destination) and not decision.is_cluster

    def _still_goes_to(self, waiter: Waiter, destination: Destination) -> bool:
        decision = self._rules.decide(waiter.query)
        if waiter.is_alias:
            return isinstance(decision, Alias) and _same(decision.destination, destination)
        return isinstance(decision, Destination) and _same(decision, destination)

    def _prefetch(self, key: bytes, place: Key, destination: Destination, now: float, effects: list[Effect]) -> None:
        """Ask for a hot name before its answer ends; nobody waits for it."""
        if place in self._transactions or not self._has_room_for(destination):
            return
        self.counts.prefetched += 1
        self._begin(Transaction(key, place, destination, self.cache.find(place), [], now), now, effects)

    def _has_room_for(self, destination: Destination) -> bool:
        group = destination.group
        return self._waiting[group] < self._shares[group] and self._asked[group] < self._shares[group]

    # A transaction's life

    def _begin(self, transaction: Transaction, now: float, effects: list[Effect]) -> None:
        self._transactions[transaction.place] = transaction
        destination = transaction.destination
        self._asked[destination.group] += 1
        for step in self._asking.begin(transaction, now, effects):
            place = transaction.key, f"probe {step.server}"
            if place not in self._transactions and self._has_room_for(destination):
                probe = Transaction(transaction.key, place, destination, None, [], now)
                probe.dnssec_ok, probe.is_probe = transaction.dnssec_ok, True
                self._transactions[place] = probe
                self._asked[destination.group] += 1
                self._asking.probe(probe, step, now, effects)

    def _join(self, transaction: Transaction, waiter: Waiter, now: float, effects: list[Effect]) -> None:
        self.counts.coalesced += 1
        transaction.waiters.append(waiter)
        if transaction.gave_stale:
            self._give_stale(transaction, now, effects)
        elif transaction.stale is not None:  # it may be the first who waits
            self._asking.wait(transaction, transaction.step_due)

    def _remove(self, transaction: Transaction, effects: list[Effect], known: Attempt | None = None) -> list[Waiter]:
        """End it; who waits for it. The edge knows by itself of the `known` attempt's end."""
        for attempt in transaction.attempts:
            attempt.transaction = None
            if attempt is not known:
                effects.append(Forget(attempt))
        del self._transactions[transaction.place]
        waiters = transaction.waiters
        self._waiting[transaction.destination.group] -= len(waiters)
        self._asked[transaction.destination.group] -= 1
        return waiters

    def _end(self, transaction: Transaction, outcome: Outcome, now: float, effects: list[Effect]) -> None:
        """Everybody who waits gets what there is: a server's answer, a stale one, or a failure with its reason."""
        digest, attempt = outcome
        destination = transaction.destination
        waiters = self._remove(transaction, effects, attempt)
        if transaction.is_probe:
            return
        if transaction.stale is not None and (digest is None or digest.rcode in FAILURES):
            self._answers.stale(transaction.stale, waiters, now, effects)
        elif digest is None or attempt is None:
            if transaction.silent:
                ede, text = Ede.NO_REACHABLE_AUTHORITY, f"no answer from {destination.servers}"
            else:
                ede, text = Ede.NETWORK_ERROR, transaction.trouble
            self._tell(waiters, Verdict(Rcode.SERVFAIL, (), ede, text, destination.zone), now, effects)
        elif self._rules.has_private and not destination.is_cluster and self._is_rebound(digest):
            text = "an ordinary name with an address of the cluster's"
            self._tell(waiters, Verdict(Rcode.REFUSED, (), Ede.BLOCKED, text, destination.zone), now, effects)
        else:
            key = transaction.key
            if attempt.packet[10 : len(key)] != key[10:]:  # it was asked in random case
                digest = digest._replace(body=replies.with_question(digest.body, key))
            if transaction.is_kept and key[0] & wire.RD:
                self.cache.put(transaction.place, digest, destination.zone, int(now))
            self._answers.from_server(digest, destination.zone, attempt.step, waiters, now, effects)

    def _tell(self, waiters: list[Waiter], verdict: Verdict, now: float, effects: list[Effect]) -> None:
        for waiter in waiters:
            self._answers.local(verdict, waiter, now, effects)

    def _is_rebound(self, digest: Digest) -> bool:
        return any(self._rules.is_private(address) for address in replies.addresses(digest.body, digest.ttl_offsets))

    def _give_stale(self, transaction: Transaction, now: float, effects: list[Effect]) -> None:
        """Who waits gets what was true before; the transaction goes on, for those who come later."""
        stale = transaction.stale
        if stale is None or not transaction.waiters:
            return
        waiters, transaction.waiters = transaction.waiters, []
        self._waiting[transaction.destination.group] -= len(waiters)
        transaction.gave_stale = True
        self._answers.stale(stale, waiters, now, effects)


def _same(one: Destination, other: Destination) -> bool:
    """Whether two destinations, of different rules, lead to the same servers under the same zone."""
    return one._replace(group=0) == other._replace(group=0)
