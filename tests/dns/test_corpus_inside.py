"""The mutated messages once more, in this process: for the reader of messages alone, and for the engine."""

import os
import random
import struct
from collections import deque

import pytest

from devlink.core.codec import encode
from devlink.core.plan import ForwarderConfig
from devlink.dns import replies, wire
from devlink.dns.config import read_config
from devlink.dns.effects import Answer, Ask, Drop, Effect, Forget
from devlink.dns.engine import Engine
from devlink.dns.questions import Attempt
from devlink.dns.wire import Query
from tests.dns import mutation
from tests.dns.messages import upstream, zone

PACKETS = int(os.environ.get("CORPUS", "50000"))
"""For each test; `make test CORPUS=5000000` takes as many as one likes."""
QUESTION_END = 12 + len(mutation.QNAME) + 1 + 4
CACHE = 1 << 18
MAX_IN_FLIGHT = 200


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_no_mutated_question_is_too_much_for_the_reader() -> None:
    """What it takes for a question can be answered, asked on and cut short."""
    rng = random.Random(1)
    corpus = mutation.questions()
    taken = 0
    for _ in range(PACKETS):
        packet = mutation.mutated(rng.choice(corpus), rng)
        query = wire.parse_query(packet)
        if not isinstance(query, Query):
            continue
        taken += 1
        assert mutation.structure(packet) is None
        key = query.key
        asked = b"\0\0" + wire.question_for_server(key, edns=True, dnssec_ok=True)
        assert mutation.structure(asked) is None
        reply = asked[:2] + b"\x81\x83" + asked[4:]
        digest = replies.digest(reply, len(key) + 2)
        assert mutation.structure(replies.answer_of(digest.body, packet, query)) is None
        assert mutation.structure(wire.local_reply(packet, query, wire.Rcode.SERVFAIL)) is None
        assert wire.text_of(query.octets).endswith(".")
    assert taken > PACKETS // 20, "most are broken, but not all"


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_the_reader_takes_no_malformed_reply() -> None:
    """What it does take stays well-formed whatever is done to it."""
    rng = random.Random(2)
    corpus = mutation.replies()
    with_opt = mutation.questions()[1]
    taken = 0
    malformed: list[tuple[str, str]] = []
    for _ in range(PACKETS):
        reply = mutation.mutated(rng.choice(corpus), rng, keep=QUESTION_END)
        packet = with_opt[:12] + reply[12:QUESTION_END] + with_opt[QUESTION_END:]
        query = wire.parse_query(packet)
        assert isinstance(query, Query)
        try:
            digest = replies.digest(reply, QUESTION_END)
        except ValueError:
            continue
        taken += 1
        try:
            aged = replies.aged(digest.body, digest.ttl_offsets, 1000)
            alias = replies.alias_body(digest.body, query.octets)
            answer = replies.answer_of(aged, packet, query, digest.edes)
            replies.addresses(digest.body, digest.ttl_offsets)
        except (ValueError, IndexError, struct.error) as error:
            malformed.append((repr(error), reply.hex()))
            continue
        messages = (b"\0\0" + digest.body, b"\0\0" + aged, b"\0\0" + alias, answer)
        malformed += [(fault, reply.hex()) for fault in map(mutation.structure, messages) if fault is not None]
    assert taken > PACKETS // 20, "most are broken, but not all"
    assert (len(malformed), malformed[:2]) == (0, [])


class _Client:
    def __init__(self, stream: bool) -> None:
        self.stream = stream


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_the_engine_outlives_all_that_clients_and_servers_send() -> None:
    """Each question gets one answer at most; nothing grows with the number of packets, and in the end nothing waits."""
    rng = random.Random(3)
    questions, replies = mutation.questions(), mutation.replies()
    engine = Engine(rng.randbytes, max_in_flight=MAX_IN_FLIGHT)
    settings = ForwarderConfig(
        zones=(zone("corpus.test", "10.254.0.2", "10.254.0.3", namespaces=("default",)),),
        upstreams=(upstream("192.0.2.1"), upstream("192.0.2.2")),
        case_randomization=True,
        cache_bytes=CACHE,
    )
    now = 1000.0
    todo: deque[Effect] = deque(engine.configure(read_config(encode(settings)), frozenset({("127.0.0.53", 53)}), now))
    waiting: set[_Client] = set()
    attempts: dict[Attempt, None] = {}
    received = 0
    while received < PACKETS:
        client = _Client(rng.random() < 0.2)
        packet = mutation.about(rng.choice(questions), b"%08x" % rng.randrange(5000), rng.randbytes(2))
        if rng.random() < 0.1:
            packet = packet.replace(b"\6corpus\4test\0", b"\6others\4test\0")
        waiting.add(client)
        received += 1
        todo += engine.receive_query(mutation.mutated(packet, rng) if rng.random() < 0.5 else packet, client, now)
        for _ in range(rng.randrange(3)):
            if not attempts:
                break
            attempt = next(iter(attempts)) if rng.random() < 0.5 else rng.choice(list(attempts))
            received += 1
            label = attempt.packet[11:19]
            reply = bytearray(mutation.about(rng.choice(replies), label, rng.randbytes(2)))
            end = min(len(attempt.packet) + 2, QUESTION_END)
            reply[12:end] = attempt.packet[10 : end - 2]
            sent = mutation.mutated(bytes(reply), rng, keep=2 if rng.random() < 0.2 else end)
            todo += engine.receive_reply(attempt, bytes(reply) if rng.random() < 0.2 else sent, now)
        if rng.random() < 0.05 and attempts:
            todo += engine.upstream_failed(rng.choice(list(attempts)), now)
        now += rng.expovariate(100)
        todo += engine.handle_timer(now)
        while todo:
            effect = todo.popleft()
            if isinstance(effect, Ask):
                attempts[effect.attempt] = None
            elif isinstance(effect, Forget):
                attempts.pop(effect.attempt, None)
            elif isinstance(effect, Drop | Answer):
                assert isinstance(effect.client, _Client)
                waiting.remove(effect.client)
                if isinstance(effect, Answer) and len(effect.packet) > 12:
                    assert mutation.structure(effect.packet) is None, effect.packet.hex()
        for attempt in [attempt for attempt in attempts if attempt.transaction is None]:
            del attempts[attempt]
        assert engine.in_flight <= MAX_IN_FLIGHT
        assert len(waiting) == engine.in_flight
        assert engine.cache.size <= CACHE
        assert len(attempts) <= 16 * MAX_IN_FLIGHT
    for _ in range(100):
        now += 1
        for effect in engine.handle_timer(now):
            if isinstance(effect, Answer):
                assert isinstance(effect.client, _Client)
                waiting.remove(effect.client)
    assert (engine.in_flight, len(waiting), engine.next_deadline()) == (0, 0, None)
    assert engine.flush() > 0
    assert engine.cache.size == 0
