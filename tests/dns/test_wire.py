"""Questions read and answers of our own written, with dnslib and dnspython as oracles."""

import random
from ipaddress import ip_address

import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.names import DomainName
from devlink.dns import wire
from devlink.dns.wire import Ede, Query, Rcode, StreamReader, frame, local_reply, parse_query
from tests.dns.messages import parse, question
from tests.dns.moved_engine import extended_error, query

LABEL = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_", min_size=1, max_size=20)


NAME = st.lists(LABEL, min_size=1, max_size=8).map(".".join)


QTYPE = st.sampled_from(["A", "AAAA", "PTR", "SRV", "TXT", "ANY", "HTTPS", "CNAME"])


def parsed(packet: bytes) -> Query:
    found = parse_query(packet)
    assert isinstance(found, Query)
    return found


@given(NAME, QTYPE, st.none() | st.integers(0, 65535), st.booleans())
def test_a_question_is_read_as_dnslib_wrote_it(qname: str, qtype: str, payload: int | None, do: bool) -> None:
    packet = question(qname, qtype, payload=payload, do=do)
    found = parsed(packet)
    assert found.qtype == getattr(dnslib.QTYPE, qtype)
    assert found.qclass == wire.IN
    labels = [found.octets[o + 1 : o + 1 + found.octets[o]] for o in found.offsets]
    assert labels == [label.lower().encode() for label in qname.split(".")]
    assert packet[12 : found.question_end - 4].lower() == found.octets
    if payload is None:
        assert found.edns is None
        assert found.udp_limit == 512
    else:
        assert found.edns is not None
        assert (found.edns.payload, found.edns.dnssec_ok, found.edns.version) == (payload, do, 0)
        assert found.udp_limit == min(max(payload, 512), wire.MAX_UDP_PAYLOAD)


def test_the_case_of_a_type_is_not_touched() -> None:
    """Type 65 (HTTPS) is the letter A in ASCII."""
    assert parsed(question("WWW.Example", "HTTPS")).qtype == 65
    packet = question("WWW.Example", "HTTPS")
    assert parsed(packet).key[-4:] == b"\0\x41\0\1"


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
        assert reply[3] & 15 == result
        assert len(reply) == wire.HEADER


GOOD = question("web.default.svc.cluster.local")


OPT = question("a.example", payload=1232)[-11:]


WITH_OPT = question("a.example", payload=1232)


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
        pytest.param(WITH_OPT[:11] + b"\2" + WITH_OPT[12:] + OPT, Rcode.FORMERR, id="OPT twice"),
        pytest.param(WITH_OPT[:7] + b"\1\0\0\0\0" + WITH_OPT[12:], Rcode.FORMERR, id="OPT among the answers"),
        pytest.param(WITH_OPT[:-11] + b"\1a" + OPT, Rcode.FORMERR, id="OPT with a name"),
        pytest.param(WITH_OPT[:-2] + b"\0\3abc", Rcode.FORMERR, id="options that do not fit"),
        pytest.param(WITH_OPT[:-2] + b"\0\5\0\x0a\0\2a", Rcode.FORMERR, id="an option beyond its end"),
        pytest.param(WITH_OPT[:-2] + b"\0\6\0\x0a\0\2ab", Query, id="an option"),
        pytest.param(WITH_OPT + b"\0", Rcode.FORMERR, id="an octet behind OPT"),
    ],
)
def test_what_is_no_question_is_refused_or_dropped(packet: bytes, expected: object) -> None:
    result = parse_query(packet)
    if expected is Query:
        assert isinstance(result, Query)
    else:
        assert result == expected
        assert type(result) is type(expected)


@given(NAME, st.none() | st.integers(512, 4096), st.booleans(), st.sampled_from([0, 0x0100, 0x0120, 0x0130]))
def test_a_key_is_the_plainest_packet_that_asks_the_same(qname: str, payload: int | None, do: bool, flags: int) -> None:
    packet = query(qname, ident=7, payload=payload, do=do, flags=flags, options=[(10, b"12345678")])
    key = parsed(packet).key
    assert key == query(qname.lower(), ident=7, flags=flags)[2:]
    assert wire.question_for_server(key, False, do) == key
    sent = dns.message.from_wire(b"\0\0" + wire.question_for_server(key, True, do))
    assert (sent.edns, sent.payload, sent.ednsflags, sent.options) == (0, 1232, 0x8000 if do else 0, ())
    assert sent.question == dns.message.from_wire(query(qname.lower())).question


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=5))
def test_a_names_text_is_what_dnspython_makes_of_it(labels: list[bytes]) -> None:
    name = dns.name.Name([*labels, b""])
    octets = name.to_wire()
    assert octets is not None
    text = wire.text_of(octets)
    assert dns.name.from_text(text) == name
    assert len(wire.offsets_in(octets)) == len(labels)


@given(NAME)
def test_a_names_octets_are_those_of_the_rest_of_devlink(text: str) -> None:
    wanted = DomainName(tuple(label.lower().encode() for label in text.split(".")))
    for each in (text, text + "."):
        assert wire.name_of(each) == wanted.wire
    assert wire.text_of(wire.name_of(text)) == text.lower() + "."
    assert wire.name_of(".") == b"\0"


