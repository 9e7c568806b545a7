"""One TCP connection of a program here, or of ours to a server: non-blocking, with a buffer, and no more than that.

Not an asyncio transport: those copy what they cannot send at once, cannot be reset, and cost twice as much to make.
"""

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import Protocol

READ = 256 << 10
"""Octets that are read at one go."""
IOV_MAX = 1024
"""Pieces in one system call (limits.h)."""
RESET = struct.pack("ii", 1, 0)
"""struct linger (socket(7)): close at once, with a RST."""


class Owner(Protocol):
    """Whom a connection tells what happens to it."""

    def client_sent(self, octets: bytes) -> None:
        """Octets came."""

    def client_ended(self) -> None:
        """It will send no more (FIN)."""

    def client_drained(self) -> None:
        """All that waited for it has been taken."""

    def client_lost(self) -> None:
        """It is gone, by a reset or an error, and closed already."""


class Client:
    """A connected socket, which is closed by us. Nothing is read before `resume`."""

    __slots__ = ("_ending", "_fd", "_loop", "_owner", "_reading", "_sock", "_unsent", "_writing")

    def __init__(self, sock: socket.socket, owner: Owner) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._fd = sock.fileno()
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._reading = self._writing = self._ending = False

    @property
    def waiting(self) -> int:
        """Octets that it has not taken yet."""
        return len(self._unsent)

    def resume(self, *, at_once: bool = False) -> None:
        """Read, from now on; `at_once`: what is there already is told before this returns."""
        if not self._reading and self._fd >= 0:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)
            if at_once:
                self._readable()

    def pause(self) -> None:
        """Read no more until `resume`."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def send(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Have them sent; what the kernel does not take now is copied."""
        if self._fd < 0:
            return
        sent = 0
        if not self._unsent:
            try:
                sent = self._sock.sendmsg(pieces[:IOV_MAX])
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self._lose()
                return
        for piece in pieces:
            if sent >= len(piece):
                sent -= len(piece)
            else:
                self._unsent += piece[sent:]
                sent = 0
        if self._unsent and not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self._writable)

    def end(self) -> None:
        """Send a FIN behind all that waits."""
        self._ending = True
        if not self._unsent and self._fd >= 0:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                self._lose()

    def close(self) -> None:
        """Close it, with a FIN; where something waits, it is lost."""
        self._close()

    def reset(self) -> None:
        """Close it at once with a RST: what waits is lost."""
        if self._fd >= 0:
            reset(self._sock, close=False)
            self._close()

    def _readable(self) -> None:
        try:
            octets = self._sock.recv(READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._lose()
            return
        if octets:
            self._owner.client_sent(octets)
        else:
            self.pause()
            self._owner.client_ended()

    def _writable(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._lose()
            return
        del self._unsent[:sent]
        if self._unsent:
            return
        self._writing = False
        self._loop.remove_writer(self._fd)
        if self._ending:
            self.end()
        self._owner.client_drained()

    def _lose(self) -> None:
        self._close()
        self._owner.client_lost()

    def _close(self) -> None:
        if self._fd < 0:
            return
        self.pause()
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)
        self._fd = -1
        self._unsent.clear()
        self._sock.close()


def reset(sock: socket.socket, *, close: bool = True) -> None:
    """Have a connection end with a RST when it is closed, which is now where nothing else is said."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    except OSError:
        pass  # it is gone already
    if close:
        sock.close()
