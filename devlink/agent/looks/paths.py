"""Who looks at which session's path: one look for all of them, and none for nobody."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from devlink.agent.looks.path import MAX_ASKED, PathLook, why_not_sent
from devlink.agent.session import Session
from devlink.core.text import printable
from devlink.doctor.case import Resolve
from devlink.errors import NotUpError, UsageError
from devlink.rpc.server import Session as Caller
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import Call

INTERVAL, SHORTEST, LONGEST = 2.0, 0.5, 60.0
"""Seconds between the beginnings of two looks: where nothing is said, and what is taken for less and for more."""
SLICE = 1.0
"""Seconds after which who waits for the next look sees whether somebody wants it sooner."""
EARLY = 0.1
"""Of its interval: so much earlier than it asked a caller takes what is seen for another one."""

Find = Callable[[str], Session | None]
Changed = Callable[[], Coroutine[Any, Any, None]]


class Paths:
    """Of all sessions that somebody looks at."""

    def __init__(self, find: Find, changed: Changed, resolve: Resolve | None = None) -> None:
        """`find` gives the session of a name, None where there is none; `changed` waits for a change of any; `resolve`
        asks the relay of a session."""
        self._find = find
        self._changed = changed
        self._resolve = resolve
        self._looked_at: dict[str, _LookedAt] = {}

    async def follow(self, caller: Caller, call: Call) -> Mapping[str, Any]:
        """`io.devlink.Agent.FollowPath`. Raises UsageError, and NotUpError where the session is not up, or ends."""
        name, interval = _parameters(call)
        if self._find(name) is None:
            raise _not_up(name)
        with self._joined(name, interval if call.more else SHORTEST) as looked_at:
            number = looked_at.number if not call.more else 0  # who looks once wants no old sight
            while True:
                seen = await looked_at.after(number)
                if not call.more:
                    return seen
                number = looked_at.number
                await caller.send(seen)
                await looked_at.pause((1 - EARLY) * interval)

    @contextmanager
    def _joined(self, name: str, interval: float) -> "Iterator[_LookedAt]":
        looked_at = self._looked_at.get(name)
        if looked_at is None or looked_at.is_over:
            looked_at = self._looked_at[name] = _LookedAt(name, self._find, self._changed, self._room, self._resolve)
        who = object()
        looked_at.intervals[who] = interval
        try:
            yield looked_at
        finally:
            del looked_at.intervals[who]
            if not looked_at.intervals:
                looked_at.stop()
                if self._looked_at.get(name) is looked_at:
                    del self._looked_at[name]

    def _room(self) -> int:
        """For the gateways of each session."""
        return max(1, MAX_ASKED // max(1, len(self._looked_at)))


class _LookedAt:
    """One session while somebody looks."""

    def __init__(
        self, name: str, find: Find, changed: Changed, room: Callable[[], int], resolve: Resolve | None
    ) -> None:
        self._name = name
        self._resolve = partial(resolve, name) if resolve is not None else None
        self._find = find
        self._changed = changed
        self._room = room
        self.intervals: dict[object, float] = {}
        """Of each who looks, in seconds; the shortest one counts."""
        self.number = 0
        """How many looks there were."""
        self._seen: Mapping[str, Any] = {}
        self._news = asyncio.Event()
        self._looking = spawn(self._look(), name=f"look at the path of {name}")

    @property
    def is_over(self) -> bool:
        """The session has ended."""
        return self._looking.done()

    def stop(self) -> None:
        self._looking.cancel()

    async def after(self, number: int) -> Mapping[str, Any]:
        """What is seen by a later look than that. Raises NotUpError where the session ends."""
        while self.number <= number:
            news = spawn(self._news.wait(), name="wait for a look")
            try:
                await asyncio.wait((news, self._looking), return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
            self._check_goes_on()
        return self._seen

    async def pause(self, seconds: float) -> None:
        """Raises NotUpError where the session ends."""
        await asyncio.wait((self._looking,), timeout=seconds)
        self._check_goes_on()

    def _check_goes_on(self) -> None:
        if self._looking.done():
            self._looking.result()
            raise _not_up(self._name)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        look: PathLook | None = None
        try:
            while (session := self._find(self._name)) is not None:
                if look is None or not look.is_of(session):
                    if look is not None:
                        look.close()
                    look = PathLook(session, self._resolve)
                began = loop.time()
                seen = await self._see(look, session)
                if seen is None:
                    continue
                self._seen = seen
                self.number += 1
                self._news.set()
                self._news = asyncio.Event()
                await self._rest(session, began)
        finally:
            if look is not None:
                look.close()

    async def _see(self, look: PathLook, session: Session) -> Mapping[str, Any] | None:
        """What is seen; None where meanwhile there came to be a reason not to send anything more."""
        may_send = not why_not_sent(session)
        looking: asyncio.Task[Mapping[str, Any]] = spawn(look.look(self._room()), name="one look")
        try:
            while not looking.done():
                change = spawn(self._changed(), name="wait for a change")
                try:
                    await asyncio.wait((looking, change), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    change.cancel()
                if may_send and (self._find(self._name) is not session or why_not_sent(session)):
                    looking.cancel()
                    await asyncio.wait((looking,))
                    return None
            return looking.result()
        finally:
            looking.cancel()

    async def _rest(self, session: Session, began: float) -> None:
        """Until it is to be looked at again: also when its state has changed."""
        loop = asyncio.get_running_loop()
        before = (session.state, session.applied)
        while (left := began + min(self.intervals.values(), default=INTERVAL) - loop.time()) > 0:
            with suppress(TimeoutError):  # a change between two of these waits is seen all the same
                async with asyncio.timeout(min(left, SLICE)):
                    await self._changed()
            if self._find(self._name) is not session or (session.state, session.applied) != before:
                await asyncio.sleep(max(0.0, began + SHORTEST - loop.time()))
                return


def _parameters(call: Call) -> tuple[str, float]:
    """The session's name, and the interval in seconds."""
    name, interval = call.parameters.get("session"), call.parameters.get("interval")
    interval = INTERVAL if interval is None else interval
    if not isinstance(name, str) or isinstance(interval, bool) or not isinstance(interval, int | float):
        raise UsageError(
            f"{call.method} takes a session's name, and an interval in seconds.",
            next_step="Its types are in the interface io.devlink.Agent.",
        )
    return name, max(SHORTEST, min(LONGEST, interval))


def _not_up(name: str) -> NotUpError:
    return NotUpError(f"{printable(name)} is not up.", next_step="See: devlink status")
