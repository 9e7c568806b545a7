"""DNS messages as octets: read the question, judge a reply, build the few answers that we give ourselves (RFC 1035)."""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

HEADER = 12
"""Octets of the header (RFC 1035 section 4.1.1)."""
MAX_MESSAGE = 65535
"""Octets in one message over TCP: its length is a 16-bit number (RFC 1035 section 4.2.2)."""
PLAIN_UDP_LIMIT = 512
"""Octets that a client without OPT takes over UDP (RFC 1035 section 4.2.1)."""
MAX_UDP_PAYLOAD = 65507
"""Octets in one IPv4 datagram; a larger one cannot be sent whatever the client says."""
OUR_UDP_PAYLOAD = 1232
"""The buffer size that our own OPT records announce: what passes every link unfragmented (dnsflagday.net/2020)."""

QR, TC = 0x80, 0x02
"""Bits of the header's third octet."""
_OPCODE, _OPCODE_AND_RD = 0x78, 0x79
_RA, _CD = 0x80, 0x10
_EDNS_DO = 0x8000

IN = 1
A, AAAA, OPT, IXFR, AXFR, ANY = 1, 28, 41, 251, 252, 255
EDE_OPTION = 15
"""RFC 8914 section 2."""

_COUNTS = struct.Struct("!4H")
_PAIR = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")


class Rcode(IntEnum):
    """RFC 1035 section 4.1.1."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


class Ede(IntEnum):
    """Extended DNS errors (RFC 8914 section 4), those that we give."""

    OTHER = 0
    PROHIBITED = 18
    NO_REACHABLE_AUTHORITY = 22
    NETWORK_ERROR = 23


# Named tuples and not dataclasses below: one of each is made for every packet, and a frozen dataclass takes three
# times as long to make.


class Edns(NamedTuple):
    """The OPT pseudo-record of a message (RFC 6891 section 6.1)."""

    payload: int
    """Octets that its sender takes over UDP, as sent; below 512 means 512."""
    dnssec_ok: bool
    ttl: int
    """Extended rcode, version and flags, as sent."""


class WireName(NamedTuple):
    """A name as in the packet, lower-cased, with the places of its labels: for matching without making labels."""

    octets: bytes
    """Uncompressed, with the root's octet."""
    offsets: tuple[int, ...]
    """Where each label's length octet stands in `octets`, leftmost first; the root is not among them."""


class Query(NamedTuple):
    """What the forwarder needs to know of a question."""

    name: WireName
    qtype: int
    qclass: int
    question_end: int
    """Offset in the packet of the first octet behind the question."""
    edns: Edns | None

    @property
    def udp_limit(self) -> int:
        """Octets that the client takes over UDP."""
        if self.edns is None:
            return PLAIN_UDP_LIMIT
        return min(max(self.edns.payload, PLAIN_UDP_LIMIT), MAX_UDP_PAYLOAD)


def parse_query(packet: bytes) -> Query | Rcode | None:
    """Read a question. An Rcode is what to answer to a packet that is none; None: not even that, drop it.

    Whatever is not a request is dropped, or two forwarders would answer each other's answers for ever.
    """
    if len(packet) < HEADER or packet[2] & QR:
        return None
    if packet[2] & _OPCODE:
        return Rcode.NOTIMP
    questions, answers, authorities, additionals = _COUNTS.unpack_from(packet, 4)
    if questions != 1:
        return Rcode.FORMERR
    try:
        offsets = []
        at = HEADER
        while length := packet[at]:
            if length > 63:  # a pointer has nothing to point to yet
                return Rcode.FORMERR
            offsets.append(at - HEADER)
            at += length + 1
        at += 1
        if at - HEADER > 255:
            return Rcode.FORMERR
        qtype, qclass = _PAIR.unpack_from(packet, at)
        edns = _find_opt(packet, at + 4, answers + authorities, additionals)
    except (IndexError, ValueError, struct.error):
        return Rcode.FORMERR
    # The length octets are 63 at most and so no capital letters; type and class are left out, they may look like some.
    return Query(WireName(packet[HEADER:at].lower(), tuple(offsets)), qtype, qclass, at + 4, edns)


def skip_name(packet: bytes, offset: int) -> int:
    """The offset behind the name at `offset`, compressed or not. Raises IndexError and ValueError on nonsense."""
    while length := packet[offset]:
        if length >= 0xC0:
            return offset + 2
        if length > 63:
            raise ValueError("a label of an unknown type")
        offset += length + 1
    return offset + 1


