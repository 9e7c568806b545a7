"""The diagnostic client against a server on loopback."""

import json
import socket
import struct
from ipaddress import ip_address
from typing import Literal

import pytest

from devlink.dns.client import ask
from devlink.dns.wire import TRACE_OPTION, Ede, Query, Rcode, ede_option, local_reply, option, options_of, parse_query
from tests.dns.forwarder_process import FakeServer
from tests.dns.messages import answer, name

pytestmark = pytest.mark.slow

LOOPBACK = ip_address("127.0.0.1")
WEB = name("web.default.svc.cluster.local")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_it_tells_what_the_server_said(transport: Literal["udp", "tcp"]) -> None:
    with FakeServer(respond=lambda asked: [answer(asked, "10.20.0.1", "2001:db8::1")]) as server:
        got = ask(LOOPBACK, WEB, "A", port=server.port, transport=transport, timeout=5)
    assert got.rcode == "NOERROR"
    assert got.addresses == (ip_address("10.20.0.1"), ip_address("2001:db8::1"))
    assert not got.authoritative
    assert not got.truncated
    assert got.extended_errors == ()
    assert [transport for transport, _, _ in server.asked] == [transport]


def test_a_failure_is_an_answer_with_its_extended_error() -> None:
    def respond(asked: bytes) -> list[bytes]:
        query = parse_query(asked)
        assert isinstance(query, Query)
        errors = ede_option(Ede.PROHIBITED, "no") + ede_option(Ede.STALE_ANSWER, "")
        return [local_reply(asked, query, Rcode.REFUSED, options=errors)]

    with FakeServer(respond=respond) as server:
        got = ask(LOOPBACK, WEB, "A", port=server.port, timeout=5)
    assert got.rcode == "REFUSED"
    assert got.extended_errors == ((18, "no"), (3, ""))
    assert not got.is_nodata


def test_what_our_forwarder_tells_of_an_answer_is_asked_for_and_taken() -> None:
    story = {"zone": ".", "source": "cache", "server": None, "transport": None, "ms": 0.5, "reason": ""}

    def respond(asked: bytes) -> list[bytes]:
        query = parse_query(asked)
        assert isinstance(query, Query)
        assert query.edns is not None
        is_asked = TRACE_OPTION in dict(options_of(query.edns.options))
        told = option(TRACE_OPTION, json.dumps(story).encode()) if is_asked else b""
        return [local_reply(asked, query, Rcode.NOERROR, options=told)]

    with FakeServer(respond=respond) as server:
        assert ask(LOOPBACK, WEB, "A", port=server.port, timeout=5).trace is None
        got = ask(LOOPBACK, WEB, "A", port=server.port, trace=True, timeout=5)
    assert got.trace == story
    assert got.is_nodata
    assert 0 < got.took < 5


def test_the_upper_half_of_an_rcode_counts() -> None:
    def respond(asked: bytes) -> list[bytes]:
        query = parse_query(asked)
        assert isinstance(query, Query)
        plain = local_reply(asked, query, Rcode.NOERROR)
        at = query.question_end + 5  # the root, type and class of OPT
        return [plain[:at] + b"\1" + plain[at + 1 :]]

    with FakeServer(respond=respond) as server:
        got = ask(LOOPBACK, WEB, "A", port=server.port, timeout=5)
    assert (got.rcode, got.is_nodata) == ("16", False)


def test_a_type_may_be_a_number() -> None:
    with FakeServer(respond=lambda asked: [answer(asked, "10.20.0.1")]) as server:
        assert ask(LOOPBACK, WEB, "TYPE1", port=server.port, timeout=5).addresses
        assert ask(LOOPBACK, WEB, "TYPE65280", port=server.port, timeout=5).is_nodata


