"""The diagnostic client against a server on loopback."""

import socket
from ipaddress import ip_address
from typing import Literal

import pytest

from devlink.dns.client import ask
from devlink.dns.wire import Ede, Query, Rcode, local_reply, parse_query, with_id
from tests.dns.forwarder_process import FakeServer
from tests.dns.messages import answer, name

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
    assert got.extended_error is None
    assert [transport for transport, _, _ in server.asked] == [transport]


def test_a_failure_is_an_answer_with_its_extended_error() -> None:
    def respond(asked: bytes) -> list[bytes]:
        query = parse_query(asked)
        assert isinstance(query, Query)
        return [local_reply(asked, query, Rcode.REFUSED, ede=Ede.PROHIBITED, text="no")]

    with FakeServer(respond=respond) as server:
        got = ask(LOOPBACK, WEB, "A", port=server.port, timeout=5)
    assert (got.rcode, got.extended_error) == ("REFUSED", (18, "no"))


def test_replies_to_other_questions_are_passed_over() -> None:
    def respond(asked: bytes) -> list[bytes]:
        return [with_id(answer(asked, "192.0.2.66"), bytes((asked[0] ^ 1, asked[1]))), answer(asked, "10.20.0.1")]

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
