"""A listening unix socket in the file system that never, not for a moment, lets in more than it should."""

import os
import socket
from pathlib import Path

BACKLOG = socket.SOMAXCONN
"""As systemd has it: a crowd at the door must not turn others away (EAGAIN)."""


def bind_private(path: Path) -> socket.socket:
    """A listening socket at `path`, of mode 0600 from its first moment, in place of what lay there. Raises OSError.

    The folder must be the caller's own: whoever else may write there could put another socket in its place.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # The file takes its mode from the socket (unix_bind_bsd() in Linux' net/unix/af_unix.c): no time at which it
        # is open to others, no chmod that could follow a link, and no umask, which is every thread's.
        os.fchmod(listener.fileno(), 0o600)
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def bind_public(path: Path) -> socket.socket:
    """The same for everyone to connect to (0666): the server must decide by the caller's uid. Raises OSError."""
    listener = bind_private(path)
    try:
        path.chmod(0o666)  # the folder is ours and nobody else's to write: what lies there is what we have just bound
    except BaseException:
        listener.close()
        raise
    return listener
