"""Keeps a session's packets going while gateways die and return: asks when there is traffic, and has the helper switch.

What is decided and when is `core.health`'s; here are its questions, its timer and its switches.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from devlink.agent.carrying import all_silent, failed_over, slow
from devlink.agent.helper_link import HelperLink
from devlink.agent.probes import Probes
from devlink.agent.session import Heard, Session
from devlink.agent.strangers import look_behind, refusal
from devlink.core.detours import carrier, with_detour
from devlink.core.findings import Finding
from devlink.core.health import Action, Ask, AskNeighbour, Health, Switch, Times
from devlink.core.health_records import HopState, Way
from devlink.core.plan import Desired
from devlink.core.prefixes import IPAddress, PrefixTable
from devlink.core.profile import RoutingMode
from devlink.errors import DevlinkError, NotUpError, ProtocolError, UsageError, VerificationError
from devlink.helper.policy import Paths
from devlink.rpc.connection import Connection
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

POLL = 10.0
"""Seconds between two questions where this machine cannot tell when packets are sent, or does not for now."""
HEAR_AGAIN = 60.0
"""Seconds until the helper is asked again to tell when packets are sent, where it said that it cannot."""
PREPARED = 3
"""Candidates of each next hop whose sockets are made before they are needed."""


class Failover:
    """Of one session that is up. Close it."""

    def __init__(
        self,
        session: Session,
        link: HelperLink,
        tell: Callable[[], None],
        times: Times | None = None,
        before: "Health | None" = None,
    ) -> None:
        """`tell`: something that `status` shows has changed. `before`: what is known already."""
        desired = session.plan.desired
        self.session = session
        self._link = link
        self._tell = tell
        self._basis = _basis(session)
        self._table = PrefixTable((route.destination, route.next_hop) for route in desired.routes)
        vias = {detour.next_hop: detour.via for detour in desired.detours}
        self.health = Health.of(watched(session), vias, times, by_hand=session.by_hand, before=before)
        self._loop = asyncio.get_running_loop()
        self._probes = Probes(session.name, session.wish.profile, self._answered)
        self._timer: asyncio.TimerHandle | None = None
        self._switching = asyncio.Lock()
        self._switches = 0
        """How many are decided and not made yet."""
        self.is_closed = False
        self._cannot_hear: DevlinkError | None = None
        self._hear_again = 0.0
        self._began = self._loop.time()
        self._noted: object = None
        """What `status` shows of gateways that is no time, as it was told last."""
        session.show_gateways = self._shown
        self._note()
        self._following = spawn(self._follow(), name=f"follow the traffic of {session.name}")
        for next_hop, via in vias.items():
            if next_hop in self.health.ways and self.health.ways[next_hop].via != via:  # it may carry nothing any more
                self._begin_switch(Switch(next_hop, next_hop))

    @property
    def has_choice(self) -> bool:
        """Whether anything of it could go by another one."""
        return any(len(way.candidates) > 1 for way in self.health.ways.values())

    @property
    def is_current(self) -> bool:
        """Whether it still runs, and would be made the same anew."""
        return not self.is_closed and self._basis == _basis(self.session) and self._knows_who_carries

    @property
    def _knows_who_carries(self) -> bool:
        """A switch that one before it had begun may land later than this one was made."""
        if self._switches or self._switching.locked():
            return True
        ways = self.health.ways.values()
        return all(present == way.via for way in ways if (present := self._present(way.preferred)) in way.candidates)

    async def stop(self) -> None:
        """As `close`; a switch that is on its way has ended by then, and the session's plan knows it."""
        self.close()
        async with self._switching:
            pass

    def close(self) -> None:
        """Nothing is asked, and no further switch is begun, after this. May be repeated."""
        self.is_closed = True
        self._following.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._probes.close()

    async def choose(self, gateway: IPAddress | None) -> tuple[IPAddress, IPAddress]:
        """By hand: `gateway`, or the next one after who carries it now, takes all that it can take.

        Who carried it before and who does now. Raises UsageError, IdentityError, VerificationError, and what the helper
        refuses: then all is as before. Raises NotUpError where this one is closed meanwhile.
        """
        async with self._switching:
            ways = self._open_to(gateway)
            before = ways[0].via
            chosen = {way.preferred: gateway if gateway is not None else way.next for way in ways}
            await self._have_all_carried(chosen)
            self._check_open()
            for next_hop, via in chosen.items():
                self.health.choose(self._loop.time(), next_hop, via)  # the switch that it asks for is made
            self._changed()
            return before, chosen[ways[0].preferred]

    def _open_to(self, gateway: IPAddress | None) -> list[Way]:
        """What `gateway` can carry; else what has the same candidates as the first that has several.

        Raises UsageError where that is nothing; IdentityError and VerificationError where a gateway that the profile
        names cannot carry it here.
        """
        ways = list(self.health.ways.values())
        if gateway is not None:
            found = [way for way in ways if gateway in way.candidates]
        else:
            several = [way.candidates for way in ways if len(way.candidates) > 1]
            found = [way for way in ways if way.candidates in several[:1]]
        if not found and gateway is not None:
            self._check_named(gateway)
        if not found:
            known = dict.fromkeys(str(via) for way in ways for via in way.candidates)
            raise UsageError(
                f"{gateway} cannot carry anything of {self.session.name}."
                if gateway is not None
                else f"{self.session.name} has nobody else who could carry its packets.",
                why=f"Next hops that it has here: {', '.join(known) or 'none'}.",
                next_step="A profile names its gateways: devlink profile show",
            )
        return found

    def _check_named(self, gateway: IPAddress) -> None:
        """Raises IdentityError or VerificationError where only this network keeps it from carrying anything."""
        session = self.session
        if gateway in session.strangers:
            raise refusal(session, gateway)
        families = {way.preferred.version for way in self.health.ways.values()}
        is_named = any(each.address == gateway for each in session.wish.profile.spec.gateways or ())
        if is_named and gateway.version in families and session.plan.mode is not RoutingMode.ROUTER:
            raise VerificationError(
                f"{gateway} cannot carry anything of {session.name}: it is not on its link here.",
                why="The kernel sends a packet to a next hop only out of a link, never through another router.",
                next_step=f"See: ip route get {gateway}",
            )

    def _check_open(self) -> None:
        if self.is_closed:
            raise NotUpError(
                f"{self.session.name} was changed or taken down meanwhile.", next_step="See: devlink status"
            )

    # What happens

    async def _follow(self) -> None:
        """Where the helper is gone, whoever brings the session back begins anew, and this one is closed."""
        while True:
            if self._loop.time() >= self._hear_again:
                await self._listen()
            await asyncio.sleep(POLL)
            self._act(action for hop in self.health.ways for action in self.health.traffic(self._loop.time(), hop))

    async def _listen(self) -> None:
        """Until the line ends. It may be this one alone: another program's connections leave it no room."""
        try:
            line = await Connection.connect(str(Paths().socket))
        except (OSError, TimeoutError) as error:
            log.info("%s: it is not told for now when packets are sent: %s", self.session.name, error)
            return
        try:
            async for reply in line.stream("io.devlink.Helper.FollowTraffic", {"session": self.session.name}):
                if self._cannot_hear is not None:
                    self._cannot_hear = None
                    self._changed()
                self._traffic(ip_address(str(text)) for text in reply["destinations"])
        except (NotUpError, ProtocolError) as error:
            log.info("%s: it is not told for now when packets are sent: %s", self.session.name, error)
        except DevlinkError as error:  # it may pass: a limit that others take up, a library that is installed
            if str(error) != str(self._cannot_hear):
                log.warning("%s", error)
            self._cannot_hear, self._hear_again = error, self._loop.time() + HEAR_AGAIN
            self._changed()
        finally:
            line.close()

    def _traffic(self, destinations: Iterable[IPAddress]) -> None:
        hops = dict.fromkeys(self._table.longest(address) for address in destinations)
        now = self._loop.time()
        self._act(action for hop in hops if hop is not None for action in self.health.traffic(now, hop))

    def _answered(self, via: IPAddress, rtt: float) -> None:
        if via in self.session.strangers:
            return  # it may be the one that the routes prefer: it is not gone back to, and left where it carries
        for way in self.health.ways.values():
            if way.via == via:
                for other in way.candidates[:PREPARED]:
                    self._probes.prepare(other)
        self._act(self.health.answered(self._loop.time(), via, rtt))

    def _timed(self) -> None:
        self._timer = None
        self._act(self.health.handle_timer(self._loop.time(), self._probes.unput))

    async def _ask_neighbour(self, via: IPAddress) -> None:
        try:
            is_there = await self._probes.neighbour(via)
        except (DevlinkError, OSError) as error:
            log.info("whether %s is on its link cannot be told: %s", via, error)
            return
        if not self.is_closed:
            self._act(self.health.neighbour(self._loop.time(), via, is_there=is_there))

    # What is done about it

    def _act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Ask):
                self._probes.ask(action.via, action.attempt)
            elif isinstance(action, AskNeighbour):
                spawn(self._ask_neighbour(action.via), name=f"look for {action.via}")
            else:
                self._begin_switch(action)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self.health.next_timer
        if at is not None and not self.is_closed:
            self._timer = self._loop.call_at(at, self._timed)
        self._changed()

    def _begin_switch(self, action: Switch) -> None:
        self._switches += 1
        task = spawn(self._switch_quietly(action), name=f"switch to {action.via}")
        task.add_done_callback(self._switch_ended)

    def _switch_ended(self, _: asyncio.Task[None]) -> None:
        self._switches -= 1
        if not self.is_current:
            self._tell()  # it landed when this one was closed: whoever goes on must know who carries

    async def _switch_quietly(self, action: Switch) -> None:
        try:
            await self._switch(action)
        except DevlinkError as error:
            log.error("%s cannot take the place of %s: %s", action.via, action.next_hop, error)
        self._changed()

    async def _switch(self, action: Switch) -> None:
        """Raises the helper's DevlinkError; then who carried it still does."""
        async with self._switching:
            if not self._is_wanted(action):
                return
            try:
                await look_behind(self.session, action.via)
                if self._is_wanted(action):  # that takes seconds where nobody answers
                    await self._have_carried(action.next_hop, action.via)
            except DevlinkError:
                self.health.refuse(self._loop.time(), action.next_hop, action.via)
                if self._is_wanted(action):
                    self.health.place(action.next_hop, self._present(action.next_hop))
                raise

    def _is_wanted(self, action: Switch) -> bool:
        """Still: it may have been decided anew, or all have ended."""
        return not self.is_closed and self.health.ways[action.next_hop].via == action.via

    async def _have_all_carried(self, chosen: Mapping[IPAddress, IPAddress]) -> None:
        """All of it, by preferred next hop, or nothing.

        Raises the helper's DevlinkError, IdentityError where another cluster answers behind one, and NotUpError.
        """
        done: dict[IPAddress, IPAddress] = {}
        try:
            for next_hop, via in chosen.items():
                if (present := self._present(next_hop)) != via:
                    await look_behind(self.session, via)
                    self._check_open()
                    await self._have_carried(next_hop, via)
                    done[next_hop] = present
        except DevlinkError:
            for next_hop, present in done.items():
                try:
                    await self._have_carried(next_hop, present)
                except DevlinkError as error:
                    log.error("%s does not carry again what it did: %s", present, error)
                    self.health.place(next_hop, self._present(next_hop))
            raise

    async def _have_carried(self, next_hop: IPAddress, by: IPAddress) -> None:
        """Raises the helper's DevlinkError."""
        detour = await self._link.switch(self.session.name, next_hop, by)
        self.session.plan = replace(self.session.plan, desired=with_detour(self._desired, next_hop, detour))
        log.info("%s: what prefers %s goes by %s now", self.session.name, next_hop, by)

    def _present(self, next_hop: IPAddress) -> IPAddress:
        """Who carries it, as far as the helper has said."""
        return carrier(self._desired, next_hop)

    @property
    def _desired(self) -> Desired:
        return self.session.plan.desired

    def _changed(self) -> None:
        """Tell, where what is shown differs by more than times."""
        if not self.is_closed and self._note():
            self._tell()

    def _note(self) -> bool:
        session, hops, ways = self.session, self.health.hops, self.health.ways.values()
        states = {hops[way.via].state for way in ways}
        heard = Heard(
            answers=not states.isdisjoint((HopState.HEALTHY, HopState.RETURNING)),
            is_asking=HopState.SUSPECT in states,
            is_silent=any(way.silent for way in ways),
        )
        carried = ([(way.via, way.by_hand) for way in ways], self._desired.detours)
        noted = ([hop.state for hop in hops.values()], carried)
        before = (session.heard, session.carrying, self._noted)
        session.by_hand = frozenset((way.preferred, way.via) for way in ways if way.by_hand)
        session.heard, session.carrying, self._noted = heard, tuple(self._findings()), noted
        return before != (session.heard, session.carrying, self._noted)

    def _shown(self) -> Iterable[Mapping[str, Any]]:
        """Each gateway and node, as `io.devlink.Agent.Status` gives it."""
        now = self._loop.time()
        roles = {gateway.address: gateway.role for gateway in self.session.wish.profile.spec.gateways or ()}
        carrying = {self._present(way.preferred) for way in self.health.ways.values()}  # not before it is switched
        by_hand = {way.via for way in self.health.ways.values() if way.by_hand}
        for hop in self.health.hops.values():
            yield {
                "address": str(hop.address),
                "role": roles.get(hop.address, "node"),
                "state": hop.state.value,
                "since": round(max(0.0, now - (hop.since or self._began)), 1),
                "carries": hop.address in carrying,
                "by_hand": hop.address in by_hand,
                "rtt_ms": round(hop.rtt * 1000, 2) if hop.rtt is not None else None,
            }

    def _findings(self) -> Iterable[Finding]:
        for way in self.health.ways.values():
            if way.silent:
                yield all_silent(way)
            elif way.via != way.preferred:
                yield failed_over(way)
        if self._cannot_hear is not None:
            yield slow(self._cannot_hear, POLL)


def watched(session: Session) -> dict[IPAddress, tuple[IPAddress, ...]]:
    """Its next hops whose silence is to be seen, and who can take the place of each: gateways also where nobody can,
    and whoever is alone. A node among many, for which nobody can stand in, takes no more with it than its own pods."""
    named = {gateway.address for gateway in session.wish.profile.spec.gateways or ()}
    candidates = session.candidates
    count = Counter(hop.version for hop in candidates)
    return {hop: vias for hop, vias in candidates.items() if vias or hop in named or count[hop.version] == 1}


def _basis(session: Session) -> tuple[object, ...]:
    """What a Failover is made for."""
    spec = session.wish.profile.spec
    dns = (spec.dns.domain, spec.dns.servers) if spec.dns is not None else None
    return session.plan.desired.routes, watched(session), dns
