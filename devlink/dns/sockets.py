"""The forwarder's sockets: none of them ever blocks, and each knows what it waits for."""

import errno
import socket

from devlink.dns.rules import Server
from devlink.dns.wire import MAX_MESSAGE, StreamReader, frame

CHUNK = 1 << 16
"""Octets that are read at one go."""
MAX_UNSENT = 1 << 18
"""Octets of answers that wait for a slow TCP client; with more, no question of it is read."""
MAX_PIPELINED = 64
"""Questions of one TCP connection that wait for answers; with more, the next one is not read."""
CONNECTING = (0, errno.EINPROGRESS)


def _open(server: Server, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    return sock


def _address(server: Server) -> tuple[str, int] | tuple[str, int, int, int]:
    """What connect(2) wants. Raises OSError when the link of a link-local address is gone.

    Given to connect as text, an unknown link makes the C library ask the DNS for it: us, while we wait.
    """
    host, has_link, link = server.host.partition("%")
    if not has_link:
        return server
    return host, server.port, 0, int(link) if link.isdecimal() else socket.if_nametoindex(link)


class UdpExchange:
    """One question from a socket of its own: the kernel chooses a random port and drops what others send to it."""

    wants_write = False

    def __init__(self, server: Server, packet: bytes) -> None:
        """Sends at once. Raises OSError: no route, no descriptor left, refused by a filter."""
        self.sock = _open(server, socket.SOCK_DGRAM)
        try:
            self.sock.connect(_address(server))
            self.sock.send(packet)
        except BaseException:
            self.sock.close()
            raise

    def receive(self) -> list[bytes]:
        """What has come. Raises OSError when an ICMP error came."""
        try:
            return [self.sock.recv(MAX_MESSAGE)]
        except BlockingIOError:
            return []

    def close(self) -> None:
        self.sock.close()


class TcpExchange:
    """One question over a connection of its own."""

    def __init__(self, server: Server, packet: bytes) -> None:
        """Begins to connect. Raises OSError as UdpExchange does."""
        self.sock = _open(server, socket.SOCK_STREAM)
        self._unsent = frame(packet)
        self._reader = StreamReader()
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = self.sock.connect_ex(_address(server))
            if code not in CONNECTING:
                raise OSError(code, errno.errorcode.get(code, "connect failed"))
        except BaseException:
            self.sock.close()
            raise

    @property
    def wants_write(self) -> bool:
        return bool(self._unsent)

    def receive(self) -> list[bytes]:
        """Go on with sending, then what has come. Raises OSError when the connection failed or the server ended it."""
        try:
            if self._unsent:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
            data = self.sock.recv(CHUNK)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "the server closed the connection")
        self._reader.feed(data)
        messages = []
        while (message := self._reader.take()) is not None:
            messages.append(message)
        return messages

    def close(self) -> None:
        self.sock.close()


Exchange = UdpExchange | TcpExchange


class TcpClient:
    """A client's connection: questions in, answers out in whatever order they come (RFC 7766 sections 6 and 7)."""

    def __init__(self, sock: socket.socket, host: str) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.host = host
        self.waiting = 0
        """Questions that were read and not answered yet."""
        self.at_end = False
        """Whether the client sends no more; it still takes the answers."""
        self._reader = StreamReader()
        self._unsent = bytearray()

    @property
    def wants_read(self) -> bool:
        return not self.at_end and not self.is_full

    @property
    def wants_write(self) -> bool:
        return bool(self._unsent)

    @property
    def is_full(self) -> bool:
        """Whether it must take answers before more is read."""
        return self.waiting >= MAX_PIPELINED or len(self._unsent) >= MAX_UNSENT

    @property
    def is_done(self) -> bool:
        return self.at_end and not self.waiting and not self._unsent

    def read(self) -> None:
        """Take in what has come. Raises OSError when the connection failed."""
        try:
            data = self.sock.recv(CHUNK)
        except BlockingIOError:
            return
        if data:
            self._reader.feed(data)
        else:
            self.at_end = True

    def next_question(self) -> bytes | None:
        """The next message that may be worked on now."""
        if self.is_full:
            return None
        message = self._reader.take()
        if message is not None:
            self.waiting += 1
        return message

    def answer(self, packet: bytes) -> None:
        self.waiting -= 1
        self._unsent += frame(packet)

    def flush(self) -> bool:
        """Send what the client takes; whether it took something. Raises OSError when the connection failed."""
        if not self._unsent:
            return False
        try:
            sent = self.sock.send(self._unsent)
        except BlockingIOError:
            return False
        del self._unsent[:sent]
        return sent > 0

    def close(self) -> None:
        self.sock.close()
