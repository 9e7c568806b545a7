"""One agent for each user: a lock, and how one that the user's manager runs takes the place of one that nobody does."""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import time
from pathlib import Path

from devlink.agent.places import agent_socket
from devlink.errors import UnexpectedError
from devlink.rpc.peer import peer_of

log = logging.getLogger(__name__)

TAKE_OVER_LIMIT = 8.0
"""Seconds for the one before to end by itself. One that hangs is killed then, and its sessions can be taken over."""
KILL_LIMIT = 2.0
"""Seconds for one that is killed to be gone."""


def lock(folder: Path) -> int | None:
    """The lock in the runtime folder, as a file descriptor to be closed; None where another agent has it."""
    held = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    return held


async def take_over(folder: Path) -> int:
    """The same; one that has it is told to end. It lets go of the helper, and what it had up is there to be taken over.

    Raises UnexpectedError where it is not gone TAKE_OVER_LIMIT and KILL_LIMIT seconds later.
    """
    told = 0, 0
    deadline = time.monotonic() + TAKE_OVER_LIMIT
    while (held := lock(folder)) is None:
        late = time.monotonic() - deadline
        pid, number = _holder(), signal.SIGTERM if late < 0 else signal.SIGKILL
        if pid and (pid, number) != told:
            log.info("taking over from the agent with process id %d: %s", pid, number.name)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            told = pid, number
        if late > KILL_LIMIT:
            raise UnexpectedError("Another agent runs and does not end.", next_step="See: pgrep -af devlink.agent")
        await asyncio.sleep(0.02)
    return held


def _holder() -> int:
    """The process that answers at the agent's socket; 0 where there is none of this user's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as line:
        line.setblocking(False)
        try:
            line.connect(str(agent_socket()))
            peer = peer_of(line)
        except OSError:
            return 0
    return peer.pid if peer.uid == os.geteuid() else 0
