"""Who is at the other end of a unix socket (SO_PEERCRED, unix(7))."""

import os
import socket
import struct
from typing import NamedTuple


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


def is_feeder(peer: Peer, listener: socket.socket) -> bool:
    """Whether a peer may drive a process behind a socket of mode 0600: root, this very uid, or the socket's owner."""
    if peer.uid in (0, os.geteuid()):
        return True
    path = listener.getsockname()
    try:
        return bool(path) and os.stat(path).st_uid == peer.uid
    except OSError:
        return False
