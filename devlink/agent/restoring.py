"""The steps that nobody asked for: what is installed is verified again, set aside, brought back and tried again."""

import asyncio
import logging
import time
from dataclasses import replace

from devlink.agent import verify
from devlink.agent.fallback import may_fall_to_relay, nor_by_relay, permitted
from devlink.agent.session import Refusal, Session, State
from devlink.agent.sessions import AGAIN, Sessions, no_progress
from devlink.agent.surroundings import Surroundings, look_around
from devlink.agent.trouble import doubtful, not_installed, suspended
from devlink.core.plan import Desired, Plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import RoutingMode
from devlink.errors import DevlinkError, IdentityError, VerificationError
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0)
"""Seconds before each further try of what could not be brought up again, four minutes in all; then it waits for another
network, or for its user."""
IN_DOUBT = 300.0
"""Seconds between two tries after that to verify what is installed, unless a gateway that was silent answers."""
OFFLINE = VerificationError(
    "The laptop has no network in which its cluster could be.",
    why="None of the profile's next hops has a way to it: its link is down, or has no address.",
    next_step="See: ip -br link; ip -br address",
)

NO_WAY = "nothing of it is installed in this network"
"""Why a session is routed as it was where it can no longer be."""
NOWHERE = Surroundings(hops=(), ways=(), addresses=(), is_offline=True)
"""Where nobody ever is: what could not be seen there is another place at the next look."""


