"""The helper's own processes, forwarder and files: reached by their sockets, started by whoever manages services."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

from devlink.errors import HelperError

log = logging.getLogger(__name__)

MODULES = {"forwarder": "devlink.dns", "files": "devlink.resolvers.files"}
CONNECT_LIMIT = 2.0
"""Seconds."""


class Parts:
    """Connects to a part. Under systemd its socket unit starts it; in a private world, we do, for each connection."""

    def __init__(self, run: Path, *, private: bool) -> None:
        self._run = run
        self._private = private
        self._children: list[subprocess.Popen[bytes]] = []

    def connect(self, part: str) -> socket.socket:
        """A connected socket to `forwarder` or `files`. Raises HelperError."""
        path = self._run / part
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.settimeout(CONNECT_LIMIT)
        try:
            if self._private:
                self._start(part, path)
            sock.connect(str(path))
            if self._private:
                path.unlink()  # the line is made, and nobody else needs the name
        except OSError as error:
            sock.close()
            raise HelperError(
                f"The devlink {part} process cannot be reached at {path}.",
                why=f"{error.strerror or error}.",
                next_step=f"`systemctl status devlink-{part}.socket` shows why." if not self._private else "",
            ) from error
        return sock

    def _start(self, part: str, path: Path) -> None:
        """Start a part with a listening socket as fd 3, as sd_listen_fds(3) has it."""
        self._children = [child for child in self._children if child.poll() is None]
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(8)
            # only the child knows its pid, so a shell fills it in and becomes the program
            script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0 0</dev/null'
            self._children.append(
                subprocess.Popen(
                    ["/bin/sh", "-c", script, "sh", sys.executable, "-P", "-m", MODULES[part]],
                    stdin=listener.fileno(),
                    env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                    start_new_session=True,
                )
            )

    def end(self) -> None:
        """Wait for what we started: each part ends by itself when its connection does."""
        for child in self._children:
            try:
                child.wait(timeout=CONNECT_LIMIT)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children = []
