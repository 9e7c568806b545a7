"""Starts a module of ours that serves a socket: it is fd 3 of its process, as sd_listen_fds(3) has it."""

import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from devlink import run
from devlink.rpc.listening import bind_private


def start_serving(
    module: str, path: Path, socks: Iterable[socket.socket], environ: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start `module`, each of `socks` connected to it. The socket's name, `path`, is gone when this returns.

    They wait in its backlog, so a process that dies at once is an end of file, no race. Raises OSError.
    """
    with bind_private(path) as listener:
        try:
            for sock in socks:
                sock.connect(str(path))
        finally:
            path.unlink()  # nobody else needs the name
        # only the child knows its pid, so a shell fills it in and becomes the program
        script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0 0</dev/null'
        return subprocess.Popen(
            ["/bin/sh", "-c", script, "sh", *run.argv(module)],
            stdin=listener.fileno(),
            env={**environ, "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
        )
