"""What a server said: whether it answers the question, what it is good for, and how it goes on to clients."""

import struct
from collections.abc import Iterable
from typing import NamedTuple

from devlink.dns.wire import (
    AAAA,
    ANY,
    CNAME,
    COUNTS,
    DNAME,
    EDE_OPTION,
    EDNS_DO,
    HEADER,
    HTTPS,
    IN,
    MX,
    NS,
    OPCODE,
    OPT,
    PAIR,
    PTR,
    QR,
    RA,
    RECORD,
    SOA,
    SRV,
    SVCB,
    TC,
    A,
    Query,
    Rcode,
    expand_name,
    opt_record,
    option,
    options_of,
    skip_name,
)  # fmt: skip

MAX_SIGNED = 0x7FFFFFFF
MAX_TTL = 86400
"""Seconds that an answer is kept at most, whatever it says (RFC 8767 section 4 suggests a cap)."""
MAX_EDE = 80
"""Octets of a server's extended error that go on to clients."""
_LONG = struct.Struct("!I")
_POINTED = struct.Struct("!HHHIH")
_QUESTION, _NO_RECORD = 0xC00C, (0, 0, 0, 0, 0)
"""A compression pointer to the question's name, as the owner of a record of _POINTED."""
_SIZES = {A: 4, AAAA: 16}
"""Octets of data in the records of an address."""
_NAMES_IN_RDATA = {NS: 0, CNAME: 0, SOA: 0, PTR: 0, MX: 2, SRV: 6, DNAME: 0}
"""Where the name stands in the data of the types whose names may be compressed (RFC 3597 section 4), or are anyway."""
# As plain numbers: to look a member up by its class takes longer than all the rest of a comparison.
_NXDOMAIN = 3
_CACHEABLE = (0, _NXDOMAIN)


def is_reply_to(reply: bytes, asked: bytes, question_end: int) -> bool:
    """Whether `reply` (with its id) answers `asked` (without): a response, with the same question octet for octet.

    The case of the letters counts (RFC 5452 section 9.1 asks for the question; resolvers echo it unchanged).
    """
    return (
        len(reply) >= question_end
        and reply[2] & (QR | OPCODE) == QR
        and reply[4:6] == b"\0\1"
        and reply[HEADER:question_end] == asked[HEADER - 2 : question_end - 2]
    )


def differs_in_case(reply: bytes, asked: bytes, question_end: int) -> bool:
    """Whether only the case of the question's letters keeps `reply` from being one (as `is_reply_to` takes them)."""
    lower = reply[:HEADER] + reply[HEADER:question_end].lower()
    return is_reply_to(lower, asked[: HEADER - 2] + asked[HEADER - 2 : question_end - 2].lower(), question_end)


def is_bare_failure(reply: bytes) -> bool:
    """Whether `reply` is a header alone with FORMERR or NOTIMP: how old servers answer a question with OPT."""
    is_bare = len(reply) == HEADER and reply[2] & (QR | OPCODE) == QR and reply[4:6] == b"\0\0"
    return is_bare and reply[3] & 0x0F in (Rcode.FORMERR, Rcode.NOTIMP)


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
        _, answers, authorities, additionals = COUNTS.unpack_from(reply, 4)
        qtype = PAIR.unpack_from(reply, question_end - 4)[0]
        at, size, offsets, lifetime, soa = question_end, len(reply), [], MAX_TTL, 0
        is_positive, opt_at, opt_end, opt_ttl, edes = False, 0, 0, 0, b""
        for index in range(answers + authorities + additionals):
            begin = at
            owner, rtype, _, ttl, length = _POINTED.unpack_from(reply, at) if at + 12 <= size else _NO_RECORD
            if owner == _QUESTION:  # most owners point to the question, which has been read
                at += 2
            else:
                at = skip_name(reply, at)
                rtype, _, ttl, length = RECORD.unpack_from(reply, at)
            data = at + 10
            end = data + length
            if end > size:
                raise ValueError("a record beyond the end")
            if rtype == OPT:
                if opt_end or at != begin + 1 or index < answers + authorities:
                    raise ValueError("OPT twice, outside of the additional section, or with a name (RFC 6891 6.1.1)")
                opt_at, opt_end, opt_ttl = begin, end, ttl
                if length:
                    found = options_of(reply[data:end])
                    edes = _cut(content for code, content in found if code == EDE_OPTION)
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
    if not body[1] & RA:  # we do look up what we are asked; else an answer without AA and records passes for a referral
        body = body[:1] + bytes((body[1] | RA,)) + body[2:]
    return Digest(body, tuple(offsets), lifetime, rcode, opt_end > 0, edes)


