"""Real DNS messages, and what accidents and attackers make of them: a corpus for whatever reads packets."""

import random
import struct

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import dns.zone

from tests.dns.real_servers import ZOO

LABEL = b"c0000000"
"""The first label of each name that is asked in the corpus; another one of eight octets may be put in its place."""
QNAME = f"{LABEL.decode()}.corpus.test."
_OCTETS = (0, 1, 0x0C, 0x29, 0x3F, 0x40, 0x7F, 0x80, 0xBF, 0xC0, 0xC1, 0xFF)
"""Those that mean something in some place: the root, pointers, lengths, types, and their neighbours."""
_WORDS = (0, 1, 5, 41, 0x0C0C, 0x7FFF, 0x8000, 0xC000, 0xC00C, 0xC00D, 0xFFFF)
_OPTIONS: list[dns.edns.Option] = [
    dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678abcdefgh"),
    dns.edns.ECSOption("10.1.2.0", 24),
    dns.edns.EDEOption(dns.edns.EDECode.STALE_ANSWER, "old"),
    dns.edns.GenericOption("65231", b""),
]


def questions() -> list[bytes]:
    """Questions as clients send them."""
    found = []
    for qtype in ("A", "AAAA", "PTR", "SRV", "HTTPS", "ANY", "TYPE65280", "AXFR"):
        for options in ([], _OPTIONS):
            query = dns.message.make_query(QNAME, qtype, id=1)
            found.append(query.to_wire())
            query.use_edns(0, payload=1232, options=options)
            found.append(query.to_wire())
            query.want_dnssec()
            query.flags |= dns.flags.CD | dns.flags.AD
            found.append(query.to_wire())
    return found


def replies() -> list[bytes]:
    """A reply for each record set of the zoo, with compressed names in every section, and negative ones."""
    zone = dns.zone.from_text(ZOO, "zoo.test", relativize=False)
    soa = dns.rrset.from_rdata_list("corpus.test.", 60, list(zone.find_rdataset("zoo.test.", "SOA")))
    glue = [
        dns.rrset.from_text(name, 60, "IN", rtype, data)
        for name, rtype, data in (
            ("ns.zoo.test.", "A", "10.1.0.1"), (f"x.{QNAME}", "AAAA", "fd00::1"), ("ns.corpus.test.", "A", "10.1.0.9"),
        )
    ]  # fmt: skip
    found = []
    sets = [rdataset for node in zone.nodes.values() for rdataset in node.rdatasets]
    for number, rdataset in enumerate([None, *sets]):
        rtype = dns.rdatatype.A if rdataset is None else rdataset.rdtype
        reply = dns.message.make_response(dns.message.make_query(QNAME, rtype, id=1, use_edns=0))
        reply.flags |= dns.flags.RA
        reply.use_edns(0, payload=1232, options=_OPTIONS if number % 2 else [])
        if rdataset is not None:
            reply.answer.append(dns.rrset.from_rdata_list(QNAME, 60, list(rdataset)))
        else:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        reply.authority.append(soa)
        reply.additional += glue[: number % 4]
        found.append(reply.to_wire(max_size=65535))
    return found


def about(packet: bytes, label: bytes, ident: bytes) -> bytes:
    """The same message under another id, and about another name of the same length."""
    return ident + packet[2:].replace(LABEL, label)


def mutated(packet: bytes, rng: random.Random, *, keep: int = 0) -> bytes:
    """With one to four accidents behind the first `keep` octets."""
    data = bytearray(packet)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        size = len(data)
        if size <= keep:
            break
        at = rng.randrange(keep, size)
        kind = rng.randrange(9)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice(_OCTETS)
        elif kind == 2:
            data[at : at + 2] = struct.pack("!H", rng.choice(_WORDS))
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + rng.randrange(1, 16)]
        elif kind == 5:
            data[at:at] = rng.randbytes(rng.randrange(1, 16))
        elif kind == 6:
            other = rng.randrange(size)
            data[at:at] = data[other : other + rng.randrange(1, 64)]
        elif kind == 7:
            data[at : at + 2] = struct.pack("!H", 0xC000 | rng.randrange(size + 4))
        else:
            data[at : at + 4] = rng.randbytes(4)
    return bytes(data[:65535])


class _ChangesWithTimeError(Exception):
    pass


def structure(packet: bytes) -> str | None:
    """What is wrong with the form of a message, whatever its records mean; not by the forwarder's own reader.

    A name that leads through the TTL of an earlier record changes as time passes, and so is not judged: the server that
    sent it fools nobody but those who asked it.
    """
    if len(packet) < 12:
        return "no header"
    counts = struct.unpack_from("!4H", packet, 4)
    at = 12
    ttls: set[int] = set()

    def name_end(start: int) -> int:
        position, end, total, limit = start, 0, 0, start
        while True:
            length = packet[position]
            if position in ttls:
                raise _ChangesWithTimeError
            if length >= 0xC0:
                target = (length & 0x3F) << 8 | packet[position + 1]
                end = end or position + 2
                if target >= limit:
                    raise ValueError("a pointer that does not lead back")
                position = limit = target
            elif length > 63:
                raise ValueError("a label of an unknown kind")
            else:
                total += length + 1
                if total > 255:
                    raise ValueError("a name that is too long")
                position += length + 1
                if not length:
                    return end or position

    try:
        for _ in range(counts[0]):
            at = name_end(at) + 4
        for _ in range(sum(counts[1:])):
            at = name_end(at)
            (length,) = struct.unpack_from("!H", packet, at + 8)
            ttls.update(range(at + 4, at + 8))
            at += 10 + length
    except _ChangesWithTimeError:
        return None
    except (IndexError, ValueError, struct.error) as error:
        return f"{error} at {at}"
    return None if at == len(packet) else f"records until {at} of {len(packet)} octets"
