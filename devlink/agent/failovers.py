"""The failovers of all sessions: begun, renewed and ended as those come up, change and go down."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from devlink.agent.failover import Failover, watched
from devlink.agent.helper_link import HelperLink
from devlink.agent.session import Session, State
from devlink.core.health import Times
from devlink.core.prefixes import IPAddress
from devlink.errors import NotUpError, UsageError


class Failovers:
    """Of all sessions, as they come up and go down."""

    def __init__(self, link: HelperLink, tell: Callable[[], None], times: Times | None = None) -> None:
        self._link = link
        self._tell = tell
        self._times = times
        self._running: dict[str, Failover] = {}
        self._held = set[str]()

    @asynccontextmanager
    async def held(self, *names: str) -> AsyncIterator[None]:
        """While those sessions are installed anew nothing else switches them: what is verified is what is planned.

        Afterwards it is told, and `keep` goes on by the plan that there is then.
        """
        self._held.update(names)
        try:
            for name in names:
                if name in self._running:
                    await self._running[name].stop()
            yield
        finally:
            self._held.difference_update(names)
            self._tell()

    def keep(self, sessions: Iterable[Session]) -> None:
        """Have one for each session that is up, by its present plan; to be called at each change."""
        present = {session.name: session for session in sessions if _is_watched(session)}
        for name, running in tuple(self._running.items()):
            if name not in self._held and present.get(name) is not running.session:
                del self._running[name]
                running.close()
                running.session.listen_no_more()
        for name, session in present.items():
            before = self._running.get(name)
            if name in self._held or (before is not None and before.is_current):
                continue
            if before is not None:
                before.close()
            known = before.health if before is not None else None
            self._running[name] = Failover(session, self._link, self._tell, self._times, known)

    async def choose(self, name: str | None, gateway: IPAddress | None) -> Mapping[str, Any]:
        """By hand, as `Failover.choose`; of the only session that has a choice where none is named.

        Raises NotUpError, UsageError, and what `Failover.choose` does.
        """
        able = [each for each, running in self._running.items() if running.has_choice] or list(self._running)
        if name is None and len(able) > 1:
            raise UsageError(f"More than one session is up: {', '.join(able)}.", next_step="Name one: --profile NAME")
        name = name if name is not None else next(iter(able), None)
        running = self._running.get(name) if name is not None else None
        if running is None:
            raise NotUpError(
                f"{name} is not up, or it has no next hops." if name else "Nothing is up that has next hops.",
                next_step="See: devlink status",
            )
        while True:
            try:
                before, via = await running.choose(gateway)
                break
            except NotUpError:
                renewed = self._running.get(running.session.name, running)
                if renewed is running:
                    raise
                running = renewed  # another edition has come meanwhile
        self._tell()
        return {"session": running.session.name, "before": str(before), "gateway": str(via)}


def _is_watched(session: Session) -> bool:
    is_up = session.applied and session.state in (State.UP, State.DEGRADED) and not session.ending
    return is_up and bool(watched(session))
