"""The agent's log: on stderr; where that is the file of an agent that `up` started, a new one is begun in time."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from devlink.agent.places import log_file

LIMIT = 1 << 20
"""Octets of one file; it and the one before it are kept."""
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
JOURNAL_FORMAT = "%(levelname)s %(name)s: %(message)s"
_is_hushed = ContextVar("is_hushed", default=False)


class Rotating(logging.StreamHandler):  # type: ignore[type-arg]  # a plain class at run time
    """Writes to stderr, which is a file; what else this process writes there goes along with it."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        super().__init__(sys.stderr)
        self._path = path
        self._limit = limit

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        try:
            if os.fstat(2).st_size > self._limit:
                self._begin_anew()
        except OSError:
            self._limit *= 2  # the folder cannot be written: the old one goes on

    def _begin_anew(self) -> None:
        if is_stderr(self._path):  # else another agent, which ended soon, did it a moment ago
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        new = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for number in (1, 2):
            os.dup2(new, number)
        os.close(new)


def is_stderr(path: Path) -> bool:
    """Whether what this process says goes to that file."""
    try:
        return os.path.samestat(os.fstat(2), path.stat())
    except OSError:
        return False


@contextmanager
def hushed() -> Iterator[None]:
    """What is said meanwhile is not written, but for defects (ERROR): whoever asked for it is told what was seen.

    It holds for the tasks and threads that are begun in the block too, which have its context (asyncio.to_thread).
    """
    token = _is_hushed.set(True)
    try:
        yield
    finally:
        _is_hushed.reset(token)


def is_wanted(record: logging.LogRecord) -> bool:
    """A handler's filter, which `hushed` needs."""
    return record.levelno >= logging.ERROR or not _is_hushed.get()


def is_journal() -> bool:
    """Whether what this process says goes to the journal, which notes the time itself (systemd.exec(5))."""
    try:
        said = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{said.st_dev}:{said.st_ino}"


def log_to_stderr() -> None:
    """One line for each event, with its time."""
    path = log_file()
    handler = Rotating(path) if is_stderr(path) else logging.StreamHandler(sys.stderr)
    handler.addFilter(is_wanted)
    logging.basicConfig(level=logging.INFO, handlers=[handler], format=JOURNAL_FORMAT if is_journal() else FORMAT)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # one line for each request tells nobody anything
