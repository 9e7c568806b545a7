"""What a server, or whoever pretends to be it, may send instead of an answer; each as a packet for one question.

Those in FORGED do not come from the server or do not answer the question, and nobody may believe them. Those in BROKEN
are malformed: they may be ignored, or mended where they carry the true address, but not passed on. Those in FAILED say
that the server has no answer.
"""

import struct
from collections.abc import Callable
from functools import partial

import dnslib

from tests.dns.lying_upstream import LIE, Behaviour, LyingUpstream, Turn, honest_answer, name_in

HEADER = 12

Packet = Callable[[bytes], bytes]
"""Gives the reply to a question."""


def lie(asked: bytes) -> bytes:
    """The right form, the wrong address."""
    return honest_answer(asked, address=LIE)


def with_flags(packet: bytes, *, set_: int = 0, clear: int = 0) -> bytes:
    """With other bits in the header's second word."""
    flags = (int.from_bytes(packet[2:4], "big") | set_) & ~clear
    return packet[:2] + flags.to_bytes(2, "big") + packet[4:]


def with_counts(packet: bytes, *, questions: int | None = None, answers: int | None = None) -> bytes:
    """With other counts in the header than there are records."""
    counts = list(struct.unpack_from("!4H", packet, 4))
    counts[0] = counts[0] if questions is None else questions
    counts[1] = counts[1] if answers is None else answers
    return packet[:4] + struct.pack("!4H", *counts) + packet[HEADER:]


def _other_question(asked: bytes, change: Callable[[dnslib.DNSQuestion], None]) -> bytes:
    """A lie about a question that was not asked, under the id of the one that was."""
    record = dnslib.DNSRecord.parse(asked)
    change(record.questions[0])
    record.ar = []
    return lie(bytes(record.pack()))


def _other_name(question: dnslib.DNSQuestion) -> None:
    question.qname = dnslib.DNSLabel("other." + str(question.qname))


def _other_type(question: dnslib.DNSQuestion) -> None:
    question.qtype = dnslib.QTYPE.TXT


def _other_class(question: dnslib.DNSQuestion) -> None:
    question.qclass = 3


def _two_questions(asked: bytes) -> bytes:
    record = dnslib.DNSRecord.parse(lie(asked))
    record.add_question(dnslib.DNSQuestion("other.example"))
    return bytes(record.pack())


def question_of(asked: bytes) -> bytes:
    """The octets of the question."""
    return asked[HEADER : asked.index(b"\0", HEADER) + 5]


def raw_reply(asked: bytes, records: bytes, *, answers: int = 1, additionals: int = 0, flags: int = 0x8180) -> bytes:
    """A reply to the question with these octets behind it."""
    return asked[:2] + struct.pack("!5H", flags, 1, answers, 0, additionals) + question_of(asked) + records


def a_record(owner: bytes, address: bytes = b"\xcb\x00\x71\x42", *, ttl: int = 60, length: int | None = None) -> bytes:
    """An A record, by default with LIE, with an owner name in wire form."""
    return owner + struct.pack("!HHIH", 1, 1, ttl, len(address) if length is None else length) + address


def _at(asked: bytes) -> int:
    """The offset of the first octet behind the question."""
    return HEADER + len(question_of(asked))


def _pointer(offset: int) -> bytes:
    return struct.pack("!H", 0xC000 | offset)


def _loop(asked: bytes) -> bytes:
    """An owner name that is a pointer to itself."""
    return raw_reply(asked, a_record(_pointer(_at(asked))))


def _loop_of_two(asked: bytes) -> bytes:
    """An owner name of one label and a pointer back to the label."""
    return raw_reply(asked, a_record(b"\1x" + _pointer(_at(asked))))


def _forward_pointer(asked: bytes) -> bytes:
    return raw_reply(asked, a_record(_pointer(_at(asked) + 16)) + b"\0" * 16)


def _pointer_beyond_the_end(asked: bytes) -> bytes:
    return raw_reply(asked, a_record(_pointer(0x3FF0)))


def _loop_in_cname(asked: bytes) -> bytes:
    """A CNAME to a name that never ends."""
    target = _at(asked) + 12
    return raw_reply(asked, b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 2) + _pointer(target))


def _reserved_label(asked: bytes) -> bytes:
    return raw_reply(asked, a_record(b"\x85abcde\0"))


def _long_name(asked: bytes) -> bytes:
    """An owner name of 320 octets; 255 is the limit."""
    return raw_reply(asked, a_record((b"\x3f" + b"a" * 63) * 5 + b"\0"))


