"""The two programs named resolvconf, openresolv and Debian's: they merge resolv.conf from records, one of them ours.

Both name no server after a loopback one, unless they are told to. openresolv can be told for one call; then the servers
from before stand behind ours, for containers, as in `render`. The next update by another program takes them out again.
Debian's names three at most (its resolv.conf(5) hook), which must all be ours: there they cannot be had.

What comes of a record is for the program to decide; whoever asks for it looks at resolv.conf afterwards.
"""

import fcntl
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from devlink.core.prefixes import IPAddress
from devlink.core.text import printable
from devlink.errors import HelperError
from devlink.faults import POINTS, fault_point
from devlink.resolvers.files.folder import opened, read
from devlink.resolvers.programs import find_program
from devlink.resolvers.reading import read_conf
from devlink.resolvers.resolv_conf import (
    MAX_NAMESERVERS,
    MORE,
    NAME,
    OPENRESOLV_MARK,
    ResolvConf,
    merge_records,
    parse,
    parse_records,
    render_record,
)

log = logging.getLogger(__name__)

OPENRESOLV, DEBIAN = "openresolv", "debian-resolvconf"
RECORDS = {OPENRESOLV: "devlink", DEBIAN: "lo.devlink"}
"""Our record's name. Debian's takes records in the order of interface-order(5), where `lo.*` comes first."""
PROGRAM = "resolvconf"
LOCK = "run/devlink-files.lock"
"""Root's alone: what others can open, they can lock. Below /run, since /etc may be read-only."""
LOCK_LIMIT = 4.0
"""Seconds to wait for another process at the same work, and for what one that was killed had started."""
LIMIT = 8.0
"""Seconds for one run: it may restart the local resolvers that it feeds."""
CALL_LIMIT = 15.0
"""Seconds for all the runs of one call and the wait before them."""
END_LIMIT = 0.5
"""Seconds for it to give its lock back when it is told to end."""
NAME_ALL = {"resolv_conf_local_only": "NO"}
"""openresolv's own setting (resolvconf.conf(5)), where that file does not say otherwise."""
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
MAX_OUTPUT = 1 << 16

POINTS.update(
    {
        "files.tool.locked": "the order has come, and nobody else is at work",
        "files.tool.called": "resolvconf has done what it was asked",
    }
)


class Tool:
    """One of the two, as it is installed. Both calls may be repeated, and killed at any moment."""

    def __init__(self, kind: str, *, root: str = "/", is_called_off: Callable[[], bool] = bool) -> None:
        """`root` is for tests; `is_called_off` says that whoever asked has died, and is asked under the lock."""
        self._kind = kind
        self._root = root
        self._is_called_off = is_called_off
        self._lock, self._end = -1, 0.0

    def write(self, address: IPAddress) -> None:
        """Have `address` known to the program, and before every other. Raises HelperError."""
        with opened(os.path.join(self._root, "etc")) as folder, self._locked():
            self._begin()
            program = _program(self._root)
            record = RECORDS[self._kind]
            if self._kind == OPENRESOLV:
                records = list_records(self._kind, self._root)
                others = merge_records(found for name, found in records.items() if name != record)
                text = exclusive_record(address, others)
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

        After a power cut openresolv's records are gone, and its file, a plain one, has outlived them.
        """
        with opened(os.path.join(self._root, "etc")) as folder, self._locked():
            self._begin()
            program = _program(self._root)
            record = RECORDS[self._kind]
            if self._kind == OPENRESOLV:
                is_its_own = (read(folder, NAME) or "").startswith(OPENRESOLV_MARK)
                # It would write over another program's newer file, unless told to leave its subscribers alone.
                self._have(program, ["-f", "-d", record], settings={} if is_its_own else {"resolvconf": "NO"})
                left = parse(read(folder, NAME) or "").nameservers
                if is_its_own and address is not None and address in left:
                    self._have(program, ["-u"])
            else:
                self._have(program, ["-d", record])
            fault_point("files.tool.called")
        log.info("%s has forgotten devlink", program)

    def _have(
        self, program: str, words: Sequence[str], text: str = "", *, settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        limit = min(LIMIT, max(self._end - time.monotonic(), 0.0))
        _run(program, words, text, settings=settings, limit=limit, lock=self._lock)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep a second process out, as long as this one or what it has run goes on.

        Not for ever: what a run of a killed one has started may be a daemon, and the program has a lock of its own.
        """
        self._end = time.monotonic() + CALL_LIMIT
        path = os.path.join(self._root, LOCK)
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if not _take(self._lock, LOCK_LIMIT):
                log.warning("waited %g s for another process that calls %s, and goes on", LOCK_LIMIT, PROGRAM)
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)  # also where a daemon has it now, which only closing would not free
            os.close(self._lock)

    def _begin(self) -> None:
        if self._is_called_off():
            raise HelperError(f"{PROGRAM} is not called.", why="The helper that asked for it has ended.")
        fault_point("files.tool.locked")


