"""Questions over TCP: pipelined, answered in whatever order the answers come, limits and idle time-out (RFC 7766)."""

import socket
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from devlink.dns.cache import Entry, Key
from devlink.dns.effects import Effect
from devlink.dns.engine import Engine
from devlink.dns.loop import HANGUP, READ, WRITE, Loop
from devlink.dns.stderr import say
from devlink.dns.wire import MAX_MESSAGE, frame

MAX_CLIENTS = 256
ACCEPT_PAUSE = 1.0
"""Seconds without new clients when there is no room for one."""
IDLE = 10.0
"""Seconds after which a client that neither asks nor takes answers is hung up on (RFC 7766 section 6.2.3)."""
MAX_UNSENT = 1 << 18
"""Octets of answers that wait for a slow client; with more, no question of it is read."""
MAX_PIPELINED = 64
"""Questions of one connection that wait for answers; with more, the next one is not read."""
CHUNK = MAX_MESSAGE + 2
"""Octets that are read at one go."""


class StreamClient:
    """One connection."""

    stream = True

    def __init__(self, sock: socket.socket, now: float) -> None:
        self.sock = sock
        self.waiting = 0
        """Questions that were read and not answered yet."""
        self.at_end = False
        """Whether the client sends no more; it still takes the answers."""
        self.is_gone = False
        """Hung up on."""
        self.progress = now
        """When it asked or took something last."""
        self.mask = READ
        self._read = bytearray()
        self._unsent = bytearray()

    @property
    def unread(self) -> int:
        """Octets that came and were not looked at yet."""
        return len(self._read)

    @property
    def is_full(self) -> bool:
        """Whether it must take answers before more is read."""
        return self.waiting >= MAX_PIPELINED or len(self._unsent) >= MAX_UNSENT

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self._unsent

    @property
    def wanted(self) -> int:
        """The events to wait for."""
        return (0 if self.at_end or self.is_full else READ) | (WRITE if self._unsent else 0)

    def read(self) -> None:
        """Take in what has come. Raises OSError when the connection failed."""
        try:
            data = self.sock.recv(CHUNK)
        except BlockingIOError:
            return
        if data:
            self._read += data
        else:
            self.at_end = True

    def questions(self, hot: Mapping[Key, Entry], tick: int) -> list[bytes]:
        """Answer what is in `hot` (see `Engine.hot`); the next other questions, at most as many as may wait."""
        octets, get = self._read, hot.get
        others: list[bytes] = []
        at, size = 0, len(octets)
        while at + 2 <= size:
            end = at + 2 + (octets[at] << 8 | octets[at + 1])
            if end > size or self.is_full:
                break
            entry = get(bytes(octets[at + 4 : end]))
            if entry is not None and entry.tick == tick:
                entry.hits += 1
                answer = entry.wire
                self._unsent += (len(answer) + 2).to_bytes(2, "big") + octets[at + 2 : at + 4] + answer
            else:
                others.append(bytes(octets[at + 2 : end]))
                self.waiting += 1
            at = end
        del octets[:at]
        return others

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


