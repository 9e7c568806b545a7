"""devlink.dns.wire against two other readers and writers of DNS messages: dnspython and dnslib."""

from collections.abc import Callable
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dnslib
from hypothesis import assume, given
from hypothesis import strategies as st

from devlink.dns import replies, wire
from devlink.dns.replies import Digest
from devlink.dns.wire import Query, Rcode

Record = tuple[str, int, int, object]

LABELS = st.one_of(
    st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=1, max_size=12).map(
        str.encode
    ),
    st.sampled_from([b"svc", b"cluster", b"local", b"a" * 63]),
    st.binary(min_size=1, max_size=8),
)
COMMON = [dns.name.from_text(text) for text in ("default.svc.cluster.local.", "Example.COM.", ".")]


@st.composite
def names(draw: st.DrawFn) -> dns.name.Name:
    """Often with an end that others have too, so that names are compressed."""
    labels, end = draw(st.lists(LABELS, max_size=4)), draw(st.sampled_from(COMMON))
    try:
        return dns.name.Name(labels).concatenate(end)
    except dns.name.NameTooLong:
        return end


TTLS = st.one_of(st.integers(0, 100_000), st.sampled_from([0, 1, 0x7FFFFFFF]))
OPTIONS = st.lists(
    st.one_of(
        st.builds(
            dns.edns.EDEOption, st.integers(0, 30), st.one_of(st.none(), st.text("abc é", min_size=1, max_size=9))
        ),
        st.builds(lambda data: dns.edns.GenericOption("10", data), st.binary(min_size=16, max_size=40)),
        st.builds(lambda data: dns.edns.GenericOption("65231", data), st.binary(max_size=9)),
    ),
    max_size=3,
)


def _rdata(
    rtype: str, write: Callable[[Any], bytes], *parts: st.SearchStrategy[Any]
) -> st.SearchStrategy[dns.rdata.Rdata]:
    """Records of a type from what `write` makes of the parts, uncompressed."""
    code = dns.rdatatype.from_text(rtype)

    def build(values: tuple[Any, ...]) -> dns.rdata.Rdata:
        data = write(values)
        return dns.rdata.from_wire(dns.rdataclass.IN, code, data, 0, len(data))

    return st.tuples(*parts).map(build)


def _octets(name: dns.name.Name) -> bytes:
    octets = name.to_wire()
    assert octets is not None
    return octets


RDATA = st.one_of(
    _rdata("A", lambda v: v[0], st.binary(min_size=4, max_size=4)),
    _rdata("AAAA", lambda v: v[0], st.binary(min_size=16, max_size=16)),
    _rdata("CNAME", lambda v: _octets(v[0]), names()),
    _rdata("PTR", lambda v: _octets(v[0]), names()),
    _rdata("MX", lambda v: v[0] + _octets(v[1]), st.binary(min_size=2, max_size=2), names()),
    _rdata("SRV", lambda v: v[0] + _octets(v[1]), st.binary(min_size=6, max_size=6), names()),
    _rdata("TXT", lambda v: bytes((len(v[0]),)) + v[0], st.binary(max_size=200)),
    _rdata("TYPE65280", lambda v: v[0], st.binary(max_size=40)),
)
SOAS = _rdata(
    "SOA", lambda v: _octets(v[0]) + _octets(v[1]) + v[2] + v[3].to_bytes(4, "big"), names(), names(),
    st.binary(min_size=16, max_size=16), TTLS,
)  # fmt: skip


@st.composite
def rrsets(draw: st.DrawFn, data: st.SearchStrategy[dns.rdata.Rdata] = RDATA) -> dns.rrset.RRset:
    return dns.rrset.from_rdata(draw(names()), draw(TTLS), draw(data))


