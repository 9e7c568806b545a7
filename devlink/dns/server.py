"""The forwarder's process: one epoll loop that carries packets between sockets and the engine."""

import gc
import logging
import os
import resource
import select
import signal
import socket
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from devlink.dns.control import INTERFACE, ControlConnection, SocketKind, parse_configuration, stats_tree
from devlink.dns.engine import MAX_IN_FLIGHT, Answer, Ask, Client, Drop, Effect, Engine
from devlink.dns.rules import MAX_SERVERS, Server
from devlink.dns.sockets import Exchange, TcpClient, TcpExchange, UdpExchange
from devlink.errors import ProtocolError
from devlink.rpc.activation import listen_sockets, notify
from devlink.rpc.peer import is_feeder, peer_of
from devlink.rpc.service import answer

log = logging.getLogger(__name__)

MAX_TCP_CLIENTS = 256
ACCEPT_PAUSE = 1.0
"""Seconds without new TCP clients when there is no room for one."""
TCP_IDLE = 10.0
"""Seconds after which a TCP client that neither asks nor takes answers is hung up on (RFC 7766 section 6.2.3)."""
FEEDER_WAIT = 10.0
"""Seconds within which the helper must connect: whoever starts a forwarder wants to feed it."""
RECEIVE_BUFFER = 1 << 20
"""Octets of questions that may wait in the kernel, while we are busy or a new forwarder is started."""
BATCH = 64
"""Datagrams that are read from one socket before the others get their turn."""
MAX_QUERY = 4096
"""Octets of a question over UDP; a longer one is cut, and then malformed."""
SOCKETS_PER_QUESTION = 2 * MAX_SERVERS
"""Descriptors that a question in flight takes at most: each server over UDP and TCP. Were there fewer, the questions
for one dead destination could take them from all others."""
RESERVED_FDS = MAX_TCP_CLIENTS + 64
MAX_DEFECTS = 100
"""Packets on which our own code may fail. A fresh process is then better than this one."""
_HANGUP = select.EPOLLHUP | select.EPOLLERR


class _UdpWay(NamedTuple):
    """The way back to a client over UDP."""

    asked: Server
    """The local address that it asked, and that must answer."""
    source: tuple[str | int, ...]
    """As recvfrom(2) gave it."""


