"""What keeps sessions up by itself: it is looked what there is, and what was lost is brought back and tried again."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from devlink.agent.fallback import is_carried
from devlink.agent.history import History
from devlink.agent.restoring import OFFLINE, Restorer, api_of
from devlink.agent.session import Heard, Session, State, Wish
from devlink.agent.sessions import Sessions
from devlink.agent.surroundings import look_around
from devlink.agent.trouble import differences, doubtful, not_installed
from devlink.agent.wishes import KeptDetours
from devlink.core.network import ObservedNetwork
from devlink.core.plan import Desired, Plan
from devlink.core.profile import RoutingMode
from devlink.core.relay_judging import udp_wanted
from devlink.errors import DevlinkError, HelperError
from devlink.helper.netwatch import NetworkWatch
from devlink.kernel.wallclock import WallClock
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

HELPER_TIME = 0.2
"""Seconds in which the helper puts back what another program took from our routes: that is no other place."""
HELPER_TRIES = 5
"""So often it is given that time: a program that takes them takes them again."""
OFFLINE_LIMIT = 30.0
"""Seconds without any network until a session is suspended: one that roams, or whose cable was out, goes on before."""


class Keeper:
    """Has the sessions, and acts on them where nobody asks for it."""

    def __init__(self, folder: Path) -> None:
        """`folder` as of `Sessions`."""
        self.sessions = Sessions(folder, told=self._told, lost=self._helper_lost, returned=self._helper_returned)
        self.history = History(self.sessions)
        self._restorer = Restorer(self.sessions)
        self._looking: asyncio.Task[None] | None = None
        self._watch = NetworkWatch(self._network_changed)
        self._clock: WallClock | None = None
        self._has_slept = False
        self._is_late = False
        """Whether a change of the network was seen while a session was on its way: it is looked at after that."""

    def close(self) -> None:
        """See nothing any more, and let go of the helper; leases then run out."""
        self._stop_watching()
        self.sessions.link.close()

    def wake(self) -> None:
        """The laptop slept, or its clock was set: whatever is known of its network may be old."""
        log.info("the clock has jumped: everything is looked at")
        self._has_slept = True
        self._watch.tell()

    def _told(self) -> None:
        self._keep_watch()
        self.history.look()

    def _keep_watch(self) -> None:
        if not len(self.sessions):
            self._stop_watching()
            return
        for session in self.sessions:
            self._weigh_gateways(session)
        self._watch.start()
        if self._clock is None:
            try:
                self._clock = WallClock(self.wake)
            except OSError as error:
                log.error("it is not seen when the laptop has slept: %s", error)
        is_new = any(session.applied and session.around is None for session in self.sessions)
        if is_new or (self._is_late and all(session.state is not State.CONNECTING for session in self.sessions)):
            self._is_late = False
            self._watch.tell()  # one that has just come up: where that was is to be noted

    def _weigh_gateways(self, session: Session) -> None:
        """While all are silent it is not up, whatever is installed; when one answers, doubts may be over."""
        if session.applied and session.state in (State.UP, State.DEGRADED) and not session.trouble:
            session.enter(session.at_best, time.monotonic())
        had_answer, heard = session.has_answer, session.heard or Heard()
        # The answer of one that missed a question and was asked again at once is none anew.
        session.has_answer = heard.answers or (had_answer and heard.is_asking)
        is_waiting = session.trying is None or session.trying.done() or session.rests
        if session.has_answer and not had_answer and session.doubts and session.applied and is_waiting:
            self._restorer.try_later(session)

    def _stop_watching(self) -> None:
        self._watch.stop()
        if self._clock is not None:
            self._clock.close()
            self._clock = None

    # Holding the sessions against what there is

    async def look(self) -> None:
        """Hold the sessions against what is there: a helper restored by root, a flushed table, an overwritten file."""
        if not len(self.sessions):
            return
        if self._looking is None or self._looking.done():
            self._looking = spawn(self._look(), name="look")
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        if self.sessions.lock.locked():  # what there is changes at this moment; whether the helper is well can be known
            try:
                await self.sessions.link.greet()
            except DevlinkError as error:
                self._not_known(error)
            return
        async with self.sessions.lock:
            try:
                state = await self.sessions.link.state()
            except DevlinkError as error:
                if not self.sessions.link.is_connected:
                    self._helper_lost(error)
                else:
                    self._not_known(error)
                return
            theirs = {session["name"]: session for session in state["sessions"] if session["held"]}
            is_news = [await self._plan_anew(session) for session in self.sessions if session.name in theirs]
            for session in self.sessions:
                if session.applied and session.name not in theirs:
                    log.warning("%s was taken down by another hand", session.name)
                    self.sessions.forget(session.name)
                elif session.applied:
                    trouble = (*session.doubts, *differences(session, theirs[session.name], state))
                    await self._count_refused(session)
                    session.note_resolver(state)  # the helper may have gone over to another mode
                    session.enter(State.DEGRADED if trouble else session.at_best, time.monotonic(), *trouble)
            if any(is_news):
                self.sessions.tell()

    async def _count_refused(self, session: Session) -> None:
        """Whether programs want of a relayed cluster what is no TCP."""
        if not session.is_relayed:
            return
        try:
            refused = await self.sessions.link.count_relay(session.name)
        except DevlinkError:
            return  # of an older version, or away
        others = tuple(each for each in session.relay_trouble if each.code != "DL-RELAY-UDP")
        session.relay_trouble = (*others, *udp_wanted(refused))

    async def _plan_anew(self, session: Session) -> bool:
        """See who else routes its networks by now: the kernel is not asked to tell of routes of others, who may change
        a hundred thousand. Whether anything is new.
        """
        if not session.applied or session.offline_since:
            return False
        try:
            plan = await self.sessions.plan(session.wish)
        except HelperError:  # the network cannot be looked at, in the middle of its change
            return False
        except DevlinkError:
            plan = None
        if plan is not None and _is_same(plan, session.plan):
            return session.learn(plan)
        self._watch.tell()  # more than a look may do
        return False

    def _not_known(self, error: DevlinkError) -> None:
        """The helper is there, and slow or silent: nobody knows what it has."""
        for session in self.sessions:
            if session.applied and session.state is not State.CONNECTING and not session.ending:
                session.enter(State.DEGRADED, time.monotonic(), not_installed(error))
        self.sessions.tell()

    # The network changes

    async def _network_changed(self) -> bool:
        """Whether to look once more in a while: a link that has gone may be back by then."""
        has_slept, self._has_slept = self._has_slept, False
        again = False
        if has_slept:
            await self.look()
        for session in self.sessions:
            self._is_late |= session.state is State.CONNECTING
            if session.ending or session.state is State.CONNECTING or not self.sessions.link.is_connected:
                continue
            try:
                again |= await (self._follow if session.applied else self._try_elsewhere)(session, has_slept)
            except HelperError as error:  # the network cannot be looked at, in the middle of its change
                log.warning("%s: %s", session.name, error)
                again = True
        return again

    async def _follow(self, session: Session, has_slept: bool) -> bool:
        """Have a session that is installed go with the network. Whether to look once more in a while."""
        wish = session.wish
        observed, around = await asyncio.to_thread(look_around, wish.profile, api_of(session))
        now = time.monotonic()
        if around.is_offline:
            if not session.offline_since:  # names that are given back go to whoever is asked first in the next network
                session.offline_since, session.doubts = now, (doubtful(OFFLINE),)
                session.enter(State.DEGRADED, now, *session.doubts)
                self.sessions.tell()
                asyncio.get_running_loop().call_later(OFFLINE_LIMIT, self._watch.tell)
            if now - session.offline_since < OFFLINE_LIMIT:
                return False
            return await self._act(session, wish, lambda: self._restorer.suspend(session, OFFLINE, around))
        session.offline_since = 0.0
        try:
            plan = await self.sessions.plan(wish, observed)
        except DevlinkError as error:
            away = error
            return await self._act(session, wish, lambda: self._restorer.suspend(session, away, around))
        is_same = _is_same(plan, session.plan)
        if not is_same and not (session.is_relayed and around == session.not_home):
            log.info("%s: another network, routing is %s in it: %s", session.name, plan.mode.value, plan.reason)
            return await self._act(session, wish, lambda: self._restorer.bring_back(session))
        if is_same and session.wish is wish and session.learn(plan):
            self.sessions.tell()
        if around != session.around and session.around is not None:
            for _ in range(HELPER_TRIES):
                await asyncio.sleep(HELPER_TIME)
                observed, around = await asyncio.to_thread(look_around, wish.profile, api_of(session))
                if _is_whole(plan, observed):
                    break
        is_elsewhere = session.around is not None and (around != session.around or not around.is_known)
        if is_elsewhere or session.doubts or has_slept:
            return await self._act(session, wish, lambda: self._stay(session))
        session.around = around
        return False

    async def _try_elsewhere(self, session: Session, has_slept: bool) -> bool:
        """Bring up what is not installed, if the laptop is not where that failed."""
        wish = session.wish
        _, around = await asyncio.to_thread(look_around, wish.profile, api_of(session))
        if session.around is None:  # the helper was lost before it was noted where it came up
            session.around = around
        if has_slept or around != session.around:
            return await self._act(session, wish, lambda: self._restorer.bring_back(session))
        return False

    async def _act(self, session: Session, wish: Wish, deed: Callable[[], Awaitable[None]]) -> bool:
        """What was seen without the lock is acted upon with it. Whether to look once more: another was faster."""
        async with self.sessions.lock:
            if self.sessions.get(session.name) is not session or session.wish is not wish or session.ending:
                return True
            await deed()
        return False

    async def _stay(self, session: Session) -> None:
        relay = self.sessions.relays.get(session.name)
        if relay is not None:
            await relay.check()
        if session.is_relayed and await is_carried(session):
            log.info("%s: the network carries it", session.name)
            session.wish = replace(session.wish, relayed=False)
            await self._restorer.bring_back(session)
            return
        failure = await self._restorer.verify_again(session)
        if failure is not None and not session.is_suspended:
            self._restorer.try_later(session, failure)

    # Bringing back

    async def resume(self) -> None:
        """Take over what an agent before this one had up, as far as the helper still has it, or had suspended."""
        kept = self.sessions.kept.read()
        if not kept:
            return
        try:
            sessions = (await self.sessions.link.state())["sessions"]
            alive = {session["name"] for session in sessions if session["state"] == "orphaned"}
        except DevlinkError as error:
            log.warning("cannot take over what was up: %s", error)
            alive = set()
        for name, wish in kept.items():
            if name not in alive and not self.sessions.kept.is_set_aside(name):
                self.sessions.kept.keep(name, None)
                continue
            async with self.sessions.lock:
                detours = self.sessions.kept.detours(name) if name in alive else KeptDetours()
                session = Session(
                    wish=wish, plan=_no_plan(wish, detours), since=time.monotonic(), applied=name in alive,
                    by_hand=frozenset((each.next_hop, each.via) for each in detours.by_hand),
                )  # fmt: skip
                self.sessions.put(session)
                await self._restorer.bring_back(session)

    def _helper_lost(self, error: DevlinkError) -> None:
        for session in self.sessions:
            if session.state not in (State.CONNECTING, State.SUSPENDED) and not session.ending:
                session.applied = False
                session.enter(State.DEGRADED, time.monotonic(), not_installed(error))
        self.sessions.tell()

    async def _helper_returned(self) -> None:
        async with self.sessions.lock:
            for session in self.sessions:
                if session.ending:
                    await self.sessions.release_quietly(session.name)  # one that only hung may still have it
                    self.sessions.forget(session.name)
                elif session.state in (State.DEGRADED, State.SUSPENDED):
                    await self._restorer.bring_back(session)


def _is_same(plan: Plan, before: Plan) -> bool:
    """Whether the network asks for nothing else than is installed. Whoever takes a silent next hop's place is not its
    affair."""
    ours, theirs = plan.desired, before.desired
    return (plan.mode, ours.routes, ours.zones, ours.pins) == (before.mode, theirs.routes, theirs.zones, theirs.pins)


def _is_whole(plan: Plan, observed: ObservedNetwork) -> bool:
    """Whether the kernel has a route of ours for each that is planned."""
    there = {(route.table, route.destination) for route in observed.routes if route.is_ours}
    return all((route.table, route.destination) in there for route in plan.desired.routes)


def _no_plan(wish: Wish, kept: KeptDetours) -> Plan:
    desired = Desired(session=wish.profile.metadata.name, detours=kept.detours)
    return Plan(desired=desired, mode=RoutingMode.ROUTER, reason="it has not been looked at yet")
