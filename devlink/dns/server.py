"""The forwarder's process: sockets come from the helper, questions from programs, and one loop carries them about."""

import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from devlink.dns.config import packed
from devlink.dns.control import INTERFACE, ControlConnection, log_tree, parse_configuration, stats_tree
from devlink.dns.counts import RecentQueries
from devlink.dns.datagrams import DatagramClient, Datagrams, datagrams, is_local
from devlink.dns.effects import Answer, Ask, Effect, Forget
from devlink.dns.engine import MAX_IN_FLIGHT, Engine
from devlink.dns.exchanges import Exchanges
from devlink.dns.loop import READ, WRITE, Loop, clock
from devlink.dns.rules import MAX_SERVERS
from devlink.dns.stderr import say
from devlink.dns.streams import MAX_CLIENTS, Clients, StreamClient
from devlink.errors import ProtocolError
from devlink.rpc.activation import listen_sockets, notify
from devlink.rpc.answering import answer
from devlink.rpc.peer import is_feeder, peer_of

FEEDER_WAIT = 10.0
"""Seconds within which the helper must connect: whoever starts a forwarder wants to feed it."""
MANY, BATCHES = 4, 8
"""While a socket gives so many datagrams at one go it is read again at once, so many times at most."""
RECEIVE_BUFFER = 1 << 20
"""Octets of questions that may wait in the kernel, while we are busy or a new forwarder is started."""
SOCKETS_PER_QUESTION = 2 * MAX_SERVERS
"""Descriptors that a question in flight takes at most: each server over UDP and TCP. Were there fewer, the questions
for one dead destination could take them from all others."""
RESERVED_FDS = MAX_CLIENTS + 64
MAX_DEFECTS = 100
"""Packets on which our own code may fail. A fresh process is then better than this one."""
GARBAGE = 100_000
"""Objects more than before at which the collector looks for circles. We make none in the ordinary way of things, and it
would look at all cached answers each time."""
PORTABLE = "--portable"
"""Argument: use no recvmmsg(2)."""


