"""One session of the agent: what was asked for, where it stands, and how that is shown."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from devlink.agent.cache import Origin
from devlink.agent.surroundings import Surroundings
from devlink.core.codec import encode
from devlink.core.detours import carrier
from devlink.core.findings import Finding, Severity
from devlink.core.overrides import show_override
from devlink.core.plan import Desired, Plan
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.core.profile import BridgeProfile, RoutingMode
from devlink.core.relay import RelayOptions, RelayState
from devlink.core.relay_words import tree

NO_OPTIONS = RelayOptions()


class State(StrEnum):
    """Where a session stands."""

    CONNECTING = "connecting"
    """Being brought up: not verified yet."""
    UP = "up"
    """Verified."""
    DEGRADED = "degraded"
    """It was up, and now something of it is not there. `Session.trouble` says what."""
    SUSPENDED = "suspended"
    """It was up, and cannot be where the laptop is now: nothing of it is installed, and each change of the network is
    a reason to look whether it can be again. `Session.trouble` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Another cluster answered than the profile's."""

    around: Surroundings
    """Where that was, as it is seen while nothing of the session is installed."""
    trouble: Finding
    """What is told of it there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user asked for: enough to ask again after a restart."""

    profile: BridgeProfile
    dns: bool = True
    routes: bool = True
    origin: Origin | None = None
    """The cluster that gave the profile; None for a file."""
    fetched: float = 0.0
    """When it gave it, Unix seconds; 0 for a file."""
    version: str = ""
    """The ConfigMap's resourceVersion then."""
    kubeconfig: str = ""
    """KUBECONFIG as its user had it: where the cluster is found again."""
    pins: tuple[IPAddress, ...] = ()
    """Addresses that keep their way besides those that the helper knows: the API server's, a proxy's."""
    exclude: tuple[IPNetwork, ...] = ()
    """What of the profile's networks gets no route."""
    override: tuple[IPNetwork, ...] = ()
    """What of them wins over everybody else's routes."""
    routing: RoutingMode | None = None
    """Who shall carry the packets, where that is not as the profile says."""
    relay: RelayOptions = NO_OPTIONS
    """What of it may be relayed, should it be."""
    relayed: bool = False
    """It was relayed when it was last up, and is until a route has been proven."""
    context: str = ""
    """By which context or login its API is reached, where no cluster gave the profile."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What an agent that is started again must know of its user's environment to reach the API: proxies, PATH."""
    refusal: Refusal | None = None
    """Where it is not to be brought up again unattended; until it is up anywhere, or its user wishes anew."""

    @property
    def is_auto(self) -> bool:
        """Whether it is devlink that chooses who carries the packets."""
        return (self.routing or self.profile.spec.routing) is RoutingMode.AUTO

    @property
    def reached_by(self) -> str:
        """The context or login of its API; empty for the current one."""
        return self.origin.context if self.origin is not None else self.context


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What is heard of those who carry a session's packets."""

    answers: bool = False
    """One of them answers."""
    is_asking: bool = False
    """One of them has missed a question and is asked again at once."""
    is_silent: bool = False
    """For some of the packets nobody answers: neither who carries them nor who could. `Session.carrying` tells it."""