def test_replies_to_other_questions_are_passed_over() -> None:
    def respond(asked: bytes) -> list[bytes]:
        wrong = answer(asked, "192.0.2.66")
        return [bytes((wrong[0] ^ 1,)) + wrong[1:], answer(asked, "10.20.0.1")]

    with FakeServer(respond=respond) as server:
        assert ask(LOOPBACK, WEB, "A", port=server.port, timeout=5).addresses == (ip_address("10.20.0.1"),)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_silence_is_a_timeout(transport: Literal["udp", "tcp"]) -> None:
    with FakeServer(respond=lambda asked: []) as server, pytest.raises(TimeoutError):
        ask(LOOPBACK, WEB, "A", port=server.port, transport=transport, timeout=0.1)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_port_that_nobody_serves_is_refused(transport: Literal["udp", "tcp"]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            ask(LOOPBACK, WEB, "A", port=closed.getsockname()[1], transport=transport, timeout=5)


def test_an_answer_that_cannot_be_read_is_an_error_of_the_connection() -> None:
    cut = FakeServer(respond=lambda asked: [answer(asked, "10.20.0.1")[:-3]])
    with cut as server, pytest.raises(ConnectionError):
        ask(LOOPBACK, WEB, "A", port=server.port, timeout=5)


def test_an_unknown_type_is_the_callers_error() -> None:
    with pytest.raises(ValueError, match="NOPE"):
        ask(LOOPBACK, WEB, "NOPE", timeout=1)


def with_records(asked: bytes, *records: tuple[int, bytes]) -> bytes:
    """An answer with records of these types and data."""
    end = asked.index(b"\0", 12) + 5
    counts = b"\0\1" + len(records).to_bytes(2, "big") + bytes(4)
    packed = (b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data for kind, data in records)
    return asked[:2] + b"\x81\x80" + counts + asked[12:end] + b"".join(packed)


@pytest.mark.parametrize(
    ("qtype", "number", "data"),
    [
        ("HTTPS", 65, b"\xff\xff\xff"),
        ("SVCB", 64, b"\xff"),
        ("LOC", 29, b"\1"),
        ("NAPTR", 35, b"\0\1"),
        ("NAPTR", 35, b"\0\1\0\1\1\xff\0\0\0"),
        ("HTTPS", 65, b"\0\1\2\xff\xff\0"),
        ("CAA", 257, b"\0\2ab\xff"),
        ("CAA", 257, b"\0\5iss"),
        ("A", 1, b"\12\24\0"),
        ("AAAA", 28, bytes(15)),
        ("A", 1, b""),
        ("MX", 15, b"\0\1"),
        ("TXT", 16, b"\5ab"),
        ("NSEC", 47, b"\0\0"),
    ],
)
def test_a_record_that_is_not_what_its_type_has_is_shown_by_its_octets(qtype: str, number: int, data: bytes) -> None:
    def respond(asked: bytes) -> list[bytes]:
        return [with_records(asked, (number, data), (1, bytes((10, 20, 0, 1))))]

    with FakeServer(respond=respond) as server:
        got = ask(LOOPBACK, WEB, qtype, port=server.port, timeout=5)
    assert got.rcode == "NOERROR"
    assert got.addresses == (ip_address("10.20.0.1"),), "what comes behind it is read all the same"
    odd, good = (record.split() for record in got.records)
    assert good[2:] == ["IN", "A", "10.20.0.1"]
    assert odd[2:4] == ["IN", qtype]
    assert " ".join(odd[4:]) == rf"\# {len(data)} {data.hex().upper()}".rstrip()


def test_nothing_in_a_record_or_in_a_failures_text_can_do_anything_to_a_terminal() -> None:
    text = b"\x1b[31m\xc2\x9bhi\nx\x7f\xe2\x80\xae"

    def respond(asked: bytes) -> list[bytes]:
        query = parse_query(asked)
        assert isinstance(query, Query)
        if query.qtype == 16:
            return [with_records(asked, (16, bytes((len(text),)) + text))]
        evil = option(15, b"\0\x16" + b"\x1b]0;pwned\x07Error: fake\nline\xc2\x9b")
        return [local_reply(asked, query, Rcode.SERVFAIL, options=evil)]

    with FakeServer(respond=respond) as server:
        (record,) = ask(LOOPBACK, WEB, "TXT", port=server.port, timeout=5).records
        failed = ask(LOOPBACK, WEB, "A", port=server.port, timeout=5)
    assert record.isprintable()
    assert r"\033[31m\194\155hi\012x" in record
    assert failed.extended_errors == ((22, "?]0;pwned?Error: fake?line?"),)
