"""Which gateway carries a session's packets: what was asked and answered, and when, decides. No clock, no socket.

Each call takes the time (`now`, monotonic seconds) and gives what shall be done. A gateway is asked only when there are
packets for it (`traffic`), so nothing happens while nothing is sent.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

from devlink.core.health_records import Hop, HopState, Way
from devlink.core.prefixes import IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds, and how many."""

    limits: tuple[float, ...] = (0.2, 0.1, 0.1)
    """For the answer to each question of a round, at most; after the last one it is dead."""
    patience: float = 25.0
    """How many times as long as its slow answers took lately; but never less than half of the limit.

    A hiccup of the cluster's DNS is no reason to switch however short this is: another hop must have answered since,
    and the DNS comes to the older questions first."""
    pause: float = 0.2
    """Between the beginnings of two rounds for the hop that carries the packets: with the limits above, at most four
    questions a second of one that is well."""
    idle_pause: float = 1.0
    """The same for a better one that is waited for."""
    hold: float = 30.0
    """How long a hop that was dead must have answered before packets go back to it."""
    longest_hold: float = 600.0
    """Each return that did not last doubles `hold`, up to this; after as long without trouble it is as at first."""
    back_off: float = 1.0
    """Until all are asked again where none answered; doubled each time."""
    longest_back_off: float = 30.0
    unheard_pause: float = 5.0
    """Between two rounds for a hop by way of which nobody has ever answered: its neighbour entry is all there is."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Put a question to the cluster's DNS by way of `via`: question `attempt` of its round, from 0."""

    via: IPAddress
    attempt: int


@dataclass(frozen=True, slots=True)
class AskNeighbour:
    """See whether `via` is on the link at all (ARP, neighbour discovery)."""

    via: IPAddress


@dataclass(frozen=True, slots=True)
class Switch:
    """Send by `via` what the routes send to `next_hop`."""

    next_hop: IPAddress
    via: IPAddress


Action = Ask | AskNeighbour | Switch


