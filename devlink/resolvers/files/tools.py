"""The two programs named resolvconf, openresolv and Debian's: they merge resolv.conf from records, one of them ours.

Both name no server after a loopback one, unless they are told to. openresolv can be told for one call; then the servers
from before stand behind ours, for containers, as in `render`. The next update by another program takes them out again.
Debian's names three at most (its resolv.conf(5) hook), which must all be ours: there they cannot be had.

What comes of a record is for the program to decide; whoever asks for it looks at resolv.conf afterwards.
"""

import logging
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from devlink.core.prefixes import IPAddress
from devlink.core.text import printable
from devlink.errors import HelperError
from devlink.faults import POINTS, fault_point
from devlink.resolvers.facts import PROGRAM_FOLDERS
from devlink.resolvers.files.folder import is_safe, locked, opened, read
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
DISGUISED = ("resolvectl", "systemd-resolve")
"""What a symlink named resolvconf may lead to: the same options, for systemd-resolved, and no records."""
LIMIT = 8.0
"""Seconds for one call: it may restart the local resolvers that it feeds."""
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

    def write(self, address: IPAddress) -> None:
        """Have `address` known to the program, and before every other. Raises HelperError."""
        with opened(os.path.join(self._root, "etc")) as folder, locked(folder):
            self._begin()
            program = _program(self._root)
            record = RECORDS[self._kind]
            if self._kind == OPENRESOLV:
                records = list_records(self._kind, self._root)
                others = merge_records(found for name, found in records.items() if name != record)
                text = exclusive_record(address, others)
                _run(program, ["-m", "0", "-x", "-a", record], text, settings=NAME_ALL)
            else:
                text = render_record([address])
                _run(program, ["-a", record], text)
            if not names_all(parse(text), parse(read(folder, NAME, follow=True) or "")):
                # The record was there already, and another program has written or updated since.
                _run(program, ["-u"], settings=NAME_ALL if self._kind == OPENRESOLV else {})
            fault_point("files.tool.called")
        log.info("told %s: nameserver %s", program, address)

    def restore(self, address: IPAddress | None = None) -> None:
        """Have our record forgotten, and a file made anew that names `address` still. Raises HelperError.

        After a power cut openresolv's records are gone, and its file, a plain one, has outlived them.
        """
        with opened(os.path.join(self._root, "etc")) as folder, locked(folder):
            self._begin()
            program = _program(self._root)
            record = RECORDS[self._kind]
            if self._kind == OPENRESOLV:
                is_its_own = (read(folder, NAME) or "").startswith(OPENRESOLV_MARK)
                # It would write over another program's newer file, unless told to leave its subscribers alone.
                _run(program, ["-f", "-d", record], settings={} if is_its_own else {"resolvconf": "NO"})
                left = parse(read(folder, NAME) or "").nameservers
                if is_its_own and address is not None and address in left:
                    _run(program, ["-u"])
            else:
                _run(program, ["-d", record])
            fault_point("files.tool.called")
        log.info("%s has forgotten devlink", program)

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
    """The first that root alone can have put there. Raises HelperError."""
    for name in PROGRAM_FOLDERS:
        path = Path(root) / name.lstrip("/") / PROGRAM
        real = os.path.realpath(path)
        if not os.access(real, os.X_OK) or os.path.basename(real) in DISGUISED:
            continue
        if is_safe(real):
            return real
        log.warning("%s is passed by: others than root may change it", real)
    raise HelperError(
        f"The program {PROGRAM} is not there any more.",
        why="devlink looked for it in the system's own folders, where only root may write.",
        next_step="Install it again, or write /etc/resolv.conf by hand.",
    )


def _run(
    program: str, words: Sequence[str], text: str = "", *, settings: Mapping[str, str] = MappingProxyType({})
) -> str:
    """What it wrote. Raises HelperError where it did not end; nothing of it runs on then.

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
            )
        except OSError as error:
            raise HelperError(
                f"`{shown}` could not be started.",
                why=f"The system said: {error.strerror}.",
                next_step=f"See `ls -l {program}`.",
            ) from error
        try:
            code = child.wait(LIMIT)
        except subprocess.TimeoutExpired:
            _end(child)
            raise HelperError(
                f"`{shown}` did not end within {LIMIT:g} seconds.",
                why="It may wait for its lock, or for a resolver that it restarts.",
                next_step=f"See `ps -ef | grep {PROGRAM}`, then try again.",
            ) from None
        output = os.pread(said.fileno(), MAX_OUTPUT, 0).decode(errors="surrogateescape")
    if code != 0 and not lists:
        log.warning("`%s` ended with exit code %d: %s", shown, code, printable(" ".join(output.split())[:500]))
    return output


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
