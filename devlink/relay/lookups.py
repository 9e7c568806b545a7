"""What was asked of the API, kept for a while: one question at a time for each thing, however many want to know."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from devlink.relay.refusal import RefusedError
from devlink.rpc.tasks import spawn

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
LIMIT = 4096
"""Entries of one kind: more than a laptop's programs speak with."""
PATIENCE = 1.0
"""Seconds that an old answer waits for a new one."""
DOUBTED_PATIENCE = 5.0
"""Seconds that one waits which has turned out to be wrong."""
PAUSE = 1.0
"""Seconds after a failure in which nothing is asked again."""


class Span(NamedTuple):
    """How long an answer counts, in seconds."""

    fresh: float
    """As it is."""
    usable: float
    """As it is, too, but whoever uses it has it asked for anew."""


@dataclass(slots=True)
class _Entry(Generic[V]):
    values: tuple[V, ...] = ()
    """One, once there was an answer."""
    at: float = 0.0
    """When it was asked for."""
    doubted: bool = False
    """The next who wants it waits for a new one."""
    task: asyncio.Task[None] | None = None
    asked_at: float = 0.0
    asked_in_doubt: bool = False
    failure: tuple[str, str] | None = None
    """Of the last question: reason and why."""
    failed_at: float = 0.0


class Lookups(Generic[K, V]):
    """Answers by what was asked. With the API away, what was known goes on to be."""

    def __init__(
        self,
        ask: Callable[[K], Awaitable[V]],
        span: Callable[[V], Span],
        *,
        clock: Callable[[], float],
        limit: int = LIMIT,
    ) -> None:
        """`ask` raises RefusedError; `clock`: monotonic seconds; `limit`: entries that are kept."""
        self._ask = ask
        self._span = span
        self._clock = clock
        self._limit = limit
        self._entries: dict[K, _Entry[V]] = {}

    async def find(self, key: K, *, max_age: float = math.inf) -> V:
        """The answer, old or new. `max_age`: seconds above which it shall be asked for anew.

        Raises RefusedError: `api`, where nothing is known and nobody answers, `too-many`, and what `ask` raises.
        """
        entry = self._entries.get(key)
        if entry is None:
            entry = self._add(key)
        now = self._clock()
        if entry.values:
            age, span = now - entry.at, self._span(entry.values[0])
            is_doubted = entry.doubted or (entry.task is not None and entry.asked_in_doubt)
            if not is_doubted and age < min(span.usable, max_age):
                if age >= span.fresh:
                    self._renew(key, entry, now)
                return entry.values[0]
        task = self._renew(key, entry, now)
        if task is not None:
            patience = DOUBTED_PATIENCE if entry.asked_in_doubt else PATIENCE
            try:  # a caller that goes away takes nothing from the others
                async with asyncio.timeout(max(0.0, entry.asked_at + patience - now) if entry.values else None):
                    await asyncio.shield(task)
            except TimeoutError:
                return entry.values[0]
            except asyncio.CancelledError:
                mine = asyncio.current_task()
                if mine is None or mine.cancelling():
                    raise
                raise RefusedError("api", "The relay ends.") from None  # its question was cancelled, not the caller
        if entry.failure is not None and (not entry.values or entry.failure[0] != "api"):
            raise RefusedError(*entry.failure)
        return entry.values[0]

    def known(self) -> Iterator[tuple[K, V]]:
        """All that was answered."""
        return ((key, entry.values[0]) for key, entry in self._entries.items() if entry.values)

    def doubt(self, key: K) -> None:
        """Whoever wants to know next waits for a new answer; with the API away the old one still counts."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.doubted = True

    def close(self) -> None:
        """Nothing is waited for any more."""
        for entry in self._entries.values():
            if entry.task is not None:
                entry.task.cancel()
        self._entries.clear()

    def _add(self, key: K) -> _Entry[V]:
        if len(self._entries) >= self._limit:
            oldest = next((each for each, entry in self._entries.items() if entry.task is None), None)
            if oldest is None:
                raise RefusedError("too-many", f"More than {self._limit} addresses are being looked up.")
            del self._entries[oldest]
        entry: _Entry[V] = _Entry()
        self._entries[key] = entry
        return entry

    def _renew(self, key: K, entry: _Entry[V], now: float) -> asyncio.Task[None] | None:
        """The question that is under way; None right after one that failed."""
        if entry.task is None:
            if entry.failure is not None and now - entry.failed_at < PAUSE:
                return None
            entry.asked_in_doubt, entry.asked_at = entry.doubted, now
            entry.doubted = False  # one that comes meanwhile stays
            entry.task = spawn(self._answer(key, entry, now), name="look-up")
        return entry.task

    async def _answer(self, key: K, entry: _Entry[V], now: float) -> None:
        try:
            value = await self._ask(key)
        except RefusedError as refused:
            entry.failure, entry.failed_at = (refused.reason, refused.why), self._clock()
            entry.doubted |= entry.asked_in_doubt
        else:
            entry.values, entry.at, entry.failure = (value,), now, None
            if self._entries.pop(key, None) is entry:  # the last to go
                self._entries[key] = entry
        finally:
            entry.task = None
