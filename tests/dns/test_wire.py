"""Questions read and answers built, with dnslib as the oracle."""

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.dns import wire
from devlink.dns.wire import Ede, Query, Rcode, StreamReader, frame, local_reply, parse_query, truncate
from tests.dns.messages import answer, extended_error, parse, question

LABEL = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_", min_size=1, max_size=20)
NAME = st.lists(LABEL, min_size=1, max_size=8).map(".".join)
QTYPE = st.sampled_from(["A", "AAAA", "PTR", "SRV", "TXT", "ANY", "HTTPS", "CNAME"])


def parsed(packet: bytes) -> Query:
    query = parse_query(packet)
    assert isinstance(query, Query)
    return query


@given(NAME, QTYPE, st.none() | st.integers(0, 65535), st.booleans())
def test_a_question_is_read_as_dnslib_wrote_it(qname: str, qtype: str, payload: int | None, do: bool) -> None:
    packet = question(qname, qtype, payload=payload, do=do)
    query = parsed(packet)
    assert query.qtype == getattr(dnslib.QTYPE, qtype)
    assert query.qclass == wire.IN
    labels = [query.name.octets[o + 1 : o + 1 + query.name.octets[o]] for o in query.name.offsets]
    assert labels == [label.lower().encode() for label in qname.split(".")]
    assert packet[12 : query.question_end - 4].lower() == query.name.octets
    if payload is None:
        assert query.edns is None
        assert query.udp_limit == 512
    else:
        assert query.edns is not None
        assert (query.edns.payload, query.edns.dnssec_ok) == (payload, do)
        assert query.udp_limit == min(max(payload, 512), wire.MAX_UDP_PAYLOAD)


def test_the_case_of_a_type_is_not_touched() -> None:
    """Type 65 (HTTPS) is the letter A in ASCII."""
    assert parsed(question("WWW.Example", "HTTPS")).qtype == 65


@given(st.binary(max_size=600))
def test_noise_is_survived(packet: bytes) -> None:
    result = parse_query(packet)
    assert result is None or isinstance(result, Rcode | Query)
    if len(packet) < 12 or packet[2] & 0x80:
        assert result is None


@given(NAME, st.data())
def test_a_damaged_question_is_survived_and_answered_in_kind(qname: str, data: st.DataObject) -> None:
    packet = bytearray(question(qname, payload=1232, do=True))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(packet[: data.draw(st.integers(0, len(packet)))])
    result = parse_query(damaged)
    if isinstance(result, Rcode):
        reply = local_reply(damaged, None, result)
        assert reply[:2] == damaged[:2]
        assert reply[2] & wire.QR
        assert wire.rcode_of(reply) == result
        assert len(reply) == wire.HEADER


GOOD = question("web.default.svc.cluster.local")


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(GOOD[:11], None, id="half a header"),
        pytest.param(GOOD[:2] + b"\x81" + GOOD[3:], None, id="a response"),
        pytest.param(GOOD[:2] + b"\x11" + GOOD[3:], Rcode.NOTIMP, id="opcode STATUS"),
        pytest.param(GOOD[:2] + b"\x29" + GOOD[3:], Rcode.NOTIMP, id="opcode UPDATE"),
        pytest.param(GOOD[:12], Rcode.FORMERR, id="header only"),
        pytest.param(GOOD[:4] + bytes(8), Rcode.FORMERR, id="no question"),
        pytest.param(GOOD[:5] + b"\2" + GOOD[6:] + GOOD[12:], Rcode.FORMERR, id="two questions"),
        pytest.param(GOOD[:-1], Rcode.FORMERR, id="cut in the class"),
        pytest.param(GOOD + b"\0", Rcode.FORMERR, id="an octet too many"),
        pytest.param(GOOD[:11] + b"\1" + GOOD[12:], Rcode.FORMERR, id="a record that is not there"),
        pytest.param(GOOD[:12] + b"\xc0\x0c" + GOOD[-4:], Rcode.FORMERR, id="a pointer to itself"),
        pytest.param(GOOD[:12] + b"\x40" + GOOD[13:], Rcode.FORMERR, id="an unknown label type"),
        pytest.param(GOOD[:12] + b"\x3f" + b"a" * 63 + GOOD[-5:], Query, id="the longest label"),
        pytest.param(GOOD[:12] + b"\x01a" * 127 + GOOD[-5:], Query, id="the longest name"),
        pytest.param(GOOD[:12] + b"\x01a" * 126 + b"\x02aa" + GOOD[-5:], Rcode.FORMERR, id="a name an octet too long"),
        pytest.param(GOOD[:12] + b"\x01a" * 128 + GOOD[-5:], Rcode.FORMERR, id="a name too long"),
        pytest.param(GOOD[:12] + GOOD[-5:], Query, id="the root"),
    ],
)
def test_what_is_no_question_is_refused_or_dropped(packet: bytes, expected: object) -> None:
    result = parse_query(packet)
    if expected is Query:
        assert isinstance(result, Query)
    else:
        assert result == expected
        assert type(result) is type(expected)


