"""What has happened since the agent's start: looked for at each change of what is shown, told to who follows."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from devlink.agent.events import Ring, Sight, View, changes
from devlink.agent.session import Session
from devlink.agent.sessions import Sessions


class History:
    """Of all sessions."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.view = View()
        """All as it was seen last."""
        self._ring = Ring()
        self._news = asyncio.Event()
        self._changed = asyncio.Event()

    def look(self) -> None:
        """Something may have changed. Costs tens of microseconds a session."""
        before, self.view = self.view, self._seen()
        if before == self.view:
            return
        self._changed.set()
        self._changed = asyncio.Event()
        if self._ring.add(changes(before, self.view), time.time()):
            self._news.set()
            self._news = asyncio.Event()

    async def changed(self) -> None:
        """Wait until `view` is another one."""
        await self._changed.wait()

    @property
    def kept(self) -> list[Mapping[str, Any]]:
        """What is kept of the past, the oldest first."""
        return self._ring.since(0)

    async def follow(self) -> AsyncGenerator[list[Mapping[str, Any]], None]:
        """First what is kept, which may be nothing, then what is new each time. Who is slow misses the oldest."""
        seen, is_first = 0, True
        while True:
            events, seen = self._ring.since(seen), self._ring.count
            if events or is_first:
                is_first = False
                yield events
            if self._ring.count == seen:
                await self._news.wait()

    def _seen(self) -> View:
        link = self._sessions.link
        return View(
            helper=link.is_connected if link.version else None,
            sessions={session.name: _sight(session) for session in self._sessions},
        )


def _sight(session: Session) -> Sight:
    detours = {} if session.is_suspended else {str(d.next_hop): str(d.via) for d in session.plan.desired.detours}
    return Sight(
        state=session.state.value,
        revision=session.wish.profile.metadata.revision,
        resolver=session.resolver,
        carriers=detours,
        by_hand=frozenset((str(hop), str(via)) for hop, via in session.by_hand),
        gateways={str(each["address"]): str(each["state"]) for each in session.gateways},
        findings=session.findings,
    )
