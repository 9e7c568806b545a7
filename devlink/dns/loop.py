"""One epoll loop: which function looks after which socket, and what time it is."""

import select
import socket
import time
from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
HANGUP = select.EPOLLHUP | select.EPOLLERR

Handler = Callable[[int], None]
"""Called with the events that epoll saw. It never blocks."""


def clock() -> float:
    """Seconds that go on while the laptop sleeps, as TTLs and idle connections do: `time.monotonic` stands still then
    (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Loop:
    """Level-triggered; idle, it wakes never."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds that never go back."""
        self.clock = clock
        self.now = clock()
        """When the present round began."""
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._new: set[int] = set()
        """Descriptors that are watched since this round began: what it saw of them was of others with their number."""

    def watch(self, sock: socket.socket, mask: int, handler: Handler) -> None:
        fd = sock.fileno()
        self._handlers[fd] = handler
        self._new.add(fd)
        self._epoll.register(fd, mask)

    def change(self, sock: socket.socket, mask: int) -> None:
        """Wait for other events of a socket that is watched."""
        self._epoll.modify(sock.fileno(), mask)

    def close(self, sock: socket.socket) -> None:
        """Close a socket; the kernel takes it off the list by itself, for nobody else has this file open."""
        self._handlers.pop(sock.fileno(), None)
        sock.close()

    def unwatch(self, sock: socket.socket) -> None:
        """For a socket that another process holds as well: closing ours would not end the events."""
        if self._handlers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def turn(self, deadline: float | None) -> None:
        """Sleep until something happens or `deadline` comes (None: never), and have it looked after.

        What a handler raises comes out; what else has happened is seen in the next turn.
        """
        timeout = None if deadline is None else max(deadline - self.clock(), 0.0)
        events = self._epoll.poll(timeout)
        self.now = self.clock()
        get, new = self._handlers.get, self._new
        new.clear()
        for fd, mask in events:
            handler = get(fd)
            if handler is not None and fd not in new:
                handler(mask)

    def end(self) -> None:
        self._epoll.close()