@st.composite
def queries(draw: st.DrawFn) -> dns.message.QueryMessage:
    flags = draw(st.sets(st.sampled_from([dns.flags.RD, dns.flags.AD, dns.flags.CD])))
    qtype = draw(st.sampled_from(["A", "AAAA", "SRV", "TXT", "ANY", "TYPE65280", "CNAME"]))
    query = dns.message.make_query(draw(names()), qtype, id=draw(st.integers(0, 0xFFFF)), flags=sum(flags))
    if draw(st.booleans()):
        do = dns.flags.DO if draw(st.booleans()) else 0
        query.use_edns(0, do, draw(st.integers(0, 0xFFFF)), options=[*draw(OPTIONS)])
    return query


@st.composite
def conversations(draw: st.DrawFn) -> tuple[dns.message.QueryMessage, dns.message.Message]:
    """A question, and a reply to what the forwarder makes of it, with any records."""
    query = draw(queries())
    asked = query.question[0]
    lowered = dns.message.make_query(
        dns.name.from_wire(_octets(asked.name).lower(), 0)[0], asked.rdtype, flags=query.flags
    )
    lowered.use_edns(0, payload=1232)
    reply = dns.message.make_response(lowered, recursion_available=draw(st.booleans()))
    reply.flags |= draw(st.sampled_from([0, dns.flags.AA, dns.flags.AD]))
    if draw(st.booleans()):
        reply.use_edns(0, 0, 1232, options=[*draw(OPTIONS)])
    else:
        reply.use_edns(-1)
    reply.set_rcode(draw(st.sampled_from([dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL])))
    answers = draw(st.lists(rrsets(), max_size=3))
    if draw(st.booleans()):
        answers += [dns.rrset.from_rdata(lowered.question[0].name, each.ttl, each[0]) for each in answers]
    # dnspython would join what has the same owner and type, under the lower TTL.
    reply.answer = answers
    reply.authority = draw(st.lists(st.one_of(rrsets(SOAS), rrsets()), max_size=2))
    reply.additional = draw(st.lists(rrsets(), max_size=2))
    return query, reply


def written(message: dns.message.Message) -> bytes:
    return message.to_wire(max_size=65535)


def read(octets: bytes) -> dns.message.Message:
    """Each record as one set, in the order of the message."""
    return dns.message.from_wire(octets, one_rr_per_rrset=True)


def records(message: dns.message.Message) -> list[list[tuple[str, int, int, bytes]]]:
    """Owner (lower case), type, TTL and data of each record, by section."""
    return [
        [
            (str(rrset.name).lower(), int(rrset.rdtype), rrset.ttl, rdata.to_digestable())
            for rrset in section
            for rdata in rrset
        ]
        for section in (message.answer, message.authority, message.additional)
    ]


def by_dnslib(octets: bytes, query: dns.message.Message) -> dnslib.DNSRecord | None:
    """Read by dnslib, which takes no octets beyond ASCII in the question's name: None."""
    if not _octets(query.question[0].name).isascii():
        return None
    return dnslib.DNSRecord.parse(octets)


def digested(reply: dns.message.Message) -> tuple[bytes, Digest]:
    octets = written(reply)
    end = 12 + len(_octets(reply.question[0].name)) + 4
    return octets, replies.digest(octets, end)


def parsed(query: dns.message.Message) -> tuple[bytes, Query]:
    packet = written(query)
    found = wire.parse_query(packet)
    assert isinstance(found, Query)
    return packet, found


@given(queries())
def test_a_question_is_read_as_others_read_it(query: dns.message.QueryMessage) -> None:
    packet, found = parsed(query)
    question = query.question[0]
    assert found.octets == _octets(question.name).lower()
    assert len(found.offsets) == len(question.name.labels) - 1
    assert (found.qtype, found.qclass) == (question.rdtype, question.rdclass)
    assert packet[: found.question_end].endswith(
        _octets(question.name) + packet[found.question_end - 4 : found.question_end]
    )
    if query.edns < 0:
        assert found.edns is None
    else:
        assert found.edns is not None
        assert (found.edns.payload, found.edns.version) == (query.payload, 0)
        assert found.edns.dnssec_ok == bool(query.ednsflags & dns.flags.DO)
        assert wire.options_of(found.edns.options) == [(int(o.otype), o.to_wire()) for o in query.options]
    again = by_dnslib(packet, query)
    if again is None:
        return
    assert (again.q.qtype, again.header.id) == (found.qtype, int.from_bytes(packet[:2], "big"))
    assert tuple(again.q.qname.label) == question.name.labels[:-1]


