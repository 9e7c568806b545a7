"""Questions over UDP, by recvmmsg(2) and without: the same tests for both."""

import select
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import pytest

from devlink.dns.datagrams import BATCH, SLOT, BatchedDatagrams, Datagrams, PlainDatagrams, datagrams
from devlink.dns.engine import Engine
from tests.dns.moved_engine import BEGIN, Bench, data_of, parse, query, respond

PATIENCE = 5.0
HOT = [f"hot{number}.example" for number in range(5)]
Make = Callable[[socket.socket, frozenset[bytes]], Datagrams]


@dataclass
class Bound:
    """A socket that is served, and clients of it."""

    way: Datagrams
    bench: Bench
    clients: list[socket.socket]

    @property
    def engine(self) -> Engine:
        return self.bench.engine

    def send(self, packet: bytes, client: int = 0) -> None:
        self.clients[client].sendto(packet, self.way.sock.getsockname())

    def receive(self, client: int = 0) -> bytes:
        return self.clients[client].recv(65535)

    def nothing(self, client: int = 0) -> bool:
        return not select.select([self.clients[client]], [], [], 0)[0]

    def serve(self) -> list[bytes]:
        """What was not answered at once."""
        return [packet for _, packet in self.way.serve(self.engine, self.bench.now)]


@pytest.fixture(params=[BatchedDatagrams, PlainDatagrams])
def make(request: pytest.FixtureRequest) -> Make:
    return cast(Make, request.param)


def bind(family: int, host: str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind((host, 0))
    return sock


@pytest.fixture(params=["127.0.0.1", "::1"])
def bound(request: pytest.FixtureRequest, make: Make) -> Iterator[Bound]:
    """With some answers in the cache."""
    host = request.param
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = bind(family, host)
    sock.setblocking(False)
    clients = [bind(family, host) for _ in range(3)]
    for client in clients:
        client.settimeout(PATIENCE)
    bench = Bench()
    for index, qname in enumerate(HOT):
        bench.fill(qname, f"@ 300 A 192.0.2.{index}")
        bench.query(qname, payload=1232)
    yield Bound(make(sock, frozenset()), bench, clients)
    for each in (sock, *clients):
        each.close()


def served(bound: Bound, packet: bytes) -> bytes:
    """The answer to a packet that a client sends, whether it came at once or by the engine."""
    bound.send(packet)
    for client, question in bound.way.serve(bound.engine, bound.bench.now):
        for effect in bound.engine.receive_query(question, client, bound.bench.now):
            bound.way.answer(client, effect.packet)  # type: ignore[union-attr]
    bound.way.flush()
    return bound.receive()


def test_a_known_question_is_answered_and_counted_and_keeps_its_id(bound: Bound) -> None:
    before = bound.bench.cached
    for index, qname in enumerate(HOT):
        for payload in (None, 1232):
            packet = query(qname, ident=0xAB00 + index, payload=payload)
            answer = served(bound, packet)
            assert answer[:2] == packet[:2]
            assert data_of(answer) == [f"192.0.2.{index}"]
            assert parse(answer).edns == (-1 if payload is None else 0)
    assert bound.bench.cached == before + 2 * len(HOT)
    assert bound.bench.engine.counts.queries == len(HOT)


def test_loopback_finds_answers_without_the_engine(bound: Bound) -> None:
    bound.send(query(HOT[0]))
    if bound.way.sock.family == socket.AF_INET6 and isinstance(bound.way, BatchedDatagrams):
        assert bound.serve() == [query(HOT[0])], "there the source is looked at first"
    else:
        assert bound.serve() == []
        assert data_of(bound.receive()) == ["192.0.2.0"]


def test_unknown_questions_are_handed_on_with_who_asked(bound: Bound) -> None:
    packets = [query(f"n{number}.example", ident=number) for number in range(3)]
    for index, packet in enumerate(packets):
        bound.send(packet, index)
    others = bound.way.serve(bound.engine, bound.bench.now)
    assert [packet for _, packet in others] == packets
    assert not any(client.stream for client, _ in others)
    for client, packet in reversed(others):
        bound.way.answer(client, packet + b"!")
    bound.way.flush()
    for index, packet in enumerate(packets):
        assert bound.receive(index) == packet + b"!"
    bound.way.flush()
    assert bound.nothing()


def test_known_and_unknown_ones_in_any_order_each_get_their_own(bound: Bound) -> None:
    wanted: list[dict[bytes, list[str]]] = [{}, {}, {}]
    for number in range(100):
        is_hot, client = number % 7 in (0, 1, 3), number % 3
        qname = HOT[number % 5] if is_hot else f"cold{number}.example"
        packet = query(qname, ident=number, payload=1232 if number % 2 else None)
        bound.send(packet, client)
        wanted[client][packet[:2]] = [f"192.0.2.{number % 5}"] if is_hot else ["10.0.0.1"]
    while others := bound.way.serve(bound.engine, bound.bench.now):
        for client_of, packet in others:
            if packet[12:16] == query(HOT[0])[12:16]:
                (effect,) = bound.engine.receive_query(packet, client_of, bound.bench.now)
                bound.way.answer(client_of, effect.packet)  # type: ignore[union-attr]
            else:
                bound.way.answer(client_of, respond(packet, "@ 5 A 10.0.0.1"))
        bound.way.flush()
    for client in range(3):
        while wanted[client]:
            answer = bound.receive(client)
            assert data_of(answer) == wanted[client].pop(answer[:2])
        assert bound.nothing(client)


@pytest.mark.parametrize("count", [BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 3])
def test_more_than_a_batch_waits_for_the_next_round(bound: Bound, count: int) -> None:
    for number in range(count):
        bound.send(query("a.example", ident=number))
    seen = 0
    while others := bound.way.serve(bound.engine, bound.bench.now):
        assert len(others) == min(BATCH, count - seen)
        seen += len(others)
        for client, packet in others:
            bound.way.answer(client, packet)
    bound.way.flush()
    assert seen == count
    assert sorted(int.from_bytes(bound.receive()[:2], "big") for _ in range(count)) == list(range(count))


def test_nothing_waits_and_nothing_happens(bound: Bound) -> None:
    assert bound.serve() == []
    bound.way.flush()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 11, SLOT - 1, SLOT, SLOT + 1, 60000])
