"""Questions on their way to servers: which socket and id each has, and which reply belongs to which."""

from collections.abc import Callable, Iterable
from functools import partial

from devlink.dns.config import Server
from devlink.dns.effects import Effect
from devlink.dns.engine import Engine
from devlink.dns.loop import READ, WRITE, Loop
from devlink.dns.questions import Attempt
from devlink.dns.servers import ServerState
from devlink.dns.sockets import REPLY, Port, Stream

PORTS = 64
"""Random ports that are open to one ordinary server at a time; with more questions they are shared."""
BUSY = 16
"""Questions in flight to a server from which on its ports are kept for other questions. Below, each question has a port
of its own (RFC 5452 section 9.2)."""
KEPT = 0.1
"""Seconds for which they are, since there were so many."""
USES = 64
"""Questions that one random port serves at most."""
SHARED_IDLE = 30.0
"""Seconds without a question after which a cluster's socket is made anew: the laptop may have another address now."""
SHARED_SILENT = 1.0
"""Seconds without an answer after which the same is done."""
PIPELINED = 100
"""Questions on one TCP connection at a time; the next one opens another."""
STREAM_IDLE = 10.0
"""Seconds after which a TCP connection without questions is closed (RFC 7766 section 6.2.3)."""


class _Line:
    """A socket to a server, and the questions that wait on it."""

    __slots__ = ("answered", "heard", "is_shared", "last_use", "lines", "pending", "server", "uses", "way")

    def __init__(self, way: Port | Stream, server: Server, lines: "_ServerLines", *, is_shared: bool) -> None:
        self.way = way
        self.server = server
        self.lines = lines
        self.is_shared = is_shared
        self.pending: dict[bytes, Attempt] = {}
        """By id."""
        self.uses = 0
        self.answered = 0
        self.heard = 0.0
        """When something came on it last."""
        self.last_use = 0.0


class _ServerLines:
    """The lines to one server."""

    __slots__ = ("busy_until", "idle", "in_flight", "ports", "shared", "streams")

    def __init__(self) -> None:
        self.shared: _Line | None = None
        """The one UDP socket to a cluster's server."""
        self.ports: list[_Line] = []
        """With random ports that take more questions; those that were used up close when their last one is done."""
        self.idle: list[_Line] = []
        """Those of them without questions."""
        self.in_flight = 0
        """Questions on random ports."""
        self.busy_until = 0.0
        """Until when idle ones are kept."""
        self.streams: list[_Line] = []


