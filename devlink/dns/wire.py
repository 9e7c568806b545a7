"""DNS messages as octets: names, OPT, a client's question, the answers that we give ourselves (RFC 1035, RFC 6891)."""

import struct
from collections.abc import Callable, Sequence
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

QR, AA, TC, RD = 0x80, 0x04, 0x02, 0x01
"""Bits of the header's third octet."""
RA, AD, CD = 0x80, 0x20, 0x10
"""Bits of the header's fourth octet."""
OPCODE = 0x78
"""Of the third as well."""
EDNS_DO = 0x8000
"""In what is the TTL of other records (RFC 6891 section 6.1.4)."""

IN = 1
A, NS, CNAME, SOA, PTR, MX, AAAA, SRV, DNAME, OPT = 1, 2, 5, 6, 12, 15, 28, 33, 39, 41
SVCB, HTTPS = 64, 65
IXFR, AXFR, ANY = 251, 252, 255
EDE_OPTION = 15
"""RFC 8914 section 2."""
TRACE_OPTION = 65231
"""Asks how the answer came to be, and carries that in the answer (RFC 6891 section 9: for local use)."""

COUNTS = struct.Struct("!4H")
PAIR = struct.Struct("!HH")
RECORD = struct.Struct("!HHIH")
"""The counts of a header; two numbers; a record behind its owner: type, class, TTL, octets of data."""
_ONE_QUESTION = b"\0\1\0\0\0\0\0\0"
"""The counts of a bare question."""


class Rcode(IntEnum):
    """RFC 1035 section 4.1.1, RFC 6891 section 9."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class Ede(IntEnum):
    """Extended DNS errors (RFC 8914 section 4), those that we give."""

    OTHER = 0
    STALE_ANSWER = 3
    BLOCKED = 15
    PROHIBITED = 18
    NO_REACHABLE_AUTHORITY = 22
    NETWORK_ERROR = 23


# Named tuples and not dataclasses below: one of each is made for every packet, and a frozen dataclass takes three
# times as long to make.


class Edns(NamedTuple):
    """The OPT pseudo-record of a message (RFC 6891 section 6.1)."""

    payload: int
    """Octets that its sender takes over UDP, as sent; below 512 means 512."""
    ttl: int
    """Extended rcode, version and flags, as sent."""
    options: bytes
    """All of them, as sent."""

    @property
    def dnssec_ok(self) -> bool:
        return bool(self.ttl & EDNS_DO)

    @property
    def version(self) -> int:
        return self.ttl >> 16 & 0xFF


class Query(NamedTuple):
    """What the forwarder needs to know of a question."""

    octets: bytes
    """The name as in the packet, lower-cased, with the root's octet."""
    offsets: tuple[int, ...]
    """Where each label's length octet stands in `octets`, leftmost first; the root is not among them."""
    qtype: int
    qclass: int
    question_end: int
    """Offset in the packet of the first octet behind the question."""
    key: bytes
    """What is asked, apart from id, spelling and OPT: the packet that asks it in the plainest form, without its id.
    So the commonest packets (libc's) are found in the cache as they come, by one look-up."""
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
    if packet[2] & OPCODE:
        return Rcode.NOTIMP
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
        qtype, qclass = PAIR.unpack_from(packet, at)
        # The length octets are 63 at most and so no capital letters; type and class are left out, they may look like
        # some.
        octets = packet[HEADER:at].lower()
        key = packet[2:]
        edns = None
        is_bare = packet[4:HEADER] == _ONE_QUESTION and at + 4 == len(packet)
        if not is_bare:
            questions, answers, authorities, additionals = COUNTS.unpack_from(packet, 4)
            if questions != 1:
                return Rcode.FORMERR
            edns = _find_opt(packet, at + 4, answers + authorities, additionals)
    except (IndexError, ValueError, struct.error):
        return Rcode.FORMERR
    if not is_bare or packet[3] or packet[2] & ~RD or key[10 : at - 2] != octets:
        key = question_key(packet[2] & RD, packet[3] & (AD | CD), octets, packet[at : at + 4])
    return Query(octets, tuple(offsets), qtype, qclass, at + 4, key, edns)


def question_key(third: int, fourth: int, octets: bytes, type_and_class: bytes) -> bytes:
    """`Query.key` of a question: the octets of its flags, its name, and its type and class as they are sent."""
    return bytes((third, fourth)) + _ONE_QUESTION + octets + type_and_class


def question_for_server(key: bytes, edns: bool, dnssec_ok: bool) -> bytes:
    """The packet, without its id, that asks a server what `Query.key` describes. OPT is ours: it is hop by hop."""
    if not edns:
        return key
    return key[:8] + b"\0\1" + key[10:] + (_OUR_OPT_DO if dnssec_ok else _OUR_OPT)


def skip_name(packet: bytes, offset: int) -> int:
    """The offset behind the name at `offset`, compressed or not.

    Raises IndexError and ValueError on nonsense: what it points to is read as well, always further to the front.
    """
    begin = at = offset
    limit = len(packet)
    end = 0
    size = 1
    while length := packet[at]:
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | packet[at + 1]
            end = end or at + 2
            if target >= begin or target < HEADER:
                raise ValueError("a compression pointer that does not point back")
            limit = begin  # what it points to ends before, or it would read on in what comes behind
            begin = at = target
        elif length > 63:
            raise ValueError("a label of an unknown type")
        else:
            at += length + 1
            size += length + 1
            if size > 255 or at >= limit:
                raise ValueError("a name of more than 255 octets, or beyond its end")
    return end or at + 1