def test_odd_sizes_are_handed_on_and_a_longer_one_is_cut(bound: Bound, size: int) -> None:
    packet = (query("a.example") + bytes(60000))[:size]
    bound.send(query(HOT[0]))
    bound.send(packet)
    others = bound.serve()
    assert others[-1] == packet[:SLOT]
    bound.send(query(HOT[1]))
    rest = bound.serve()
    assert len(others) + len(rest) <= 3


@pytest.mark.parametrize("size", [SLOT - 1, SLOT, SLOT + 1, 5000, 60000])
def test_an_answer_of_any_size_is_sent_in_one_piece_among_others(bound: Bound, size: int) -> None:
    for number in range(3):
        bound.send(query("a.example", ident=number))
    others = bound.way.serve(bound.engine, bound.bench.now)
    wanted = [bytes((0x30 + index,)) * (size if index == 1 else 100) for index in range(3)]
    for (client, _), answer in zip(others, wanted, strict=True):
        bound.way.answer(client, answer)
    bound.way.flush()
    assert sorted(bound.receive() for _ in range(3)) == wanted


def test_an_answer_that_the_kernel_does_not_take_is_lost_and_the_others_are_not(bound: Bound) -> None:
    for number in range(3):
        bound.send(query("a.example", ident=number), number)
    others = bound.way.serve(bound.engine, bound.bench.now)
    for index, (client, packet) in enumerate(others):
        bound.way.answer(client, packet + bytes(70000 if index == 1 else 0))
    bound.way.flush()
    assert bound.receive(0)
    assert bound.receive(2)
    assert bound.nothing(1)


def test_a_client_that_is_gone_costs_nothing(bound: Bound) -> None:
    bound.send(query("a.example"), 1)
    ((client, packet),) = bound.way.serve(bound.engine, bound.bench.now)
    bound.clients[1].close()
    for _ in range(3):
        bound.way.answer(client, packet)
        bound.way.flush()
    bound.send(query("b.example"))
    received: list[bytes] = []
    for _ in range(3):  # an ICMP error may come first
        received += bound.serve()
    assert received == [query("b.example")]


def test_an_aged_entry_is_not_given_before_it_is_aged(bound: Bound) -> None:
    bound.bench.now += 10
    answer = served(bound, query(HOT[0]))
    assert [rrset.ttl for rrset in parse(answer).answer] == [300 - int(bound.bench.now) + int(BEGIN)]
    bound.bench.now += 1000
    bound.send(query(HOT[0]))
    assert bound.serve() == [query(HOT[0])]


def test_while_the_log_is_on_every_question_goes_to_the_engine(bound: Bound) -> None:
    from devlink.dns.counts import RecentQueries

    bound.engine.log = RecentQueries()
    bound.send(query(HOT[0]))
    assert bound.serve() == [query(HOT[0])]


def test_answers_in_flight_find_the_socket_that_replaces_theirs(bound: Bound) -> None:
    bound.send(query("a.example"))
    ((client, packet),) = bound.way.serve(bound.engine, bound.bench.now)
    old = bound.way.sock
    host = old.getsockname()[0]
    new = bind(old.family, host)
    new.setblocking(False)
    bound.way.replace(new, frozenset())
    old.close()
    bound.way.answer(client, packet + b"!")
    bound.way.flush()
    data, source = bound.clients[0].recvfrom(65535)
    assert (data, source[1]) == (packet + b"!", new.getsockname()[1])
    bound.send(query(HOT[0]))
    for each, question in bound.way.serve(bound.engine, bound.bench.now):
        bound.way.answer(each, question)
    bound.way.flush()
    assert bound.receive()[:2] == query(HOT[0])[:2]
    new.close()


def strange_address() -> str | None:
    """An address of this machine that is no loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(sock.getsockname()[0])


@pytest.mark.parametrize("is_own", [False, True])
def test_a_stranger_is_not_served_not_even_from_the_cache(make: Make, is_own: bool) -> None:
    host = strange_address()
    if host is None or host.startswith("127."):
        pytest.skip("this machine has no address besides loopback")
    bench = Bench()
    bench.fill(HOT[0])
    with bind(socket.AF_INET, host) as sock, bind(socket.AF_INET, host) as client:
        sock.setblocking(False)
        way = make(sock, frozenset({socket.inet_aton(host)} if is_own else set()))
        hits = bench.cached
        client.sendto(query(HOT[0]), sock.getsockname())
        client.sendto(query("cold.example"), sock.getsockname())
        others = [packet for _, packet in way.serve(bench.engine, bench.now)]
        assert (query("cold.example") in others) is is_own
        assert bench.engine.counts.dropped == (0 if is_own else 2)
        assert is_own or bench.cached == hits
        assert is_own or not select.select([client], [], [], 0)[0]


def test_the_portable_way_is_taken_where_it_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with bind(socket.AF_INET, "127.0.0.1") as sock:
        assert isinstance(datagrams(sock, frozenset()), BatchedDatagrams)
        assert isinstance(datagrams(sock, frozenset(), portable=True), PlainDatagrams)
        monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
        assert isinstance(datagrams(sock, frozenset()), PlainDatagrams)