def _rdata_beyond_the_end(asked: bytes) -> bytes:
    return raw_reply(asked, a_record(b"\xc0\x0c", length=400))


def _short_address(asked: bytes) -> bytes:
    """An A record of three octets."""
    return raw_reply(asked, a_record(b"\xc0\x0c", b"\xcb\x00\x71"))


def _two_opts(asked: bytes) -> bytes:
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
    return raw_reply(asked, a_record(b"\xc0\x0c") + opt + opt, additionals=2)


FORGED: dict[str, Packet] = {
    "wrong id": lambda asked: bytes((asked[0] ^ 1, asked[1])) + lie(asked)[2:],
    "wrong name": partial(_other_question, change=_other_name),
    "wrong type": partial(_other_question, change=_other_type),
    "wrong class": partial(_other_question, change=_other_class),
    "no response": lambda asked: with_flags(lie(asked), clear=0x8000),
    "wrong opcode": lambda asked: with_flags(lie(asked), set_=0x2000),
    "no question": lambda asked: with_counts(lie(asked), questions=0),
    "two questions": _two_questions,
    "question reflected": lambda asked: asked,
}
"""Packets that do not answer the question."""

BROKEN: dict[str, Packet] = {
    "nothing": lambda asked: b"",
    "one octet": lambda asked: asked[:1],
    "eleven octets": lambda asked: honest_answer(asked)[:11],
    "header alone": lambda asked: honest_answer(asked)[:12],
    "cut in the question": lambda asked: honest_answer(asked)[:20],
    "cut in the record": lambda asked: honest_answer(asked, edns=False)[:-3],
    "cut before the record": lambda asked: honest_answer(asked, edns=False)[: _at(asked)],
    "fewer records than counted": lambda asked: with_counts(honest_answer(asked), answers=9),
    "more records than counted": lambda asked: with_counts(honest_answer(asked), answers=0),
    "octets behind the end": lambda asked: honest_answer(asked) + b"\xde\xad\xbe\xef",
    "compression loop": _loop,
    "compression loop with a label": _loop_of_two,
    "compression forwards": _forward_pointer,
    "compression beyond the end": _pointer_beyond_the_end,
    "compression loop in rdata": _loop_in_cname,
    "reserved kind of label": _reserved_label,
    "name too long": _long_name,
    "rdata beyond the end": _rdata_beyond_the_end,
    "address too short": _short_address,
    "OPT twice": _two_opts,
    "garbage": lambda asked: asked[:2] + bytes(range(7, 250)),
    "garbage behind the question": lambda asked: raw_reply(asked, bytes(range(50, 250)), answers=3),
}
"""Packets of the server that are no DNS messages."""

FAILED: dict[str, Packet] = {
    "SERVFAIL": lambda asked: raw_reply(asked, b"", answers=0, flags=0x8182),
    "REFUSED": lambda asked: raw_reply(asked, b"", answers=0, flags=0x8185),
    "NOTIMP": lambda asked: raw_reply(asked, b"", answers=0, flags=0x8184),
    "FORMERR": lambda asked: raw_reply(asked, b"", answers=0, flags=0x8181),
    "FORMERR without the question": lambda asked: asked[:2] + struct.pack("!5H", 0x8181, 0, 0, 0, 0),
}
"""Packets that say that this server has no answer."""


def always(make: Packet) -> Behaviour:
    """Reply with that and nothing else."""
    return lambda turn: turn.reply(make(turn.packet))


def then_the_truth(make: Packet, *, times: int = 1) -> Behaviour:
    """Reply with that first, and rightly a moment later: an attacker who is faster than the server."""

    def behave(turn: Turn) -> None:
        for _ in range(times):
            turn.reply(make(turn.packet))
        turn.reply(honest_answer(turn.packet))

    return behave


def from_elsewhere(server: LyingUpstream, turn: Turn) -> None:
    """A lie under the right id and question, but from other sockets, before the truth."""
    turn.reply_from(server.other_port, lie(turn.packet))
    turn.reply_from(server.other_address, lie(turn.packet))
    turn.reply(honest_answer(turn.packet), after=0.05)


def truncating(turn: Turn) -> None:
    """TC, and part of an answer that must not be taken for all of it."""
    turn.reply(with_flags(lie(turn.packet), set_=0x0200))


def first_letter(asked: bytes) -> str:
    """Of the name: lets one server do different things."""
    return name_in(asked)[:1]