def test_two_opt_records_are_malformed() -> None:
    packet = question("a.example", payload=1232)
    opt = packet[-11:]
    assert parse_query(packet[:11] + b"\2" + packet[12:] + opt) is Rcode.FORMERR


@given(NAME, st.sampled_from(list(Rcode)), st.booleans(), st.text(max_size=300))
def test_an_answer_of_our_own_reads_back(qname: str, rcode: Rcode, edns: bool, text: str) -> None:
    packet = question(qname, ident=77, payload=1232 if edns else None, do=edns)
    reply = local_reply(packet, parsed(packet), rcode, ede=Ede.NETWORK_ERROR, text=text)
    record = parse(reply)
    assert (record.header.id, record.header.qr, record.header.rd, record.header.ra) == (77, 1, 1, 1)
    assert record.header.rcode == rcode
    assert str(record.q.qname) == qname + "."
    assert extended_error(reply) == (Ede.NETWORK_ERROR if edns else None)
    assert len(record.ar) == edns
    assert len(reply) <= 512
    if edns:
        assert record.ar[0].edns_do == 1


@pytest.mark.parametrize("address", ["10.0.0.7", "2001:db8::7"])
def test_an_address_record_reads_back(address: str) -> None:
    from ipaddress import ip_address

    packet = question("Proof.example", "AAAA" if ":" in address else "A")
    reply = local_reply(
        packet, parsed(packet), Rcode.NOERROR, records=[wire.address_record(ip_address(address).packed)]
    )
    (record,) = parse(reply).rr
    assert ip_address(str(record.rdata)) == ip_address(address)
    assert str(record.rname) == "Proof.example."
    assert record.ttl == 0


@given(NAME, st.integers(30, 200), st.booleans())
def test_a_truncated_reply_fits_and_keeps_question_and_opt(qname: str, count: int, edns: bool) -> None:
    packet = question(qname, payload=512 if edns else None)
    full = dnslib.DNSRecord.parse(answer(packet, *(f"10.0.{i >> 8}.{i & 255}" for i in range(count))))
    if edns:
        full.add_ar(dnslib.EDNS0(flags="do", udp_len=4096))
    short = truncate(bytes(full.pack()), parsed(packet))
    record = parse(short)
    assert len(short) <= 512
    assert record.header.tc == 1
    assert not record.rr
    assert record.q == full.q
    assert [opt.edns_len for opt in record.ar] == ([4096] if edns else [])


def test_truncating_a_reply_with_broken_records_still_gives_a_whole_message() -> None:
    packet = question("a.example", payload=512)
    reply = answer(packet, "10.0.0.1")[:-2] + b"\xff" * 600
    record = parse(truncate(reply, parsed(packet)))
    assert record.header.tc == 1
    assert len(record.ar) == 1


@given(NAME, st.integers(0, 65535))
def test_only_the_very_question_has_a_reply(qname: str, other: int) -> None:
    packet = question(qname)
    end = parsed(packet).question_end
    reply = answer(packet, "10.0.0.1")
    assert wire.is_reply_to(reply, packet, end)
    assert wire.is_reply_to(wire.with_id(reply, other.to_bytes(2, "big")), packet, end) == (other == 0x1234)
    assert not wire.is_reply_to(packet, packet, end)
    assert not wire.is_reply_to(reply[:4] + b"\0\2" + reply[6:], packet, end)
    assert not wire.is_reply_to(answer(question(qname, "AAAA"), "::1"), packet, end)
    assert not wire.is_reply_to(answer(question("x" + qname[1:] + "y"), "10.0.0.1"), packet, end)
    assert not wire.is_reply_to(reply[: end - 1], packet, end)
    if qname.swapcase() != qname:
        assert not wire.is_reply_to(answer(question(qname.swapcase())), packet, end)


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_a_stream_is_cut_into_its_messages_however_it_arrives(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frame(message) for message in messages)
    reader = StreamReader()
    taken = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        reader.feed(stream[:cut])
        stream = stream[cut:]
        while (message := reader.take()) is not None:
            taken.append(message)
    assert taken == messages
