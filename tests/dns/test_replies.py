"""Replies judged, read and rewritten, with dnslib and dnspython as oracles."""

from collections.abc import Callable
from ipaddress import ip_address

import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.dns import replies, wire
from devlink.dns.replies import Digest, truncate
from devlink.dns.wire import Ede, Query, parse_query
from tests.dns.messages import answer, question
from tests.dns.moved_engine import extended_error, query, respond

LABEL = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_", min_size=1, max_size=20)


NAME = st.lists(LABEL, min_size=1, max_size=8).map(".".join)


def parsed(packet: bytes) -> Query:
    found = parse_query(packet)
    assert isinstance(found, Query)
    return found


OPT = question("a.example", payload=1232)[-11:]


@given(NAME, st.integers(0, 65535))
def test_only_the_very_question_has_a_reply(qname: str, other: int) -> None:
    packet = question(qname)
    asked, end = packet[2:], parsed(packet).question_end
    reply = answer(packet, "10.0.0.1")
    assert replies.is_reply_to(reply, asked, end)
    assert replies.is_reply_to(other.to_bytes(2, "big") + reply[2:], asked, end), "the id is the edge's to check"
    assert not replies.is_reply_to(packet, asked, end)
    assert not replies.is_reply_to(reply[:4] + b"\0\2" + reply[6:], asked, end)
    assert not replies.is_reply_to(reply[:2] + bytes((reply[2] | 0x10,)) + reply[3:], asked, end)
    assert not replies.is_reply_to(answer(question(qname, "AAAA"), "::1"), asked, end)
    assert not replies.is_reply_to(answer(question("x" + qname[1:] + "y"), "10.0.0.1"), asked, end)
    assert not replies.is_reply_to(reply[: end - 1], asked, end)
    if qname.swapcase() != qname:
        swapped = answer(question(qname.swapcase()))
        assert not replies.is_reply_to(swapped, asked, end)
        assert replies.differs_in_case(swapped, asked, end)
    assert not replies.differs_in_case(answer(question("x" + qname[1:] + "y")), asked, end)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"\0\1\x80\1" + bytes(8), True),
        (b"\0\1\x80\4" + bytes(8), True),
        (b"\0\1\x80\2" + bytes(8), False),
        (b"\0\1\0\1" + bytes(8), False),
        (b"\0\1\x80\1\0\1" + bytes(6), False),
        (b"\0\1\x80\1" + bytes(9), False),
    ],
)
def test_a_bare_failure_is_known(reply: bytes, expected: bool) -> None:
    assert replies.is_bare_failure(reply) is expected


def digest(asked: bytes, reply: bytes) -> Digest:
    return replies.digest(reply, parsed(asked).question_end)


SECTION = st.lists(
    st.sampled_from(
        [
            "www.example. {} A 192.0.2.80",
            "www.example. {} AAAA 2001:db8::80",
            "www.example. {} CNAME a.www.example.",
            "example. {} MX 10 mail.www.example.",
            "a.www.example. {} SRV 0 5 443 a.www.example.",
            "example. {} SOA ns.www.example. host.www.example. 1 2 3 4 {}",
            "example. {} NS ns.example.",
            "x.example. {} DNAME www.example.",
            'www.example. {} TXT "www.example"',
            "www.example. {} HTTPS 1 a.www.example. alpn=h2",
            "www.example. {} TYPE65280 \\# 3 c00cff",
        ]
    ).flatmap(lambda text: st.integers(0, 2**31 - 1).map(lambda ttl: text.format(ttl, 7))),
    max_size=4,
    unique_by=lambda text: (text.split()[0], text.split()[2]),
)


def records_of(message: dns.message.Message) -> list[dict[str, object]]:
    """Sections, each record apart and with its TTL, in no order."""
    return [
        {f"{rrset.name} {rrset.rdtype} {rdata}": rrset.ttl for rrset in section for rdata in rrset}
        for section in (message.answer, message.authority, message.additional)
    ]


