"""Has one of the two programs named resolvconf told of us, as root must."""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.faults import POINTS, fault_point
from devlink.resolvers.files.folder import is_named, opened, remove
from devlink.resolvers.reading import read
from devlink.resolvers.resolv_conf import NAME, OPENRESOLV_MARK, parse, render_record
from devlink.resolvers.resolvconf import (
    OPENRESOLV,
    PROGRAM,
    RECORDS,
    exclusive_record,
    names_all,
    others,
    program_path,
    run,
)

log = logging.getLogger(__name__)

LOCK = "run/devlink-files.lock"
"""Root's alone: what others can open, they can lock. Below /run, since /etc may be read-only."""
LOCK_LIMIT = 4.0
"""Seconds to wait for another process at the same work, and for what one that was killed had started."""
LOCK_TRIES = 2
"""The second one behind a process that waited for the same one as we did."""
CALL_LIMIT = 15.0
"""Seconds for all the runs of one call and the wait before them."""
NAME_ALL = {"resolv_conf_local_only": "NO"}
"""openresolv's own setting (resolvconf.conf(5)), where that file does not say otherwise."""
POINTS.update(
    {
        "files.tool.locked": "the order has come, and nobody else is at work",
        "files.tool.called": "resolvconf has done what it was asked",
    }
)


class ResolvconfProgram:
    """One of the two, as it is installed. Both calls may be repeated, and killed at any moment."""

    def __init__(self, kind: str, *, root: str = "/", is_called_off: Callable[[], bool] = bool) -> None:
        """`root` is for tests; `is_called_off` says that whoever asked has died, and is asked under the lock."""
        self._kind = kind
        self._root = root
        self._is_called_off = is_called_off
        self._lock: int | None = None
        self._end = 0.0

    def write(self, address: IPAddress) -> None:
        """Have `address` known to the program, and before every other. Raises HelperError."""
        with opened(os.path.join(self._root, "etc")) as folder, self._locked():
            self._begin()
            program = program_path(self._root)
            record = RECORDS[self._kind]
            if self._kind == OPENRESOLV:
                text = exclusive_record(address, others(self._kind, self._root))
                self._have(program, ["-m", "0", "-x", "-a", record], text, settings=NAME_ALL)
            else:
                text = render_record([address])
                self._have(program, ["-a", record], text)
            if not names_all(parse(text), parse(read(folder, NAME, follow=True) or "")):
                # The record was there already, and another program has written or updated since.
                self._have(program, ["-u"], settings=NAME_ALL if self._kind == OPENRESOLV else {})
            fault_point("files.tool.called")
        log.info("told %s: nameserver %s", program, address)

    def restore(self, address: IPAddress | None = None) -> None:
        """Have our record forgotten, and a file made anew that names `address` still. Raises HelperError.

        After a power cut openresolv's records are gone, and its file, a plain one, has outlived them. Of either program
        a run that was ended may have left the file as it was with the record.
        """
        with opened(os.path.join(self._root, "etc")) as folder, self._locked():
            self._begin()
            program = program_path(self._root)
            record = RECORDS[self._kind]
            words, is_its_own = ["-d", record], True
            if self._kind == OPENRESOLV:
                words, is_its_own = ["-f", *words], (read(folder, NAME) or "").startswith(OPENRESOLV_MARK)
            # openresolv would write over another program's newer file, unless told to leave its subscribers alone.
            self._have(program, words, settings={} if is_its_own else {"resolvconf": "NO"})
            if is_its_own and address in parse(read(folder, NAME, follow=True) or "").nameservers:
                self._have(program, ["-u"])
            fault_point("files.tool.called")
        log.info("%s has forgotten devlink", program)

    def _have(
        self, program: str, words: Sequence[str], text: str = "", *, settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        limit = max(self._end - time.monotonic(), 0.0)
        run(program, words, text, settings=settings, limit=limit, lock=self._lock)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep a second process out, as long as this one or what it has run goes on.

        Not for ever: what a run of a killed one has started may be a daemon, and the program has a lock of its own.
        """
        self._end = time.monotonic() + CALL_LIMIT
        path = os.path.join(self._root, LOCK)
        try:
            self._lock = _take(path)
        except OSError as error:  # whatever keeps it from being made keeps nobody's names from being given back
            log.warning("%s cannot be locked: %s", path, error)
            yield
            return
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)  # also where a daemon has it now, which only closing would not free
            os.close(self._lock)
            self._lock = None

    def _begin(self) -> None:
        if self._is_called_off():
            raise HelperError(f"{PROGRAM} is not called.", why="The helper that asked for it has ended.")
        fault_point("files.tool.locked")


def _take(path: str) -> int:
    """Open and lock the file; one that another holds for too long gives way to a new one. Raises OSError."""
    for _ in range(LOCK_TRIES):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        is_locked = _lock(file, LOCK_LIMIT)
        is_current = is_named(None, path, file)  # else another process has waited too long for it, and made a new one
        if is_locked and is_current:
            return file
        os.close(file)
        if not is_locked:
            log.warning("waited %g s for another process that calls %s", LOCK_LIMIT, PROGRAM)
            if is_current:
                remove(None, path)  # so that nobody waits for that one again
    raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def _lock(file: int, limit: float) -> bool:
    """Lock the open file; False where another holds it for longer than `limit`, in seconds."""
    end = time.monotonic() + limit
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
