"""Who is at the other end of a unix socket (SO_PEERCRED, unix(7))."""

import errno
import os
import select
import socket
import struct
from typing import NamedTuple

SO_PEERPIDFD = 77
"""Linux 6.5, include/uapi/asm-generic/socket.h; Python 3.11 does not name it."""


class Peer(NamedTuple):
    """The process that connected, as it was when it connected."""

    pid: int
    uid: int
    gid: int
    """The primary group only; other groups are looked up by uid in the group database."""


def peer_of(sock: socket.socket) -> Peer:
    """The kernel's word on the peer of a connected unix socket."""
    pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Peer(pid=pid, uid=uid, gid=gid)


def pidfd_of(sock: socket.socket) -> int:
    """A descriptor of the very process that connected (pidfd_open(2)), for the caller to close.

    Before Linux 6.5, of the process that has the number at this moment. Raises OSError where that process is gone.
    """
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
    return os.pidfd_open(peer_of(sock).pid)


def is_running(pidfd: int) -> bool:
    """Whether the process of such a descriptor has not ended: until then, nobody else has its number."""
    polling = select.poll()
    polling.register(pidfd, select.POLLIN)
    return not polling.poll(0)


def is_feeder(peer: Peer, listener: socket.socket) -> bool:
    """Whether a peer may drive a process behind a socket of mode 0600: root, this very uid, or the socket's owner."""
    if peer.uid in (0, os.geteuid()):
        return True
    path = listener.getsockname()
    try:
        return bool(path) and os.stat(path).st_uid == peer.uid
    except OSError:
        return False
