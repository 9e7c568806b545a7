"""DNS messages as octets: read the question, judge a reply, build the few answers that we give ourselves (RFC 1035)."""

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
_OPCODE = 0x78
_EDNS_DO = 0x8000

IN = 1
A, NS, CNAME, SOA, PTR, MX, AAAA, SRV, DNAME, OPT = 1, 2, 5, 6, 12, 15, 28, 33, 39, 41
IXFR, AXFR, ANY = 251, 252, 255
EDE_OPTION = 15
"""RFC 8914 section 2."""
TRACE_OPTION = 65231
"""Asks how the answer came to be, and carries that in the answer (RFC 6891 section 9: for local use)."""
MAX_SIGNED = 0x7FFFFFFF
MAX_TTL = 86400
"""Seconds that an answer is kept at most, whatever it says (RFC 8767 section 4 suggests a cap)."""

_COUNTS = struct.Struct("!4H")
_PAIR = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_LONG = struct.Struct("!I")
_POINTED = struct.Struct("!HHHIH")
_QUESTION, _NO_RECORD = 0xC00C, (0, 0, 0, 0, 0)
"""A compression pointer to the question's name, as the owner of a record of _POINTED."""
_ONE_QUESTION = b"\0\1\0\0\0\0\0\0"
"""The counts of a bare question."""
_SIZES = {A: 4, AAAA: 16}
"""Octets of data in the records of an address."""
_NAMES_IN_RDATA = {NS: 0, CNAME: 0, SOA: 0, PTR: 0, MX: 2, SRV: 6, DNAME: 0}
"""Where the name stands in the data of the types whose names may be compressed (RFC 3597 section 4), or are anyway."""


class Rcode(IntEnum):
    """RFC 1035 section 4.1.1, RFC 6891 section 9."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


# As plain numbers: to look a member up by its class takes longer than all the rest of a comparison.
_NXDOMAIN = 3
_CACHEABLE = (0, _NXDOMAIN)


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
        return bool(self.ttl & _EDNS_DO)

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
    if packet[2] & _OPCODE:
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
        qtype, qclass = _PAIR.unpack_from(packet, at)
        # The length octets are 63 at most and so no capital letters; type and class are left out, they may look like
        # some.
        octets = packet[HEADER:at].lower()
        key = packet[2:]
        edns = None
        is_bare = packet[4:HEADER] == _ONE_QUESTION and at + 4 == len(packet)
        if not is_bare:
            questions, answers, authorities, additionals = _COUNTS.unpack_from(packet, 4)
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
    end = 0
    size = 1
    while length := packet[at]:
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | packet[at + 1]
            end = end or at + 2
            if target >= begin or target < HEADER:
                raise ValueError("a compression pointer that does not point back")
            begin = at = target
        elif length > 63:
            raise ValueError("a label of an unknown type")
        else:
            at += length + 1
            size += length + 1
            if size > 255:
                raise ValueError("a name of more than 255 octets")
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
        rtype, rclass, ttl, length = _RECORD.unpack_from(packet, behind)
        data = behind + _RECORD.size
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
        code, length = _PAIR.unpack_from(options, at)
        found.append((code, options[at + 4 : at + 4 + length]))
        at += 4 + length
    if at != len(options):
        raise ValueError("EDNS options that do not fill their place")
    return found


def option(code: int, content: bytes) -> bytes:
    """One EDNS option as octets."""
    return _PAIR.pack(code, len(content)) + content


def ede_option(ede: Ede, text: str) -> bytes:
    """An extended error with its text for people."""
    return option(EDE_OPTION, ede.to_bytes(2, "big") + text.encode()[:120])


def is_reply_to(reply: bytes, asked: bytes, question_end: int) -> bool:
    """Whether `reply` (with its id) answers `asked` (without): a response, with the same question octet for octet.

    The case of the letters counts (RFC 5452 section 9.1 asks for the question; resolvers echo it unchanged).
    """
    return (
        len(reply) >= question_end
        and reply[2] & (QR | _OPCODE) == QR
        and reply[4:6] == b"\0\1"
        and reply[HEADER:question_end] == asked[HEADER - 2 : question_end - 2]
    )


def differs_in_case(reply: bytes, asked: bytes, question_end: int) -> bool:
    """Whether only the case of the question's letters keeps `reply` from being one (as `is_reply_to` takes them)."""
    lower = reply[:HEADER] + reply[HEADER:question_end].lower()
    return is_reply_to(lower, asked[: HEADER - 2] + asked[HEADER - 2 : question_end - 2].lower(), question_end)


def is_bare_failure(reply: bytes) -> bool:
    """Whether `reply` is a header alone with FORMERR or NOTIMP: how old servers answer a question with OPT."""
    is_bare = len(reply) == HEADER and reply[2] & (QR | _OPCODE) == QR and reply[4:6] == b"\0\0"
    return is_bare and reply[3] & 0x0F in (Rcode.FORMERR, Rcode.NOTIMP)


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


