"""The helper's own processes, forwarder and files: reached by their sockets, started by whoever manages services."""

import itertools
import logging
import os
import pwd
import socket
import subprocess
import threading
from pathlib import Path

from devlink.errors import HelperError, reason
from devlink.helper.managed import kill_hanging
from devlink.hints import log_of
from devlink.rpc.starting import start_serving

log = logging.getLogger(__name__)

MODULES = {"forwarder": "devlink.dns", "files": "devlink.resolvers.files"}
FORWARDER_USER = "devlink-dns"
CONNECT_LIMIT = 2.0
"""Seconds."""
END_LIMIT = 0.5
"""Seconds for a part whose line was closed to end by itself."""


class Parts:
    """Connects to a part. Under systemd its socket unit starts it; in a private world, we do, for each connection.

    Any thread may connect: a call that was given up goes on in its own.
    """

    def __init__(self, run: Path, *, private: bool) -> None:
        self._run = run
        self._private = private
        self._numbers = itertools.count()
        self._reapers: dict[subprocess.Popen[bytes], tuple[str, threading.Thread]] = {}
        self._starting = threading.Lock()
        """Held while a reaper is entered and started: only one that runs can be waited for."""
        if private:
            self._sweep()

    def _sweep(self) -> None:
        """Remove the names that a helper left which was killed in the moment between making and removing one."""
        for path in self._run.glob("*.*.*"):
            part, pid, _ = path.name.split(".", 2)
            if part in MODULES and pid.isdigit() and not Path(f"/proc/{pid}").exists():
                path.unlink(missing_ok=True)

    def connect(self, part: str) -> socket.socket:
        """A connected socket to `forwarder` or `files`. Raises HelperError."""
        # A name of its own for each start: two at once must not take each other's away.
        path = self._run / (f"{part}.{os.getpid()}.{next(self._numbers)}" if self._private else part)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.settimeout(CONNECT_LIMIT)
        try:
            if self._private:
                self._start(part, path, sock)
            else:
                sock.connect(str(path))
        except OSError as error:
            sock.close()
            raise HelperError(
                f"The devlink {part} process cannot be reached at {path}.",
                why=reason(error),
                next_step=log_of(f"devlink-{part}.socket", "The helper's log says more."),
            ) from error
        return sock

    def _start(self, part: str, path: Path, sock: socket.socket) -> None:
        """Start a part, and have `sock` connected to it."""
        child = start_serving(MODULES[part], path, (sock,), os.environ)
        reaper = threading.Thread(target=self._reap, args=(child,), name=f"reap {part}", daemon=True)
        with self._starting:
            self._reapers[child] = part, reaper
            reaper.start()

    def _reap(self, child: subprocess.Popen[bytes]) -> None:
        child.wait()
        self._reapers.pop(child, None)

    def forwarder_uid(self) -> int:
        """Whose process the forwarder is. Raises HelperError."""
        if self._private:
            return os.geteuid()
        try:
            return pwd.getpwnam(FORWARDER_USER).pw_uid
        except KeyError as error:
            raise HelperError(
                f"There is no user {FORWARDER_USER}, whose process the forwarder is.",
                next_step=log_of("systemd-sysusers", "Install the package again."),
            ) from error

    def dismiss(self, part: str) -> None:
        """Wait for every process of a part whose line was closed, and kill one that hangs: it has sockets of ours.

        What systemd started it kills at our word: the forwarder, that is. Files is root's, and ends after each order.
        """
        if not self._private and part == "forwarder":
            kill_hanging(part, END_LIMIT)
        for child, name, reaper in self._running():
            if name == part:
                _end(child, reaper, END_LIMIT)

    def end(self) -> None:
        """Wait for what we started: each part ends by itself when its connection does."""
        for child, _, reaper in self._running():
            _end(child, reaper, CONNECT_LIMIT)

    def _running(self) -> list[tuple["subprocess.Popen[bytes]", str, threading.Thread]]:
        with self._starting:
            return [(child, part, reaper) for child, (part, reaper) in list(self._reapers.items())]


def _end(child: "subprocess.Popen[bytes]", reaper: threading.Thread, limit: float) -> None:
    reaper.join(limit)
    if reaper.is_alive():
        log.warning("process %d does not end, and is killed", child.pid)
        child.kill()
        reaper.join()
