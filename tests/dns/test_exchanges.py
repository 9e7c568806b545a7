"""Questions on real sockets of loopback: ports, ids, connections, and that none is left behind."""

import os
import random
import re
import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from devlink.dns import exchanges as module
from devlink.dns.config import Server
from devlink.dns.effects import Effect, Forget
from devlink.dns.engine import Engine
from devlink.dns.exchanges import BUSY, PIPELINED, PORTS, SHARED_IDLE, SHARED_SILENT, STREAM_IDLE, USES, Exchanges
from devlink.dns.loop import Loop
from devlink.dns.questions import Attempt, Transaction
from devlink.dns.servers import ServerState, Step
from tests.dns.messages import Unframer, frame
from tests.dns.moved_engine import query

PATIENCE = 10.0
QUESTION = query("www.example")[2:]


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@dataclass
class FakeEngine:
    """Believes every reply, and notes who got which."""

    replies: list[tuple[Attempt, bytes]] = field(default_factory=list)
    failed: list[Attempt] = field(default_factory=list)
    counts: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(mismatched=0))
    trouble: str = ""
    """Why an attempt failed last."""
    disbelieved: bytes = b"?"
    """What a reply ends with that the engine ignores."""

    def receive_reply(self, attempt: Attempt, packet: bytes, now: float) -> list[Effect]:
        if packet.endswith(self.disbelieved):
            return []
        self.replies.append((attempt, packet))
        attempt.transaction = None
        return []

    def upstream_failed(self, attempt: Attempt, now: float, trouble: str = "") -> list[Effect]:
        if attempt.transaction is None:
            return []
        self.failed.append(attempt)
        self.trouble = trouble
        attempt.transaction = None
        return [Forget(attempt)]


class Edge:
    """Exchanges with a clock that can be moved on."""

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self.skipped = 0.0
        self.engine = FakeEngine()
        self.loop = Loop(lambda: time.monotonic() + self.skipped)
        self.exchanges = Exchanges(self.loop, cast(Engine, self.engine), entropy, self.carry_out)
        self.states: dict[Server, ServerState] = {}
        self.attempts: list[Attempt] = []

    def carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            assert isinstance(effect, Forget)
            self.exchanges.forget(effect.attempt)

    def ask(self, server: Server, transport: str = "udp", *, shared: bool = False) -> Attempt:
        state = self.states.setdefault(server, ServerState(server))
        step = Step(state, transport, True, shared, 1.0)
        attempt = Attempt(cast(Transaction, SimpleNamespace(attempts=[])), step, QUESTION, self.loop.now)
        self.attempts.append(attempt)
        self.carry_out(self.exchanges.ask(attempt))
        return attempt

    def forget(self, attempt: Attempt) -> None:
        attempt.transaction = None
        self.exchanges.forget(attempt)

    def skip(self, seconds: float) -> None:
        """Move the clock on; what is due is done."""
        self.skipped += seconds
        self.turn()

    def turn(self) -> None:
        self.loop.turn(self.loop.clock())
        self.exchanges.handle_timer()

    def until(self, holds: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, "it did not happen"
            self.loop.turn(self.loop.clock() + 0.005)

    def answered(self, count: int) -> None:
        self.until(lambda: len(self.engine.replies) >= count)
        assert len(self.engine.replies) == count


@pytest.fixture
def edge() -> Iterator[Edge]:
    """Whatever a test does: when it is over and all is answered or forgotten, no descriptor is left."""
    before = open_fds()
    edge = Edge()
    yield edge
    for attempt in edge.attempts:
        edge.forget(attempt)
    edge.exchanges.close()
    edge.loop.end()
    assert open_fds() == before


@dataclass
class UdpServer:
    sock: socket.socket
    server: Server

    def take(self) -> tuple[bytes, Any]:
        """The next question, and where it came from."""
        return self.sock.recvfrom(65535)

    def answer(self, asked: tuple[bytes, Any], what: bytes = b"") -> None:
        packet, source = asked
        self.sock.sendto(packet + what, source)


@pytest.fixture
def udp(edge: Edge) -> Iterator[UdpServer]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE)
        yield UdpServer(sock, Server("127.0.0.1", sock.getsockname()[1]))