@given(SECTION, SECTION, SECTION, st.booleans(), st.booleans(), st.sampled_from([0, 3]))
def test_a_replys_body_is_all_of_it_without_opt(
    answers: list[str], authority: list[str], additional: list[str], has_opt: bool, opt_first: bool, rcode: int
) -> None:
    asked = query("www.example", payload=1232)
    reply = respond(
        asked, *answers, authority=authority, additional=additional, opt=[(15, b"\0\6x")] if has_opt else None,
        rcode=rcode,
    )  # fmt: skip
    wanted = dns.message.from_wire(reply)
    if has_opt and opt_first:
        reply = opt_moved_to_the_front(reply, parsed(asked).question_end)
    read = digest(asked, reply)
    body = dns.message.from_wire(b"\0\0" + read.body)
    assert records_of(body) == records_of(wanted)
    assert (body.edns, body.rcode(), read.rcode, read.has_opt) == (-1, rcode, rcode, has_opt)
    assert read.edes == (wire.option(15, b"\0\6x") if has_opt else b"")
    ttls = [int.from_bytes(read.body[at : at + 4], "big") for at in read.ttl_offsets]
    assert sorted(ttls) == sorted(ttl for section in records_of(wanted) for ttl in section.values())  # type: ignore[type-var]
    assert all(ttl == 5 for section in records_of(set_ttl(read, 5)) for ttl in section.values())
    older = dns.message.from_wire(b"\0\0" + replies.aged(read.body, read.ttl_offsets, 1000))
    for now, then in zip(records_of(older), records_of(wanted), strict=True):
        assert now == {key: max(ttl - 1000, 0) for key, ttl in then.items()}  # type: ignore[operator]


def set_ttl(read: Digest, ttl: int) -> dns.message.Message:
    return dns.message.from_wire(b"\0\0" + replies.with_ttl(read.body, read.ttl_offsets, ttl))


def opt_moved_to_the_front(reply: bytes, question_end: int) -> bytes:
    """The reply with OPT as the first additional record, and with pointers that know of the move."""
    records, opt = replies.uncompressed_records(reply, question_end)
    counts = [int.from_bytes(reply[at : at + 2], "big") for at in (6, 8, 10)]
    split = counts[0] + counts[1]
    return reply[:question_end] + b"".join((*records[:split], opt, *records[split:]))


def test_a_pointer_over_opt_is_followed() -> None:
    asked = query("www.example", payload=1232)
    end = parsed(asked).question_end
    first = b"\4mail\xc0\x0c\0\1\0\1\0\0\0\7\0\4\xc0\0\2\1"
    opt = b"\0\0\x29\4\xd0\0\0\0\0\0\0"
    pointer = 0xC000 | (end)  # the owner of the first additional record
    second = pointer.to_bytes(2, "big") + b"\0\1\0\1\0\0\0\7\0\4\xc0\0\2\2"
    behind = b"\1x" + (0xC000 | (end + len(first) + len(opt))).to_bytes(2, "big") + b"\0\1\0\1\0\0\0\7\0\4\xc0\0\2\3"
    head = asked[:2] + b"\x81\x80\0\1\0\0\0\0\0\4" + asked[12:end]
    reply = head + first + opt + second + behind
    read = digest(asked, reply)
    message = dns.message.from_wire(b"\0\0" + read.body)
    assert sorted(str(rrset.name) for rrset in message.additional) == ["mail.www.example.", "x.mail.www.example."]
    assert read.has_opt