class Forwarder:
    """The whole process but for its start."""

    def __init__(self, listener: socket.socket, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        """`listener`: where the helper connects. `clock` gives monotonic seconds."""
        self._listener = listener
        self._engine = engine
        self._clock = clock
        self._now = clock()
        self._feeder_due = self._now + FEEDER_WAIT
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._control: ControlConnection | None = None
        self._udp: dict[Server, socket.socket] = {}
        """By local address: an answer finds its way even if the helper passed the same socket again meanwhile."""
        self._tcp: list[socket.socket] = []
        self._accept_again: float | None = None
        self._exchanges: dict[int, Exchange] = {}
        """By attempt."""
        self._clients: OrderedDict[int, tuple[TcpClient, float]] = OrderedDict()
        """By serial number; with the time of the last progress, the longest ago first."""
        self._last_client = 0
        self._touched: set[int] = set()
        """Clients that got answers, and want to be looked after before the loop sleeps."""
        self._running = True
        self._defects = 0
        self._methods = {"Configure": self._configure, "GetStats": self._get_stats}

    def run(self) -> None:
        """Serve until the control connection ends, or nobody makes one in time."""
        self._watch(self._listener, select.EPOLLIN, self._accept_feeder)
        try:
            while self._running:
                events = self._epoll.poll(self._timeout())
                self._now = self._clock()
                for fd, mask in events:
                    # A descriptor that was closed earlier in this batch, or even closed and opened anew, does no
                    # harm: nothing here blocks, and nothing is believed of an event but that it is worth a look.
                    handler = self._handlers.get(fd)
                    if handler is not None:
                        self._guard(handler, mask)
                self._carry_out(self._engine.handle_timer(self._now))
                self._settle()
                if self._control is None and self._now >= self._feeder_due:
                    log.warning("nobody connected to feed the forwarder")
                    break
        finally:
            self._close()

    def _guard(self, handler: Callable[[int], None], mask: int) -> None:
        """One packet that our code cannot cope with must not take the name service from the whole machine."""
        try:
            handler(mask)
        except Exception:
            self._defects += 1
            if self._defects > MAX_DEFECTS:
                raise
            log.exception("a defect in the forwarder")

    def _timeout(self) -> float | None:
        """Seconds until something is due; None, and so no wake-up at all, where nothing is."""
        due = self._engine.next_deadline()
        if self._clients:
            idle = next(iter(self._clients.values()))[1] + TCP_IDLE
            due = idle if due is None else min(due, idle)
        if self._accept_again is not None:
            due = self._accept_again if due is None else min(due, self._accept_again)
        if self._control is None:
            due = self._feeder_due if due is None else min(due, self._feeder_due)
        return None if due is None else max(due - self._clock(), 0.0)

    def _watch(self, sock: socket.socket, mask: int, handler: Callable[[int], None]) -> None:
        self._handlers[sock.fileno()] = handler
        self._epoll.register(sock, mask)

    def _unwatch(self, sock: socket.socket) -> None:
        if self._handlers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock)

    def _close(self) -> None:
        self._replace_sockets([], [])
        for attempt in tuple(self._exchanges):
            self._forget(attempt)
        for serial in tuple(self._clients):
            self._hang_up(serial)
        if self._control is not None:
            self._control.close()
        self._listener.close()
        self._epoll.close()

    # The control connection

    def _accept_feeder(self, _mask: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # gone again
        peer = peer_of(sock)
        if not is_feeder(peer, self._listener):
            log.warning("refused a control connection of uid %d", peer.uid)
            sock.close()
            return
        self._unwatch(self._listener)  # one at a time; the next one waits until this process has ended
        self._control = ControlConnection(sock)
        self._watch(sock, select.EPOLLIN, self._serve_feeder)

    def _serve_feeder(self, _mask: int) -> None:
        control = self._control
        assert control is not None
        try:
            control.flush()
            messages = control.receive()
            if messages is None:
                self._running = False
                return
            for message in messages:
                control.send(answer(INTERFACE, self._methods, message))
                control.drop_fds()
            self._epoll.modify(control.sock, select.EPOLLIN | (select.EPOLLOUT if control.wants_write else 0))
        except (OSError, ProtocolError) as error:
            log.warning("the control connection ends: %s", error)
            self._running = False

    def _configure(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        call = parse_configuration(parameters)
        control = self._control
        assert control is not None
        if call.sockets is not None:
            kinds = [passed.kind for passed in call.sockets]
            passed = list(zip(kinds, control.take_sockets(call.sockets), strict=True))
            self._replace_sockets(
                [sock for kind, sock in passed if kind is SocketKind.UDP],
                [sock for kind, sock in passed if kind is SocketKind.TCP],
            )
        own = frozenset(self._udp) | {_local(sock) for sock in self._tcp}
        self._carry_out(self._engine.configure(call.config, own, self._now))
        log.info(
            "serving %s: zones %s, ordinary names to %s",
            ", ".join(f"{server.host}:{server.port}" for server in sorted(own)) or "nobody",
            ", ".join(str(zone.suffix) for zone in call.config.zones) or "none",
            ", ".join(str(upstream.address) for upstream in call.config.upstreams) or "none",
        )
        return {}

    def _get_stats(self, _parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        return stats_tree(self._engine)

    def _replace_sockets(self, udp: list[socket.socket], tcp: list[socket.socket]) -> None:
        for sock in (*self._udp.values(), *self._tcp):
            self._unwatch(sock)
            sock.close()
        self._udp = {_local(sock): sock for sock in udp}
        self._tcp = tcp
        self._accept_again = None
        for server, sock in self._udp.items():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self._watch(sock, select.EPOLLIN, partial(self._read_udp, server, sock))
        for sock in tcp:
            self._watch(sock, select.EPOLLIN, partial(self._accept_client, sock))

    # Clients

    def _read_udp(self, server: Server, sock: socket.socket, _mask: int) -> None:
        for _ in range(BATCH):
            try:
                packet, source = sock.recvfrom(MAX_QUERY)
            except OSError:
                return  # drained; or an error of some earlier answer, which is nobody's now
            client = Client(source[0], False, _UdpWay(server, source))
            self._carry_out(self._engine.receive_query(packet, client, self._now))

    def _accept_client(self, listener: socket.socket, _mask: int) -> None:
        if len(self._clients) >= MAX_TCP_CLIENTS and not self._hang_up_idlest():
            self._pause_accepting()
            return
        try:
            sock, source = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            log.warning("cannot take a TCP client: %s", error)
            self._pause_accepting()  # out of descriptors, usually
            return
        self._last_client += 1
        client = TcpClient(sock, source[0])
        self._clients[self._last_client] = (client, self._now)
        self._watch(sock, select.EPOLLIN, partial(self._serve_client, self._last_client))

    def _pause_accepting(self) -> None:
        """Without this the sockets stay readable and wake us for ever."""
        self._accept_again = self._now + ACCEPT_PAUSE
        for sock in self._tcp:
            self._epoll.modify(sock, 0)

    def _hang_up_idlest(self) -> bool:
        """Make room: close the connection that has been quiet for longest and waits for nothing."""
        for serial, (client, _) in self._clients.items():
            if not client.waiting and not client.wants_write:
                self._hang_up(serial)
                return True
        return False

    def _serve_client(self, serial: int, mask: int) -> None:
        client, _ = self._clients[serial]
        if mask & _HANGUP:
            self._hang_up(serial)
            return
        try:
            if client.wants_read:
                client.read()
        except OSError:
            self._hang_up(serial)
            return
        self._touched.add(serial)

    def _settle(self) -> None:
        """Work on what TCP clients have asked, send them what they wait for, and hang up on those that went silent."""
        while self._touched:
            serial = self._touched.pop()
            if serial in self._clients:
                self._guard(self._attend, serial)
        while self._clients:
            serial, (_, progress) = next(iter(self._clients.items()))
            if progress + TCP_IDLE > self._now:
                break
            self._hang_up(serial)
        if self._accept_again is not None and self._accept_again <= self._now:
            self._accept_again = None
            for sock in self._tcp:
                self._epoll.modify(sock, select.EPOLLIN)

    def _attend(self, serial: int) -> None:
        client, _ = self._clients[serial]
        progress = False
        # Sending may make room for questions that were read already, and their answers want sending again.
        while True:
            packet = client.next_question()
            if packet is not None:
                who = Client(client.host, True, serial)
                self._carry_out(self._engine.receive_query(packet, who, self._now))
                if serial not in self._clients:
                    return
            else:
                try:
                    if not client.flush():
                        break
                except OSError:
                    self._hang_up(serial)
                    return
            progress = True
        if client.is_done:
            self._hang_up(serial)
            return
        if progress:
            self._clients[serial] = (client, self._now)
            self._clients.move_to_end(serial)
        wanted = (select.EPOLLIN if client.wants_read else 0) | (select.EPOLLOUT if client.wants_write else 0)
        self._epoll.modify(client.sock, wanted)

    def _hang_up(self, serial: int) -> None:
        client, _ = self._clients.pop(serial)
        self._unwatch(client.sock)
        client.close()

    # What the engine wants done

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        todo = deque(effects)
        while todo:
            effect = todo.popleft()
            if isinstance(effect, Answer):
                self._answer(effect.client, effect.packet)
            elif isinstance(effect, Ask):
                todo.extend(self._ask(effect))
            elif isinstance(effect, Drop):
                if effect.client.stream:  # no telling where its next message begins, and no point in it
                    self._hang_up(_serial_of(effect.client))
            else:
                self._forget(effect.attempt)

    def _answer(self, client: Client, packet: bytes) -> None:
        if client.stream:
            serial = _serial_of(client)
            if serial in self._clients:
                self._clients[serial][0].answer(packet)
                self._touched.add(serial)
            return
        way = client.reply_to
        assert isinstance(way, _UdpWay)
        sock = self._udp.get(way.asked)
        if sock is not None:
            try:
                sock.sendto(packet, way.source)
            except OSError:
                pass  # its buffer is full, or the link went away: the client asks again

    def _ask(self, ask: Ask) -> list[Effect]:
        try:
            exchange = (TcpExchange if ask.tcp else UdpExchange)(ask.server, ask.packet)
        except OSError:
            return self._engine.upstream_failed(ask.attempt, self._now)
        self._exchanges[ask.attempt] = exchange
        mask = select.EPOLLIN | (select.EPOLLOUT if exchange.wants_write else 0)
        self._watch(exchange.sock, mask, partial(self._read_upstream, ask.attempt, exchange))
        return []

    def _read_upstream(self, attempt: int, exchange: Exchange, _mask: int) -> None:
        wanted_write = exchange.wants_write
        try:
            packets = exchange.receive()
        except OSError:
            self._carry_out(self._engine.upstream_failed(attempt, self._now))
            return
        if wanted_write and not exchange.wants_write:
            self._epoll.modify(exchange.sock, select.EPOLLIN)
        for packet in packets:
            self._carry_out(self._engine.receive_reply(attempt, packet, self._now))

    def _forget(self, attempt: int) -> None:
        exchange = self._exchanges.pop(attempt, None)
        if exchange is not None:
            self._unwatch(exchange.sock)
            exchange.close()


def _serial_of(client: Client) -> int:
    assert isinstance(client.reply_to, int)
    return client.reply_to


def _local(sock: socket.socket) -> Server:
    host, port = sock.getsockname()[:2]
    return Server(host, port)


def _descriptors() -> int:
    """Allow ourselves as many descriptors as the system lets us; how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_IN_FLIGHT * SOCKETS_PER_QUESTION + RESERVED_FDS
    limit = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def main() -> int:
    """Run on the listening socket that came as descriptor 3; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    passed = listen_sockets()
    if len(passed) != 1:
        log.error("the forwarder is started by the helper or by its socket unit, with one listening socket")
        return 2
    passed[0].setblocking(False)
    in_flight = max(1, min(MAX_IN_FLIGHT, (_descriptors() - RESERVED_FDS) // SOCKETS_PER_QUESTION))
    forwarder = Forwarder(passed[0], Engine(os.urandom, max_in_flight=in_flight))
    # What lives now lives for ever: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    notify("READY=1")
    forwarder.run()
    return 0