@given(queries(), st.booleans(), st.booleans())
def test_the_question_for_a_server_is_the_clients_without_what_is_hop_by_hop(
    query: dns.message.QueryMessage, edns: bool, do: bool
) -> None:
    _, found = parsed(query)
    key = found.key
    asked = read(b"\x12\x34" + wire.question_for_server(key, edns=edns, dnssec_ok=do))
    assert asked.question[0].name.to_wire() == found.octets
    assert (asked.question[0].rdtype, asked.flags, asked.id) == (query.question[0].rdtype, query.flags, 0x1234)
    assert (asked.edns, asked.options) == (0 if edns else -1, ())
    if edns:
        assert (asked.payload, bool(asked.ednsflags & dns.flags.DO)) == (1232, do)


@given(conversations())
def test_a_reply_is_carried_whole_but_for_opt(talk: tuple[dns.message.QueryMessage, dns.message.Message]) -> None:
    query, reply = talk
    packet, found = parsed(query)
    octets, digest = digested(reply)
    assert replies.is_reply_to(octets, found.key, found.question_end)
    got = read(replies.answer_of(digest.body, packet, found, digest.edes))
    assert records(got) == records(read(octets))
    assert (got.id, got.question[0].name.labels) == (query.id, query.question[0].name.labels)
    assert (got.flags, got.rcode()) == (reply.flags | dns.flags.RA, reply.rcode())
    assert (digest.rcode, digest.has_opt) == (reply.rcode(), reply.edns >= 0)
    assert got.edns == query.edns
    if query.edns >= 0:
        edes = [option.to_wire() for option in reply.options if option.otype == dns.edns.OptionType.EDE]
        assert [option.to_wire() for option in got.options] == edes
        assert (got.payload, got.ednsflags & dns.flags.DO) == (1232, query.ednsflags & dns.flags.DO)


@given(conversations(), st.integers(0, 200_000))
def test_time_takes_from_every_ttl_and_from_nothing_else(
    talk: tuple[dns.message.QueryMessage, dns.message.Message], seconds: int
) -> None:
    octets, digest = digested(talk[1])
    before = records(read(octets))
    ttls = [record[2] for section in before for record in section]
    assert [int.from_bytes(digest.body[o : o + 4], "big") for o in digest.ttl_offsets] == ttls
    for body, lowered in (
        (replies.aged(digest.body, digest.ttl_offsets, seconds), lambda ttl: max(0, ttl - seconds)),
        (replies.with_ttl(digest.body, digest.ttl_offsets, 30), lambda _: 30),
    ):
        after = records(read(b"\0\0" + body))
        assert after == [[(o, t, lowered(ttl), data) for o, t, ttl, data in section] for section in before]


@given(conversations())
def test_an_answer_is_kept_no_longer_than_the_rules_allow(
    talk: tuple[dns.message.QueryMessage, dns.message.Message],
) -> None:
    """RFC 2308 section 5: a negative answer lives by its SOA, and without one not at all."""
    reply = talk[1]
    octets, digest = digested(reply)
    message = read(octets)
    everything = [rrset for section in (message.answer, message.authority, message.additional) for rrset in section]
    qtype = message.question[0].rdtype
    negative = reply.rcode() == 3 or not any(r.rdtype == qtype or qtype == dns.rdatatype.ANY for r in message.answer)
    minimums = [min(r.ttl, r[0].minimum) for r in message.authority if r.rdtype == dns.rdatatype.SOA]
    limit = min([86400, *(rrset.ttl for rrset in everything)])
    if reply.rcode() not in (0, 3) or (negative and not minimums):
        assert digest.lifetime == 0
    elif negative:
        assert 0 <= digest.lifetime <= min(limit, max(minimums))
        assert digest.lifetime >= min(limit, *minimums)
    else:
        assert digest.lifetime == limit