@given(SECTION, st.sampled_from(["A", "SRV", "ANY"]), st.data())
def test_a_damaged_reply_is_nonsense_or_a_whole_message(answers: list[str], qtype: str, data: st.DataObject) -> None:
    asked = query("www.example", qtype, payload=1232)
    end = parsed(asked).question_end
    reply = bytearray(respond(asked, *answers, authority=["example. 60 SOA a.example. b.example. 1 2 3 4 5"]))
    for _ in range(data.draw(st.integers(0, 3))):
        reply[data.draw(st.integers(4, len(reply) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(reply[: data.draw(st.integers(end, len(reply)))])
    try:
        read = replies.digest(damaged, end)
    except ValueError:
        return
    assert all(12 <= at <= len(read.body) - 6 for at in read.ttl_offsets)
    counts = [int.from_bytes(read.body[at : at + 2], "big") for at in (4, 6, 8)]
    assert len(read.ttl_offsets) == sum(counts)
    assert dnslib.DNSRecord.parse(b"\0\0" + read.body[:2] + b"\0\1" + bytes(6) + read.body[10 : end - 2])
    assert 0 <= read.lifetime <= replies.MAX_TTL
    replies.addresses(read.body, read.ttl_offsets)
    replies.uncompressed_records(b"\0\0" + read.body, end)
    if counts[0]:
        replies.alias_body(read.body, b"\5redis\7default\0")


NONSENSE: dict[str, Callable[[bytes, int], bytes]] = {
    "cut in an address": lambda reply, end: reply[:-1],
    "cut in a head": lambda reply, end: reply[: end + 6],
    "a record more": lambda reply, end: reply[:7] + b"\2" + reply[8:],
    "an owner that loops": lambda reply, end: reply[:end] + bytes((0xC0, end)) + reply[end + 2 :],
    "an owner that points forward": lambda reply, end: reply[:end] + b"\xc1\xff" + reply[end + 2 :],
    "an owner of a reserved type": lambda reply, end: reply[:end] + b"\x80\x0c" + reply[end + 2 :],
    "a length beyond the end": lambda reply, end: reply[: end + 10] + b"\xff\xff" + reply[end + 12 :],
    "OPT twice": lambda reply, end: reply[:11] + b"\2" + reply[12:] + 2 * OPT,
    "OPT with a name": lambda reply, end: reply[:11] + b"\1" + reply[12:] + b"\1a" + OPT,
    "options that do not fit": lambda reply, end: reply[:11] + b"\1" + reply[12:] + OPT[:-2] + b"\0\3abc",
    "a CNAME to nowhere": lambda reply, end: reply[: end + 2] + b"\0\5\0\1\0\0\0\7\0\2\xc1\xff",
    "a CNAME with more": lambda reply, end: reply[: end + 2] + b"\0\5\0\1\0\0\0\7\0\3\xc0\x0c\0",
    "an SOA without numbers": lambda reply, end: reply[: end + 2] + b"\0\6\0\1\0\0\0\7\0\4\xc0\x0c\xc0\x0c",
    "an MX without a name": lambda reply, end: reply[: end + 2] + b"\0\x0f\0\1\0\0\0\7\0\2\0\x0a",
}  # fmt: skip


@pytest.mark.parametrize("what", NONSENSE)
def test_a_reply_is_walked_to_its_end_before_it_is_believed(what: str) -> None:
    asked = query("www.example")
    end = parsed(asked).question_end
    reply = respond(asked, "@ 300 A 192.0.2.80")
    assert replies.digest(reply, end).lifetime == 300
    with pytest.raises(ValueError, match=r"."):
        replies.digest(NONSENSE[what](reply, end), end)


SOA = "example. {} SOA ns.example. host.example. 1 7200 900 1209600 {}"


@pytest.mark.parametrize(
    ("answers", "authority", "rcode", "lifetime"),
    [
        (["@ 300 A 192.0.2.1", "@ 300 A 192.0.2.2"], [], 0, 300),
        (["@ 300 CNAME x.example.", "x.example. 20 A 192.0.2.2"], [], 0, 20),
        (["@ 300 A 192.0.2.1"], ["example. 7 NS ns.example."], 0, 7),
        (["@ 0 A 192.0.2.1"], [], 0, 0),
        (["@ 999999 A 192.0.2.1"], [], 0, 86400),
        ([], [SOA.format(60, 20)], 0, 20),
        ([], [SOA.format(20, 60)], 3, 20),
        ([], [SOA.format(99999, 99999)], 3, 86400),
        ([], [], 3, 0),
        ([], ["example. 7 NS ns.example."], 0, 0),
        (["@ 300 CNAME x.example."], [], 0, 0),
        (["@ 10 CNAME x.example."], [SOA.format(60, 20)], 3, 10),
        (["@ 300 A 192.0.2.1"], [SOA.format(60, 20)], 3, 20),
        (["@ 300 A 192.0.2.1"], [], 2, 0),
        (["@ 300 A 192.0.2.1"], [], 5, 0),
        ([], [SOA.format(60, 20)], 2, 0),
    ],
)
def test_the_lifetime_of_an_answer(answers: list[str], authority: list[str], rcode: int, lifetime: int) -> None:
    asked = query("www.example")
    reply = respond(asked, *answers, authority=authority, rcode=rcode)
    assert digest(asked, reply).lifetime == lifetime
    truncated = reply[:2] + bytes((reply[2] | wire.TC,)) + reply[3:]
    assert truncated[2] & wire.TC
    assert not reply[2] & wire.TC
    assert digest(asked, truncated).lifetime == 0


def test_the_upper_bits_of_the_rcode_are_in_opt() -> None:
    asked = query("www.example", payload=1232)
    reply = respond(asked, rcode=16)
    assert reply[3] & 15 == 0
    assert digest(asked, reply).rcode == 16
    assert digest(asked, respond(asked, rcode=23)).rcode == 23


def test_addresses_are_found_in_every_section() -> None:
    asked = query("www.example", "ANY")
    reply = respond(
        asked,
        "@ 60 A 192.0.2.1",
        '@ 60 TXT "abc"',
        authority=["example. 60 NS ns.example."],
        additional=["ns.example. 60 AAAA 2001:db8::1"],
    )
    read = digest(asked, reply)
    found = {str(ip_address(packed)) for packed in replies.addresses(read.body, read.ttl_offsets)}
    assert found == {"192.0.2.1", "2001:db8::1"}


@given(NAME, SECTION, st.none() | st.integers(512, 4096), st.booleans())
def test_the_answer_to_a_client_is_the_body_under_its_question(
    qname: str, answers: list[str], payload: int | None, do: bool
) -> None:
    asked = query(qname.lower())
    read = digest(asked, respond(asked, *answers))
    packet = query(qname, ident=0xBEEF, payload=payload, do=do)
    options = wire.ede_option(Ede.STALE_ANSWER, "old")
    sent = replies.answer_of(read.body, packet, parsed(packet), options)
    end = parsed(packet).question_end
    assert (sent[:2], sent[12:end]) == (packet[:2], packet[12:end])
    message = dns.message.from_wire(sent)
    assert records_of(message) == records_of(dns.message.from_wire(b"\0\0" + read.body))
    assert message.edns == (-1 if payload is None else 0)
    if payload is not None:
        assert (message.payload, message.ednsflags) == (1232, 0x8000 if do else 0)
        assert extended_error(sent) == Ede.STALE_ANSWER


@given(SECTION.filter(len), SECTION, SECTION)
def test_an_aliass_answer_begins_with_its_cname_and_every_compressed_name_still_reads(
    answers: list[str], authority: list[str], additional: list[str]
) -> None:
    asked = query("redis.default.svc.cluster.local")
    texts = [[t.replace("example", "cluster.local") for t in each] for each in (answers, authority, additional)]
    reply = respond(asked, *texts[0], authority=texts[1], additional=texts[2])
    name = b"\5redis\7default\0"
    body = replies.alias_body(digest(asked, reply).body, name)
    sent, wanted = dns.message.from_wire(b"\0\0" + body), dns.message.from_wire(reply)
    assert str(sent.question[0].name) == "redis.default."
    cname = sent.answer.pop(0)
    assert cname.to_text() == f"redis.default. {wanted.answer[0].ttl} IN CNAME redis.default.svc.cluster.local."
    assert records_of(sent) == records_of(wanted)
    second = dnslib.DNSRecord.parse(b"\0\0" + body)
    assert len(second.rr) == 1 + sum(len(rrset) for rrset in wanted.answer)


def test_an_alias_of_nothing_has_its_cname_alone() -> None:
    asked = query("redis.default.svc.cluster.local")
    body = replies.alias_body(digest(asked, respond(asked, rcode=3)).body, b"\5redis\7default\0")
    message = dns.message.from_wire(b"\0\0" + body)
    assert message.rcode() == 3
    assert [r.to_text() for r in message.answer] == ["redis.default. 0 IN CNAME redis.default.svc.cluster.local."]


@given(NAME, st.integers(30, 200), st.booleans())
def test_a_truncated_reply_fits_and_keeps_question_and_opt(qname: str, count: int, edns: bool) -> None:
    packet = question(qname, payload=512 if edns else None, do=edns)
    short = truncate(answer(packet, *(f"10.0.{i >> 8}.{i & 255}" for i in range(count))), parsed(packet), b"")
    record = dns.message.from_wire(short)
    assert len(short) <= 512
    assert record.flags & 0x0200
    assert [*record.answer, *record.authority, *record.additional] == []
    assert str(record.question[0].name) == qname + "."
    assert (record.edns, record.payload) == ((0, 1232) if edns else (-1, 0))


@pytest.mark.parametrize("qtype", ["HTTPS", "SVCB"])
def test_the_hints_of_a_service_binding_are_addresses_too(qtype: str) -> None:
    asked = query("www.example", qtype)
    hints = "ipv4hint=10.20.0.1,192.0.2.1 ipv6hint=2001:db8::1,2001:db8::2"
    reply = respond(asked, f"@ 60 {qtype} 1 svc.example. alpn=h2 port=8443 {hints}", f"@ 60 {qtype} 2 .")
    read = digest(asked, reply)
    found = [str(ip_address(packed)) for packed in replies.addresses(read.body, read.ttl_offsets)]
    assert sorted(found) == ["10.20.0.1", "192.0.2.1", "2001:db8::1", "2001:db8::2"]


@given(st.binary(max_size=60))
def test_a_service_binding_that_makes_no_sense_hurts_nobody(content: bytes) -> None:
    asked = query("www.example", "HTTPS")
    data = f"\\# {len(content)} {content.hex()}"
    head = respond(asked, "@ 60 TYPE65280 " + data)
    at = head.index(b"\xff\x00", len(asked))
    read = digest(asked, head[:at] + b"\0\x41" + head[at + 2 :])
    assert all(len(packed) in (4, 16) for packed in replies.addresses(read.body, read.ttl_offsets))


def addresses_in(*records: str, qtype: str) -> list[bytes]:
    asked = query("www.example", qtype)
    read = replies.digest(respond(asked, *records), len(asked))
    return replies.addresses(read.body, read.ttl_offsets)


@pytest.mark.parametrize("qtype", ["HTTPS", "SVCB"])
def test_hints_of_a_service_binding_are_addresses(qtype: str) -> None:
    record = f"@ 300 {qtype} 1 svc.example. alpn=h2 ipv4hint=10.254.0.9,192.0.2.1 ipv6hint=fd00::9"
    found = addresses_in(record, qtype=qtype)
    assert found == [bytes([10, 254, 0, 9]), bytes([192, 0, 2, 1]), bytes.fromhex("fd00") + bytes(13) + b"\x09"]


def test_a_binding_without_hints_has_none() -> None:
    assert addresses_in("@ 300 HTTPS 0 other.example.", qtype="HTTPS") == []


def test_a_malformed_binding_gives_what_can_be_read() -> None:
    asked = query("www.example", "HTTPS")
    good = respond(asked, "@ 300 HTTPS 1 . ipv4hint=10.254.0.9")
    hint = bytes([10, 254, 0, 9])
    broken = good.replace(b"\0\4\0\4" + hint, b"\0\4\0\x08" + hint)  # twice as many octets as are there
    assert broken != good
    read = replies.digest(broken, len(asked))
    assert replies.addresses(read.body, read.ttl_offsets) == [hint]