def is_truncated(reply: bytes) -> bool:
    return bool(reply[2] & TC)


class Digest(NamedTuple):
    """A server's reply, read once: what of it goes to clients, and for how long it holds."""

    body: bytes
    """The reply without its id and without OPT, which is hop by hop."""
    ttl_offsets: tuple[int, ...]
    """Where the records' TTLs stand in `body`."""
    lifetime: int
    """Seconds for which it may be kept: the lowest TTL, for a negative answer by the SOA; 0 where it may not."""
    rcode: int
    """With the upper bits that OPT holds."""
    has_opt: bool
    edes: bytes
    """The extended errors among OPT's options, as options."""


def digest(reply: bytes, question_end: int) -> Digest:
    """Read a reply to a question that ends at `question_end`. Raises ValueError on nonsense.

    Negative answers: RFC 2308 sections 2 and 5. A TTL with its highest bit set is 0 (RFC 2181 section 8).
    """
    try:
        _, answers, authorities, additionals = _COUNTS.unpack_from(reply, 4)
        qtype = _PAIR.unpack_from(reply, question_end - 4)[0]
        at, size, offsets, lifetime, soa = question_end, len(reply), [], MAX_TTL, 0
        is_positive, opt_at, opt_end, opt_ttl, edes = False, 0, 0, 0, b""
        for index in range(answers + authorities + additionals):
            begin = at
            owner, rtype, _, ttl, length = _POINTED.unpack_from(reply, at) if at + 12 <= size else _NO_RECORD
            if owner == _QUESTION:  # most owners point to the question, which has been read
                at += 2
            else:
                at = skip_name(reply, at)
                rtype, _, ttl, length = _RECORD.unpack_from(reply, at)
            data = at + 10
            end = data + length
            if end > size:
                raise ValueError("a record beyond the end")
            if rtype == OPT and index >= answers + authorities:
                if opt_end or at != begin + 1:
                    raise ValueError("OPT twice, or with a name (RFC 6891 6.1.1)")
                opt_at, opt_end, opt_ttl = begin, end, ttl
                if length:
                    found = options_of(reply[data:end])
                    edes = b"".join(option(c, content) for c, content in found if c == EDE_OPTION)
            else:
                offsets.append(at + 2)  # 4 behind the name, less the id
                if ttl < lifetime or ttl > MAX_SIGNED:
                    lifetime = 0 if ttl > MAX_SIGNED else ttl
                if index < answers and (rtype == qtype or qtype == ANY):
                    is_positive = True
                if rtype in _SIZES:
                    if length != _SIZES[rtype]:
                        raise ValueError("an address of another size")
                elif rtype in _NAMES_IN_RDATA:
                    behind = skip_name(reply, data + _NAMES_IN_RDATA[rtype])
                    if rtype == SOA:
                        behind = skip_name(reply, behind) + 20
                        if answers <= index < answers + authorities and behind == end:
                            soa = 1 + min(_LONG.unpack_from(reply, end - 4)[0], MAX_TTL)
                    if behind != end:
                        raise ValueError("a name that does not fill its record")
            at = end
    except (IndexError, struct.error) as error:
        raise ValueError("records beyond the end") from error
    if at != size:
        raise ValueError("octets behind the last record")
    if opt_end and opt_end != at:  # pointers behind OPT may point over it
        return digest(_without_opt_in_the_middle(reply, question_end), question_end)
    rcode = reply[3] & 0x0F | (opt_ttl >> 24) << 4
    if not is_positive or rcode == _NXDOMAIN:
        lifetime = min(lifetime, soa - 1) if soa else 0
    if reply[2] & TC or rcode not in _CACHEABLE:
        lifetime = 0
    body = reply[2:10] + (additionals - 1).to_bytes(2, "big") + reply[HEADER:opt_at] if opt_end else reply[2:at]
    return Digest(body, tuple(offsets), lifetime, rcode, opt_end > 0, edes)


def _without_opt_in_the_middle(reply: bytes, question_end: int) -> bytes:
    """The same reply with OPT at its end, and no name compressed."""
    records, opts = uncompressed_records(reply, question_end)
    return reply[:question_end] + b"".join(records) + opts


def uncompressed_records(reply: bytes, question_end: int) -> tuple[list[bytes], bytes]:
    """All records behind the question, each good for any place in a message; and OPT. For replies that were digested.

    Names that may be compressed are written out, in the owner and in the data.
    """
    _, *counts = _COUNTS.unpack_from(reply, 4)
    records, opt, at = [], b"", question_end
    for _ in range(sum(counts)):
        owner, behind = expand_name(reply, at)
        rtype, rclass, ttl, length = _RECORD.unpack_from(reply, behind)
        data = behind + _RECORD.size
        end = data + length
        if rtype == OPT:
            opt = reply[at:end]
        else:
            content = reply[data:end]
            if rtype in _NAMES_IN_RDATA:
                first = data + _NAMES_IN_RDATA[rtype]
                name, rest = expand_name(reply, first)
                if rtype == SOA:
                    second, rest = expand_name(reply, rest)
                    name += second
                content = reply[data:first] + name + reply[rest:end]
            records.append(owner + _RECORD.pack(rtype, rclass, ttl, len(content)) + content)
        at = end
    return records, opt


