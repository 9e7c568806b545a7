"""The listeners that the helper made: whoever comes in by one is told to `arrived`, with where he was going."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Sequence

from devlink.core.relay import RelayListener
from devlink.relay.clients import reset
from devlink.relay.sockets import Endpoint, endpoint, original_destination

log = logging.getLogger(__name__)

AT_ONCE = 64
"""Connections that are accepted before others have their turn."""
NAMES = "names"
PAUSE = 0.1
"""Seconds, when this process is out of descriptors: not a reason to end, nor to spin."""
Arrived = Callable[[socket.socket, Endpoint, Endpoint | None], None]
"""A connection, its peer, and where it was going; None for the cluster's names."""


class Listeners:
    """Those that are accepted from. What was not redirected to one is reset."""

    def __init__(self, arrived: Arrived) -> None:
        self._arrived = arrived
        self._loop = asyncio.get_running_loop()
        self._socks: list[socket.socket] = []

    def replace(self, told: Sequence[RelayListener], socks: Sequence[socket.socket]) -> None:
        """These, in the place of those that there are."""
        self.close()
        for listener, sock in zip(told, socks, strict=True):
            sock.setblocking(False)
            self._socks.append(sock)
            self._loop.add_reader(sock.fileno(), self._accept, sock, listener.purpose == NAMES)

    def close(self) -> None:
        """Accept nothing any more."""
        for sock in self._socks:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._socks.clear()

    def _accept(self, listener: socket.socket, is_names: bool) -> None:
        for _ in range(AT_ONCE):
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue
            except OSError as error:
                self._loop.remove_reader(listener.fileno())
                if error.errno == errno.EINVAL:  # the helper has shut it down: nothing comes by it any more
                    self._socks.remove(listener)
                    listener.close()
                    return
                log.warning("cannot accept: %s", error)
                self._loop.call_later(PAUSE, self._accept_again, listener, is_names)
                return
            destination = None if is_names else original_destination(sock)
            if not is_names and destination is None:
                reset(sock)
                continue
            self._arrived(sock, endpoint(peer), destination)

    def _accept_again(self, listener: socket.socket, is_names: bool) -> None:
        if listener in self._socks:
            self._loop.add_reader(listener.fileno(), self._accept, listener, is_names)
