"""DNS over TLS: who cannot prove to be the server is not asked, and nothing goes out in clear."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from devlink.core.plan import ForwarderConfig
from tests.certificates import Authority, Issued
from tests.dns import lies
from tests.dns.asking import FAILURES, ask, forwarding, verdicts
from tests.dns.lying_upstream import LyingUpstream, honest_answer
from tests.dns.messages import frame
from tests.dns.tls_upstream import NAME, TlsUpstream, honest, over_tls

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("resolvers")


def config(authority: Authority, *servers: TlsUpstream) -> ForwarderConfig:
    return ForwarderConfig(upstreams=tuple(server.upstream() for server in servers), tls_ca=authority.pem)


def test_a_server_with_the_right_certificate_is_asked_over_one_connection(authority: Authority, tmp_path: Path) -> None:
    with TlsUpstream(authority.issue(NAME), tmp_path) as server, forwarding(config(authority, server)) as forwarder:
        assert verdicts(forwarder, "example", times=10) == {"right"}
        assert len(server.asked) == 30
        assert server.connections == 1
        assert set(server.names) == {NAME}
        assert server.clear == []


STRANGERS: dict[str, Callable[[Authority], Issued]] = {
    "another authority": lambda _: Authority.another().issue(NAME),
    "another name": lambda authority: authority.issue("dns.test.evil.example"),
    "a name above": lambda authority: authority.issue("test"),
    "only an address": lambda authority: authority.issue("127.0.0.1"),
    "no name but in the subject": lambda authority: authority.issue(subject=NAME),
    "expired": lambda authority: authority.issue(NAME, expired=True),
}


@pytest.mark.parametrize("who", list(STRANGERS))
def test_who_cannot_prove_to_be_the_server_is_not_asked(who: str, authority: Authority, tmp_path: Path) -> None:
    with (
        TlsUpstream(STRANGERS[who](authority), tmp_path) as stranger,
        TlsUpstream(authority.issue(NAME), tmp_path) as good,
    ):
        with forwarding(config(authority, stranger, good)) as forwarder:
            assert verdicts(forwarder, "example") == {"right"}
            assert stranger.connections
        with forwarding(config(authority, stranger)) as forwarder:
            assert ask(forwarder, "example").verdict() in FAILURES
        assert (stranger.asked, stranger.clear) == ([], [])


def test_a_server_without_tls_is_not_asked_in_clear(authority: Authority) -> None:
    with LyingUpstream() as plain:
        settings = ForwarderConfig(upstreams=(over_tls(plain.port),), tls_ca=authority.pem)
        with forwarding(settings) as forwarder:
            assert ask(forwarder, "example").verdict() in FAILURES
        assert plain.asked == []
        assert plain.connections


def test_no_certificate_is_good_where_no_authority_is_given(authority: Authority, tmp_path: Path) -> None:
    with TlsUpstream(authority.issue(NAME), tmp_path) as server:
        with forwarding(ForwarderConfig(upstreams=(server.upstream(),))) as forwarder:
            assert ask(forwarder, "example").verdict() in FAILURES
        assert (server.asked, server.clear) == ([], [])


def _closes(asked: bytes, connection: ssl.SSLSocket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def _closes_in_the_middle(asked: bytes, connection: ssl.SSLSocket) -> None:
    connection.sendall(frame(honest_answer(asked))[:-9])
    connection.shutdown(socket.SHUT_RDWR)


def _lies_in_the_record_layer(asked: bytes, connection: ssl.SSLSocket) -> None:
    """Octets in clear in the middle of the stream, as one would who can inject segments."""
    raw = socket.socket(fileno=socket.dup(connection.fileno()))
    with raw:
        raw.sendall(frame(lies.lie(asked)))


@pytest.mark.parametrize("answer", [_closes, _closes_in_the_middle, _lies_in_the_record_layer])
def test_another_server_answers_for_one_that_breaks_in_tls(
    answer: Callable[[bytes, ssl.SSLSocket], None], authority: Authority, tmp_path: Path
) -> None:
    with (
        TlsUpstream(authority.issue(NAME), tmp_path, answer=answer) as broken,
        TlsUpstream(authority.issue(NAME), tmp_path) as good,
        forwarding(config(authority, broken, good)) as forwarder,
    ):
        assert verdicts(forwarder, "example") == {"right"}
        assert broken.asked


def test_answers_in_pieces_and_after_others_arrive(authority: Authority, tmp_path: Path) -> None:
    """One TLS record for each octet."""

    def piecemeal(asked: bytes, connection: ssl.SSLSocket) -> None:
        for octet in frame(lies.FORGED["wrong id"](asked)) + frame(honest_answer(asked)):
            connection.sendall(bytes((octet,)))

    with (
        TlsUpstream(authority.issue(NAME), tmp_path, answer=piecemeal) as server,
        forwarding(config(authority, server)) as forwarder,
    ):
        assert verdicts(forwarder, "example", times=3) == {"right"}


def test_large_answers_fill_many_records(authority: Authority, tmp_path: Path) -> None:
    def large(asked: bytes, connection: ssl.SSLSocket) -> None:
        connection.sendall(frame(honest_answer(asked, count=3900)))

    with (
        TlsUpstream(authority.issue(NAME), tmp_path, answer=large) as server,
        forwarding(config(authority, server)) as forwarder,
    ):
        asking = ask(forwarder, "example", tcp=True)
        assert int.from_bytes(asking.reply()[6:8], "big") == 3900


def test_a_connection_that_the_server_has_closed_is_opened_again(authority: Authority, tmp_path: Path) -> None:
    def once(asked: bytes, connection: ssl.SSLSocket) -> None:
        honest(asked, connection)
        connection.shutdown(socket.SHUT_RDWR)

    with (
        TlsUpstream(authority.issue(NAME), tmp_path, answer=once) as server,
        forwarding(config(authority, server)) as forwarder,
    ):
        assert {ask(forwarder, "example").verdict() for _ in range(5)} == {"right"}
        assert server.connections >= 5