@dataclass
class Connection:
    """The server's end of one."""

    sock: socket.socket
    reader: Unframer = field(default_factory=Unframer)
    asked: list[bytes] = field(default_factory=list)


class TcpServer:
    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.server = Server("127.0.0.1", self._listener.getsockname()[1])
        self.connections: list[Connection] = []

    def accept(self) -> Connection:
        """The next connection."""
        found: list[socket.socket] = []

        def try_it() -> bool:
            try:
                found.append(self._listener.accept()[0])
            except BlockingIOError:
                return False
            return True

        self._edge.until(try_it)
        found[0].setblocking(False)
        self.connections.append(Connection(found[0]))
        return self.connections[-1]

    @property
    def has_caller(self) -> bool:
        """Whether somebody waits to be accepted."""
        return bool(select.select([self._listener], [], [], 0)[0])

    def is_quiet(self) -> bool:
        """Whether nobody connects."""
        self._edge.turn()
        return not self.has_caller

    def take(self, connection: Connection, count: int) -> list[bytes]:
        """So many more questions from one connection."""

        def has_come() -> bool:
            try:
                data = connection.sock.recv(65535)
            except BlockingIOError:
                return len(connection.asked) >= count
            assert data, "the forwarder has closed it"
            connection.asked += connection.reader.feed(data)
            return len(connection.asked) >= count

        self._edge.until(has_come)
        taken, connection.asked = connection.asked[:count], connection.asked[count:]
        return taken

    def is_closed(self, connection: Connection) -> bool:
        try:
            return connection.sock.recv(65535) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        for connection in self.connections:
            connection.sock.close()
        self._listener.close()


@pytest.fixture
def tcp(edge: Edge) -> Iterator[TcpServer]:
    server = TcpServer(edge)
    yield server
    server.close()


