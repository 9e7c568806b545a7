"""Clients over TCP on loopback: pipelining, limits, time-outs, and no descriptor left."""

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from devlink.dns import streams as module
from devlink.dns.effects import Answer, Drop, Effect
from devlink.dns.loop import Loop
from devlink.dns.streams import ACCEPT_PAUSE, IDLE, MAX_CLIENTS, MAX_PIPELINED, MAX_UNSENT, Clients, StreamClient
from tests.dns.messages import Unframer, frame
from tests.dns.moved_engine import Bench, data_of, query, respond

PATIENCE = 10.0
HOT = "hot.example"


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


class Edge:
    """Clients of an engine, with a clock that can be moved on."""

    def __init__(self) -> None:
        self.skipped = 0.0
        self.bench = Bench()
        self.bench.fill(HOT)
        self.loop = Loop(lambda: self.bench.now + self.skipped)
        self.hosts = {"127.0.0.1"}
        self.effects: list[Effect] = []
        """What the engine wanted besides answers."""
        self.clients = Clients(
            self.loop,
            self.bench.engine,
            is_local=lambda host: host in self.hosts,
            carry_out=self.carry_out,
            guard=lambda call: call(),
        )
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=MAX_CLIENTS + 20)
        self.listener.setblocking(False)
        self.address = self.listener.getsockname()
        self.clients.listen([self.listener])
        self.sockets: list[socket.socket] = []

    def carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Answer):
                assert isinstance(effect.client, StreamClient)
                self.clients.answer(effect.client, effect.packet)
            else:
                self.effects.append(effect)
                if isinstance(effect, Drop):
                    assert isinstance(effect.client, StreamClient)
                    self.clients.hang_up(effect.client)

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(self.address)
        sock.setblocking(False)
        self.sockets.append(sock)
        return sock

    def turn(self) -> None:
        self.loop.turn(self.loop.clock())
        self.clients.settle()

    def skip(self, seconds: float) -> None:
        self.skipped += seconds
        self.turn()

    def until(self, holds: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, "it did not happen"
            self.turn()

    def answers(self, sock: socket.socket, count: int, reader: Unframer | None = None) -> list[bytes]:
        reader = reader or Unframer()
        found: list[bytes] = []

        def has_come() -> bool:
            try:
                data = sock.recv(65535)
            except BlockingIOError:
                return len(found) >= count
            assert data, "it was hung up on"
            found.extend(reader.feed(data))
            return len(found) >= count

        self.until(has_come)
        assert len(found) == count
        return found

    def is_hung_up(self, sock: socket.socket) -> bool:
        try:
            return sock.recv(65535) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def waiting(self) -> list[tuple[StreamClient, bytes]]:
        """The questions that wait in the engine, each with its client."""
        transactions = self.bench.engine._transactions.values()
        return [(w.client, w.packet) for t in transactions for w in t.waiters if isinstance(w.client, StreamClient)]

    def answer_all(self) -> None:
        for client, packet in self.waiting():
            self.clients.answer(client, respond(packet, "@ 5 A 10.0.0.1"))
        self.bench.engine._transactions.clear()


@pytest.fixture
def edge() -> Iterator[Edge]:
    before = open_fds()
    edge = Edge()
    yield edge
    edge.clients.close()
    edge.loop.end()
    for sock in edge.sockets:
        sock.close()
    assert open_fds() == before


def test_known_and_unknown_questions_are_pipelined_and_answered_in_whatever_order(edge: Edge) -> None:
    sock = edge.connect()
    packets = [query(HOT if number % 2 else f"n{number}.example", ident=number) for number in range(10)]
    sock.sendall(b"".join(frame(packet) for packet in packets))
    early = edge.answers(sock, 5)
    assert {int.from_bytes(answer[:2], "big") for answer in early} == {1, 3, 5, 7, 9}
    edge.until(lambda: len(edge.waiting()) == 5)
    for client, packet in reversed(edge.waiting()):
        edge.clients.answer(client, respond(packet, "@ 5 A 10.0.0.1"))
    late = edge.answers(sock, 5)
    assert [answer[:2] for answer in late] == [packet[:2] for packet in packets[::2]][::-1]
    assert {data_of(answer)[0] for answer in late} == {"10.0.0.1"}
    assert edge.bench.cached == 5


def test_a_question_may_come_in_pieces_and_a_known_one_is_found_all_the_same(edge: Edge) -> None:
    sock = edge.connect()
    for octet in frame(query(HOT)) + frame(query("a.example")):
        sock.send(bytes((octet,)))
        edge.turn()
    assert data_of(edge.answers(sock, 1)[0]) == ["192.0.2.80"]
    edge.until(edge.waiting)


def test_a_client_that_sends_no_more_still_gets_its_answers_and_then_the_end(edge: Edge) -> None:
    sock = edge.connect()
    sock.sendall(frame(query("a.example")) + frame(query(HOT)))
    sock.shutdown(socket.SHUT_WR)
    assert len(edge.answers(sock, 1)) == 1
    edge.turn()
    assert not edge.is_hung_up(sock)
    edge.answer_all()
    assert data_of(edge.answers(sock, 1)[0]) == ["10.0.0.1"]
    edge.until(lambda: edge.is_hung_up(sock))


@pytest.mark.parametrize("message", [b"", b"x", b"short", respond(query(HOT), "@ 5 A 192.0.2.1")])
def test_who_sends_no_question_is_hung_up_on(edge: Edge, message: bytes) -> None:
    sock = edge.connect()
    sock.sendall(frame(message))
    edge.until(lambda: edge.is_hung_up(sock))
    assert len(edge.effects) == 1


def test_a_malformed_question_is_answered_and_the_connection_stays(edge: Edge) -> None:
    sock = edge.connect()
    sock.sendall(frame(query(HOT)[:-1]) + frame(query(HOT)))
    assert sorted(answer[3] & 15 for answer in edge.answers(sock, 2)) == [0, 1]


def test_a_host_that_is_not_this_machine_is_not_served(edge: Edge) -> None:
    edge.hosts.clear()
    sock = edge.connect()
    edge.until(lambda: edge.is_hung_up(sock))
    assert edge.bench.engine.counts.dropped == 1


def test_no_more_questions_are_read_than_may_wait(edge: Edge) -> None:
    sock = edge.connect()
    total = MAX_PIPELINED + 30
    edge.bench.engine._shares = [1000] * 9
    sock.sendall(b"".join(frame(query(f"n{number}.example", ident=number)) for number in range(total)))
    edge.until(lambda: len(edge.waiting()) >= MAX_PIPELINED)
    for _ in range(5):
        edge.turn()
    assert len(edge.waiting()) == MAX_PIPELINED
    edge.answer_all()
    assert len(edge.answers(sock, MAX_PIPELINED)) == MAX_PIPELINED
    edge.until(lambda: len(edge.waiting()) == 30)
    edge.answer_all()
    assert len(edge.answers(sock, 30)) == 30


def test_who_takes_no_answers_is_not_read_from_and_gets_all_when_it_does(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_UNSENT", 2000)
    edge.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sock = edge.connect(receive_buffer=4096)
    question, total, sent, blocked = frame(query(HOT)), 0, 0, 0
    client = None
    while blocked < 5:
        try:
            sent += sock.send((question * 400)[sent % len(question) :])
        except BlockingIOError:
            blocked += 1
        edge.turn()
        client = client or next(iter(edge.clients._clients))
        assert len(client._unsent) <= 2000 + 200
    assert client is not None
    assert client.is_full
    assert not client.wanted & 1, "its questions wait in the kernel"
    reader, wanted = Unframer(), sent // len(question)

    def takes_all() -> bool:
        nonlocal total
        try:
            total += len(reader.feed(sock.recv(65535)))
        except BlockingIOError:
            pass
        return total >= wanted

    assert MAX_UNSENT > 2000
    edge.until(takes_all)
    assert total == wanted


def test_an_idle_client_is_hung_up_on_and_one_that_asks_is_not(edge: Edge) -> None:
    idle, busy = edge.connect(), edge.connect()
    edge.until(lambda: len(edge.clients._clients) == 2)
    due = edge.clients.next_deadline()
    assert due == pytest.approx(edge.loop.now + IDLE, abs=0.5)
    edge.skip(IDLE - 1)
    busy.sendall(frame(query(HOT)))
    edge.answers(busy, 1)
    edge.skip(1.5)
    assert edge.is_hung_up(idle)
    assert not edge.is_hung_up(busy)
    edge.skip(IDLE)
    assert edge.is_hung_up(busy)
    assert edge.clients.next_deadline() is None, "then nothing wakes it"


def test_a_client_that_goes_while_its_question_waits_gets_nothing_and_harms_nobody(edge: Edge) -> None:
    sock = edge.connect()
    sock.sendall(frame(query("a.example")))
    edge.until(edge.waiting)
    ((client, packet),) = edge.waiting()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    edge.until(lambda: client.is_gone)
    edge.clients.answer(client, respond(packet, "@ 5 A 10.0.0.1"))
    edge.clients.hang_up(client)
    edge.turn()
    assert edge.clients.next_deadline() is None


def test_the_quietest_client_makes_room_and_without_one_nobody_is_taken_for_a_while(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", 3)
    first, second, third = (edge.connect() for _ in range(3))
    edge.until(lambda: len(edge.clients._clients) == 3)
    first.sendall(frame(query("a.example")))
    edge.until(edge.waiting)
    fourth = edge.connect()
    edge.until(lambda: edge.is_hung_up(second))
    assert not edge.is_hung_up(first), "it waits for an answer"
    assert not edge.is_hung_up(third)
    for sock in (third, fourth):
        sock.sendall(frame(query("b.example")))
    edge.until(lambda: len(edge.waiting()) == 3)
    fifth = edge.connect()
    fifth.sendall(frame(query(HOT)))
    for _ in range(5):
        edge.turn()
    assert len(edge.clients._clients) == 3
    due = edge.clients.next_deadline()
    assert due is not None
    assert due <= edge.loop.now + ACCEPT_PAUSE
    edge.answer_all()
    edge.answers(third, 1)
    edge.skip(ACCEPT_PAUSE + 0.1)
    assert data_of(edge.answers(fifth, 1)[0]) == ["192.0.2.80"]


def test_new_listeners_replace_the_old_ones_and_connections_stay(edge: Edge) -> None:
    sock = edge.connect()
    sock.sendall(frame(query(HOT)))
    edge.answers(sock, 1)
    another = socket.create_server(("127.0.0.1", 0))
    another.setblocking(False)
    edge.clients.listen([another])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(edge.address)
    sock.sendall(frame(query(HOT)))
    edge.answers(sock, 1)
    edge.address = another.getsockname()
    late = edge.connect()
    late.sendall(frame(query(HOT)))
    edge.answers(late, 1)


def test_while_an_entry_is_of_an_earlier_second_the_engine_ages_it_first(edge: Edge) -> None:
    sock = edge.connect()
    edge.bench.now += 5
    edge.turn()
    sock.sendall(frame(query(HOT)))
    (answer,) = edge.answers(sock, 1)
    assert int.from_bytes(answer[-10:-6], "big") == 295