def expand_name(packet: bytes, offset: int) -> tuple[bytes, int]:
    """The name at `offset` without compression, and the offset behind it. Raises as `skip_name` does."""
    end = skip_name(packet, offset)
    octets = bytearray()
    while length := packet[offset]:
        if length >= 0xC0:
            offset = (length & 0x3F) << 8 | packet[offset + 1]
        else:
            octets += packet[offset : offset + length + 1]
            offset += length + 1
    return bytes(octets) + b"\0", end


def _find_opt(packet: bytes, offset: int, before: int, additionals: int) -> Edns | None:
    """Walk all records to the packet's very end. Raises IndexError, ValueError or struct.error if that fails."""
    edns = None
    for index in range(before + additionals):
        behind = skip_name(packet, offset)
        rtype, rclass, ttl, length = RECORD.unpack_from(packet, behind)
        data = behind + RECORD.size
        if rtype == OPT:
            if edns is not None or index < before or behind != offset + 1:
                raise ValueError("OPT twice, outside of the additional section, or with a name (RFC 6891 6.1.1)")
            edns = Edns(rclass, ttl, packet[data : data + length])
            if length:
                options_of(edns.options)  # their lengths must fit
        offset = data + length
    if offset != len(packet):
        raise ValueError("records beyond the end, or octets behind the last record")
    return edns


def options_of(options: bytes) -> list[tuple[int, bytes]]:
    """Code and content of each EDNS option (RFC 6891 section 6.1.2). Raises ValueError where they do not fit."""
    found = []
    at = 0
    while at + 4 <= len(options):
        code, length = PAIR.unpack_from(options, at)
        found.append((code, options[at + 4 : at + 4 + length]))
        at += 4 + length
    if at != len(options):
        raise ValueError("EDNS options that do not fill their place")
    return found


def option(code: int, content: bytes) -> bytes:
    """One EDNS option as octets."""
    return PAIR.pack(code, len(content)) + content


def ede_option(ede: Ede, text: str) -> bytes:
    """An extended error with its text for people."""
    return option(EDE_OPTION, ede.to_bytes(2, "big") + text.encode()[:120])


def with_random_case(asked: bytes, question_end: int, entropy: Callable[[int], bytes]) -> bytes:
    """The packet (without its id) with letters in upper case by chance: the reply must repeat them (0x20 bits).

    `question_end`: offset behind its question. `entropy(n)` gives n unpredictable octets.
    """
    begin, end = HEADER - 2, question_end - 4
    chances = entropy(end - begin)
    mixed = bytes(
        octet - 0x20 if 0x61 <= octet <= 0x7A and chance & 1 else octet
        for octet, chance in zip(asked[begin:end], chances, strict=True)
    )
    return asked[:begin] + mixed + asked[end:]


def local_reply(
    packet: bytes,
    query: Query | None,
    rcode: Rcode,
    *,
    records: Sequence[bytes] = (),
    options: bytes = b"",
) -> bytes:
    """An answer of our own to `packet`. Without a `query` (the packet was malformed) it is only a header.

    OPT is there if the client sent one, and only then the options. Negative answers carry no SOA, so nobody caches them
    (RFC 2308 section 5).
    """
    question, additional = b"", b""
    if query is not None:
        question = packet[HEADER : query.question_end]
        if query.edns is not None:
            additional = opt_record((EDNS_DO if query.edns.dnssec_ok else 0) | (rcode >> 4) << 24, options)
    flags = bytes((QR | (packet[2] & (OPCODE | RD)), RA | (packet[3] & CD) | (rcode & 0x0F)))
    counts = COUNTS.pack(1 if question else 0, len(records), 0, 1 if additional else 0)
    return b"".join((packet[:2], flags, counts, question, *records, additional))


def address_record(packed: bytes) -> bytes:
    """An A or AAAA record (4 or 16 octets of address) for the name of the question, never to be cached."""
    rtype = A if len(packed) == 4 else AAAA
    return b"\xc0\x0c" + RECORD.pack(rtype, IN, 0, len(packed)) + packed


def opt_record(ttl: int, options: bytes = b"", payload: int = OUR_UDP_PAYLOAD) -> bytes:
    return b"\0" + RECORD.pack(OPT, payload, ttl, len(options)) + options


_OUR_OPT, _OUR_OPT_DO = opt_record(0), opt_record(EDNS_DO)


def name_of(text: str) -> bytes:
    """A domain name as octets, lower-cased, from its text. Raises ValueError where it is none."""
    labels = [label.encode("ascii") for label in text.removesuffix(".").lower().split(".")] if text != "." else []
    if any(not 1 <= len(label) <= 63 for label in labels):
        raise ValueError(f"{text!r} is no domain name")
    octets = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(octets) > 255:
        raise ValueError(f"{text!r} is too long for a domain name")
    return octets


def text_of(octets: bytes) -> str:
    """A name's presentation form with the final dot (RFC 1035 section 5.1, RFC 4343 section 2.1)."""
    parts, at = [], 0
    while length := octets[at]:
        label = octets[at + 1 : at + 1 + length]
        parts.append("".join(chr(c) if 0x21 <= c <= 0x7E and c not in b'."\\' else f"\\{c:03d}" for c in label))
        at += length + 1
    return ".".join(parts) + "."


def offsets_in(octets: bytes) -> tuple[int, ...]:
    """Where each label of a name begins, the root's left out."""
    offsets = []
    at = 0
    while length := octets[at]:
        offsets.append(at)
        at += length + 1
    return tuple(offsets)


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