def _without_opt_in_the_middle(reply: bytes, question_end: int) -> bytes:
    """The same reply with OPT at its end, and no name compressed."""
    records, opts = uncompressed_records(reply, question_end)
    return reply[:question_end] + b"".join(records) + opts


def _cut(edes: Iterable[bytes]) -> bytes:
    """Extended errors as options, none with too long a text, and no more than fit any answer."""
    options = b""
    for ede in edes:
        added = option(EDE_OPTION, ede[:2] + ede[2:MAX_EDE].decode("utf-8", "ignore").encode())
        if len(ede) >= 2 and len(options) + len(added) <= 2 * MAX_EDE:
            options += added
    return options


def uncompressed_records(reply: bytes, question_end: int) -> tuple[list[bytes], bytes]:
    """All records behind the question, each good for any place in a message; and OPT. For replies that were digested.

    Names that may be compressed are written out, in the owner and in the data.
    """
    _, *counts = COUNTS.unpack_from(reply, 4)
    records, opt, at = [], b"", question_end
    for _ in range(sum(counts)):
        owner, behind = expand_name(reply, at)
        rtype, rclass, ttl, length = RECORD.unpack_from(reply, behind)
        data = behind + RECORD.size
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
            records.append(owner + RECORD.pack(rtype, rclass, ttl, len(content)) + content)
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
    """The addresses, 4 or 16 octets each, in all A and AAAA records, and in the hints of HTTPS and SVCB (RFC 9460)."""
    found = []
    for offset in ttl_offsets:
        rtype = PAIR.unpack_from(body, offset - 4)[0]
        data = body[offset + 6 : offset + 6 + int.from_bytes(body[offset + 4 : offset + 6], "big")]
        if rtype in _SIZES:
            found.append(data)
        elif rtype in (SVCB, HTTPS):
            found += _hints(data)
    return found


def _hints(data: bytes) -> list[bytes]:
    """The addresses among the parameters of a service binding; those of a malformed one as far as they can be read."""
    found: list[bytes] = []
    try:
        at = skip_name(bytes(HEADER) + data, HEADER + 2) - HEADER
        while at + 4 <= len(data):
            key, length = PAIR.unpack_from(data, at)
            value = data[at + 4 : at + 4 + length]
            size = {4: 4, 6: 16}.get(key)
            if size is not None:
                found += [value[i : i + size] for i in range(0, len(value) - size + 1, size)]
            at += 4 + length
    except (IndexError, ValueError):
        pass  # no program can read it either
    return found


def answer_of(body: bytes, packet: bytes, query: Query, options: bytes = b"") -> bytes:
    """The answer to a client's `packet`: its id, its spelling of the question, and OPT if it sent one."""
    question_end = query.question_end
    question_and_records = packet[HEADER:question_end] + body[question_end - 2 :]
    if query.edns is None:
        return packet[:2] + body[:10] + question_and_records
    additionals = int.from_bytes(body[8:10], "big") + 1
    opt = opt_record(EDNS_DO if query.edns.dnssec_ok else 0, options)
    return b"".join((packet[:2], body[:8], additionals.to_bytes(2, "big"), question_and_records, opt))


def alias_body(body: bytes, name: bytes) -> bytes:
    """A reply's body about an alias's target as one about the alias `name`: it begins with the CNAME that says so.

    The CNAME lives as long as the first record does.
    """
    reply = b"\0\0" + body
    target, behind = expand_name(reply, HEADER)
    records, _ = uncompressed_records(reply, behind + 4)
    counts = list(COUNTS.unpack_from(reply, 4))
    counts[1] += 1
    ttl = RECORD.unpack_from(records[0], skip_name(records[0], 0))[2] if records else 0
    cname = b"\xc0\x0c" + RECORD.pack(CNAME, IN, ttl, len(target)) + target
    return b"".join((body[:2], COUNTS.pack(*counts), name, reply[behind : behind + 4], cname, *records))


def truncate(reply: bytes, query: Query, options: bytes = b"") -> bytes:
    """What of a reply fits any client: header with TC, question, and OPT if the client sent one (RFC 6891 section 7).

    Records are left out altogether: part of a set would only tempt a client to use it (RFC 2181 section 9).
    """
    additional = b""
    if query.edns is not None:
        additional = opt_record(EDNS_DO if query.edns.dnssec_ok else 0, options)
    header = reply[:2] + bytes((reply[2] | TC, reply[3])) + COUNTS.pack(1, 0, 0, 1 if additional else 0)
    return header + reply[HEADER : query.question_end] + additional
