"""What several checks look at, looked at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from devlink.doctor.case import Case, Subject
from devlink.rpc.tasks import spawn

T = TypeVar("T")


class Shared(Generic[T]):
    """A look at one subject, which all who ask while it lasts share; whoever asks later has it made again."""

    def __init__(self, look: Callable[[Case, Subject], Coroutine[Any, Any, T]]) -> None:
        """What `look` raises, all of them get."""
        self._look = look
        self._running: dict[tuple[int, int], asyncio.Task[T]] = {}

    async def __call__(self, case: Case, subject: Subject) -> T:
        key = (id(case), id(subject))  # the task holds both, so no other one has this key meanwhile
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = spawn(self._look(case, subject), name=f"look at {subject.name}")
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(task)
