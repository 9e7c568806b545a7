"""What is known of each server, and in which order they are asked: no question waits for a dead one twice."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from devlink.dns.config import Server
from devlink.dns.counts import SAMPLES
from devlink.dns.rules import Destination

BUDGET = 4.5
"""Seconds from question to answer, whatever is tried: stub resolvers give up after 5 (resolv.conf(5), `timeout`)."""
ORDINARY_WAIT = 0.4, 0.8
"""Least and most seconds that a question over UDP waits before the next server is asked too. An ordinary server may
have to ask far away for a name, and the next one may know less."""
CLUSTER_WAIT = 0.1, 0.25
"""The same for a cluster's servers: they are near, and where a firewall passes only TCP nobody shall wait long for it.
An earlier try stays open beside the next, so a short wait costs a datagram and no answer."""
FIRST_PAUSE, MAX_PAUSE = 1.0, 30.0
"""Seconds until a silent server is asked again, doubled each time."""
PREFER_TCP = 300.0
"""Seconds for which a server that was silent over UDP and answered over TCP is asked over TCP first."""
PLAN_KEPT = 0.1
"""Seconds for which the order of servers that are all well is good enough for other questions."""
NO_EDNS = 3600.0
"""Seconds for which a server that does not know OPT is asked without."""


class ServerState:
    """What is known of one server."""

    def __init__(self, server: Server, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called when it falls silent."""
        self.server = server
        self._changed = changed
        self.rtt: float | None = None
        """Smoothed, in seconds; None before the first answer."""
        self.rank = 0.0
        """The same, but less each time that another server was chosen."""
        self.deviation = 0.0
        self.heard = float("-inf")
        """When it said something last."""
        self.is_silent = False
        """It owed an answer and gave none, and has said nothing since."""
        self.ask_again = 0.0
        """When a silent server is asked again, beside another."""
        self.tcp_until = 0.0
        """Until when UDP is not tried, because only TCP answers."""
        self.plain_until = 0.0
        """Until when OPT is not sent, because it was not understood."""
        self.knows_edns = False
        self.trouble = ""
        """Why it failed last, in a few words; empty since it answered."""
        self.asked = self.answered = self.timeouts = self.failures = 0
        self.latencies: deque[float] = deque(maxlen=SAMPLES)
        self._pause = FIRST_PAUSE

    def replied(self, seconds: float, now: float) -> None:
        """An answer came, `seconds` after the question went."""
        self.answered += 1
        self.heard = now
        self.is_silent = False
        self.trouble = ""
        self._pause = FIRST_PAUSE
        if seconds > BUDGET:  # nobody waits so long: the laptop slept, and the reply lay in the socket
            return
        self.latencies.append(seconds)
        if self.rtt is None:
            self.rtt, self.deviation = seconds, seconds / 2
        else:  # RFC 6298 section 2
            self.deviation += (abs(seconds - self.rtt) - self.deviation) / 4
            self.rtt += (seconds - self.rtt) / 8
        self.rank = self.rtt

    def owes(self, sent: float, now: float) -> None:
        """A question that went out at `sent` got no answer by `now`, or cannot get one."""
        if self.heard >= sent or (self.is_silent and now < self.ask_again):
            return
        self.is_silent = True
        self._changed()
        self.ask_again = now + self._pause
        self._pause = min(2 * self._pause, MAX_PAUSE)

    def forget_network(self) -> None:
        """What was learnt of the way to it may be untrue on another."""
        self.is_silent = self.knows_edns = False
        self.tcp_until = self.plain_until = 0.0

    def wait(self, bounds: tuple[float, float]) -> float:
        """Seconds in which an answer comes, if one comes."""
        least, most = bounds
        if self.rtt is None:
            return most
        return min(max(2 * self.rtt + 4 * self.deviation, least), most)

    def status(self, now: float) -> str:
        """For people: ok, silent, tcp or unasked."""
        if self.is_silent:
            return "silent"
        if self.tcp_until > now:
            return "tcp"
        return "ok" if self.answered else "unasked"


class Step(NamedTuple):
    """One try at one server."""

    state: ServerState
    transport: str
    """udp, tcp or tls."""
    edns: bool
    """Whether OPT is sent."""
    shares_port: bool
    """Whether one UDP socket serves for all questions to this server, instead of many with random ports."""
    wait: float
    """Seconds until the next step is taken as well; an answer to this one is taken even later."""

    @property
    def server(self) -> Server:
        return self.state.server


