"""What was relayed when a session went over to routes: its connections go on to their end, and then its relay goes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from devlink.agent.relays import Relays
from devlink.agent.session import Session
from devlink.core.plan import Relaying
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

LEAST = 2.0
"""Seconds until it is believed that nothing is open: a relay tells twice a second at most."""
MOST = 3600.0
"""Seconds after which what is still open is cut."""


class Draining:
    """Of all sessions."""

    def __init__(
        self, relays: Relays, *, changed: Callable[[], Awaitable[None]], drained: Callable[[Session], Awaitable[None]]
    ) -> None:
        """`changed` waits until something was told; `drained` takes back what the session had relayed."""
        self._relays = relays
        self._changed = changed
        self._drained = drained
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def prepare(self, session: Session) -> None:
        """Before it is installed: what is open in its relay shall go on where it is relayed no more."""
        before, relay = session.plan.desired, self._relays.get(session.name)
        if before.relay is None and relay is not None and relay.is_running:
            session.plan = replace(session.plan, desired=replace(before, relay=Relaying(draining=True)))

    def begin(self, session: Session) -> None:
        """It is up: let its relay come to an end, where it is draining."""
        running = self._tasks.pop(session.name, None)
        if running is not None:
            running.cancel()
        if session.is_draining:
            self._tasks[session.name] = spawn(self._drain(session), name=f"drain the relay of {session.name}")

    async def _drain(self, session: Session) -> None:
        relay = self._relays.get(session.name)
        if relay is not None:
            await relay.drain()
            await asyncio.sleep(LEAST)
            try:
                async with asyncio.timeout(MOST):
                    while relay.streams:
                        await self._changed()
            except TimeoutError:
                log.warning("%s: %d connections are cut: they are relayed still", session.name, relay.streams)
        await self._drained(session)