@pytest.mark.parametrize("text", ["", "a..b", ".a", "x" * 64, "ä.example", ".".join(["x" * 60] * 5), "a.."])
def test_what_is_no_name_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.name_of(text)


@given(st.binary(max_size=80), st.integers(12, 80))
def test_reading_a_name_agrees_with_dnspython(octets: bytes, offset: int) -> None:
    packet = bytes(12) + octets
    ours: tuple[bytes, int] | None = None
    theirs: tuple[bytes | None, int] | None = None
    try:
        ours = wire.expand_name(packet, offset)
    except (IndexError, ValueError):
        pass
    try:
        name, used = dns.name.from_wire(packet, offset)
        theirs = name.to_wire(), offset + used
    except (dns.exception.DNSException, IndexError):
        pass
    if ours is not None or theirs is not None:
        pointer_into_header = theirs is not None and ours is None
        assert ours == theirs or pointer_into_header
        if ours is not None:
            assert wire.skip_name(packet, offset) == ours[1]


@pytest.mark.parametrize(
    "octets",
    [b"\xc0\x0c", b"\xc0\x0e\1a\0", b"\xc0\x00", b"\1a\xc0\x0c", b"\x40a\0", b"\x80a\0", b"\1", b"\1a", b"\xc0"],
)
def test_a_name_that_loops_points_forward_or_ends_nowhere_is_nonsense(octets: bytes) -> None:
    for read in (wire.skip_name, wire.expand_name):
        with pytest.raises((IndexError, ValueError)):
            read(bytes(12) + octets, 12)


def test_a_name_has_255_octets_at_most_however_it_is_put_together() -> None:
    begin = b"\x3f" + b"a" * 63
    for last, fits in ((61, True), (62, False)):
        name = 3 * begin + bytes((last,)) + b"b" * last + b"\0"
        pointed = bytes((last,)) + b"b" * last + b"\xc0\x0c"
        assert (len(name) <= 255) is fits
        for octets, offset in ((name, 12), (3 * begin + b"\0" + pointed, 12 + 3 * 64 + 1)):
            packet = bytes(12) + octets
            if fits:
                assert len(wire.expand_name(packet, offset)[0]) == 255
                assert wire.skip_name(packet, offset) == len(packet)
            else:
                with pytest.raises(ValueError, match="255"):
                    wire.skip_name(packet, offset)


@given(NAME, st.integers(0, 1000))
def test_random_case_changes_letters_of_the_name_and_nothing_else(qname: str, seed: int) -> None:
    packet = question(qname.lower(), "HTTPS", payload=1232)
    asked, end = packet[2:], parsed(packet).question_end
    mixed = wire.with_random_case(asked, end - 2, random.Random(seed).randbytes)
    assert len(mixed) == len(asked)
    assert mixed[10 : end - 6].lower() == asked[10 : end - 6]
    assert mixed[:10] + mixed[end - 6 :] == asked[:10] + asked[end - 6 :]


def test_random_case_tosses_a_coin_for_each_letter() -> None:
    asked = question("abcdefghijklmnopqrstuvwxyz.example")[2:]
    seen = {wire.with_random_case(asked, len(asked), random.Random(seed).randbytes) for seed in range(50)}
    assert len(seen) == 50
    upper = [sum(chr(packet[at]).isupper() for packet in seen) for at in range(11, 37)]
    assert all(10 < count < 40 for count in upper)


@given(NAME, st.sampled_from(list(Rcode)), st.booleans(), st.text(max_size=300), st.booleans())
def test_an_answer_of_our_own_reads_back(qname: str, rcode: Rcode, edns: bool, text: str, cd: bool) -> None:
    packet = query(qname, ident=77, payload=1232 if edns else None, do=edns, flags=0x0110 if cd else 0x0100)
    reply = local_reply(packet, parsed(packet), rcode, options=wire.ede_option(Ede.NETWORK_ERROR, text))
    record = dns.message.from_wire(reply)
    assert record.id == 77
    assert int(record.flags) & 0xFFF0 == 0x8180 | (0x10 if cd else 0)
    assert record.rcode() == (rcode if edns else rcode & 15)
    assert str(record.question[0].name) == qname + "."
    assert extended_error(reply) == (Ede.NETWORK_ERROR if edns else None)
    assert len(reply) <= 512
    if edns:
        assert (record.ednsflags & 0x8000, record.payload) == (0x8000, 1232)
    assert [*record.answer, *record.authority] == []


@pytest.mark.parametrize("address", ["10.0.0.7", "2001:db8::7"])
def test_an_address_record_reads_back(address: str) -> None:
    packet = question("Proof.example", "AAAA" if ":" in address else "A")
    records = [wire.address_record(ip_address(address).packed)]
    (record,) = parse(local_reply(packet, parsed(packet), Rcode.NOERROR, records=records)).rr
    assert ip_address(str(record.rdata)) == ip_address(address)
    assert str(record.rname) == "Proof.example."
    assert record.ttl == 0


def test_an_ede_text_is_cut_to_fit_a_plain_packet() -> None:
    option = wire.ede_option(Ede.BLOCKED, "ä" * 1000)
    assert len(option) <= 4 + 2 + 120
    assert wire.options_of(option)[0][0] == 15


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