class Servers:
    """All servers of a configuration. What is known of one that stays is kept."""

    def __init__(self) -> None:
        self._states: dict[Server, ServerState] = {}
        self._plans: dict[str, tuple[float, tuple[Step, ...]]] = {}
        """The steps of each zone as they were found a moment ago, and until when that is good enough."""

    def __iter__(self) -> Iterator[ServerState]:
        return iter(self._states.values())

    def keep_only(self, servers: set[Server]) -> None:
        """Forget all others, and who was silent: the network may be another."""
        self._states = {server: state for server, state in self._states.items() if server in servers}
        for server in servers:
            self.state(server)
        self.forget_network()

    def forget_network(self) -> None:
        """Every server gets another chance."""
        self.changed()
        for state in self:
            state.forget_network()

    def state(self, server: Server) -> ServerState:
        state = self._states.get(server)
        if state is None:
            state = self._states[server] = ServerState(server, self.changed)
        return state

    def steps(self, destination: Destination, now: float) -> tuple[tuple[Step, ...], Sequence[Step]]:
        """As `_steps` has them, but where all is well for PLAN_KEPT seconds without another look at the figures."""
        plan = self._plans.get(destination.zone)
        if plan is not None and now < plan[0]:
            return plan[1], ()
        steps, probes = self._steps(destination, now)
        if not any(step.state.is_silent or step.state.tcp_until for step in steps):
            self._plans[destination.zone] = now + PLAN_KEPT, steps
        return steps, probes

    def changed(self) -> None:
        """Look anew: a server fell silent, or must be asked in another way."""
        self._plans.clear()

    def _steps(self, destination: Destination, now: float) -> tuple[tuple[Step, ...], Sequence[Step]]:
        """The tries for one question in their order, and those that go out at once beside the first: to learn whether
        a silent server, or one whose UDP was, is back.

        Each server once over UDP, a lonely one twice, then TCP where UDP may be blocked. Silent ones come last.
        """
        cluster = destination.is_cluster
        bounds = CLUSTER_WAIT if cluster else ORDINARY_WAIT
        ranked = [(self.state(server), transport) for server, transport in destination.upstreams]
        if len(ranked) > 1:
            if cluster:  # the nearest first; one that was never asked before all, and so it gets measured
                ranked.sort(key=lambda each: each[0].rank)
                for state, _ in ranked[1:]:
                    state.rank *= 0.98  # one that got slow once is asked again some day
            ranked.sort(key=lambda each: each[0].is_silent)
        first, later, probes = [], [], []
        alone = len(ranked) == 1
        for state, transport in ranked:
            wait = state.wait(bounds)
            edns = state.plain_until <= now
            if state.server.tls_name or transport == "tcp":
                step = Step(state, "tls" if state.server.tls_name else "tcp", edns, cluster, 2 * wait)
                first += [step, step] if alone else [step]  # the connection may be dead, and another one do
            elif transport == "auto" and state.tcp_until:
                step = Step(state, "tcp", edns, cluster, 2 * wait)
                first.append(step)
                if state.tcp_until > now:
                    later.append(Step(state, "udp", edns, cluster, wait))
                else:
                    state.tcp_until = now + PREFER_TCP
                    probes.append(Step(state, "udp", edns, cluster, wait))
                if alone:
                    later.append(step)
            else:
                first.append(Step(state, "udp", edns, cluster, wait))
                if alone:  # one datagram may be lost; or OPT be what is not let through
                    first.append(Step(state, "udp", edns and state.knows_edns, cluster, wait))
                if transport == "auto":
                    later.append(Step(state, "tcp", edns, cluster, 2 * wait))
        if not alone and not ranked[0][0].is_silent:
            for step in first[1:]:
                state = step.state
                if state.is_silent and state.ask_again <= now:
                    state.owes(now, now)  # once, and then after a longer pause
                    probes.append(step)
        steps = first + later
        total = sum(step.wait for step in steps)
        if total > BUDGET:
            steps = [step._replace(wait=step.wait * BUDGET / total) for step in steps]
        return tuple(steps), probes