class Exchanges:
    """All of them."""

    def __init__(
        self,
        loop: Loop,
        engine: Engine,
        entropy: Callable[[int], bytes],
        carry_out: Callable[[Iterable[Effect]], None],
    ) -> None:
        """`entropy(n)` gives n unpredictable octets; `carry_out` does what the engine wants done about a reply."""
        self._loop = loop
        self._engine = engine
        self._entropy = entropy
        self._carry_out = carry_out
        self._lines: dict[ServerState, _ServerLines] = {}
        self._one_at_a_time: set[Server] = set()
        """Servers that end a connection after an answer, whatever else was asked."""
        self._idle_streams: dict[_Line, float] = {}
        """When they are closed; the first to come first."""
        self._with_idle_ports: set[_ServerLines] = set()
        self._idents: list[bytes] = []
        self._tls_ca = ""
        self._tls_context: object = None
        self._tls_trouble = "there are no CA certificates"

    def trust(self, authorities: str) -> None:
        """The CA certificates (PEM) that vouch for servers asked over TLS; none where no server is.

        They are read now, and not while a question waits. What is wrong with them is the trouble of each such question.
        """
        if authorities == self._tls_ca:
            return
        self._tls_ca, self._tls_context, self._tls_trouble = authorities, None, "there are no CA certificates"
        if authorities:
            from devlink.dns import tls

            try:
                self._tls_context = tls.context_of(authorities)
            except (OSError, ValueError) as error:
                self._tls_trouble = str(error)

    def forget_network(self) -> None:
        """Make new sockets from now on: the laptop's addresses may be others, and so may the servers."""
        old, self._lines = self._lines, {}
        self._one_at_a_time.clear()
        for lines in old.values():
            # What waits on a socket may still be answered.
            if lines.shared is not None:
                self._retire(lines.shared)
            self._close_idle_ports(lines)
            for line in list(lines.streams):
                self._retire(line)

    def ask(self, attempt: Attempt) -> list[Effect]:
        """Send the attempt's packet; what the engine wants done where that fails."""
        step = attempt.step
        state = step.state
        lines = self._lines.get(state)
        if lines is None:
            lines = self._lines[state] = _ServerLines()
        try:
            if step.transport != "udp" or step.shares_port:
                self._give_up_line_of(attempt)
            if step.transport != "udp":
                line = self._stream(state.server, lines)
            elif step.shares_port:
                line = self._shared_port(state.server, lines)
            else:
                line = self._random_port(state.server, lines)
        except (OSError, ValueError) as error:  # a ValueError is of ssl: no CA certificates, no such name
            return self._engine.upstream_failed(attempt, self._loop.now, _trouble(step.server, error))
        ident = self._ident()
        while ident in line.pending:
            ident = self._ident()
        line.pending[ident] = attempt
        attempt.way = line, ident
        line.uses += 1
        line.last_use = self._loop.now
        way = line.way
        if isinstance(way, Port):
            try:
                way.sock.send(ident + attempt.packet)
            except BlockingIOError:
                pass  # its buffer is full: as good as lost on the way
            except OSError as error:
                return self._fail(line, error)
            return []
        self._idle_streams.pop(line, None)
        was_writing = way.wants_write
        way.put(ident + attempt.packet)
        if not was_writing:
            self._loop.change(way.sock, READ | WRITE)
        return []

    def _ident(self) -> bytes:
        """Two unpredictable octets; many are cut at once."""
        if not self._idents:
            octets = self._entropy(1024)
            self._idents = [octets[at : at + 2] for at in range(0, len(octets), 2)]
        return self._idents.pop()

    def forget(self, attempt: Attempt) -> None:
        """No reply to it is wanted any more."""
        way, attempt.way = attempt.way, None
        if not isinstance(way, tuple):
            return
        line, ident = way
        if line.pending.pop(ident, None) is None:
            return
        if line.is_shared:
            if line.heard < attempt.sent and self._loop.now - attempt.sent >= min(attempt.step.wait, SHARED_SILENT):
                self._retire(line)  # it may be dead, and nobody says so: the laptop moved, or a firewall forgot it
            elif not line.pending:
                self._rest(line)
        else:
            self._release(line)

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called."""
        due = next(iter(self._idle_streams.values()), None)
        for lines in self._with_idle_ports:
            due = lines.busy_until if due is None else min(due, lines.busy_until)
        return due

    def handle_timer(self) -> None:
        """Close what has been idle for long."""
        now = self._loop.now
        for lines in [lines for lines in self._with_idle_ports if lines.busy_until <= now]:
            self._close_idle_ports(lines)
        while self._idle_streams:
            line, due = next(iter(self._idle_streams.items()))
            if due > now:
                return
            self._drop(line)

    def close(self) -> None:
        for lines in self._lines.values():
            for line in (*lines.ports, *lines.streams, *([lines.shared] if lines.shared is not None else [])):
                self._close(line)

    # UDP

    def _shared_port(self, server: Server, lines: _ServerLines) -> _Line:
        line = lines.shared
        if line is not None and (line.last_use + SHARED_IDLE < self._loop.now or self._is_dead(line)):
            self._retire(line)
            line = None
        if line is None:
            line = lines.shared = self._open_port(server, lines, is_shared=True)
        return line

    def _random_port(self, server: Server, lines: _ServerLines) -> _Line:
        if lines.idle and lines.busy_until <= self._loop.now:
            self._close_idle_ports(lines)
        if lines.idle:
            line = lines.idle.pop(self._ident()[0] % len(lines.idle))
        elif len(lines.ports) < PORTS:
            line = self._open_port(server, lines, is_shared=False)
            lines.ports.append(line)
        else:
            line = lines.ports[self._ident()[0] % PORTS]
        lines.in_flight += 1
        if lines.in_flight >= BUSY:
            lines.busy_until = self._loop.now + KEPT
        if line.uses + 1 == USES:
            lines.ports.remove(line)
        return line

    def _open_port(self, server: Server, lines: _ServerLines, *, is_shared: bool) -> _Line:
        port = Port(server)
        line = _Line(port, server, lines, is_shared=is_shared)
        self._loop.watch(port.sock, READ, partial(self._read_port, line, port))
        return line

    def _read_port(self, line: _Line, port: Port, _mask: int) -> None:
        # A single question's only reply needs no second look.
        for _ in range(len(line.pending) or 1):
            try:
                packet = port.sock.recv(REPLY)
            except BlockingIOError:
                return
            except OSError as error:
                self._carry_out(self._fail(line, error))
                return
            line.heard = self._loop.now
            attempt = line.pending.get(packet[:2])
            if attempt is None:
                self._engine.counts.mismatched += 1
            else:
                self._carry_out(self._engine.receive_reply(attempt, packet, self._loop.now))
                if attempt.transaction is None:
                    self.forget(attempt)
                    if not line.pending:  # then it may be closed, or another's
                        return

    def _release(self, line: _Line) -> None:
        """A question on a random port is done with."""
        lines = line.lines
        lines.in_flight -= 1
        if line.pending:
            return
        if line.uses >= USES:
            self._close(line)
        elif self._loop.now < lines.busy_until:
            lines.idle.append(line)
            self._with_idle_ports.add(lines)
        else:
            lines.ports.remove(line)
            self._close(line)

    def _close_idle_ports(self, lines: _ServerLines) -> None:
        self._with_idle_ports.discard(lines)
        for line in lines.idle:
            lines.ports.remove(line)
            self._close(line)
        lines.idle.clear()

    def _is_dead(self, line: _Line) -> bool:
        """Whether questions wait on it for so long that it is better to ask on another: the laptop has another address
        now, or somebody between forgot the connection."""
        oldest = next(iter(line.pending.values()), None)
        return oldest is not None and oldest.sent + SHARED_SILENT < self._loop.now

    def _give_up_line_of(self, attempt: Attempt) -> None:
        """Where the same question waits on a line to the same server, the next try takes another."""
        transaction = attempt.transaction
        for other in transaction.attempts if transaction is not None else ():
            if other is not attempt and isinstance(other.way, tuple):
                line = other.way[0]
                if line.server == attempt.step.server and line.is_shared:
                    self._retire(line)

    def _retire(self, line: _Line) -> None:
        """Ask on it no more; what waits there may still be answered."""
        if line.lines.shared is line:
            line.lines.shared = None
        if line in line.lines.streams:
            line.lines.streams.remove(line)
        if not line.pending:
            self._drop(line)

    def _fail(self, line: _Line, error: OSError) -> list[Effect]:
        """The UDP socket is of no use: every question on it has failed."""
        trouble = _trouble(line.server, error)
        attempts = list(line.pending.values())
        effects: list[Effect] = []
        if line.is_shared:
            self._retire(line)
        for attempt in attempts:
            effects += self._engine.upstream_failed(attempt, self._loop.now, trouble)
        return effects

    # TCP and TLS

    def _stream(self, server: Server, lines: _ServerLines) -> _Line:
        now = self._loop.now
        if server not in self._one_at_a_time:
            for line in list(lines.streams):
                if self._is_dead(line) or self._idle_streams.get(line, now + STREAM_IDLE) <= now:
                    self._retire(line)  # it may be over while its timer is not: that one stands still in a sleep
                elif len(line.pending) < PIPELINED:
                    return line
        stream = self._tls_stream(server) if server.tls_name else Stream(server)
        line = _Line(stream, server, lines, is_shared=True)
        lines.streams.append(line)
        self._loop.watch(stream.sock, READ | WRITE, partial(self._read_stream, line, stream))
        return line

    def _tls_stream(self, server: Server) -> Stream:
        from devlink.dns import tls

        if self._tls_context is None:
            raise ValueError(self._tls_trouble)
        return tls.TlsStream(server, self._tls_context)  # type: ignore[arg-type]

    def _read_stream(self, line: _Line, stream: Stream, _mask: int) -> None:
        trouble = f"{line.server.host} closed the connection"
        try:
            replies, is_ended = stream.progress()
        except (OSError, ValueError) as error:
            replies, is_ended, trouble = [], True, _trouble(line.server, error)
        for packet in replies:
            line.heard = self._loop.now
            attempt = line.pending.get(packet[:2])
            if attempt is None:
                self._engine.counts.mismatched += 1
            else:
                self._carry_out(self._engine.receive_reply(attempt, packet, self._loop.now))
                if attempt.transaction is None:  # it was one
                    line.answered += 1
                    self.forget(attempt)
        if is_ended:
            self._ended(line, trouble)
        elif stream.sock.fileno() >= 0:
            self._loop.change(stream.sock, READ | WRITE if stream.wants_write else READ)

    def _ended(self, line: _Line, trouble: str) -> None:
        """The server has closed the connection. What it had not answered by then is asked once more, if it did answer:
        it may close a connection that has been idle, or after each answer, just as the next question comes."""
        attempts = list(line.pending.values())
        line.pending.clear()
        self._drop(line)
        if line.answered == 1 and len(attempts) > 1:
            self._one_at_a_time.add(line.server)
        for attempt in attempts:
            if line.answered:
                attempt.sent = self._loop.now
                self._carry_out(self.ask(attempt))
            else:
                self._carry_out(self._engine.upstream_failed(attempt, self._loop.now, trouble))

    def _rest(self, line: _Line) -> None:
        """A line that many questions share has none."""
        if line is line.lines.shared:
            return
        if line in line.lines.streams and line.server not in self._one_at_a_time:
            self._idle_streams[line] = self._loop.now + STREAM_IDLE
        else:
            self._drop(line)

    def _drop(self, line: _Line) -> None:
        """Close it, whatever waits there."""
        self._idle_streams.pop(line, None)
        if line in line.lines.streams:
            line.lines.streams.remove(line)
        self._close(line)

    def _close(self, line: _Line) -> None:
        self._loop.close(line.way.sock)


def _trouble(server: Server, error: OSError | ValueError) -> str:
    """In a few words, for people."""
    why = getattr(error, "verify_message", "") or getattr(error, "strerror", None) or str(error)
    return f"{server.host}: {why}"