@given(conversations(), names())
def test_an_alias_comes_before_the_records_of_its_target(
    talk: tuple[dns.message.QueryMessage, dns.message.Message], alias: dns.name.Name
) -> None:
    octets, digest = digested(talk[1])
    assume(len(octets) < 60000)
    got = read(b"\0\0" + replies.alias_body(digest.body, _octets(alias).lower()))
    before = records(read(octets))
    after = records(got)
    assert (str(got.question[0].name).lower(), got.question[0].rdtype) == (
        str(alias).lower(),
        talk[1].question[0].rdtype,
    )
    cname, *rest = after[0]
    assert cname[:2] == (str(alias).lower(), dns.rdatatype.CNAME)
    assert cname[3] == _octets(talk[1].question[0].name)
    assert [rest, *after[1:]] == before


@given(conversations())
def test_records_written_out_are_the_same_records(talk: tuple[dns.message.QueryMessage, dns.message.Message]) -> None:
    octets, _ = digested(talk[1])
    end = 12 + len(_octets(talk[1].question[0].name)) + 4
    whole, _ = replies.uncompressed_records(octets, end)
    counts = octets[4:10] + (int.from_bytes(octets[10:12], "big") - (talk[1].edns >= 0)).to_bytes(2, "big")
    assert records(read(octets[:4] + counts + octets[12:end] + b"".join(whole))) == records(read(octets))


@given(conversations())
def test_a_truncated_reply_keeps_the_question_and_says_so(
    talk: tuple[dns.message.QueryMessage, dns.message.Message],
) -> None:
    query, reply = talk
    packet, found = parsed(query)
    _, digest = digested(reply)
    octets = replies.truncate(replies.answer_of(digest.body, packet, found, digest.edes), found)
    got = read(octets)
    assert got.flags == reply.flags | dns.flags.TC | dns.flags.RA
    assert (records(got), got.edns, got.question) == ([[], [], []], query.edns, query.question)
    other = by_dnslib(octets, query)
    assert other is None or other.header.tc == 1


@given(queries(), st.sampled_from(list(Rcode)), st.binary(min_size=4, max_size=4))
def test_an_answer_of_our_own_is_read_by_others(query: dns.message.QueryMessage, rcode: Rcode, address: bytes) -> None:
    packet, found = parsed(query)
    options = wire.ede_option(wire.Ede.PROHIBITED, "not this one")
    octets = wire.local_reply(packet, found, rcode, records=[wire.address_record(address)], options=options)
    got = read(octets)
    assert (got.id, got.question, got.edns) == (query.id, query.question, query.edns)
    assert got.answer[0][0].to_wire() == address
    assert got.rcode() == (rcode if query.edns >= 0 else rcode & 15)
    if query.edns >= 0:
        (error,) = got.extended_errors()
        assert (error.code, error.text) == (18, "not this one")
    other = by_dnslib(octets, query)
    assert other is None or len(other.rr) == 1


@given(names())
def test_names_as_text_are_understood_by_others(name: dns.name.Name) -> None:
    octets = _octets(name)
    assert dns.name.from_text(wire.text_of(octets)).to_wire() == octets
    assert len(wire.offsets_in(octets)) == len(name.labels) - 1
    assert wire.expand_name(octets + b"x", 0) == (octets, len(octets))


@given(st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,63}", fullmatch=True), min_size=1, max_size=5), st.booleans())
def test_text_as_a_name_is_what_others_make_of_it(labels: list[str], dot: bool) -> None:
    text = ".".join(labels) + "." * dot
    try:
        theirs = dns.name.from_text(text).to_wire()
    except dns.name.NameTooLong:
        theirs = None
    try:
        ours = wire.name_of(text)
    except ValueError:
        assert theirs is None
    else:
        assert theirs is not None
        assert ours == theirs.lower()