class Clients:
    """All connections, and the sockets that take new ones."""

    def __init__(
        self,
        loop: Loop,
        engine: Engine,
        *,
        is_local: Callable[[str], bool],
        carry_out: Callable[[Iterable[Effect]], None],
        guard: Callable[[Callable[[], None]], None],
    ) -> None:
        """`is_local`: whether a host (as text) is this machine; no other is served. `guard` calls what may have a
        defect, so that it costs one client and not all."""
        self._loop = loop
        self._engine = engine
        self._is_local = is_local
        self._carry_out = carry_out
        self._guard = guard
        self._listeners: list[socket.socket] = []
        self._accept_again: float | None = None
        self._clients: OrderedDict[StreamClient, None] = OrderedDict()
        """The one whose progress is the longest ago first."""
        self._touched: dict[StreamClient, None] = {}
        """Clients that asked or got answers, and want to be looked after before the loop sleeps."""

    def listen(self, listeners: list[socket.socket]) -> None:
        """Take new connections on these from now on, and on no others."""
        for sock in self._listeners:
            self._loop.unwatch(sock)
            sock.close()
        self._listeners = listeners
        self._accept_again = None
        for sock in listeners:
            self._loop.watch(sock, READ, partial(self._accept, sock))

    def answer(self, client: StreamClient, packet: bytes) -> None:
        if not client.is_gone:
            client.answer(packet)
            self._touched[client] = None

    def hang_up(self, client: StreamClient) -> None:
        if not client.is_gone:
            client.is_gone = True
            del self._clients[client]
            self._loop.close(client.sock)

    def next_deadline(self) -> float | None:
        """When `settle` wants to be called, whatever happens."""
        due = self._accept_again
        if self._clients:
            idle = next(iter(self._clients)).progress + IDLE
            due = idle if due is None else min(due, idle)
        return due

    def settle(self) -> None:
        """Work on what clients have asked, send them what they wait for, and hang up on those that went silent."""
        while self._touched:
            client, _ = self._touched.popitem()
            if not client.is_gone:
                self._guard(partial(self._attend, client))
        now = self._loop.now
        while self._clients:
            client = next(iter(self._clients))
            if client.progress + IDLE > now:
                break
            self.hang_up(client)
        if self._accept_again is not None and self._accept_again <= now:
            self._accept_again = None
            for sock in self._listeners:
                self._loop.change(sock, READ)

    def close(self) -> None:
        self.listen([])
        for client in tuple(self._clients):
            self.hang_up(client)

    def _accept(self, listener: socket.socket, _mask: int) -> None:
        if len(self._clients) >= MAX_CLIENTS and not self._hang_up_idlest():
            self._pause_accepting()
            return
        try:
            sock, source = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            say(f"cannot take a TCP client: {error}", "WARNING")
            self._pause_accepting()  # out of descriptors, usually
            return
        if not self._is_local(source[0]):
            self._engine.counts.dropped += 1
            sock.close()
            return
        sock.setblocking(False)
        client = StreamClient(sock, self._loop.now)
        self._clients[client] = None
        self._loop.watch(sock, READ, partial(self._serve, client))

    def _pause_accepting(self) -> None:
        """Without this the sockets stay readable and wake us for ever."""
        self._accept_again = self._loop.now + ACCEPT_PAUSE
        for sock in self._listeners:
            self._loop.change(sock, 0)

    def _hang_up_idlest(self) -> bool:
        """Make room: close the connection that has been quiet for longest and waits for nothing."""
        for client in self._clients:
            if client.is_idle:
                self.hang_up(client)
                return True
        return False

    def _serve(self, client: StreamClient, mask: int) -> None:
        if mask & HANGUP:
            self.hang_up(client)
            return
        try:
            if client.wanted & READ:
                client.read()
        except OSError:
            self.hang_up(client)
            return
        self._touched[client] = None

    def _attend(self, client: StreamClient) -> None:
        has_progressed = False
        # Sending may make room for questions that were read already, and their answers want sending again.
        while True:
            before = client.unread
            questions = client.questions(self._engine.hot, int(self._loop.now))
            for packet in questions:
                self._carry_out(self._engine.receive_query(packet, client, self._loop.now))
                if client.is_gone:
                    return
            try:
                has_sent = client.flush()
            except OSError:
                self.hang_up(client)
                return
            if not has_sent and client.unread == before:
                break
            has_progressed = True
        if client.at_end and client.is_idle:
            self.hang_up(client)
            return
        if has_progressed:
            client.progress = self._loop.now
            self._clients.move_to_end(client)
        wanted = client.wanted
        if wanted != client.mask:
            client.mask = wanted
            self._loop.change(client.sock, wanted)