@dataclass(slots=True)
class Health:
    """The ways of one session."""

    ways: dict[IPAddress, Way]
    """By their preferred next hop."""
    times: Times = field(default_factory=Times)
    hops: dict[IPAddress, Hop] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        candidates: Mapping[IPAddress, Iterable[IPAddress]],
        vias: Mapping[IPAddress, IPAddress],
        times: Times | None = None,
        *,
        by_hand: Container[tuple[IPAddress, IPAddress]] = (),
        before: "Health | None" = None,
    ) -> "Health":
        """`candidates` for each preferred next hop, in order, without it; `vias`: who carries it already.

        `by_hand`: the next hops for which the user chose someone, and whom: where another one carries it, that was not
        their choice. What was known `before` of the same hops stays known.
        """
        times = times or Times()
        ways = {}
        for next_hop, others in candidates.items():
            order = tuple(dict.fromkeys((next_hop, *others)))
            via = vias.get(next_hop, next_hop)
            way = Way(order, via if via in order else next_hop, hold=times.hold)
            old = before.ways.get(next_hop) if before is not None else None
            if old is not None and old.via == way.via:
                way = replace(old, candidates=order, before=None)
            way.by_hand = way.via != next_hop and (next_hop, way.via) in by_hand
            ways[next_hop] = way
        hops = {via: Hop(via) for way in ways.values() for via in way.candidates}
        for via, hop in before.hops.items() if before is not None else ():
            if via in hops:  # its questions were another one's, who hears their answers no more
                hops[via] = replace(hop, round=-1, again_at=None)
        return cls(ways, times, hops)

    @property
    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called; None while no question is on its way."""
        deadlines = [hop.deadline for hop in self.hops.values() if hop.round >= 0]
        again = [hop.again_at for hop in self.hops.values() if hop.round < 0 and hop.again_at is not None]
        return min([*deadlines, *again], default=None)

    def traffic(self, now: float, next_hop: IPAddress) -> list[Action]:
        """A packet was sent that the routes send to `next_hop`."""
        way = self.ways.get(next_hop)
        if way is None:
            return []
        if way.silent:
            if now < way.retry_at:
                return []
            way.back_off = min(way.back_off * 2, self.times.longest_back_off)
            way.retry_at = now + way.back_off
            return self._ask_all(way, now)
        carrier = self.hops[way.via]
        actions = self._begin(carrier, now, self.times.pause)
        if carrier.heard is not None:
            carrier.again_at = max(now, carrier.began + self.times.pause)
        for via in () if way.by_hand else way.better:
            actions += self._begin(self.hops[via], now, self.times.idle_pause)
        return actions

    def answered(self, now: float, via: IPAddress, rtt: float) -> list[Action]:
        """The cluster's DNS has answered by way of `via`, `rtt` seconds after the question."""
        hop = self.hops.get(via)
        if hop is None:
            return []
        hop.round, hop.heard, hop.rtt, hop.is_gone = -1, now, rtt, False
        hop.has_missed = hop.is_outdone = False
        hop.slow = max(rtt, 0.9 * hop.slow)
        if hop.answering_since is None:
            hop.answering_since = now
        returns = hop.state is HopState.DEAD or hop.state is HopState.RETURNING
        is_settled = now - hop.answering_since >= self.times.hold
        hop.enter(HopState.RETURNING if returns and not is_settled else HopState.HEALTHY, now)
        return list(self._decide(now))

    def neighbour(self, now: float, via: IPAddress, *, is_there: bool) -> list[Action]:
        """What came of an `AskNeighbour`."""
        hop = self.hops.get(via)
        if hop is None:
            return []
        hop.is_gone = not is_there
        if is_there:
            hop.seen = now
            if hop.heard is None and not hop.is_outdone:
                hop.enter(HopState.UNKNOWN, now)
        elif hop.heard is None or now - hop.heard > sum(self.times.limits):
            hop.seen, hop.answering_since = None, None
            hop.enter(HopState.DEAD, now)
        return list(self._decide(now))

    def handle_timer(self, now: float, unput: Container[IPAddress] = ()) -> list[Action]:
        """Nothing has come within the time of a question. `unput`: by whom none could be put, whose silence says
        nothing."""
        actions: list[Action] = []
        is_over = False
        for hop in self.hops.values():
            if hop.round < 0 and hop.again_at is not None and hop.again_at <= now:
                hop.again_at = None
                actions += self._begin(hop, now)
                continue
            if hop.round < 0 or hop.deadline > now:
                continue
            if hop.address in unput:
                hop.round, is_over = -1, True
                if hop.state is HopState.SUSPECT:
                    hop.enter(HopState.HEALTHY, now)
                continue
            if hop.round == 0:
                if hop.state is HopState.HEALTHY:
                    hop.enter(HopState.SUSPECT, now)
                actions += self._suspect(hop, now)
            if hop.round + 1 < len(self.times.limits):
                hop.round += 1
                hop.deadline = now + self._limit(hop)
                actions.append(Ask(hop.address, hop.round))
                continue
            hop.round, hop.has_missed, is_over = -1, True, True
            if hop.heard is None:
                # The cluster's DNS may not be to be had at all: whether this one lives, its link address must tell.
                actions.append(AskNeighbour(hop.address))
            else:
                hop.answering_since = None
                hop.enter(HopState.DEAD, now)
        return [*actions, *(self._decide(now) if is_over else ())]

    def choose(self, now: float, next_hop: IPAddress, via: IPAddress) -> list[Action]:
        """The user's own choice: it stays until it dies, or until its user goes back to the preferred one.

        To be noted when it can be so, or is so already.
        """
        way = self.ways[next_hop]
        is_new = via != way.via
        if is_new:
            hop = self.hops[via]
            hop.round, hop.began, hop.has_missed, hop.is_outdone = -1, -1e9, False, False  # the next packet asks it
            hop.enter(HopState.UNKNOWN, now)
            self._move(way, via, now, "chosen by hand")
        way.by_hand = via != next_hop
        return [Switch(next_hop, via)] if is_new else []

    def place(self, next_hop: IPAddress, via: IPAddress) -> None:
        """It is carried by `via`, whatever was decided: a switch has failed."""
        way = self.ways[next_hop]
        if way.before is not None and way.before.via == via:
            before = replace(way.before, refused=way.refused)
            for each in fields(before):  # also that it was silent: nobody has taken over
                setattr(way, each.name, getattr(before, each.name))
        elif via in way.candidates:
            way.via, way.reason, way.by_hand = via, "", False

    def refuse(self, now: float, next_hop: IPAddress, via: IPAddress) -> None:
        """What prefers `next_hop` could not go over to `via`, whose answers do not count for it until all are asked
        anew, or until it has gone well for `hold` with another one."""
        self.ways[next_hop].refused[via] = now

    def _begin(self, hop: Hop, now: float, pause: float = 0.0) -> list[Action]:
        """A round of questions, unless one is on its way or has just been."""
        if hop.heard is None and pause:
            pause = max(pause, self.times.unheard_pause)
        if hop.round >= 0 or now - hop.began < pause:
            return []
        hop.round, hop.began = 0, now
        hop.deadline = now + self._limit(hop)
        return [Ask(hop.address, 0)]

    def _limit(self, hop: Hop) -> float:
        """Seconds for the answer to the present question."""
        limit = self.times.limits[hop.round]
        return limit if hop.heard is None else min(limit, max(limit / 2, self.times.patience * hop.slow))

    def _suspect(self, hop: Hop, now: float) -> list[Action]:
        """Ask those that could take its place while its own further questions are on their way."""
        actions = []
        for way in self.ways.values():
            if way.via == hop.address and not way.silent:
                way.suspected = hop.began
                for via in way.candidates:
                    actions += self._begin(self.hops[via], now)
        return actions

    def _decide(self, now: float) -> Iterator[Action]:
        for way in self.ways.values():
            self._compare(way, now)
            if self.hops[way.via].state is HopState.DEAD:
                yield from self._replace(way, now)
            else:
                if self.hops[way.via].state is not HopState.SUSPECT:
                    way.silent = False
                    way.refused = {via: at for via, at in way.refused.items() if now - at < way.hold}
                yield from self._go_back(way, now)

    def _ask_all(self, way: Way, now: float) -> list[Action]:
        """Whoever answers, or at least is there, is worth more than silence."""
        actions: list[Action] = []
        way.suspected = now  # a sign of life from before counts no more
        way.refused = {}
        for via in way.candidates:
            actions += [*self._begin(self.hops[via], now), AskNeighbour(via)]
        return actions

    def _compare(self, way: Way, now: float) -> None:
        """A carrier that never answered is dead, whatever its neighbour entry says, once another one has answered what
        it missed: being on the link is not forwarding. While a question to itself is on its way, that one tells."""
        carrier = self.hops[way.via]
        if carrier.heard is None and carrier.has_missed and carrier.round < 0 and self._able(way):
            carrier.is_outdone = True
            carrier.enter(HopState.DEAD, now)

    def _able(self, way: Way) -> list[Hop]:
        """Who has answered since the carrier was last doubted, best first."""
        began = self._doubted(way)
        return [hop for hop in self._others(way) if hop.heard is not None and hop.heard >= began]

    def _others(self, way: Way) -> list[Hop]:
        """Who may take over."""
        return [self.hops[via] for via in way.candidates if via != way.via and via not in way.refused]

    def _doubted(self, way: Way) -> float:
        return self.hops[way.via].began if way.suspected is None else way.suspected

    def _replace(self, way: Way, now: float) -> Iterator[Action]:
        """The one that carries it is dead: the best other one takes its place that has given a sign since."""
        carrier = self.hops[way.via]
        able = self._able(way)
        if not able and carrier.is_gone:
            # Nobody answers, so it may be the DNS that is ill; but this one is not even on the link.
            able = [hop for hop in self._others(way) if hop.seen is not None and hop.seen >= self._doubted(way)]
        if able:
            switch = self._move(way, able[0].address, now, f"{way.via} is silent")
            if way.back_at is not None:  # it went back, and did not stay there
                is_old = now - way.back_at >= self.times.longest_hold
                way.hold = self.times.hold if is_old else min(2 * way.hold, self.times.longest_hold)
            yield switch
        elif not way.silent and not any(hop.round >= 0 for hop in self._others(way)):
            way.silent, way.back_off = True, self.times.back_off
            way.retry_at = now + way.back_off
            for via in way.candidates:
                yield AskNeighbour(via)

    def _go_back(self, way: Way, now: float) -> Iterator[Action]:
        """To a better one that has just answered, as it has for long enough."""
        if way.by_hand or now - way.since < way.hold:
            return
        for via in way.better:
            hop = self.hops[via]
            if (
                via not in way.refused
                and hop.heard == now
                and hop.answering_since is not None
                and now - hop.answering_since >= way.hold
            ):
                switch = self._move(way, via, now, way.reason)
                way.back_at = now
                yield switch
                return

    def _move(self, way: Way, via: IPAddress, now: float, reason: str) -> Switch:
        way.before = replace(way, before=None)
        way.via, way.since, way.reason = via, now, reason if via != way.preferred else ""
        way.by_hand, way.suspected, way.silent = False, None, False
        return Switch(way.preferred, via)
