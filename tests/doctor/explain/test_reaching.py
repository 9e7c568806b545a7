"""Connections to servers on loopback: what comes back, by each protocol and by none."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from devlink.core.diagnosis import Outcome
from devlink.core.judging import Reached
from devlink.doctor.explain import reaching
from devlink.doctor.explain.reaching import reach
from tests.certificates import Authority

HERE = ip_address("127.0.0.1")
Serve = Callable[[socket.socket], object]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """For those that wait for nothing."""
    monkeypatch.setattr(reaching, "LIMIT", 0.1)


def reached(serve: Serve, protocol: str) -> Reached:
    """How it went with a server that does `serve` with one connection, and then closes it."""

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        found = asyncio.run(reach(HERE, server.getsockname()[1], protocol, "web.default"))
        thread.join(10)
    return found


def mute(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def polite(connection: socket.socket) -> None:
    assert b"Host: web.default\r\n" in connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\x1b[2J\r\n\r\n")


def talkative(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-server\r\n")
    mute(connection)


def test_http_answers_and_its_first_line_does_nothing_to_the_terminal() -> None:
    found = reached(polite, "http")
    assert (found.outcome, found.detail) == (Outcome.ANSWERED, "HEAD / is answered: HTTP/1.1 200 OK?[2J")


@pytest.mark.parametrize("protocol", ["http", "https", "dns"])
@pytest.mark.usefixtures("hasty")
def test_a_server_that_takes_the_question_and_says_nothing_hangs(protocol: str) -> None:
    assert reached(mute, protocol).outcome is Outcome.HANGS


def test_of_an_unknown_protocol_the_confirmed_end_of_our_side_shows_that_packets_come_back() -> None:
    found = reached(mute, "")
    assert (found.outcome, "packets come back" in found.detail) == (Outcome.ANSWERED, True)
    assert reached(talkative, "").detail == "connects, and the server speaks"


def test_tls_is_spoken_and_the_certificate_is_not_checked(tmp_path: Path) -> None:
    made = Authority("some CA").issue("another.example")
    pem = tmp_path / "server.pem"
    pem.write_text(made.certificate + made.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)

    def shake_hands(connection: socket.socket) -> None:
        context.wrap_socket(connection, server_side=True).close()

    found = reached(shake_hands, "https")
    assert found.outcome is Outcome.ANSWERED
    assert found.detail.endswith("handshake; the certificate is not checked here")


def test_what_is_no_tls_is_an_answer_all_the_same() -> None:
    found = reached(talkative, "https")
    assert found.outcome is Outcome.ANSWERED
    assert "not with TLS" in found.detail


def test_a_port_where_nobody_listens_refuses() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        found = asyncio.run(reach(HERE, sock.getsockname()[1], "http", "web"))
    assert found.outcome is Outcome.REFUSED


@pytest.mark.usefixtures("hasty")
def test_a_full_queue_of_connections_is_silence() -> None:
    with socket.socket() as server, socket.socket() as first:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        first.connect(server.getsockname())
        found = asyncio.run(reach(HERE, server.getsockname()[1], "", "web"))
    assert found.outcome is Outcome.SILENT
