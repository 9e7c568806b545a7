"""Background tasks that cannot get lost, and threads that nobody waits for longer than he wants to."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from devlink.errors import DevlinkError

P = ParamSpec("P")
T = TypeVar("T")
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


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, for who looks at what may hang: a keyring, a resolver, a file on a lost server.

    Its threads (`asyncio.to_thread`) are as many as are asked for, and one that hangs keeps nobody from the end: the
    loop's own pool has few, each of which would be lost to the agent for good, and is waited for.
    """

    async def inside() -> T:
        asyncio.get_running_loop().set_default_executor(_Unwaited())
        return await main

    return asyncio.run(inside())


class _Unwaited(ThreadPoolExecutor):  # the loop takes no Executor of another kind
    """A thread for each call, which ends with the process if it does not end before."""

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call(*args, **kwargs))
            except BaseException as error:  # it is for whoever asked
                future.set_exception(error)

        threading.Thread(target=work, name="look", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nobody is waited for."""
