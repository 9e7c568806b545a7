"""Hundreds of thousands of mutated messages, from clients and from servers: no defect, no growth, no wrong answer."""

import os
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from devlink.core.plan import ForwarderConfig, ProofRecord, Zone
from tests.dns import mutation
from tests.dns.forwarder_process import PATIENCE, Forwarder, wait_until
from tests.dns.lying_upstream import LyingUpstream, Turn
from tests.dns.messages import frame, name, question

PACKETS = int(os.environ.get("CORPUS", "50000"))
"""For each test; `make test CORPUS=5000000` takes as many as one likes."""
BURST = 64
CACHE = 1 << 20
GROWTH = 4 << 20
"""Octets of resident memory that a process may gain after a quarter of all packets; the cache is full by then."""
PROOF = "proof.devlink.example"


def resident(forwarder: Forwarder) -> int:
    assert forwarder.process is not None
    for line in Path(f"/proc/{forwarder.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError("the forwarder has ended")


class Meter:
    """Sees that memory does not grow with the number of packets."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._first: int | None = None

    def at(self, share: float) -> None:
        if share >= 0.25 and self._first is None:
            self._first = resident(self._forwarder)

    def check(self) -> None:
        assert self._first is not None
        grown = resident(self._forwarder) - self._first
        assert grown < GROWTH, f"{grown >> 10} KiB more than after a quarter of the packets"


@contextmanager
def surviving(config: ForwarderConfig) -> Iterator[Forwarder]:
    """A forwarder that, whatever happens to it, logs no defect and still answers, with nothing in flight."""
    forwarder = Forwarder().start()
    try:
        proofs = (ProofRecord(name=name(PROOF), address=ip_address("127.0.0.77")),)
        forwarder.connect()
        forwarder.configure(replace(config, proofs=proofs, cache_bytes=CACHE), sockets=True)
        yield forwarder
        assert forwarder.exchange(question(PROOF))[6:8] == b"\0\1"
        wait_until(lambda: forwarder.stats()["in_flight"] == 0)
        cache = forwarder.stats()["cache"]
        assert cache["bytes"] <= cache["limit"] == CACHE
        forwarder.hang_up()
        code, said = forwarder.wait()
        assert (code, [line for line in said.splitlines() if "defect" in line or "Traceback" in line]) == (0, [])
    finally:
        forwarder.close()


def ping(sock: socket.socket, ident: int) -> None:
    """The forwarder has read all before this question when it answers it."""
    packet = question(PROOF, ident=ident)
    sock.send(packet)
    while sock.recv(65535)[:2] != packet[:2]:
        pass


def served_by(server: LyingUpstream) -> ForwarderConfig:
    """Half of the names at a cluster's server, half at an ordinary one."""
    zone = Zone(suffix=name("corpus.test"), servers=(server.upstream(),), namespaces=("default",), search=("default",))
    return ForwarderConfig(zones=(zone,), upstreams=(server.upstream(),))


def label(number: int) -> bytes:
    return b"n%07x" % number


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_mutated_questions_over_udp_hurt_nobody() -> None:
    rng = random.Random(1)
    corpus = mutation.questions()

    def echo(turn: Turn) -> None:
        turn.reply(turn.packet[:2] + b"\x81\x83" + turn.packet[4:])

    with LyingUpstream(echo, echo) as server, surviving(served_by(server)) as forwarder, forwarder.udp_client() as sock:
        meter = Meter(forwarder)
        for number in range(0, PACKETS, BURST):
            for each in range(number, number + BURST):
                packet = mutation.about(rng.choice(corpus), label(each), rng.randbytes(2))
                sock.send(mutation.mutated(packet, rng))
            ping(sock, number // BURST & 0xFFFF)
            meter.at(number / PACKETS)
        meter.check()


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_mutated_questions_over_tcp_hurt_nobody() -> None:
    """In whole messages, in pieces, and with lengths that are wrong: the forwarder may hang up, but not fall."""
    rng = random.Random(2)
    corpus = mutation.questions()

    def echo(turn: Turn) -> None:
        turn.reply(turn.packet[:2] + b"\x81\x83" + turn.packet[4:])

    with LyingUpstream(echo, echo) as server, surviving(served_by(server)) as forwarder, forwarder.udp_client() as sock:
        meter = Meter(forwarder)
        for number in range(0, PACKETS // 4, BURST):
            stream = b"".join(
                frame(mutation.mutated(mutation.about(rng.choice(corpus), label(each), rng.randbytes(2)), rng))
                for each in range(number, number + BURST)
            )
            if number % 3 == 0:
                stream = mutation.mutated(stream, rng)
            with forwarder.tcp_client() as client:
                try:
                    cut = rng.randrange(len(stream) + 1)
                    client.sendall(stream[:cut])
                    client.sendall(stream[cut:])
                    client.shutdown(socket.SHUT_WR)
                    client.settimeout(PATIENCE)
                    while number % 2 and client.recv(65535):
                        pass
                except OSError:
                    pass  # it hung up
            ping(sock, number // BURST & 0xFFFF)
            meter.at(4 * number / PACKETS)
        meter.check()


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("kind", ["cluster", "ordinary"])
def test_mutated_replies_hurt_nobody_and_none_is_passed_on_that_is_malformed(kind: str, tcp: bool) -> None:
    """Five for each question, and then a right one; each has the right id and most the right question."""
    rng = random.Random(f"{kind} {tcp}")
    corpus = mutation.replies()
    each_time = 5
    keep = 12 + len(mutation.QNAME) + 1 + 4

    def behave(turn: Turn) -> None:
        asked = turn.packet[13:21]
        if not turn.tcp and tcp:
            turn.reply(turn.packet[:2] + b"\x83\x80" + turn.packet[4:])
            return
        for _ in range(each_time):
            packet = bytearray(mutation.about(rng.choice(corpus), asked, turn.packet[:2]))
            packet[keep - 4 : keep - 2] = turn.packet[keep - 4 : keep - 2]
            sent = mutation.mutated(bytes(packet), rng, keep=2 if rng.random() < 0.1 else keep)
            turn.reply(sent)
        turn.reply(turn.packet[:2] + b"\x81\x83" + turn.packet[4:])

    wrong = []
    with LyingUpstream(behave, behave) as server:
        config = served_by(server)
        config = replace(config, zones=()) if kind == "ordinary" else config
        with surviving(config) as forwarder, forwarder.udp_client() as sock:
            meter = Meter(forwarder)
            for number in range(0, PACKETS // 2 // each_time, 16):
                asked = {}
                for each in range(number, number + 16):
                    ident = (each & 0xFFFF).to_bytes(2, "big")
                    base = question(
                        mutation.QNAME, ("A", "TXT", "SRV")[each % 3], payload=(None, 1232, 65000)[each % 3]
                    )
                    asked[ident] = mutation.about(base, label(each), ident)
                    sock.send(asked[ident])
                for _ in range(16):
                    reply = sock.recv(65535)
                    packet = asked.pop(reply[:2])
                    fault = mutation.structure(reply)
                    if reply[12:keep] != packet[12:keep]:
                        fault = "another question"
                    if fault is not None:
                        wrong.append(f"{fault}: {reply.hex()}")
                meter.at(2 * each_time * number / PACKETS)
            meter.check()
    assert wrong[:3] == []