def own_addresses(kind: str, address: IPAddress) -> tuple[IPAddress, ...]:
    """What is named of the forwarder: enough that libc asks none but it, where other servers can follow."""
    more = MORE if kind == OPENRESOLV else ()
    return (address, *(each for each in more if each != address))[:MAX_NAMESERVERS]


def exclusive_record(address: IPAddress, others: ResolvConf) -> str:
    """Ours for openresolv: it excludes the others (-x), so it says what they say, with their servers behind ours.

    Under `rotate` without those: resolvers that know no limit would ask them in turn.
    """
    own = own_addresses(OPENRESOLV, address)
    behind = () if others.rotates else tuple(server for server in others.nameservers if server not in own)
    return render_record((*own, *behind), others.kept)


def names_all(record: ResolvConf, file: ResolvConf) -> bool:
    """Whether every server of the record is in the file that was made."""
    return set(record.nameservers) <= set(file.nameservers)


def list_records(kind: str, root: str = "/") -> dict[str, ResolvConf]:
    """Every record by its name, in the order in which they count. Needs no privilege. Raises HelperError."""
    program = _program(root)
    if kind == OPENRESOLV:
        return parse_records(_run(program, ["-l"]))
    # Debian's -l wants its lock, which is root's; -i does not.
    folder = Path(root) / "run/resolvconf/interface"
    return {name: read_conf(folder / name) for name in _run(program, ["-i"]).split()}


def _program(root: str) -> str:
    """Where its symlinks end. Raises HelperError where it is not there."""
    found = find_program(PROGRAM, root)
    if found is not None:
        return os.path.realpath(found)
    raise HelperError(
        f"The program {PROGRAM} is not there any more.",
        why="devlink looked for it in the system's own folders, where only root may write.",
        next_step="Install it again, or write /etc/resolv.conf by hand.",
    )


def _run(
    program: str,
    words: Sequence[str],
    text: str = "",
    *,
    settings: Mapping[str, str] = MappingProxyType({}),
    limit: float = LIMIT,
    lock: int | None = None,
) -> str:
    """What it wrote. Raises HelperError where it did not end; nothing of it runs on then.

    It keeps the `lock` as long as it runs, even if we are killed.

    An exit code is no error: it is the sum of the hooks', or says that there is nothing to list, and what counts is
    resolv.conf.
    """
    shown, lists = " ".join([PROGRAM, *words]), words[0] in ("-l", "-i")
    with _scratch(text) as given, _scratch() as said:  # not pipes: a daemon that a hook started would hold them open
        try:
            child = subprocess.Popen(
                [program, *words],
                stdin=given,
                stdout=said,
                stderr=subprocess.DEVNULL if lists else said,
                cwd="/",
                env={**ENVIRONMENT, **settings},
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
            )
        except OSError as error:
            raise HelperError(
                f"`{shown}` could not be started.",
                why=f"The system said: {error.strerror}.",
                next_step=f"See `ls -l {program}`.",
            ) from error
        try:
            code = child.wait(limit)
        except subprocess.TimeoutExpired:
            _end(child)
            raise HelperError(
                f"`{shown}` did not end within {round(limit, 1):g} seconds.",
                why="It may wait for its lock, or for a resolver that it restarts.",
                next_step=f"See `ps -ef | grep {PROGRAM}`, then try again.",
            ) from None
        output = os.pread(said.fileno(), MAX_OUTPUT, 0).decode(errors="surrogateescape")
    if code != 0 and not lists:
        log.warning("`%s` ended with exit code %d: %s", shown, code, printable(" ".join(output.split())[:500]))
    return output


def _take(lock: int, limit: float) -> bool:
    """Lock the open file; False where another holds it for longer than `limit`, in seconds."""
    end = time.monotonic() + limit
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)


def _scratch(text: str = "") -> BinaryIO:
    """A file in memory, at its beginning."""
    file = os.memfd_create("devlink")
    os.pwrite(file, text.encode(errors="surrogateescape"), 0)
    return os.fdopen(file, "w+b", buffering=0)


def _end(child: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):  # openresolv gives its lock back at the first
        try:
            os.killpg(child.pid, number)
            child.wait(END_LIMIT)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
    child.wait()
