"""One upgraded connection to a pod, and the streams in it.

The dialect has no flow control, so whoever does not read what came for him holds up the whole connection: he is told
apart, gets no new neighbours, and those that he has are waited for (`relay.joining`).
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Sequence
from typing import Protocol

from devlink.relay.dialect import Closed, Data, Dialect, End, Failed

BULK = 1 << 20
"""Octets after which a stream is taken for a long one, which shall have its session for itself: no newcomers."""
SHARED = 100
"""Streams in one session before another one is opened."""
WRITE_HIGH = 512 << 10
"""Octets that wait for the API server before clients are read no more."""
ANSWERS = 4 << 20
"""Octets of answers (to pings, to what nobody asked for) that wait for an API server which takes nothing."""
PATIENCE = 60
"""Seconds in which the other end of the TCP connection must take what we sent."""
_buffer = memoryview(bytearray(256 << 10))
"""What all sessions read into: it is empty again before another one reads."""


class Sink(Protocol):
    """Whom a stream tells what happens to it."""

    def received(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Octets from the pod, in order; valid during the call."""

    def ended(self) -> None:
        """The pod sends no more."""

    def failed(self, why: str) -> None:
        """It is over, in the node's words."""

    def cut(self, why: str) -> None:
        """The session has ended under it."""

    def writable(self, yes: bool) -> None:
        """Whether the way to the pod takes octets now."""


class Way(Protocol):
    """Where a client's octets go: a stream to a pod, or straight to a server."""

    def send(self, octets: bytes) -> None:
        """To the other end."""

    def end(self) -> None:
        """We send no more."""

    def drop(self, *, reset: bool) -> None:
        """It is done with, or given up by a reset. Nothing of it is told any more."""

    def hold(self) -> None:
        """Read no more for a while: its client does not."""

    def release(self) -> None:
        """Read on."""

    @property
    def is_writable(self) -> bool:
        """Whether it takes octets now."""

    @property
    def has_neighbours(self) -> bool:
        """Whether others wait while it is held."""


class Stream:
    """A Way to a pod's port."""

    __slots__ = ("_moved", "_number", "_session", "sink")

    def __init__(self, session: "Session", number: int, sink: Sink) -> None:
        self._session = session
        self._number = number
        self.sink = sink
        self._moved = 0  # octets, both ways

    @property
    def is_writable(self) -> bool:
        return self._session.is_writable

    @property
    def has_neighbours(self) -> bool:
        return len(self._session.streams) > 1

    def count(self, octets: int) -> None:
        """So many have gone, one way or the other."""
        self._moved += octets
        if self._moved > BULK and self._number in self._session.streams:
            self._session.bulky.add(self._number)

    def send(self, octets: bytes) -> None:
        self.count(len(octets))
        self._session.dialect.send(self._number, octets)
        self._session.flush_soon()

    def end(self) -> None:
        self._session.dialect.end(self._number)
        self._session.flush_soon()

    def drop(self, *, reset: bool) -> None:
        self._session.drop(self._number, reset=reset)

    def hold(self) -> None:
        self._session.hold(self._number)

    def release(self) -> None:
        self._session.release(self._number)


class Watcher(Protocol):
    """Whom a session tells what happens to it."""

    def session_freed(self, session: "Session") -> None:
        """It has one stream less."""

    def session_closed(self, session: "Session", why: str) -> None:
        """It has ended, not by us."""