def _find_opt(packet: bytes, offset: int, before: int, additionals: int) -> Edns | None:
    """Walk all records to the packet's very end. Raises IndexError, ValueError or struct.error if that fails."""
    edns = None
    for index in range(before + additionals):
        behind = skip_name(packet, offset)
        rtype, rclass, ttl, length = _RECORD.unpack_from(packet, behind)
        if rtype == OPT:
            if edns is not None or index < before or behind != offset + 1:
                raise ValueError("OPT twice, outside of the additional section, or with a name (RFC 6891 6.1.1)")
            edns = Edns(rclass, bool(ttl & _EDNS_DO), ttl)
        offset = behind + _RECORD.size + length
    if offset != len(packet):
        raise ValueError("records beyond the end, or octets behind the last record")
    return edns


def is_reply_to(reply: bytes, asked: bytes, question_end: int) -> bool:
    """Whether `reply` answers the packet `asked`: a response, same id, and the same question octet for octet.

    The case of the letters counts (RFC 5452 section 9.1 asks for the question; resolvers echo it unchanged).
    """
    return (
        len(reply) >= question_end
        and reply[:2] == asked[:2]
        and reply[2] & (QR | _OPCODE) == QR
        and reply[4:6] == b"\0\1"
        and reply[HEADER:question_end] == asked[HEADER:question_end]
    )


def with_id(packet: bytes, ident: bytes) -> bytes:
    """The packet under another id (two octets)."""
    return ident + packet[2:]


def is_truncated(reply: bytes) -> bool:
    return bool(reply[2] & TC)


def rcode_of(reply: bytes) -> int:
    """The four bits in the header; the eight more in OPT do not matter to a forwarder."""
    return reply[3] & 0x0F


def local_reply(
    packet: bytes,
    query: Query | None,
    rcode: Rcode,
    *,
    records: Sequence[bytes] = (),
    ede: Ede | None = None,
    text: str = "",
) -> bytes:
    """An answer of our own to `packet`. Without a `query` (the packet was malformed) it is only a header.

    OPT is there if the client sent one, and only then the extended error with its text. Negative answers carry no SOA,
    so nobody caches them (RFC 2308 section 5).
    """
    question, additional = b"", b""
    if query is not None:
        question = packet[HEADER : query.question_end]
        if query.edns is not None:
            option = b""
            if ede is not None:
                info = ede.to_bytes(2, "big") + text.encode()[:120]
                option = _PAIR.pack(EDE_OPTION, len(info)) + info
            additional = _opt(_EDNS_DO if query.edns.dnssec_ok else 0, option)
    flags = bytes((QR | (packet[2] & _OPCODE_AND_RD), _RA | (packet[3] & _CD) | rcode))
    counts = _COUNTS.pack(1 if question else 0, len(records), 0, 1 if additional else 0)
    return b"".join((packet[:2], flags, counts, question, *records, additional))


def address_record(packed: bytes) -> bytes:
    """An A or AAAA record (4 or 16 octets of address) for the name of the question, never to be cached."""
    rtype = A if len(packed) == 4 else AAAA
    return b"\xc0\x0c" + _RECORD.pack(rtype, IN, 0, len(packed)) + packed


def _opt(ttl: int, options: bytes = b"", payload: int = OUR_UDP_PAYLOAD) -> bytes:
    return b"\0" + _RECORD.pack(OPT, payload, ttl, len(options)) + options


def truncate(reply: bytes, query: Query) -> bytes:
    """What of a reply fits any client: header with TC, question, and OPT if the client sent one (RFC 6891 section 7).

    Records are left out altogether: part of a set would only tempt a client to use it (RFC 2181 section 9).
    """
    additional = b""
    if query.edns is not None:
        _, answers, authorities, additionals = _COUNTS.unpack_from(reply, 4)
        try:
            edns = _find_opt(reply, query.question_end, answers + authorities, additionals)
        except (IndexError, ValueError, struct.error):
            edns = None  # the records were nonsense: the client will see for itself over TCP
        additional = _opt(edns.ttl, payload=edns.payload) if edns is not None else _opt(0)
    header = reply[:2] + bytes((reply[2] | TC, reply[3])) + _COUNTS.pack(1, 0, 0, 1 if additional else 0)
    return header + reply[HEADER : query.question_end] + additional


class StreamReader:
    """Cuts a TCP stream into messages, each behind its two octets of length (RFC 7766 section 8)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def take(self) -> bytes | None:
        """The next whole message, or None. Whoever feeds no more until this gives None holds one message at most."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        end = 2 + int.from_bytes(buffer[:2], "big")
        if len(buffer) < end:
            return None
        message = bytes(buffer[2:end])
        del buffer[:end]
        return message


def frame(message: bytes) -> bytes:
    """A message with its length before it."""
    return len(message).to_bytes(2, "big") + message
