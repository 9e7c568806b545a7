"""What was relayed when a session went over to routes: its connections go on to their end, and then its relay goes."""

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from devlink.agent.session import Session, State
from devlink.core.plan import Relaying
from devlink.errors import DevlinkError
from devlink.rpc.tasks import spawn

if TYPE_CHECKING:
    from devlink.agent.sessions import Sessions

log = logging.getLogger(__name__)

LEAST = 2.0
"""Seconds until it is believed that nothing is open: a relay tells twice a second at most."""
MOST = 3600.0
"""Seconds after which what is still open is cut."""


class Draining:
    """Of all sessions."""

    def __init__(self, sessions: "Sessions") -> None:
        self._sessions = sessions
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def prepare(self, session: Session) -> None:
        """Before it is installed: what is open in its relay shall go on where it is relayed no more."""
        before, relay = session.plan.desired, self._sessions.relays.get(session.name)
        if before.relay is None and relay is not None and relay.is_running:
            session.plan = replace(session.plan, desired=replace(before, relay=Relaying(draining=True)))

    def begin(self, session: Session) -> None:
        """It is up: let its relay come to an end, where it is draining."""
        running = self._tasks.pop(session.name, None)
        if running is not None:
            running.cancel()
        relaying = session.plan.desired.relay
        if relaying is not None and relaying.draining:
            self._tasks[session.name] = spawn(self._drain(session), name=f"drain the relay of {session.name}")

    async def _drain(self, session: Session) -> None:
        relay = self._sessions.relays.get(session.name)
        if relay is not None:
            await relay.drain()
            await asyncio.sleep(LEAST)
            try:
                async with asyncio.timeout(MOST):
                    while relay.streams:
                        await self._sessions.changed()
            except TimeoutError:
                log.warning("%s: %d connections are cut: they are relayed still", session.name, relay.streams)
        async with self._sessions.lock:
            desired = session.plan.desired
            relaying = desired.relay
            if (
                self._sessions.get(session.name) is not session or not session.applied or session.ending
                or relaying is None or not relaying.draining or session.state is State.CONNECTING
            ):  # fmt: skip
                return
            without = replace(desired, relay=None)
            await self._sessions.relays.end(session.name)
            try:
                await self._sessions.link.apply(without)
                await self._sessions.link.confirm(session.name)
            except DevlinkError as error:
                log.warning("what %s had relayed is not taken back: %s", session.name, error)
                return
            session.plan = replace(session.plan, desired=without)
            log.info("%s is relayed no more", session.name)
        self._sessions.tell()
