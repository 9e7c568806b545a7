"""Sockets to servers: none of them ever blocks."""

import errno
import os
import socket

from devlink.dns.config import Server
from devlink.dns.wire import MAX_MESSAGE, StreamReader, frame

REPLY = 4096
"""Octets taken of a reply over UDP. We ask for 1,232 at most; what is cut here makes no sense any more, and is asked
over TCP."""
CHUNK = MAX_MESSAGE + 2
"""Octets that are read of a stream at one go."""
CONNECTING = (0, errno.EINPROGRESS)


def _open(server: Server, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _address(server: Server) -> tuple[str, int] | tuple[str, int, int, int]:
    """What connect(2) wants. Raises OSError when the link of a link-local address is gone.

    Given to connect as text, an unknown link makes the C library ask the DNS for it: us, while we wait.
    """
    host, has_link, link = server.host.partition("%")
    if not has_link:
        return host, server.port
    return host, server.port, 0, int(link) if link.isdecimal() else socket.if_nametoindex(link)


class Port:
    """A connected UDP socket: the kernel has chosen a random port, and drops what others send to it.

    send(2) and recv(2) on it raise OSError also where an ICMP error came for an earlier question.
    """

    def __init__(self, server: Server) -> None:
        """Raises OSError: no route, no descriptor left."""
        self.sock = _open(server, socket.SOCK_DGRAM)
        try:
            self.sock.connect(_address(server))
        except BaseException:
            self.sock.close()
            raise


class Stream:
    """A TCP connection: many messages out, replies in any order (RFC 7766)."""

    def __init__(self, server: Server) -> None:
        """Begins to connect. Raises OSError."""
        self.sock = _open(server, socket.SOCK_STREAM)
        self._unsent = bytearray()
        self._reader = StreamReader()
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = self.sock.connect_ex(_address(server))
            if code not in CONNECTING:
                raise OSError(code, os.strerror(code))
        except BaseException:
            self.sock.close()
            raise

    @property
    def wants_write(self) -> bool:
        return bool(self._unsent)

    def put(self, packet: bytes) -> None:
        """Queue a message; `progress` sends it."""
        self._unsent += frame(packet)

    def progress(self) -> tuple[list[bytes], bool]:
        """Send and receive what goes; the replies, and whether the server has ended the connection. Raises OSError."""
        self._send()
        is_ended = self._receive()
        replies = []
        while (reply := self._reader.take()) is not None:
            replies.append(reply)
        return replies, is_ended

    def _send(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self.sock.send(self._unsent)]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):  # receiving tells, behind the replies that came before
            self._unsent.clear()

    def _receive(self) -> bool:
        try:
            data = self.sock.recv(CHUNK)
        except BlockingIOError:
            return False
        self._reader.feed(data)
        return not data