class Forwarder:
    """The whole process but for its start."""

    def __init__(
        self,
        listener: socket.socket,
        engine: Engine,
        entropy: Callable[[int], bytes],
        *,
        clock: Callable[[], float] = clock,
        portable: bool = False,
    ) -> None:
        """`listener`: where the helper connects. `entropy(n)` gives n unpredictable octets, `clock` seconds.

        With `portable` it does without recvmmsg(2).
        """
        self._listener = listener
        self._engine = engine
        self._portable = portable
        self._loop = Loop(clock)
        self._feeder_due = self._loop.now + FEEDER_WAIT
        self._control: ControlConnection | None = None
        self._udp: dict[tuple[str, int], Datagrams] = {}
        """By local address."""
        self._own_hosts: frozenset[str] = frozenset()
        self._own_tcp: list[tuple[str, int]] = []
        self._exchanges = Exchanges(self._loop, engine, entropy, self._carry_out)
        self._clients = Clients(
            self._loop, engine, is_local=self._is_local, carry_out=self._carry_out, guard=self._guard
        )
        self._running = True
        self._defects = 0
        self._methods = {
            "Configure": self._configure,
            "GetStats": lambda _: stats_tree(engine, self._loop.now),
            "Flush": self._flush,
            "TakeLog": self._take_log,
        }

    def run(self) -> None:
        """Serve until the control connection ends, or nobody makes one in time."""
        loop = self._loop
        loop.watch(self._listener, READ, self._accept_feeder)
        try:
            while self._running:
                self._guard(self._turn)
                if self._control is None and loop.now >= self._feeder_due:
                    say("nobody connected to feed the forwarder", "WARNING")
                    break
        finally:
            self._close()

    def _turn(self) -> None:
        """Sleep, look after what has happened, do what is due, and send what came of it."""
        try:
            self._loop.turn(self._deadline())
        finally:
            self._carry_out(self._engine.handle_timer(self._loop.now))
            self._exchanges.handle_timer()
            self._clients.settle()
            for way in self._udp.values():
                way.flush()

    def _guard(self, deed: Callable[[], None]) -> None:
        """One packet that our code cannot cope with must not take the name service from the whole machine."""
        try:
            deed()
        except Exception:
            self._defects += 1
            if self._defects > MAX_DEFECTS:
                raise
            _say_defect("a defect in the forwarder")

    def _deadline(self) -> float | None:
        """When something is due; None, and so no wake-up at all, where nothing is."""
        feeder = self._feeder_due if self._control is None else None
        dues = (self._engine.next_deadline(), self._exchanges.next_deadline(), self._clients.next_deadline(), feeder)
        return min((due for due in dues if due is not None), default=None)

    def _close(self) -> None:
        self._replace_sockets([], [])
        self._clients.close()
        self._exchanges.close()
        if self._control is not None:
            self._control.close()
        self._listener.close()
        self._loop.end()

    # The control connection

    def _accept_feeder(self, _mask: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # gone again
        peer = peer_of(sock)
        if not is_feeder(peer, self._listener):
            say(f"refused a control connection of uid {peer.uid}", "WARNING")
            sock.close()
            return
        self._loop.unwatch(self._listener)  # one at a time; the next one waits until this process has ended
        self._control = ControlConnection(sock)
        self._loop.watch(sock, READ, self._serve_feeder)

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
                control.send(answer(INTERFACE, self._methods, message, failed=_say_defect))
                control.drop_fds()
            self._loop.change(control.sock, READ | (WRITE if control.wants_write else 0))
        except (OSError, ProtocolError) as error:
            say(f"the control connection ends: {error}", "WARNING")
            self._running = False

    def _configure(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        config, kinds = parse_configuration(parameters)
        control = self._control
        assert control is not None
        if kinds is not None:
            passed = list(zip(kinds, control.take_sockets(kinds), strict=True))
            self._replace_sockets(
                [sock for kind, sock in passed if kind == "udp"], [sock for kind, sock in passed if kind == "tcp"]
            )
        self._exchanges.trust(config.tls_ca)
        self._exchanges.forget_network()
        own = frozenset((*self._udp, *self._own_tcp))
        self._carry_out(self._engine.configure(config, own, self._loop.now))
        say(
            f"serving {', '.join(f'{host}:{port}' for host, port in sorted(own)) or 'nobody'}: zones "
            f"{', '.join(zone.text for zone in config.zones) or 'none'}, ordinary names to "
            f"{', '.join(str(upstream.server) for upstream in config.upstreams) or 'none'}"
        )
        return {}

    def _flush(self, _parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """It is another network, perhaps: no connection of the old one shall be waited on."""
        self._exchanges.forget_network()
        return {"entries": self._engine.flush()}

    def _take_log(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        engine = self._engine
        records, lost = engine.log.take() if engine.log is not None else ([], 0)
        if parameters.get("on") is not True:
            engine.log = None
        elif engine.log is None:
            engine.log = RecentQueries()
        return log_tree(records, lost, self._loop.clock())

    def _replace_sockets(self, udp: list[socket.socket], tcp: list[socket.socket]) -> None:
        for way in self._udp.values():
            self._loop.unwatch(way.sock)
            way.sock.close()
        addresses = [_local(sock) for sock in (*udp, *tcp)]
        self._own_hosts = frozenset(host for host, _ in addresses)
        self._own_tcp = addresses[len(udp) :]
        own = frozenset(packed(host) for host in self._own_hosts)
        old, self._udp = self._udp, {}
        for address, sock in zip(addresses, udp, strict=False):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            present = old.get(address)
            if present is not None:
                present.replace(sock, own)
            way = self._udp[address] = present or datagrams(sock, own, portable=self._portable)
            self._loop.watch(sock, READ, partial(self._read_datagrams, way))
        self._clients.listen(tcp)

    # Packets

    def _is_local(self, host: str) -> bool:
        """Only programs of this machine: they come from loopback, or from the very address that they ask."""
        return is_local(host, self._own_hosts)

    def _read_datagrams(self, way: Datagrams, _mask: int) -> None:
        engine, now = self._engine, self._loop.now
        for _ in range(BATCHES):
            for client, packet in way.serve(engine, now):
                self._carry_out(engine.receive_query(packet, client, now))
            if way.count < MANY:
                break

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        """What the engine wants done; where that fails it may want more done."""
        for effect in effects:
            if isinstance(effect, Answer):
                client, packet = effect
                if isinstance(client, DatagramClient):
                    client.way.answer(client, packet)
                elif isinstance(client, StreamClient):
                    self._clients.answer(client, packet)
            elif isinstance(effect, Ask):
                failed = self._exchanges.ask(effect.attempt)
                if failed:
                    self._carry_out(failed)
            elif isinstance(effect, Forget):
                self._exchanges.forget(effect.attempt)
            elif isinstance(effect.client, StreamClient):  # a Drop: no telling where its next message begins
                self._clients.hang_up(effect.client)


def _say_defect(what: str) -> None:
    """With the exception that is being handled."""
    import traceback  # only then

    say(f"{what}\n{traceback.format_exc()}", "ERROR")


def _local(sock: socket.socket) -> tuple[str, int]:
    host, port = sock.getsockname()[:2]
    return host, port


class Entropy:
    """Unpredictable octets, taken from the kernel many at a time."""

    def __init__(self) -> None:
        self._octets = b""
        self._at = 0

    def __call__(self, count: int) -> bytes:
        if self._at + count > len(self._octets):
            self._octets, self._at = os.urandom(max(4096, count)), 0
        self._at += count
        return self._octets[self._at - count : self._at]


def _descriptors() -> int:
    """Allow ourselves as many descriptors as the system lets us; how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_IN_FLIGHT * SOCKETS_PER_QUESTION + RESERVED_FDS
    limit = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def main() -> int:
    """Run on the listening socket that came as descriptor 3; the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    passed = listen_sockets()
    if len(passed) != 1:
        say("the forwarder is started by the helper or by its socket unit, with one listening socket", "ERROR")
        return 2
    passed[0].setblocking(False)
    in_flight = max(1, min(MAX_IN_FLIGHT, (_descriptors() - RESERVED_FDS) // SOCKETS_PER_QUESTION))
    entropy = Entropy()
    engine = Engine(entropy, max_in_flight=in_flight)
    forwarder = Forwarder(passed[0], engine, entropy, portable=PORTABLE in sys.argv[1:])
    # What lives now lives for ever: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    notify("READY=1")
    forwarder.run()
    return 0
