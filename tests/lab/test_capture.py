"""DNS questions out of packets: both families, both transports, and nothing that a hostile packet could break."""

import ipaddress
import struct

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink import lab
from devlink.lab import World
from devlink.lab.capture import Packet, Question, Reader, parse_ends, parse_packet, parse_questions

CLIENT, SERVER = "172.16.0.100", "192.0.2.53"
labels = st.lists(st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20), min_size=1, max_size=5)


def message(name: str, qtype: str = "A") -> bytes:
    return bytes(dnslib.DNSRecord.question(name, qtype).pack())


def udp(payload: bytes, source: str = CLIENT, target: str = SERVER, ports: tuple[int, int] = (40000, 53)) -> bytes:
    return ip(17, struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload, source, target)


def tcp(payload: bytes, sequence: int, ports: tuple[int, int] = (40000, 53)) -> bytes:
    header = struct.pack(">HHIIBBHHH", *ports, sequence & 0xFFFFFFFF, 0, 5 << 4, 0x18, 1000, 0, 0)
    return ip(6, header + payload, CLIENT, SERVER)


def ip(protocol: int, body: bytes, source: str, target: str) -> bytes:
    a, b = ipaddress.ip_address(source), ipaddress.ip_address(target)
    if a.version == 6:
        return struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + a.packed + b.packed + body
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0) + a.packed + b.packed + body


@given(labels)
def test_a_question_is_read_as_dnslib_wrote_it(parts: list[str]) -> None:
    name = ".".join(parts)
    assert parse_questions(message(name, "AAAA")) == [(name, 28, False)]


@given(st.binary(max_size=80))
def test_bytes_that_are_no_message_and_no_packet_are_survived(data: bytes) -> None:
    parse_questions(data)
    parse_packet(data)
    list(Reader().feed(data))


def test_case_is_folded_and_the_root_has_a_name() -> None:
    assert parse_questions(message("WWW.Example.COM")) == [("www.example.com", 1, False)]
    assert parse_questions(message(".", "NS")) == [(".", 2, False)]


@pytest.mark.parametrize(("source", "target"), [(CLIENT, SERVER), ("fd00::100", "2001:db8:53::53")])
def test_a_datagram_gives_its_question_with_both_ends(source: str, target: str) -> None:
    (seen,) = Reader().feed(udp(message("a.example"), source, target))
    assert (seen.name, seen.transport, seen.source, seen.destination) == (
        "a.example", "udp", f"{source}#40000", f"{target}#53",
    )  # fmt: skip


def test_an_answer_is_seen_too_and_marked() -> None:
    reply = dnslib.DNSRecord.question("a.example").reply()
    (seen,) = Reader().feed(udp(bytes(reply.pack()), SERVER, CLIENT, (53, 40000)))
    assert seen.is_response


def test_other_ports_are_none_of_ours() -> None:
    assert list(Reader().feed(udp(message("a.example"), ports=(40000, 5353)))) == []


@given(st.lists(labels, min_size=1, max_size=4), st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_a_tcp_stream_gives_its_questions_however_it_is_cut(names: list[list[str]], start: int, cut: int) -> None:
    messages = [message(".".join(parts)) for parts in names]
    stream = b"".join(len(m).to_bytes(2, "big") + m for m in messages)
    reader = Reader()
    seen: list[Question] = []
    for offset in range(0, len(stream), cut):
        segment = tcp(stream[offset : offset + cut], start + offset)
        seen += reader.feed(segment)
        seen += reader.feed(segment)  # sent again
        seen += reader.feed(tcp(b"", start + offset + cut))  # a bare ACK
    assert [question.name for question in seen] == [".".join(parts) for parts in names]


def test_after_a_lost_segment_the_stream_is_read_afresh() -> None:
    whole = len(message("b.example")).to_bytes(2, "big") + message("b.example")
    reader = Reader()
    assert list(reader.feed(tcp(b"\x00\xff" + b"x" * 20, 1000))) == []
    (seen,) = reader.feed(tcp(whole, 5000))
    assert seen.name == "b.example"


@pytest.mark.lab
def test_a_capture_in_a_world_sees_both_transports_and_nothing_after_its_end(node_lan: World) -> None:
    with node_lan.capture(lab.UPSTREAM) as seen:
        for transport in ("+notcp", "+tcp"):
            node_lan.run(lab.LAPTOP, ["dig", transport, f"{transport[1:]}.example.org"], check=True)
    node_lan.run(lab.LAPTOP, ["dig", "later.example.org"], check=True)
    assert seen.names == {"notcp.example.org", "tcp.example.org"}
    assert {(q.name, q.transport) for q in seen.questions} == {
        ("notcp.example.org", "udp"), ("tcp.example.org", "tcp"),
    }  # fmt: skip


@pytest.mark.parametrize(("source", "target"), [("10.0.0.1", "10.254.0.10"), ("fd00::1", "fd00:10:254::10")])
def test_the_ends_of_a_packet_are_known_whatever_it_carries(source: str, target: str) -> None:
    packet = ip(1, b"", source, target)
    assert parse_ends(packet) == Packet(protocol=1, source=source, destination=target)
    assert parse_ends(packet[:19]) is None
