"""Servers that break on EDNS, and what of it goes from hop to hop (RFC 6891)."""

import struct
from collections.abc import Callable

import dns.edns
import dns.message
import dns.rcode
import pytest

from devlink.core.profile import Transport
from tests.dns import lies
from tests.dns.asking import FAILURES, ask, forwarding, served_by, verdicts
from tests.dns.lying_upstream import LyingUpstream, Turn, honest, honest_answer, verdict
from tests.dns.messages import question

pytestmark = pytest.mark.slow

OPT = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
BADVERS = b"\0" + struct.pack("!HHIH", 41, 1232, 0x01000000, 0)
"""OPT with the upper bits of rcode 16: those in the header are 0."""


def refuses_opt(reply: lies.Packet) -> Callable[[Turn], None]:
    """Gives that to a question with OPT, and the truth to one without."""

    def behave(turn: Turn) -> None:
        turn.reply(reply(turn.packet) if turn.has_opt else honest_answer(turn.packet))

    return behave


def drops_opt(turn: Turn) -> None:
    if not turn.has_opt:
        honest(turn)


@pytest.mark.parametrize("what", ["FORMERR", "NOTIMP", "FORMERR without the question"])
@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("kind", ["cluster", "ordinary"])
def test_a_server_that_refuses_opt_is_asked_without_it_and_that_is_remembered(kind: str, tcp: bool, what: str) -> None:
    behave = refuses_opt(lies.FAILED[what])
    suffix = "cluster.test" if kind == "cluster" else "example"
    transport = Transport.TCP if tcp else Transport.UDP
    with LyingUpstream(behave, behave) as server, forwarding(served_by(server, kind=kind, transport=transport)) as f:
        assert verdicts(f, suffix) == {"right"}
        before = len(server.asked)
        assert verdicts(f, suffix, times=3) == {"right"}
        assert len(server.asked) - before == 9, "each was asked once"


@pytest.mark.parametrize("what", [BADVERS, BADVERS + OPT], ids=["BADVERS", "BADVERS and a second OPT"])
def test_badvers_is_no_empty_answer(what: bytes) -> None:
    def badvers(asked: bytes) -> bytes:
        return lies.raw_reply(asked, what, answers=0, additionals=len(what) // len(OPT))

    behave = refuses_opt(badvers)
    with LyingUpstream(behave, behave) as server, LyingUpstream() as good:
        with forwarding(served_by(server, good)) as forwarder:
            assert verdicts(forwarder) == {"right"}
        with forwarding(served_by(server)) as forwarder:
            assert verdicts(forwarder) <= {"right", "SERVFAIL", *FAILURES}


@pytest.mark.parametrize("kind", ["cluster", "ordinary"])
def test_a_server_that_drops_what_has_opt_is_asked_without_it(kind: str) -> None:
    suffix = "cluster.test" if kind == "cluster" else "example"
    with (
        LyingUpstream(drops_opt, None) as server,
        forwarding(served_by(server, kind=kind, transport=Transport.UDP)) as forwarder,
    ):
        assert verdicts(forwarder, suffix) == {"right"}


def test_a_server_that_answers_without_opt_is_a_server() -> None:
    """Made before EDNS, it does not see what it does not know."""

    def plain(turn: Turn) -> None:
        turn.reply(honest_answer(turn.packet, edns=False))

    with LyingUpstream(plain, plain) as server, forwarding(served_by(server)) as forwarder:
        assert verdicts(forwarder, times=3) == {"right"}


def test_a_server_that_knows_only_512_octets_is_asked_over_tcp_for_more() -> None:
    def small(turn: Turn) -> None:
        whole = honest_answer(turn.packet, count=60, edns=False)
        cut = lies.raw_reply(turn.packet, b"", answers=0, flags=0x8380)
        turn.reply(whole if turn.tcp or len(whole) <= 512 else cut)

    with LyingUpstream(small, small) as server, forwarding(served_by(server)) as forwarder:
        asking = ask(forwarder, "cluster.test")
        reply = asking.reply()
        assert verdict(reply, asking.packet) == "right"
        assert int.from_bytes(reply[6:8], "big") == 60
        assert ask(forwarder, "cluster.test", payload=None).verdict() == "truncated"


def test_opt_need_not_be_the_last_record_for_the_others_to_stay_whole() -> None:
    """What stands behind OPT moves when OPT goes, and the names there point to each other."""

    def behave(turn: Turn) -> None:
        true = honest_answer(turn.packet, edns=False)
        target = len(true) + len(OPT)
        first = lies.a_record(b"\4glue\4name\4test\0", b"\x0a\1\2\3")
        second = lies.a_record(b"\6second" + struct.pack("!H", 0xC000 | target), b"\x0a\4\5\6")
        turn.reply(true[:10] + struct.pack("!H", 3) + true[12:] + OPT + first + second)

    with LyingUpstream(behave, behave) as server, forwarding(served_by(server)) as forwarder:
        for payload in (1232, None):
            for tcp in (False, True):
                asking = ask(forwarder, "cluster.test", tcp=tcp, payload=payload)
                reply = asking.reply()
                assert verdict(reply, asking.packet) == "right"
                additional = {str(rrset.name): str(rrset[0]) for rrset in dns.message.from_wire(reply).additional}
                assert additional == {"glue.name.test.": "10.1.2.3", "second.glue.name.test.": "10.4.5.6"}


def test_options_end_here_but_for_extended_errors() -> None:
    """Cookies, client subnets and identifiers are the hop's own; what went wrong is meant for whoever reads it."""

    def behave(turn: Turn) -> None:
        option = struct.pack("!HH", 10, 16) + b"c" * 16 + struct.pack("!HH", 3, 2) + b"ns"
        option += struct.pack("!HHH", 15, 7, 3) + b"stale"
        opt = b"\0" + struct.pack("!HHIH", 41, 4096, 0, len(option)) + option
        true = honest_answer(turn.packet, edns=False)
        turn.reply(true[:10] + b"\0\1" + true[12:] + opt)

    with LyingUpstream(behave, behave) as server, forwarding(served_by(server)) as forwarder:
        packet = bytes(question("options.cluster.test", payload=4000, do=True))
        options = struct.pack("!HH", 10, 8) + b"cookies!" + struct.pack("!HHHBB", 8, 7, 1, 24, 0) + b"\x0a\1\2"
        packet = packet[:-2] + struct.pack("!H", len(options)) + options
        reply = forwarder.exchange(packet)
        assert verdict(reply, packet) == "right"
        message = dns.message.from_wire(reply)
        assert [option.otype for option in message.options] == [dns.edns.OptionType.EDE]
        assert (message.payload, bool(message.ednsflags & 0x8000)) == (1232, True)
        asked = dns.message.from_wire(server.asked[0][1])
        assert (asked.options, asked.payload, bool(asked.ednsflags & 0x8000)) == ((), 1232, True)


def test_the_extended_half_of_an_rcode_is_not_lost() -> None:
    """BADCOOKIE, 23, is YXRRSET in the header: only one who got the upper bits knows the difference."""

    def behave(turn: Turn) -> None:
        opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0x01000000, 0)
        turn.reply(lies.raw_reply(turn.packet, opt, answers=0, additionals=1, flags=0x8187))

    with LyingUpstream(behave, behave) as server, forwarding(served_by(server)) as forwarder:
        reply = ask(forwarder, "cluster.test").reply()
        assert dns.message.from_wire(reply).rcode() in (dns.rcode.BADCOOKIE, dns.rcode.SERVFAIL)
