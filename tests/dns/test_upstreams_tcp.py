"""Servers that break on TCP: that close, reset, fall silent, mix up the order or the framing."""

import struct
import threading

import pytest

from devlink.core.plan import ForwarderConfig
from devlink.core.profile import Transport
from tests.dns import lies
from tests.dns.asking import FAILURES, ask, forwarding, served_by, verdicts
from tests.dns.lying_upstream import Behaviour, LyingUpstream, Turn, honest, honest_answer, silent
from tests.dns.messages import frame

pytestmark = pytest.mark.slow

MANY = 8


def _closes(turn: Turn) -> None:
    turn.close()


def _resets(turn: Turn) -> None:
    turn.reset()


def _closes_in_the_middle(turn: Turn) -> None:
    turn.send(frame(honest_answer(turn.packet))[:-9])
    turn.close()


def _resets_in_the_middle(turn: Turn) -> None:
    turn.send(frame(honest_answer(turn.packet))[:-9])
    turn.reset()


def _closes_in_the_length(turn: Turn) -> None:
    turn.send(b"\0")
    turn.close()


def _stops_in_the_middle(turn: Turn) -> None:
    turn.send(frame(honest_answer(turn.packet))[:-9])


def _promises_more(turn: Turn) -> None:
    """A length beyond what it sends: the next answer is taken for the rest of this one."""
    packet = lies.lie(turn.packet)
    turn.send(struct.pack("!H", len(packet) + 40) + packet)


def _sends_more(turn: Turn) -> None:
    """A length short of what it sends."""
    packet = lies.lie(turn.packet)
    turn.send(struct.pack("!H", len(packet) - 4) + packet)


def _streams_garbage(turn: Turn) -> None:
    turn.send(bytes(i * 7 % 251 for i in range(60_000)))


def _sends_empty_messages(turn: Turn) -> None:
    turn.send(b"\0\0" * 500)


BREAKING: dict[str, Behaviour] = {
    "closes before the answer": _closes,
    "resets before the answer": _resets,
    "closes in the middle": _closes_in_the_middle,
    "resets in the middle": _resets_in_the_middle,
    "closes in the length": _closes_in_the_length,
    "stops in the middle": _stops_in_the_middle,
    "never answers": silent,
    "promises more": _promises_more,
    "sends more": _sends_more,
    "streams garbage": _streams_garbage,
    "sends empty messages": _sends_empty_messages,
}


def _in_pieces(turn: Turn) -> None:
    """Each octet in a segment of its own."""
    for octet in frame(honest_answer(turn.packet)):
        turn.send(bytes((octet,)))


def _after_noise(turn: Turn) -> None:
    """The truth after answers that nobody asked for, and after those to other questions under the same id."""
    for what in ("wrong id", "wrong name", "wrong type", "wrong class"):
        turn.reply(lies.FORGED[what](turn.packet))
    honest(turn)


def _twice(turn: Turn) -> None:
    honest(turn)
    turn.reply(lies.lie(turn.packet))


def _closes_after_each(turn: Turn) -> None:
    """As an old server does: one question for each connection."""
    honest(turn)
    turn.close()


def _closes_after_three(turn: Turn) -> None:
    honest(turn)
    if turn.number % 3 == 2:
        turn.close()


ODD: dict[str, Behaviour] = {
    "in pieces": _in_pieces,
    "after noise": _after_noise,
    "twice": _twice,
    "closes after each": _closes_after_each,
    "closes after three": _closes_after_three,
}
"""These answer, in their way."""


@pytest.mark.parametrize("what", list(BREAKING))
def test_another_server_answers_for_one_that_breaks_on_tcp(what: str) -> None:
    for udp in (lies.truncating, silent):
        with (
            LyingUpstream(udp, BREAKING[what]) as broken,
            LyingUpstream() as good,
            forwarding(served_by(broken, good)) as forwarder,
        ):
            assert verdicts(forwarder, times=2) == {"right"}
            assert verdicts(forwarder) == {"right"}


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.AUTO])
def test_who_has_nothing_but_a_server_that_breaks_on_tcp_is_told_so(transport: Transport) -> None:
    servers = {what: LyingUpstream(lies.truncating, behave) for what, behave in BREAKING.items()}
    servers |= {
        "refuses": LyingUpstream(lies.truncating, None),
        "closes when it has accepted": LyingUpstream(lies.truncating, greets=False),
    }
    suffixes = {what: f"broken{number}.test" for number, what in enumerate(servers)}
    zones = [served_by(server, transport=transport, suffix=suffixes[what]).zones[0] for what, server in servers.items()]
    for server in servers.values():
        server.__enter__()
    try:
        with forwarding(ForwarderConfig(zones=tuple(zones))) as forwarder:
            asking = {what: [ask(forwarder, suffixes[what], tcp=tcp) for tcp in (False, True)] for what in servers}
            found = {what: {each.verdict() for each in questions} for what, questions in asking.items()}
    finally:
        for server in servers.values():
            server.__exit__()
    assert {what: got for what, got in found.items() if not got <= set(FAILURES)} == {}


@pytest.mark.parametrize("kind", ["cluster", "ordinary"])
@pytest.mark.parametrize("what", list(ODD))
def test_no_answer_is_lost_at_a_server_with_odd_ways(kind: str, what: str) -> None:
    suffix = "cluster.test" if kind == "cluster" else "example"
    with (
        LyingUpstream(silent, ODD[what]) as server,
        forwarding(served_by(server, kind=kind, transport=Transport.TCP)) as forwarder,
    ):
        for _ in range(3):
            assert verdicts(forwarder, suffix, times=MANY) == {"right"}


def test_answers_in_another_order_go_to_their_own_questions() -> None:
    """On a pipelined connection the last comes first; the rest is let go as soon as no more are to come."""
    waiting: list[Turn] = []
    lock = threading.Lock()

    def backwards(turn: Turn) -> None:
        with lock:
            waiting.append(turn)
            if len(waiting) == 3 * MANY:
                while waiting:
                    honest(waiting.pop())

    with (
        LyingUpstream(silent, backwards) as server,
        forwarding(served_by(server, transport=Transport.TCP)) as forwarder,
    ):
        assert verdicts(forwarder, times=MANY) == {"right"}
        assert server.connections == 1, "they were pipelined"


def test_one_answer_that_stays_out_holds_up_no_other() -> None:
    def behave(turn: Turn) -> None:
        if lies.first_letter(turn.packet) != "s":
            honest(turn)

    with LyingUpstream(silent, behave) as server, forwarding(served_by(server, transport=Transport.TCP)) as forwarder:
        stuck = [ask(forwarder, "cluster.test", label="stuck") for _ in range(3)]
        assert verdicts(forwarder, times=MANY) == {"right"}
        assert {each.verdict() for each in stuck} <= set(FAILURES)


def test_an_idle_connection_that_the_server_has_closed_is_no_failure() -> None:
    """Servers hang up on whoever is quiet (RFC 7766 6.2.3); the next question finds out and asks anew."""
    turns: list[Turn] = []

    def behave(turn: Turn) -> None:
        turns.append(turn)
        honest(turn)

    for end in (Turn.close, Turn.reset):
        with (
            LyingUpstream(silent, behave) as server,
            forwarding(served_by(server, transport=Transport.TCP)) as forwarder,
        ):
            for _ in range(5):
                assert ask(forwarder, "cluster.test").verdict() == "right"
                end(turns[-1])
