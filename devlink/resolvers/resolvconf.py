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
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from devlink.core.prefixes import IPAddress
from devlink.core.text import printable
from devlink.errors import HelperError
from devlink.resolvers.programs import ENVIRONMENT, find_program
from devlink.resolvers.reading import read_conf
from devlink.resolvers.resolv_conf import (
    MAX_NAMESERVERS,
    MORE,
    ResolvConf,
    merge_records,
    parse_records,
    render_record,
)

log = logging.getLogger(__name__)

OPENRESOLV, DEBIAN = "openresolv", "debian-resolvconf"
RECORDS = {OPENRESOLV: "devlink", DEBIAN: "lo.devlink"}
"""Our record's name. Debian's takes records in the order of interface-order(5), where `lo.*` comes first."""
PROGRAM = "resolvconf"
INTERFACES = "run/resolvconf/interface"
"""Where Debian's keeps its records."""
BASE = "etc/resolvconf/resolv.conf.d/base"
"""What Debian's puts after all of them: the administrator's own."""
LIMIT = 8.0
"""Seconds for one run: it may restart the local resolvers that it feeds."""
END_LIMIT = 0.5
"""Seconds for it to give its lock back when it is told to end."""
MAX_OUTPUT = 1 << 16


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


def list_records(kind: str, root: str | Path = "/") -> dict[str, ResolvConf]:
    """Every record by its name, in the order in which they count. Needs no privilege. Raises HelperError."""
    program = program_path(root)
    if kind == OPENRESOLV:
        return parse_records(run(program, ["-l"]))
    # Debian's -l wants its lock, which is root's; -i does not.
    folder = Path(root) / INTERFACES
    return {name: read_conf(folder / name) for name in run(program, ["-i"]).split()}


def others(kind: str, root: str | Path = "/") -> ResolvConf:
    """What the program would name without our record. Raises HelperError."""
    records = [record for name, record in list_records(kind, root).items() if name != RECORDS[kind]]
    base = [read_conf(Path(root) / BASE)] if kind == DEBIAN else []
    return merge_records([*records, *base])


def program_path(root: str | Path) -> str:
    """Where its symlinks end. Raises HelperError where it is not there."""
    found = find_program(PROGRAM, root)
    if found is not None:
        return str(found)
    raise HelperError(
        f"The program {PROGRAM} is not there any more.",
        why="devlink looked for it in the system's own folders, where only root may write.",
        next_step="Install it again, or write /etc/resolv.conf by hand.",
    )


def run(
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
    limit = min(limit, LIMIT)
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
