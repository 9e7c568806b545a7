"""Background tasks that cannot get lost: kept while they run, and their failure is logged."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from devlink.errors import DevlinkError

log = logging.getLogger(__name__)
_running: set[asyncio.Task[Any]] = set()


def spawn(coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    """Start a task that outlives its caller. asyncio itself keeps only a weak reference (asyncio.create_task docs)."""
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _running.add(task)
    task.add_done_callback(_done)
    return task


def _done(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if task.cancelled() or (error := task.exception()) is None:
        return
    if isinstance(error, DevlinkError):  # deliberate, and usually on its way to a caller as well
        log.warning("%s: %s", task.get_name(), error)
    else:
        log.error("%s failed", task.get_name(), exc_info=error)
