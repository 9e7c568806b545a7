"""What keeps sessions up by itself: it is looked what there is, and what was lost is brought back and tried again."""

import asyncio
import logging
import time
from pathlib import Path

from devlink.agent.session import Session, State
from devlink.agent.sessions import AGAIN, Sessions, no_progress
from devlink.agent.trouble import differences, not_installed
from devlink.errors import DevlinkError, IdentityError
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0)
"""Seconds before each further try of what could not be brought up again, four minutes in all; then it is its user's."""


class Keeper:
    """Has the sessions, and acts on them where nobody asks for it."""

    def __init__(self, folder: Path) -> None:
        """`folder` as of `Sessions`."""
        self.sessions = Sessions(folder, lost=self._helper_lost, returned=self._helper_returned)
        self._looking: asyncio.Task[None] | None = None

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
            for session in self.sessions:
                if session.applied and session.name not in theirs:
                    log.warning("%s was taken down by another hand", session.name)
                    self.sessions.forget(session.name)
                elif session.applied:
                    trouble = differences(session, theirs[session.name], state)
                    session.note_resolver(state)  # the helper may have gone over to another mode
                    session.enter(State.DEGRADED if trouble else State.UP, time.monotonic(), *trouble)

    def _not_known(self, error: DevlinkError) -> None:
        """The helper is there, and slow or silent: nobody knows what it has."""
        for session in self.sessions:
            if session.applied and session.state is not State.CONNECTING and not session.ending:
                session.enter(State.DEGRADED, time.monotonic(), not_installed(error))
        self.sessions.tell()

    async def resume(self) -> None:
        """Take over what an agent before this one had up, as far as the helper still has it."""
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
            if name not in alive:
                self.sessions.kept.keep(name, None)
                continue
            async with self.sessions.lock:
                try:
                    plan = await self.sessions.plan(wish)
                except DevlinkError as error:  # the laptop has moved meanwhile: the lease then runs out
                    log.error("%s cannot be taken over: %s", name, error)
                    self.sessions.kept.keep(name, None)
                    continue
                session = Session(wish=wish, plan=plan, since=time.monotonic())
                self.sessions.put(session)
                await self._bring_back(session)

    def _helper_lost(self, error: DevlinkError) -> None:
        for session in self.sessions:
            if session.state is not State.CONNECTING and not session.ending:
                session.applied = False
                session.enter(State.DEGRADED, time.monotonic(), not_installed(error))
        self.sessions.tell()

    async def _helper_returned(self) -> None:
        async with self.sessions.lock:
            for session in self.sessions:
                if session.ending:
                    await self.sessions.release_quietly(session.name)  # one that only hung may still have it
                    self.sessions.forget(session.name)
                elif session.state is State.DEGRADED:
                    await self._bring_back(session)

    async def _bring_back(self, session: Session) -> None:
        """Bring up what was up, without anybody asking anew; now, else later."""
        if session.trying is not None:
            session.trying.cancel()
        session.trouble = ()  # the helper was away, and is no longer
        error = await self._establish_again(session)
        if error is not None:
            session.trying = spawn(self._keep_trying(session, error), name=f"try {session.name} again")

    async def _keep_trying(self, session: Session, error: DevlinkError) -> None:
        """What went wrong may have been of that moment: resolved was restarting, the Wi-Fi was not there yet.

        Where another cluster answers, nothing shall be led there unattended.
        """
        for pause in PAUSES:
            if isinstance(error, IdentityError):
                break
            await asyncio.sleep(pause)
            async with self.sessions.lock:
                if (
                    self.sessions.get(session.name) is not session
                    or session.ending
                    or not self.sessions.link.is_connected
                ):
                    return  # with the helper it begins anew
                failure = await self._establish_again(session)
            if failure is None:
                return
            error = failure
        log.error("%s is not tried again by itself", session.name)
        session.enter(State.DEGRADED, time.monotonic(), not_installed(error, f"{AGAIN} {session.name}"))
        self.sessions.tell()

    async def _establish_again(self, session: Session) -> DevlinkError | None:
        """What kept it from coming up; then nothing of it is left."""
        session.enter(State.CONNECTING, time.monotonic(), *session.trouble)
        failure: DevlinkError | None = None
        try:
            session.plan = await self.sessions.plan(session.wish)
            await self.sessions.establish(session, progress=no_progress)
            self.sessions.kept.keep(session.name, session.wish)
        except DevlinkError as error:
            failure = error
            log.error("%s cannot be brought up again: %s", session.name, error)
            if session.applied:
                await self.sessions.release_quietly(session.name)
            session.lose(time.monotonic(), not_installed(error, "It is tried again by itself."))
        self.sessions.tell()
        return failure