def nobody() -> Server:
    """Where no socket is bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return Server("127.0.0.1", sock.getsockname()[1])


# UDP


def test_a_question_goes_out_under_a_random_id_and_its_reply_comes_back(edge: Edge, udp: UdpServer) -> None:
    idents = set()
    for _ in range(20):
        attempt = edge.ask(udp.server)
        packet, source = udp.take()
        assert packet[2:] == QUESTION
        idents.add(packet[:2])
        edge.engine.replies.clear()
        udp.answer((packet, source), b"x")
        edge.answered(1)
        assert edge.engine.replies == [(attempt, packet + b"x")]
    assert len(idents) > 15


def test_while_there_are_few_each_question_has_a_port_of_its_own(edge: Edge, udp: UdpServer) -> None:
    before, ports = open_fds(), []
    for _ in range(4):
        for _ in range(BUSY - 1):
            edge.ask(udp.server)
        asked = [udp.take() for _ in range(BUSY - 1)]
        ports += [source[1] for _, source in asked]
        assert len({source for _, source in asked}) == BUSY - 1
        edge.engine.replies.clear()
        for each in asked:
            udp.answer(each)
        edge.answered(BUSY - 1)
        assert open_fds() == before, "and it is closed with its question"
    assert len(set(ports)) > 3 * BUSY, "they are not the same ones again"


def test_under_load_ports_are_shared_within_bounds_and_ids_are_unique_on_each(
    edge: Edge, udp: UdpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports, most_uses, in_flight, total = 16, 8, 100, 1500
    assert ports < PORTS
    assert most_uses < USES
    monkeypatch.setattr(module, "PORTS", ports)
    monkeypatch.setattr(module, "USES", most_uses)
    before, most = open_fds(), 0
    waiting: list[tuple[bytes, Any]] = []
    uses: dict[int, int] = {}
    sockets = []  # the kernel may give a number again, to another one
    for _ in range(total):
        sockets.append(cast(tuple[Any, bytes], edge.ask(udp.server).way)[0])
        packet, source = udp.take()
        assert (packet[:2], source) not in {(p[:2], s) for p, s in waiting}
        uses[id(sockets[-1])] = uses.get(id(sockets[-1]), 0) + 1
        waiting.append((packet, source))
        if len(waiting) > in_flight:
            udp.answer(waiting.pop(0))
            edge.turn()
        most = max(most, len(open_fds()) - len(before))
    assert max(uses.values()) <= most_uses
    assert len(uses) >= total / most_uses
    assert most <= ports + in_flight / 2, "those that were used up wait for their last answers"
    for each in waiting:
        udp.answer(each)
    edge.answered(total)
    edge.skip(60)
    assert open_fds() == before
    assert edge.engine.counts.mismatched == 0
    assert edge.exchanges.next_deadline() is None


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_no_id_is_given_twice_at_a_time_whatever_chance_says(transport: str, udp: UdpServer) -> None:
    dice = random.Random(1)
    edge = Edge(lambda count: bytes(dice.choices(range(8), k=count)))  # 64 ids in all
    tcp = TcpServer(edge)
    server = udp.server if transport == "udp" else tcp.server
    attempts = [edge.ask(server, transport, shared=True) for _ in range(60)]
    asked = [udp.take()[0] for _ in attempts] if transport == "udp" else tcp.take(tcp.accept(), len(attempts))
    assert len({packet[:2] for packet in asked}) == len(attempts)
    for attempt in attempts:
        edge.forget(attempt)
    edge.exchanges.close()
    edge.loop.end()
    tcp.close()


def test_a_wrong_id_is_ignored_and_the_right_one_is_still_awaited(edge: Edge, udp: UdpServer) -> None:
    for shared in (False, True):
        edge.engine.replies.clear()
        edge.engine.counts.mismatched = 0
        attempt = edge.ask(udp.server, shared=shared)
        packet, source = udp.take()
        for wrong in range(1, 5):
            udp.sock.sendto(bytes((packet[0] ^ wrong, packet[1])) + packet[2:], source)
        udp.sock.sendto(b"", source)
        udp.sock.sendto(b"x", source)
        edge.until(lambda: edge.engine.counts.mismatched == 6)
        assert not edge.engine.replies
        udp.answer((packet, source))
        edge.answered(1)
        assert edge.engine.replies[0][0] is attempt


def test_what_the_engine_does_not_believe_leaves_the_question_open(edge: Edge, udp: UdpServer) -> None:
    attempt = edge.ask(udp.server)
    asked = udp.take()
    udp.answer(asked, edge.engine.disbelieved)
    udp.answer(asked, b"x")
    edge.answered(1)
    assert edge.engine.replies[0][0] is attempt


def test_another_socket_of_the_same_host_is_not_the_server(edge: Edge, udp: UdpServer) -> None:
    edge.ask(udp.server)
    packet, source = udp.take()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.sendto(packet, source)
    edge.turn()
    assert not edge.engine.replies
    assert edge.engine.counts.mismatched == 0, "the kernel keeps it off"


def test_a_question_that_is_forgotten_closes_its_port_and_its_reply_reaches_nobody(edge: Edge, udp: UdpServer) -> None:
    before = open_fds()
    for shared in (False, True):
        attempt = edge.ask(udp.server, shared=shared)
        asked = udp.take()
        edge.forget(attempt)
        edge.forget(attempt)
        assert (open_fds() == before) is not shared
        udp.answer(asked)
        edge.turn()
        assert not edge.engine.replies


def test_a_refused_port_fails_all_questions_on_it(edge: Edge) -> None:
    before = open_fds()
    first = edge.ask(nobody())
    edge.until(lambda: edge.engine.failed)
    assert edge.engine.failed == [first]
    assert open_fds() == before
    server = nobody()
    attempts = [edge.ask(server, shared=True) for _ in range(3)]
    edge.until(lambda: len(edge.engine.failed) == 4)
    assert set(edge.engine.failed[1:]) == set(attempts)
    assert open_fds() == before


@pytest.mark.parametrize("host", ["fe80::1%no-such-link", "fe80::1%999999", "255.255.255.255"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_server_that_cannot_be_reached_fails_at_once_and_leaves_no_socket(
    edge: Edge, host: str, transport: str
) -> None:
    before = open_fds()
    attempt = edge.ask(Server(host, 53), transport)
    edge.until(lambda: edge.engine.failed)
    assert edge.engine.failed == [attempt]
    assert open_fds() == before
    assert re.fullmatch(f"{host}: [A-Z]?[a-z -]+", edge.engine.trouble), "in words"


def test_a_clusters_server_is_asked_from_one_port_with_unique_ids(edge: Edge, udp: UdpServer) -> None:
    for _ in range(200):
        edge.ask(udp.server, shared=True)
    asked = [udp.take() for _ in range(200)]
    assert len({source for _, source in asked}) == 1
    assert len({packet[:2] for packet, _ in asked}) == 200
    for each in reversed(asked):
        udp.answer(each)
    edge.answered(200)
    assert len({attempt for attempt, _ in edge.engine.replies}) == 200


def test_a_clusters_port_is_made_anew_after_a_long_idle_time(edge: Edge, udp: UdpServer) -> None:
    def source_of_next() -> Any:
        edge.ask(udp.server, shared=True)
        asked = udp.take()
        edge.engine.replies.clear()
        udp.answer(asked)
        edge.answered(1)
        return asked[1]

    first = source_of_next()
    edge.skip(SHARED_IDLE - 1)
    assert source_of_next() == first
    before = open_fds()
    edge.skip(SHARED_IDLE + 1)
    assert source_of_next() != first
    assert len(open_fds()) == len(before)
    assert edge.exchanges.next_deadline() is None, "it costs no wake-up"


def test_a_clusters_port_is_made_anew_after_silence_and_what_waits_on_it_may_still_be_answered(
    edge: Edge, udp: UdpServer
) -> None:
    before = open_fds()
    early = edge.ask(udp.server, shared=True)
    first = udp.take()
    edge.skip(SHARED_SILENT + 0.1)
    edge.ask(udp.server, shared=True)
    second = udp.take()
    assert first[1] != second[1]
    udp.answer(first)
    edge.answered(1)
    assert edge.engine.replies[0][0] is early
    assert len(open_fds()) == len(before) + 1, "and then the old one is closed"
    udp.answer(second)
    edge.answered(2)


def test_on_another_network_new_sockets_are_used_and_old_questions_still_answered(
    edge: Edge, udp: UdpServer, tcp: TcpServer
) -> None:
    early = edge.ask(udp.server, shared=True), edge.ask(tcp.server, "tcp")
    old, connection = udp.take(), tcp.accept()
    (question,) = tcp.take(connection, 1)
    edge.exchanges.forget_network()
    edge.ask(udp.server, shared=True)
    edge.ask(tcp.server, "tcp")
    assert udp.take()[1] != old[1]
    another = tcp.accept()
    tcp.take(another, 1)
    udp.answer(old)
    connection.sock.sendall(frame(question))
    edge.answered(2)
    assert {attempt for attempt, _ in edge.engine.replies} == set(early)
    edge.until(lambda: tcp.is_closed(connection))
    edge.exchanges.forget_network()
    edge.skip(STREAM_IDLE + 1)
    assert edge.exchanges.next_deadline() is None


# TCP


def test_questions_are_pipelined_over_one_connection_and_answered_in_any_order(edge: Edge, tcp: TcpServer) -> None:
    attempts = [edge.ask(tcp.server, "tcp") for _ in range(20)]
    connection = tcp.accept()
    asked = tcp.take(connection, 20)
    assert len({packet[:2] for packet in asked}) == 20
    connection.sock.sendall(b"".join(frame(packet) for packet in reversed(asked)))
    edge.answered(20)
    assert [attempt for attempt, _ in edge.engine.replies] == attempts[::-1]
    edge.ask(tcp.server, "tcp")
    assert tcp.take(connection, 1)
    assert tcp.is_quiet()


def test_a_question_does_not_wait_for_the_one_before_to_be_acknowledged(edge: Edge, tcp: TcpServer) -> None:
    line, _ = cast(tuple[Any, bytes], edge.ask(tcp.server, "tcp").way)
    assert line.way.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_one_connection_takes_so_many_questions_and_the_next_one_another(edge: Edge, tcp: TcpServer) -> None:
    for _ in range(PIPELINED + 1):
        edge.ask(tcp.server, "tcp")
    first, second = tcp.accept(), tcp.accept()
    assert len(tcp.take(first, PIPELINED)) == PIPELINED
    assert len(tcp.take(second, 1)) == 1


def test_an_answer_may_come_in_pieces(edge: Edge, tcp: TcpServer) -> None:
    edge.ask(tcp.server, "tcp")
    connection = tcp.accept()
    (packet,) = tcp.take(connection, 1)
    for octet in frame(packet + b"x" * 20):
        assert not edge.engine.replies
        connection.sock.sendall(bytes((octet,)))
        edge.turn()
    edge.answered(1)
    assert edge.engine.replies[0][1] == packet + b"x" * 20


def test_an_idle_connection_is_closed_after_a_while_and_a_busy_one_is_not(edge: Edge, tcp: TcpServer) -> None:
    before = open_fds()
    edge.ask(tcp.server, "tcp")
    connection = tcp.accept()
    (packet,) = tcp.take(connection, 1)
    edge.skip(STREAM_IDLE + 1)
    assert not tcp.is_closed(connection)
    assert edge.exchanges.next_deadline() is None
    connection.sock.sendall(frame(packet))
    edge.answered(1)
    due = edge.exchanges.next_deadline()
    assert due == pytest.approx(edge.loop.now + STREAM_IDLE, abs=0.5)
    edge.skip(STREAM_IDLE / 2)
    edge.ask(tcp.server, "tcp")
    assert edge.exchanges.next_deadline() is None
    (packet,) = tcp.take(connection, 1)
    connection.sock.sendall(frame(packet))
    edge.answered(2)
    edge.skip(STREAM_IDLE / 2 + 1)
    assert not tcp.is_closed(connection)
    edge.skip(STREAM_IDLE)
    assert tcp.is_closed(connection)
    assert edge.exchanges.next_deadline() is None
    assert len(open_fds()) == len(before) + 1, "the server's own end"


def test_after_a_sleep_a_new_connection_is_made_though_no_timer_has_closed_the_idle_one(
    edge: Edge, tcp: TcpServer
) -> None:
    edge.ask(tcp.server, "tcp")
    connection = tcp.accept()
    connection.sock.sendall(frame(tcp.take(connection, 1)[0]))
    edge.answered(1)
    edge.skipped += 8 * 3600
    edge.loop.now = edge.loop.clock()  # the turn that wakes up deals with packets first
    edge.ask(tcp.server, "tcp")
    assert tcp.take(tcp.accept(), 1)
    assert tcp.is_closed(connection)


def test_after_a_sleep_a_new_port_is_taken_though_no_timer_has_closed_the_idle_ones(edge: Edge, udp: UdpServer) -> None:
    for _ in range(BUSY + 1):
        edge.ask(udp.server)
    asked = [udp.take() for _ in range(BUSY + 1)]
    for each in asked:
        udp.answer(each)
    edge.answered(BUSY + 1)
    edge.skipped += 8 * 3600
    edge.loop.now = edge.loop.clock()
    edge.ask(udp.server)
    assert udp.take()[1] not in [source for _, source in asked]


def test_what_was_not_answered_when_the_server_closed_is_asked_once_more_and_then_fails(
    edge: Edge, tcp: TcpServer
) -> None:
    before = open_fds()
    edge.ask(tcp.server, "tcp")
    connection = tcp.accept()
    (packet,) = tcp.take(connection, 1)
    connection.sock.sendall(frame(packet))
    edge.answered(1)
    attempt = edge.ask(tcp.server, "tcp")
    connection.sock.close()
    another = tcp.accept()
    assert tcp.take(another, 1)[0][2:] == QUESTION
    assert not edge.engine.failed
    another.sock.close()
    edge.until(lambda: edge.engine.failed)
    assert edge.engine.failed == [attempt]
    assert tcp.is_quiet()
    assert open_fds() == before


@pytest.mark.parametrize("what", ["nothing", "reset", "an unknown id", "half an answer"])
def test_a_server_that_only_closes_is_not_asked_for_ever(edge: Edge, tcp: TcpServer, what: str) -> None:
    before = open_fds()
    attempts = [edge.ask(tcp.server, "tcp") for _ in range(3)]
    connections = 0
    while not edge.engine.failed:
        connections += 1
        connection = tcp.accept()
        asked = tcp.take(connection, len(attempts))
        if what == "an unknown id":
            known = {packet[:2] for packet in asked}
            unknown = next(i for i in (n.to_bytes(2, "big") for n in range(9)) if i not in known)
            connection.sock.sendall(frame(unknown + asked[0][2:]))
        elif what == "half an answer":
            connection.sock.sendall(frame(asked[0])[:9])
        elif what == "reset":
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sock.close()
        edge.until(lambda: edge.engine.failed or tcp.has_caller)
        assert connections <= 2
    edge.until(lambda: len(edge.engine.failed) == len(attempts))
    assert set(edge.engine.failed) == set(attempts)
    assert open_fds() == before


def test_a_server_that_closes_after_each_answer_is_asked_one_at_a_time(edge: Edge, tcp: TcpServer) -> None:
    before = open_fds()
    for _ in range(3):
        edge.ask(tcp.server, "tcp")
    first = tcp.accept()
    asked = tcp.take(first, 3)
    first.sock.sendall(frame(asked[0]))
    first.sock.close()
    for _ in range(2):
        connection = tcp.accept()
        (packet,) = tcp.take(connection, 1)
        connection.sock.sendall(frame(packet))
        connection.sock.close()
    edge.answered(3)
    for _ in range(2):
        edge.ask(tcp.server, "tcp")
    for connection in [tcp.accept(), tcp.accept()]:
        (packet,) = tcp.take(connection, 1)
        connection.sock.sendall(frame(packet))
        connection.sock.close()
    edge.answered(5)
    assert not edge.engine.failed
    edge.turn()
    edge.skip(STREAM_IDLE + 1)
    assert open_fds() == before


def test_what_a_server_said_before_it_reset_the_connection_is_heard(edge: Edge, tcp: TcpServer) -> None:
    edge.ask(tcp.server, "tcp")
    edge.ask(tcp.server, "tcp")
    connection = tcp.accept()
    size = len(frame(b"id" + QUESTION))
    connection.sock.setblocking(True)
    edge.turn()
    connection.sock.sendall(connection.sock.recv(size))
    connection.sock.close()  # with a question unread: a reset
    edge.ask(tcp.server, "tcp")
    edge.answered(1)
    for connection in [tcp.accept(), tcp.accept()]:
        (packet,) = tcp.take(connection, 1)
        connection.sock.sendall(frame(packet))
    edge.answered(3)
    assert not edge.engine.failed


def test_a_connection_that_gave_only_what_is_no_answer_gets_no_second_try(edge: Edge, tcp: TcpServer) -> None:
    attempt = edge.ask(tcp.server, "tcp")
    connection = tcp.accept()
    connection.sock.sendall(frame(tcp.take(connection, 1)[0] + edge.engine.disbelieved))
    connection.sock.close()
    edge.until(lambda: edge.engine.failed or tcp.has_caller)
    assert edge.engine.failed == [attempt]


def test_a_question_is_moved_to_another_connection_as_long_as_they_answer_something(edge: Edge, tcp: TcpServer) -> None:
    edge.ask(tcp.server, "tcp")
    connection = tcp.accept()
    unlucky = edge.ask(tcp.server, "tcp")
    connection.sock.sendall(frame(tcp.take(connection, 2)[0]))
    edge.answered(1)
    connection.sock.close()
    another = tcp.accept()
    tcp.take(another, 1)
    another.sock.close()
    edge.until(lambda: edge.engine.failed or tcp.has_caller)
    assert edge.engine.failed == [unlucky]


def test_a_server_that_closes_an_idle_connection_costs_nothing(edge: Edge, tcp: TcpServer) -> None:
    before = open_fds()
    edge.ask(tcp.server, "tcp")
    connection = tcp.accept()
    (packet,) = tcp.take(connection, 1)
    connection.sock.sendall(frame(packet))
    edge.answered(1)
    connection.sock.close()
    edge.until(lambda: edge.exchanges.next_deadline() is None)
    assert open_fds() == before
    edge.ask(tcp.server, "tcp")
    assert tcp.take(tcp.accept(), 1)
    assert not edge.engine.failed


def test_forgetting_one_question_of_a_connection_leaves_the_others(edge: Edge, tcp: TcpServer) -> None:
    first, second = edge.ask(tcp.server, "tcp"), edge.ask(tcp.server, "tcp")
    connection = tcp.accept()
    asked = tcp.take(connection, 2)
    edge.forget(first)
    connection.sock.sendall(frame(asked[0]) + frame(asked[1]))
    edge.answered(1)
    assert edge.engine.replies[0][0] is second
    assert edge.engine.counts.mismatched == 1
    assert not tcp.is_closed(connection)


def test_a_connection_on_which_nothing_comes_is_left_for_another(edge: Edge, tcp: TcpServer) -> None:
    """Somebody between has forgotten it, or the pod behind it is gone: no packet says so."""
    edge.ask(tcp.server, "tcp")
    dead = tcp.accept()
    tcp.take(dead, 1)
    edge.skip(SHARED_SILENT + 0.1)
    later = edge.ask(tcp.server, "tcp")
    alive = tcp.accept()
    (asked,) = tcp.take(alive, 1)
    alive.sock.sendall(frame(asked))
    edge.answered(1)
    assert edge.engine.replies[0][0] is later


def test_a_connection_that_answered_nothing_in_its_time_is_not_asked_again(edge: Edge, tcp: TcpServer) -> None:
    """Also where questions come one after the other, and none waits any more when the next one comes."""
    first = edge.ask(tcp.server, "tcp")
    dead = tcp.accept()
    tcp.take(dead, 1)
    edge.skip(SHARED_SILENT)
    edge.forget(first)
    edge.ask(tcp.server, "tcp")
    assert tcp.take(tcp.accept(), 1)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_the_second_try_of_a_question_takes_another_socket(
    edge: Edge, udp: UdpServer, tcp: TcpServer, transport: str
) -> None:
    server = udp.server if transport == "udp" else tcp.server
    first = edge.ask(server, transport, shared=True)
    second = Attempt(cast(Transaction, SimpleNamespace(attempts=[first])), first.step, QUESTION, edge.loop.now)
    edge.attempts.append(second)
    edge.carry_out(edge.exchanges.ask(second))
    if transport == "udp":
        assert udp.take()[1] != udp.take()[1]
    else:
        assert tcp.accept() is not tcp.accept()


def test_a_refused_connection_fails_its_questions(edge: Edge) -> None:
    before = open_fds()
    server = nobody()
    attempts = {edge.ask(server, "tcp") for _ in range(3)}
    edge.until(lambda: len(edge.engine.failed) == 3)
    assert set(edge.engine.failed) == attempts
    assert open_fds() == before


@pytest.mark.parametrize(("authorities", "name"), [("", "dns.test"), ("no PEM", "dns.test")])
def test_tls_that_cannot_begin_is_a_failure_and_no_defect(
    edge: Edge, tcp: TcpServer, authorities: str, name: str
) -> None:
    before = open_fds()
    edge.exchanges.trust(authorities)
    attempt = edge.ask(tcp.server._replace(tls_name=name), "tls")
    edge.until(lambda: edge.engine.failed)
    assert edge.engine.failed == [attempt]
    assert open_fds() == before
    assert edge.engine.trouble.startswith("127.0.0.1: ")


def test_closing_leaves_no_descriptor(udp: UdpServer, tcp: TcpServer) -> None:
    before = open_fds()
    another = Edge()
    for _ in range(3):
        another.ask(udp.server)
    another.ask(udp.server, shared=True)
    another.ask(tcp.server, "tcp")
    assert len(open_fds()) > len(before) + 4
    another.exchanges.close()
    another.loop.end()
    assert open_fds() == before