class Session(asyncio.BufferedProtocol):
    """An upgraded connection. `key`: whatever its watcher knows it by."""

    def __init__(self, dialect: Dialect, key: tuple[str, str], port: int, watcher: Watcher) -> None:
        self._loop = asyncio.get_running_loop()
        self.dialect = dialect
        self.key = key
        self.port = port
        """The only one, where the dialect carries a single stream."""
        self._watcher = watcher
        self._transport: asyncio.Transport | None = None
        self.streams: dict[int, Stream] = {}
        self._held: set[int] = set()
        self.bulky: set[int] = set()
        """Streams that have moved much."""
        self._flush_due = False
        self._answers = 0
        self.is_writable = True
        self.closed = False
        self.is_retired = False
        """No newcomers; it ends with its last stream."""
        self.broken = 0
        """Streams that its end broke off."""
        self.opened = 0
        """Streams in all its life."""
        self.begun = self.heard = self.idle_since = self._loop.time()
        """When it was made, when octets last came, and since when it has no stream."""
        self.asked_at: float | None = None
        """When a ping went out that nothing was heard after."""

    @property
    def is_single(self) -> bool:
        """Whether it carries one stream in its life."""
        return self.dialect.streams_limit == 1

    @property
    def can_open(self) -> bool:
        """Whether another stream is possible at all."""
        if self.closed or self.is_retired or self.asked_at is not None:
            return False
        return self.opened < self.dialect.streams_limit

    @property
    def is_held(self) -> bool:
        """Whether a client that does not read holds it up, or a pod that does not."""
        return bool(self._held) or not self.is_writable

    @property
    def is_free(self) -> bool:
        """Whether a newcomer does well to come here."""
        return self.can_open and not self.is_held and len(self.streams) < SHARED and not self.bulky

    def open(self, port: int, sink: Sink) -> Stream:
        """A new stream."""
        number = self.dialect.open(port)
        self.opened += 1
        stream = self.streams[number] = Stream(self, number, sink)
        self.flush_soon()
        return stream

    def drop(self, number: int, *, reset: bool) -> None:
        """Forget a stream; with `reset`, the pod is told."""
        if self.streams.pop(number, None) is None:
            return
        self.bulky.discard(number)
        if reset:
            self.dialect.reset(number)
            self.flush_soon()
        self.release(number)
        if not self.streams:
            self.idle_since = self._loop.time()
        if self.is_single:
            self.flush()
            self.close()
        self._watcher.session_freed(self)

    def hold(self, number: int) -> None:
        """Read no more: this stream's client does not."""
        if not self._held and self._transport is not None and not self.closed:
            self._transport.pause_reading()
        self._held.add(number)

    def release(self, number: int) -> None:
        """This stream's client reads again, or is gone."""
        if number not in self._held:
            return
        self._held.discard(number)
        if not self._held and self._transport is not None and not self.closed:
            self.heard = self._loop.time()
            self._transport.resume_reading()

    def flush_soon(self) -> None:
        """Send what the dialect has once the loop has gone round: with what others add until then."""
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what the dialect has."""
        self._flush_due = False
        if self.closed or self._transport is None:
            return
        octets = self.dialect.take()
        if not octets:
            return
        self._transport.writelines(octets)
        if not self.is_writable:  # so no client is read, and what is added answers the server
            self._answers += sum(map(len, octets))
            if self._answers > ANSWERS:
                self._transport.abort()
                self.fail("The API server asks and asks, and takes no answer.")

    @property
    def has_address(self) -> bool:
        """Whether this machine still has the address that it is connected from."""
        name = self._transport.get_extra_info("sockname") if self._transport is not None else None
        if not isinstance(name, tuple) or not name:
            return True  # nobody says
        with socket.socket(socket.AF_INET6 if ":" in name[0] else socket.AF_INET, socket.SOCK_STREAM) as sock:
            try:
                sock.bind((name[0], 0, *name[2:]))
            except OSError as error:
                return error.errno != errno.EADDRNOTAVAIL
        return True

    def ping(self) -> None:
        """Keep it alive, and see whether it is."""
        if self.asked_at is None:
            self.asked_at = self._loop.time()
        self.dialect.ping()
        self.flush_soon()

    def close(self) -> None:
        """End it; nobody is told."""
        if not self.closed:
            self.closed = True
            if self._transport is not None:
                self._transport.close()

    # asyncio's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is ours from here on (`relay.opening`)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH)
        _notice_death(transport.get_extra_info("socket"))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport puts what comes."""
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So much is there."""
        self._receive(_buffer[:nbytes])

    def eof_received(self) -> None:
        """What ends with the connection is told as its dialect has it; the transport closes by itself."""
        self._receive(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self.fail(f"The connection ended: {exc}" if exc else "The API server closed the connection.")

    def pause_writing(self) -> None:
        """The API server does not take what we send fast enough."""
        self.is_writable = False
        for stream in list(self.streams.values()):
            stream.sink.writable(False)

    def resume_writing(self) -> None:
        """It does again."""
        self.is_writable = True
        self._answers = 0
        for stream in list(self.streams.values()):
            stream.sink.writable(True)

    def _receive(self, octets: bytes | memoryview) -> None:
        self.heard = self._loop.time()
        self.asked_at = None
        streams = self.streams
        pieces: list[bytes | memoryview] = []
        number = 0
        for event in self.dialect.receive(octets):
            if isinstance(event, Data):
                if event.stream != number:
                    self._deliver(number, pieces)
                    number, pieces = event.stream, []
                pieces.append(event.octets)
                continue
            self._deliver(number, pieces)
            pieces = []
            if isinstance(event, End):
                stream = streams.get(event.stream)
                if stream is not None:
                    stream.sink.ended()
            elif isinstance(event, Failed):
                stream = streams.get(event.stream)
                if stream is not None:
                    self.drop(event.stream, reset=False)
                    stream.sink.failed(event.why)
            elif isinstance(event, Closed):
                self.fail(event.why)
                return
        self._deliver(number, pieces)
        self.flush_soon()  # the answer to a ping, perhaps

    def _deliver(self, number: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Many at once: a node's frames are small, and each would be a system call."""
        stream = self.streams.get(number) if pieces else None
        if stream is not None:
            stream.count(sum(map(len, pieces)))
            stream.sink.received(pieces)

    def fail(self, why: str) -> None:
        """End it; its streams and its watcher are told why."""
        if self.closed:
            return
        self.flush()
        self.close()
        streams, self.streams = self.streams, {}
        self.broken = len(streams)
        self._held.clear()
        self._watcher.session_closed(self, why)
        for stream in streams.values():
            stream.sink.cut(why)


def _notice_death(sock: socket.socket | None) -> None:
    """Have the kernel notice that nobody is there any more, even while nothing may be read: tcp(7)."""
    if sock is None:
        return
    with contextlib.suppress(OSError):  # it is gone already
        for option, value in ((socket.TCP_NODELAY, 1), (socket.TCP_USER_TIMEOUT, PATIENCE * 1000)):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