def aged(body: bytes, ttl_offsets: tuple[int, ...], seconds: int) -> bytes:
    """The body with every TTL lowered, to 0 at least."""
    octets = bytearray(body)
    for offset in ttl_offsets:
        left = _LONG.unpack_from(octets, offset)[0] - seconds
        _LONG.pack_into(octets, offset, left if left > 0 else 0)
    return bytes(octets)


def with_ttl(body: bytes, ttl_offsets: tuple[int, ...], seconds: int) -> bytes:
    """The body with every TTL set."""
    octets = bytearray(body)
    for offset in ttl_offsets:
        _LONG.pack_into(octets, offset, seconds)
    return bytes(octets)


def with_question(body: bytes, key: bytes) -> bytes:
    """The body with the question as `Query.key` spells it."""
    return body[:10] + key[10:] + body[len(key) :]


def addresses(body: bytes, ttl_offsets: tuple[int, ...]) -> list[bytes]:
    """The data of all A and AAAA records, 4 or 16 octets each."""
    found = []
    for offset in ttl_offsets:
        rtype, length = _PAIR.unpack_from(body, offset - 4)[0], int.from_bytes(body[offset + 4 : offset + 6], "big")
        if (rtype, length) in ((A, 4), (AAAA, 16)):
            found.append(body[offset + 6 : offset + 6 + length])
    return found


def answer_of(body: bytes, packet: bytes, query: Query, options: bytes = b"") -> bytes:
    """The answer to a client's `packet`: its id, its spelling of the question, and OPT if it sent one."""
    question_end = query.question_end
    question_and_records = packet[HEADER:question_end] + body[question_end - 2 :]
    if query.edns is None:
        return packet[:2] + body[:10] + question_and_records
    additionals = int.from_bytes(body[8:10], "big") + 1
    opt = _opt(_EDNS_DO if query.edns.dnssec_ok else 0, options)
    return b"".join((packet[:2], body[:8], additionals.to_bytes(2, "big"), question_and_records, opt))


def alias_body(body: bytes, name: bytes) -> bytes:
    """A reply's body about an alias's target as one about the alias `name`: it begins with the CNAME that says so.

    The CNAME lives as long as the first record does.
    """
    reply = b"\0\0" + body
    target, behind = expand_name(reply, HEADER)
    records, _ = uncompressed_records(reply, behind + 4)
    counts = list(_COUNTS.unpack_from(reply, 4))
    counts[1] += 1
    ttl = _RECORD.unpack_from(records[0], skip_name(records[0], 0))[2] if records else 0
    cname = b"\xc0\x0c" + _RECORD.pack(CNAME, IN, ttl, len(target)) + target
    return b"".join((body[:2], _COUNTS.pack(*counts), name, reply[behind : behind + 4], cname, *records))


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
            additional = _opt((_EDNS_DO if query.edns.dnssec_ok else 0) | (rcode >> 4) << 24, options)
    flags = bytes((QR | (packet[2] & (_OPCODE | RD)), RA | (packet[3] & CD) | (rcode & 0x0F)))
    counts = _COUNTS.pack(1 if question else 0, len(records), 0, 1 if additional else 0)
    return b"".join((packet[:2], flags, counts, question, *records, additional))


def address_record(packed: bytes) -> bytes:
    """An A or AAAA record (4 or 16 octets of address) for the name of the question, never to be cached."""
    rtype = A if len(packed) == 4 else AAAA
    return b"\xc0\x0c" + _RECORD.pack(rtype, IN, 0, len(packed)) + packed


def _opt(ttl: int, options: bytes = b"", payload: int = OUR_UDP_PAYLOAD) -> bytes:
    return b"\0" + _RECORD.pack(OPT, payload, ttl, len(options)) + options


_OUR_OPT, _OUR_OPT_DO = _opt(0), _opt(_EDNS_DO)


def truncate(reply: bytes, query: Query, options: bytes = b"") -> bytes:
    """What of a reply fits any client: header with TC, question, and OPT if the client sent one (RFC 6891 section 7).

    Records are left out altogether: part of a set would only tempt a client to use it (RFC 2181 section 9).
    """
    additional = b""
    if query.edns is not None:
        additional = _opt(_EDNS_DO if query.edns.dnssec_ok else 0, options)
    header = reply[:2] + bytes((reply[2] | TC, reply[3])) + _COUNTS.pack(1, 0, 0, 1 if additional else 0)
    return header + reply[HEADER : query.question_end] + additional


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


def labels_in(octets: bytes) -> int:
    """How many labels a name has, the root's not counted."""
    count = at = 0
    while length := octets[at]:
        count += 1
        at += length + 1
    return count


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