@dataclass(slots=True, kw_only=True)
class Session:
    """One profile that is up, or on its way."""

    wish: Wish
    plan: Plan
    state: State = State.CONNECTING
    since: float = 0.0
    """Monotonic seconds when the state was entered."""
    resolver: str = ""
    """The resolver mode that the helper chose."""
    resolver_reason: str = ""
    installed: tuple[str, ...] = ()
    """Our routes as `ip route` writes them, pins included."""
    trouble: tuple[Finding, ...] = ()
    """What keeps it from being up."""
    doubts: tuple[Finding, ...] = ()
    """What is installed, and could not be verified again when the network changed: it keeps it from being up, too."""
    around: Surroundings | None = None
    """Where the laptop was when it was last verified, or last could not be brought up; None until that is looked at."""
    offline_since: float = 0.0
    """Monotonic seconds when the laptop was first seen without a way to any next hop; 0 while it has one."""
    remarks: tuple[Finding, ...] = ()
    """What verification noticed, and what does not keep it from being up."""
    passed_over: Mapping[tuple[IPAddress, IPAddress], Finding] = field(default_factory=dict)
    """For each next hop, and who carried its packets when it did not come up: why. Until they go by either again."""
    notes: tuple[Finding, ...] = ()
    """What is to be said of the profile's source: an old copy is used, a newer one waits."""
    heard: Heard | None = None
    """None while nobody asks its next hops."""
    show_gateways: Callable[[], Iterable[Mapping[str, Any]]] = tuple
    """Its next hops that are asked and who could take their place, as `status` shows them now."""
    strangers: Mapping[IPAddress, Finding] = field(default_factory=dict)
    """Gateways behind which another cluster answered when one last did, so that none of them takes over; and what is to
    be told of each."""
    proven: frozenset[IPAddress] = frozenset()
    """Next hops behind which its own cluster answered in this network."""
    unanswered: dict[IPAddress, float] = field(default_factory=dict)
    """Monotonic seconds when it was last asked behind a next hop, and nobody answered."""
    relay: RelayState | None = None
    """How it is with its relay; None where it has none, or none that has told of itself."""
    relay_trouble: tuple[Finding, ...] = ()
    """What is to be said of its relay's process, and of what the helper refuses for it."""
    not_home: Surroundings | None = None
    """Where it went back to its relay, because it did not come up by routes: not to be tried again there."""
    carrying: tuple[Finding, ...] = ()
    """What is to be said of who carries its packets."""
    by_hand: frozenset[tuple[IPAddress, IPAddress]] = frozenset()
    """The next hops for which their user chose who carries their packets, and whom."""
    applied: bool = False
    """Whether the helper has it, as far as this agent knows."""
    has_answer: bool = False
    """Whether a gateway that carries its packets had answered when it was last told of."""
    trying: "asyncio.Task[None] | None" = None
    """Tries again to bring it up; the last that did."""
    rests: bool = False
    """Whether that waits for long before it tries again what is in doubt: a gateway's answer need not wait for it."""
    ending: bool = False
    """Its user has taken it down while the helper was away: that one's successor shall not get it again."""

    @property
    def name(self) -> str:
        return self.wish.profile.metadata.name

    @property
    def is_suspended(self) -> bool:
        return self.state is State.SUSPENDED

    @property
    def at_best(self) -> State:
        """UP; DEGRADED while something that is sent does not arrive: nobody answers, which `carrying` tells, its relay
        cannot work, or routes of others win over ours, which the plan's findings tell."""
        is_silent = self.heard is not None and self.heard.is_silent
        is_cut = any(finding.severity is Severity.ERROR for finding in self.of_relay)
        return State.DEGRADED if is_silent or is_cut or self.plan.loses_routes else State.UP

    @property
    def is_relayed(self) -> bool:
        """Whether its plan has new connections relayed."""
        relaying = self.plan.desired.relay
        return relaying is not None and not relaying.draining

    @property
    def is_draining(self) -> bool:
        """Whether what was relayed goes on to its end, and nothing new is."""
        relaying = self.plan.desired.relay
        return relaying is not None and relaying.draining

    @property
    def of_relay(self) -> tuple[Finding, ...]:
        """What is to be said of its relay."""
        return (*self.relay_trouble, *(self.relay.findings if self.relay is not None else ()))

    @property
    def candidates(self) -> dict[IPAddress, tuple[IPAddress, ...]]:
        """For each next hop that the routes prefer, who can take its place, best first."""
        return {
            hop: tuple(via for via, _ in self.plan.candidates(hop) if via not in self.strangers)
            for hop in self.plan.desired.next_hops
        }

    @property
    def suspicious(self) -> tuple[Finding, ...]:
        """Of the strangers whom its plan could have carry packets; one that the profile names no more is no matter."""
        if not self.strangers:  # to go through ten thousand routes for nobody costs milliseconds at each change
            return ()
        plan = self.plan
        able = {*plan.desired.next_hops, *(via for hops in plan.alternatives.values() for via, _ in hops)}
        return tuple(finding for gateway, finding in self.strangers.items() if gateway in able)

    @property
    def gateways(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.show_gateways())

    def listen_no_more(self) -> None:
        """Nobody asks its next hops any more."""
        self.heard, self.carrying, self.show_gateways = None, (), tuple

    def enter(self, state: State, now: float, *trouble: Finding) -> None:
        """Change the state at monotonic time `now`."""
        if state is not self.state:
            self.since = now
        self.state, self.trouble = state, trouble

    def learn(self, plan: Plan) -> bool:
        """What the network is like now, which asks for nothing else than is installed; whether that is anything new."""
        newer = replace(plan, desired=self.plan.desired)
        is_new = newer != self.plan
        self.plan = newer
        return is_new

    def note_resolver(self, told: Mapping[str, Any]) -> None:
        """By which mode the OS asks for its names, as the helper tells; what was so stays while there is none."""
        if told["resolver"] not in ("", "overwritten"):
            self.resolver, self.resolver_reason = str(told["resolver"]), str(told["resolver_reason"])

    def lose(self, now: float, trouble: Finding, state: State = State.DEGRADED) -> None:
        """Nothing of it is installed any more, and that was not its user's wish."""
        self.applied, self.installed, self.resolver, self.resolver_reason = False, (), "", ""
        self.doubts, self.remarks, self.offline_since = (), (), 0.0
        self.enter(state, now, trouble)

    def forget_passed_over(self) -> None:
        """Where packets are back with the preferred next hop, or with who was passed over, all is as it should be."""
        self.passed_over = {
            (hop, before): why
            for (hop, before), why in self.passed_over.items()
            if carrier(self.plan.desired, hop) not in (hop, before)
        }

    @property
    def present_plan(self) -> Plan:
        """What shall be there now: what is not there has no names, and what its plan found is not so here."""
        return replace(self.plan, desired=Desired(session=self.name), findings=()) if self.is_suspended else self.plan

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that `status` shows of it."""
        of_gateways = (*self.passed_over.values(), *self.suspicious) if self.applied else ()
        of_plan = self.present_plan.findings
        return (*self.trouble, *self.carrying, *self.of_relay, *of_gateways, *self.notes, *self.remarks, *of_plan)

    def shown(self, now: float) -> Mapping[str, Any]:
        """As `io.devlink.Agent.Status` gives it."""
        plan = self.present_plan
        return {
            "name": self.name,
            "state": self.state.value,
            "since": round(max(0.0, now - self.since), 1),
            "mode": plan.mode.value,
            "reason": plan.reason,
            "revision": self.wish.profile.metadata.revision,
            "context": self.wish.origin.context if self.wish.origin else "",
            "age": round(max(0.0, time.time() - self.wish.fetched)) if self.wish.origin else 0,
            "routes": list(self.installed),
            "route_count": len(self.installed),
            "gateways": list(self.gateways),
            "exclude": [str(prefix) for prefix in self.wish.exclude],
            "override": show_override(self.wish.override),
            "zones": [str(zone.suffix) for zone in plan.desired.zones],
            "search": [namespace for zone in plan.desired.zones for namespace in zone.search],
            "resolver": self.resolver,
            "resolver_reason": self.resolver_reason,
            "relay": tree(self.relay) if self.relay is not None else None,
            "findings": [encode(finding) for finding in self.findings],
        }
