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
"""Seconds for the one before to end: less than the grace of its lease, in which its sessions can be taken over."""


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

    Raises UnexpectedError where it does not end within TAKE_OVER_LIMIT seconds.
    """
    told = 0
    deadline = time.monotonic() + TAKE_OVER_LIMIT
    while (held := lock(folder)) is None:
        pid = _holder()
        if pid and pid != told:
            log.info("taking over from the agent with process id %d", pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            told = pid
        if time.monotonic() > deadline:
            raise UnexpectedError("Another agent runs and does not end.", next_step="End it: devlink down --all")
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
