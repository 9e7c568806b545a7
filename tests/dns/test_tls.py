"""One connection with TLS on it: whose certificate is good, and that nothing is said to anybody else."""

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devlink.dns.config import Server
from devlink.dns.tls import TlsStream, context_of
from tests.certificates import Authority, Issued
from tests.dns.messages import frame
from tests.dns.moved_engine import query, respond
from tests.dns.tls_upstream import NAME, Answer, TlsUpstream

PATIENCE = 10.0
QUESTION = query("www.example")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("resolvers")


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue(NAME)


@pytest.fixture
def stream_to(authority: Authority) -> Iterator[Callable[..., TlsStream]]:
    streams: list[TlsStream] = []

    def make(upstream: TlsUpstream, *, name: str = NAME, pem: str = "") -> TlsStream:
        server = Server("127.0.0.1", upstream.port, name)
        streams.append(TlsStream(server, context_of(pem or authority.pem)))
        return streams[-1]

    yield make
    for stream in streams:
        stream.sock.close()


def replies_of(stream: TlsStream, count: int) -> tuple[list[bytes], bool]:
    """What comes until there are so many replies or the end. Raises what `progress` raises."""
    found: list[bytes] = []
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        select.select([stream.sock], [stream.sock] if stream.wants_write else [], [], PATIENCE)
        replies, is_ended = stream.progress()
        found += replies
        if is_ended or len(found) >= count:
            return found, is_ended
    raise AssertionError("it did not happen")


def test_many_questions_go_through_one_connection(
    stream_to: Callable[..., TlsStream], issued: Issued, tmp_path: Path
) -> None:
    with TlsUpstream(issued, tmp_path) as server:
        stream = stream_to(server)
        packets = [query(f"n{number}.example", ident=number) for number in range(10)]
        for packet in packets:
            stream.put(packet)
        replies, is_ended = replies_of(stream, 10)
        assert [reply[:2] for reply in replies] == [packet[:2] for packet in packets]
        assert server.asked == packets
        assert (server.names, server.connections, server.clear, is_ended) == ([NAME], 1, [], False)
        assert not stream.wants_write


STRANGERS: dict[str, Callable[[Authority], Issued]] = {
    "another authority": lambda _: Authority.another().issue(NAME),
    "another name": lambda authority: authority.issue("other.test"),
    "a name above": lambda authority: authority.issue("test"),
    "only an address": lambda authority: authority.issue("127.0.0.1"),
    "no name but in the subject": lambda authority: authority.issue(subject=NAME),
    "expired": lambda authority: authority.issue(NAME, expired=True),
}


@pytest.mark.parametrize("who", STRANGERS)
def test_a_certificate_that_is_not_the_servers_ends_it_before_anything_was_asked(
    who: str, authority: Authority, stream_to: Callable[..., TlsStream], tmp_path: Path
) -> None:
    with TlsUpstream(STRANGERS[who](authority), tmp_path) as server:
        stream = stream_to(server)
        stream.put(QUESTION)
        with pytest.raises(OSError, match=r"certificate verify failed|CERTIFICATE_VERIFY_FAILED"):
            replies_of(stream, 1)
        assert (server.asked, server.clear) == ([], [])


def test_the_name_asked_for_decides_and_not_the_one_that_is_there(
    stream_to: Callable[..., TlsStream], issued: Issued, tmp_path: Path
) -> None:
    with TlsUpstream(issued, tmp_path) as server:
        stream = stream_to(server, name="other.test")
        stream.put(QUESTION)
        with pytest.raises(ssl.SSLCertVerificationError):
            replies_of(stream, 1)


def answering(answer: bytes, *, then_close: bool = False) -> Answer:
    def reply(_asked: bytes, connection: ssl.SSLSocket) -> None:
        connection.sendall(answer)
        if then_close:
            connection.close()

    return reply


def test_an_answer_of_many_records_of_tls_comes_whole(
    stream_to: Callable[..., TlsStream], issued: Issued, tmp_path: Path
) -> None:
    large = respond(QUESTION, *(f"@ 60 A 10.{i >> 8}.{i & 255}.1" for i in range(4000)))
    with TlsUpstream(issued, tmp_path, answer=answering(frame(large))) as server:
        stream = stream_to(server)
        stream.put(QUESTION)
        assert replies_of(stream, 1)[0] == [large]


def test_what_came_before_the_server_closed_is_kept(
    stream_to: Callable[..., TlsStream], issued: Issued, tmp_path: Path
) -> None:
    good = respond(QUESTION, "@ 60 A 192.0.2.80")
    with TlsUpstream(issued, tmp_path, answer=answering(frame(good), then_close=True)) as server:
        stream = stream_to(server)
        stream.put(QUESTION)
        assert replies_of(stream, 1)[0] == [good]


@pytest.mark.parametrize("has_more", [False, True])
def test_what_came_before_the_server_reset_the_connection_is_kept(
    stream_to: Callable[..., TlsStream], issued: Issued, tmp_path: Path, has_more: bool
) -> None:
    good = respond(QUESTION, "@ 60 A 192.0.2.80")
    may_answer, has_closed = threading.Event(), threading.Event()

    def answer(_asked: bytes, connection: ssl.SSLSocket) -> None:
        assert may_answer.wait(PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or the reset comes before it is sent
        connection.sendall(frame(good))
        connection.close()  # with a question unread: a reset
        has_closed.set()

    with TlsUpstream(issued, tmp_path, answer=answer) as server:
        stream = stream_to(server)
        for asked in (1, 0):
            stream.put(QUESTION)
            end = time.monotonic() + PATIENCE
            while len(server.asked) < asked or stream.wants_write:
                assert time.monotonic() < end
                stream.progress()
        may_answer.set()
        assert has_closed.wait(PATIENCE)
        if has_more:
            stream.put(QUESTION)
        assert replies_of(stream, 1)[0] == [good]


@pytest.mark.parametrize("pem", ["no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_told(pem: str) -> None:
    with pytest.raises((ssl.SSLError, ValueError)):
        context_of(pem)


def test_a_connection_that_is_refused_is_told(
    stream_to: Callable[..., TlsStream], issued: Issued, tmp_path: Path
) -> None:
    server = TlsUpstream(issued, tmp_path)
    with server:
        pass
    stream = stream_to(server)
    stream.put(QUESTION)
    with pytest.raises(ConnectionRefusedError):
        replies_of(stream, 1)


def test_old_versions_of_tls_are_not_spoken(authority: Authority) -> None:
    context = context_of(authority.pem)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
