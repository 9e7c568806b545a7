"""The helper's process: started with or without a service manager, one at a time, undoing first and last."""

import asyncio
import fcntl
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from devlink.errors import ConflictError, DevlinkError, HelperError, reason
from devlink.helper.journal import Journal
from devlink.helper.machine import Machine
from devlink.helper.parts import Parts
from devlink.helper.policy import Paths, Policy, read_policy
from devlink.helper.truststore import TrustStore
from devlink.helper.verbs import Helper
from devlink.hints import as_root
from devlink.rpc.activation import listen_sockets, notify
from devlink.rpc.listening import bind_public
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

FIRST_UNDO_LIMIT = 10.0
"""Seconds after which callers are served though an earlier helper's changes are not taken back yet."""
POLICY_FOR_UNDOING = Policy()
"""What was changed is known by the resolver's file and the kernel's marks, whatever policy it was changed by."""


def run(paths: Paths) -> None:
    """Be the helper until SIGTERM. Raises DevlinkError where it cannot even start."""
    listeners = listen_sockets()
    private = not listeners
    _make_folders(paths)
    lock = _lock(paths)
    try:
        policy = _policy_or_nothing_left(paths, private=private)
        parts = Parts(paths.run, private=private)
        machine = Machine(policy=policy, journal=Journal(paths.journal), parts=parts)
        helper = Helper(policy=policy, machine=machine, trust=TrustStore(paths.trust, paths.trust_config))
        if private:
            # Anyone may connect; the verbs decide.
            listeners = [bind_public(paths.socket)]
        try:
            asyncio.run(_serve(helper, listeners))
        finally:
            if private:
                paths.socket.unlink(missing_ok=True)
            parts.end()
    finally:
        os.close(lock)


async def _serve(helper: Helper, listeners: list[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # An earlier helper's changes go before anything else; the agents apply again.
    undoing = spawn(helper.release_all(), name="undo what an earlier helper left")
    await asyncio.wait({undoing}, timeout=FIRST_UNDO_LIMIT)
    notify("READY=1")
    accepting = [spawn(helper.server.serve(listener), name="accept") for listener in listeners]
    await stop.wait()
    notify("STOPPING=1")
    for task in accepting:
        task.cancel()
    await helper.server.close()
    await helper.end()
    for listener in listeners:
        listener.close()


def restore(paths: Paths) -> None:
    """Take back what the journal and the kernel's marks say is ours, with no helper running. Raises DevlinkError."""
    _make_folders(paths)
    lock = _lock(paths)
    try:
        try:
            policy = read_policy(paths.policy)
        except HelperError as error:
            log.error("%s", error)
            policy = POLICY_FOR_UNDOING
        _undo(paths, policy, private=not (paths.run / "files").exists())
    finally:
        os.close(lock)


def _policy_or_nothing_left(paths: Paths, *, private: bool) -> Policy:
    """The policy. Raises HelperError where it cannot be used, after undoing what an earlier helper left: a typing error
    must not leave a laptop without names after a crash."""
    try:
        return read_policy(paths.policy)
    except HelperError as error:
        try:
            _undo(paths, POLICY_FOR_UNDOING, private=private)
        except DevlinkError as left:
            error.why += f" What an earlier helper installed is still there: {reason(left)}"
            error.next_step += f" To have it taken back before that: {as_root('helper', 'restore')}"
        raise


def _undo(paths: Paths, policy: Policy, *, private: bool) -> None:
    parts = Parts(paths.run, private=private)
    try:
        asyncio.run(_undo_once(Machine(policy=policy, journal=Journal(paths.journal), parts=parts)))
    finally:
        parts.end()


async def _undo_once(machine: Machine) -> None:
    try:
        await machine.undo()
    finally:
        machine.names.close()


def _make_folders(paths: Paths) -> None:
    try:
        for folder, mode in ((paths.run, 0o755), (paths.state, 0o755), (paths.trust, 0o755)):
            folder.mkdir(parents=True, exist_ok=True, mode=mode)
        _leave_to_helper(paths.trust)
    except OSError as error:
        raise HelperError(
            f"The helper cannot make {error.filename}.",
            why=f"{error.strerror}.",
            next_step="It runs as a system service, or as root.",
        ) from error


def _lock(paths: Paths) -> int:
    try:
        fd = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        _leave_to_helper(paths.lock)
    except OSError as error:
        raise HelperError(
            f"The helper cannot open {paths.lock}.",
            why=f"{error.strerror}.",
            next_step="It runs as a system service, or as root.",
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise ConflictError(
            "A devlink helper is running on this machine already.", next_step="`devlink status` shows what it does."
        ) from None
    return fd


def _leave_to_helper(path: Path) -> None:
    """Where root restores before the helper has run, the helper must be able to use what is made in its folder."""
    owner = path.parent.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.lchown(path, owner.st_uid, owner.st_gid)


def log_to_stderr() -> None:
    """One line for each event; the service manager adds the time."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")