class Restorer:
    """Whoever has a session verified, suspended or brought back holds the lock; what is tried later takes it itself."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def verify_again(self, session: Session) -> DevlinkError | None:
        """Whether what is installed still holds where the laptop is now; what speaks against it.

        Another cluster, or none where nothing of ours leads to it, is no network for this session.
        """
        failure: DevlinkError | None = None
        around = await self._place(session)  # before: what the laptop comes to meanwhile is not what was verified
        try:
            session.remarks = await self._sessions.verify(session, session.plan)
            session.around, session.doubts, session.offline_since = around, (), 0.0
            session.enter(State.UP, time.monotonic())
        except DevlinkError as error:
            failure = error
            log.warning("%s cannot be verified in this network: %s", session.name, error)
            if not isinstance(error, IdentityError) and may_fall_to_relay(session.wish, session.plan):
                failure = await self._establish_again(session)
                if failure is not None:
                    self.try_later(session, failure)
                return failure
            if isinstance(error, IdentityError) or session.plan.mode is RoutingMode.ROUTER:
                await self.suspend(session, error, around)
            else:
                session.doubts = (doubtful(error),)
                session.enter(State.DEGRADED, time.monotonic(), *session.doubts)
        self._sessions.tell()
        return failure

    async def suspend(self, session: Session, error: DevlinkError, around: Surroundings) -> None:
        """Nothing of it shall be here until the laptop is elsewhere; or, in some cases, the cluster answers.

        `around`: where the error speaks of.
        """
        is_there = await self._place(session) == around
        if session.applied:
            await self._sessions.release_quietly(session.name)
        session.lose(time.monotonic(), suspended(session.name, error), State.SUSPENDED)
        log.warning("%s is suspended: %s", session.name, error)
        place = await self._place(session)  # looked at anew: without what was installed it is seen as another
        if not is_there or (error is OFFLINE and not place.is_offline):
            place = NOWHERE  # in the network that has come meanwhile nothing was tried
        await self._set_aside(session, error, place)
        self.try_later(session, error)

    async def _set_aside(self, session: Session, error: DevlinkError, around: Surroundings) -> None:
        """Nothing of it is installed: note that, and where it failed."""
        self._sessions.kept.keep(session.name, session.wish, is_set_aside=True)
        session.around = around
        if isinstance(error, IdentityError):
            refusal = Refusal(around=session.around, trouble=session.trouble[0])
            session.wish = replace(session.wish, refusal=refusal)
            self._sessions.kept.keep(session.name, session.wish, is_set_aside=True)
        if session.is_suspended:  # the plan of the network before says nothing of this one
            session.plan = replace(session.plan, reason=await self._reason_here(session, error))
        self._sessions.tell()

    async def _reason_here(self, session: Session, error: DevlinkError) -> str:
        if error is OFFLINE:
            return NO_WAY
        try:
            plan = await self._sessions.plan(session.wish)
        except DevlinkError:
            return NO_WAY
        return plan.reason if plan.mode is session.plan.mode else NO_WAY

    async def _place(self, session: Session) -> Surroundings:
        """Where the laptop is now; NOWHERE if that cannot be seen."""
        try:
            return (await asyncio.to_thread(look_around, session.wish.profile, api_of(session)))[1]
        except DevlinkError:
            return NOWHERE

    async def bring_back(self, session: Session) -> None:
        """Bring up what was up, without anybody asking anew; now, else later."""
        if session.trying is not None:
            session.trying.cancel()
        if not session.is_suspended:
            session.trouble = ()  # the helper was away, and is no longer
        error = await self._establish_again(session)
        if error is not None:
            self.try_later(session, error)

    def try_later(self, session: Session, error: DevlinkError | None = None) -> None:
        """`error` is what it failed of; None where its doubts may be over."""
        if session.trying is asyncio.current_task():
            return  # it goes on by itself
        if session.trying is not None:
            session.trying.cancel()
        session.rests = False
        session.trying = spawn(self._keep_trying(session, error), name=f"try {session.name} again")

    async def _keep_trying(self, session: Session, error: DevlinkError | None) -> None:
        """What went wrong may have been of that moment: resolved was restarting, the Wi-Fi was not there yet.

        Where another cluster answers, nothing shall be led there unattended; and next hops come with another network.
        """
        for pause in PAUSES:
            if isinstance(error, IdentityError) or (
                session.is_suspended and session.plan.mode is not RoutingMode.ROUTER
            ):
                break
            await asyncio.sleep(pause)
            failure = await self._try_once(session)
            if failure is None:
                return
            error = failure
        besides = f"in another network, and by: devlink up {session.name}"
        while session.doubts and session.applied:
            anew = "when a gateway answers anew, " if session.heard is not None else ""
            self._leave_in_doubt(session, error, f"It is tried every {IN_DOUBT / 60:g} min, {anew}{besides}")
            session.rests = True
            await asyncio.sleep(IN_DOUBT)
            session.rests = False
            failure = await self._try_once(session)
            if failure is None:
                return
            error = failure
        log.error("%s is tried again in another network only", session.name)
        if error is not None and session.state is State.DEGRADED and not session.applied:
            session.enter(State.DEGRADED, time.monotonic(), not_installed(error, f"{AGAIN} {session.name}"))
            self._sessions.tell()

    async def _try_once(self, session: Session) -> DevlinkError | None:
        """What went wrong once more; None where nothing is left to try."""
        async with self._sessions.lock:
            if (
                self._sessions.get(session.name) is not session
                or session.ending
                or not self._sessions.link.is_connected
            ):
                return None  # with the helper it begins anew
            if session.applied and not session.doubts:
                return None  # a change of the network was faster
            again = self.verify_again if session.applied else self._establish_again
            return await again(session)

    def _leave_in_doubt(self, session: Session, error: DevlinkError | None, when: str) -> None:
        if error is not None:
            session.doubts = (doubtful(error, when),)
        session.enter(State.DEGRADED, time.monotonic(), *session.doubts)
        self._sessions.tell()

    async def _is_refused(self, session: Session) -> bool:
        """Whether another cluster answered where the laptop is. Routes and names were led to it, if only for the time
        of a handshake, if it were tried at each restart of a helper or an agent, and after each sleep."""
        refusal = session.wish.refusal
        if refusal is None or session.applied:
            return False
        session.around = await self._place(session)
        if session.around != refusal.around:
            return False
        log.warning("%s is left alone where another cluster answered", session.name)
        session.lose(time.monotonic(), refusal.trouble, State.SUSPENDED)
        self._sessions.tell()
        return True

    async def _see_who_carries(self, session: Session) -> None:
        """Whether the network does what the plan leaves to it; else it is relayed from now on. Raises DevlinkError."""
        try:
            await verify.verify(session.wish.profile, _untouched(session.plan))
        except IdentityError:
            raise
        except VerificationError as error:
            if not may_fall_to_relay(session.wish, session.plan):
                raise
            try:
                session.wish = await permitted(session.wish, self._sessions.relays.environ(session))
                session.plan = await self._sessions.plan(session.wish)
            except DevlinkError as obstacle:
                raise nor_by_relay(error, obstacle) from obstacle
            log.info("%s: routing is relay: %s", session.name, session.plan.reason)

    async def _back_to_relay(self, session: Session, error: VerificationError) -> None:
        """By routes it did not come up, and its relay is there still. Raises DevlinkError."""
        log.warning("%s goes back to its relay: %s", session.name, error)
        session.wish = replace(session.wish, relayed=True)
        session.plan = await self._sessions.plan(session.wish, by_relay=True)
        await self._sessions.establish(session, progress=no_progress)
        session.not_home = await self._place(session)

    async def _establish_again(self, session: Session) -> DevlinkError | None:
        """What kept it from coming up, and is worth another try; then nothing of it is left."""
        if await self._is_refused(session):
            return None
        was_applied, was_suspended = session.applied, session.is_suspended
        was_relayed = session.applied and session.is_relayed and session.wish.is_auto
        if not was_suspended:
            session.enter(State.CONNECTING, time.monotonic(), *session.trouble)
        failure: DevlinkError | None = None
        around = await self._place(session)  # before: where the laptop comes to meanwhile, nothing was tried
        is_place = True
        """Whether what fails speaks against the network that the laptop is in."""
        try:
            async with self._sessions.failovers.held(session.name):
                session.plan = await self._sessions.plan(session.wish)
                if session.plan.mode is RoutingMode.ROUTER and not was_relayed:  # else that has been proven
                    await self._see_who_carries(session)  # before anybody's names are sent there
                is_place = False
                session.enter(State.CONNECTING, time.monotonic(), *session.trouble)
                try:
                    await self._sessions.establish(session, progress=no_progress)
                except VerificationError as error:
                    if not was_relayed or session.is_relayed or isinstance(error, IdentityError):
                        raise
                    await self._back_to_relay(session, error)
            session.wish = replace(session.wish, refusal=None)
            self._sessions.kept.keep(session.name, session.wish)
        except DevlinkError as error:
            failure = error
            log.error("%s cannot be brought up again: %s", session.name, error)
            if session.applied or was_applied:
                await self._sessions.release_quietly(session.name)
            if isinstance(error, IdentityError) or (is_place and isinstance(error, VerificationError)):
                session.lose(time.monotonic(), suspended(session.name, error), State.SUSPENDED)
            else:
                session.lose(time.monotonic(), not_installed(error, "It is tried again by itself."))
            if was_applied:  # what is seen with something of it installed is not what is seen later, without
                around = await self._place(session)
            await self._set_aside(session, error, around)
        self._sessions.tell()
        return failure


def api_of(session: Session) -> tuple[IPAddress, ...]:
    """Where packets of a relayed session go to in truth."""
    return session.wish.pins if session.is_relayed else ()


def _untouched(plan: Plan) -> Plan:
    """The plan without names: with it, it is verified what the network itself carries."""
    return Plan(desired=Desired(session=plan.desired.session, ca=plan.desired.ca), mode=plan.mode, reason=plan.reason)
