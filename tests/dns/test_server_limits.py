"""The forwarder's waits, with a clock that the test moves, and whom it lets feed it."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devlink.dns import server
from devlink.dns.engine import Engine
from devlink.dns.server import FEEDER_WAIT, Forwarder
from devlink.dns.streams import IDLE
from devlink.dns.wire import frame
from devlink.rpc import varlink
from devlink.rpc.framing import pack
from tests.dns.forwarder_process import PATIENCE, read_stream, wait_until
from tests.dns.messages import parse, question


class Clock:
    """Monotonic seconds that can be made to jump."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "forwarder"


@pytest.fixture
def listener(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))
        sock.listen()
        sock.setblocking(False)
        yield sock


def run(forwarder: Forwarder) -> threading.Thread:
    thread = threading.Thread(target=forwarder.run, daemon=True)
    thread.start()
    return thread


def connect(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    sock.connect(str(path))
    return sock


def test_nobody_feeds_it_and_it_ends(listener: socket.socket) -> None:
    clock = Clock()
    forwarder = Forwarder(listener, Engine(os.urandom), os.urandom, clock=clock)
    clock.ahead = FEEDER_WAIT
    thread = run(forwarder)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_it_waits_for_its_feeder_till_then(listener: socket.socket, path: Path) -> None:
    clock = Clock()
    forwarder = Forwarder(listener, Engine(os.urandom), os.urandom, clock=clock)
    clock.ahead = FEEDER_WAIT - PATIENCE / 2
    thread = run(forwarder)
    with connect(path) as control:
        control.sendall(pack(varlink.call("io.devlink.Forwarder.GetStats")))
        assert control.recv(65536)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_stranger_is_shown_out_and_the_feeder_is_let_in(
    listener: socket.socket, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = iter([False, True])
    monkeypatch.setattr(server, "is_feeder", lambda peer, listener: next(verdicts))
    thread = run(Forwarder(listener, Engine(os.urandom), os.urandom))
    with connect(path) as stranger:
        assert stranger.recv(1) == b""
    with connect(path) as control:
        control.sendall(pack(varlink.call("io.devlink.Forwarder.GetStats")))
        assert control.recv(65536)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_silent_tcp_client_is_hung_up_on_and_an_active_one_is_not(listener: socket.socket, path: Path) -> None:
    clock = Clock()
    thread = run(Forwarder(listener, Engine(os.urandom), os.urandom, clock=clock))
    tcp = socket.create_server(("127.0.0.1", 0))
    address = tcp.getsockname()
    with connect(path) as control:
        parameters = {"config": {}, "sockets": [{"kind": "tcp"}]}
        socket.send_fds(control, [pack(varlink.call("io.devlink.Forwarder.Configure", parameters))], [tcp.fileno()])
        assert b"error" not in control.recv(65536)
        tcp.close()
        with (
            socket.create_connection(address, timeout=PATIENCE) as silent,
            socket.create_connection(address, timeout=PATIENCE) as dripping,
            socket.create_connection(address, timeout=PATIENCE) as active,
        ):
            for sock in (silent, dripping, active):
                sock.sendall(frame(question("www.example")))
                read_stream(sock, 1)
            clock.ahead += IDLE * 0.6
            dripping.sendall(b"\0")  # half of a length is no progress
            active.sendall(frame(question("www.example")))
            read_stream(active, 1)
            clock.ahead += IDLE * 0.6
            active.sendall(frame(question("www.example")))
            assert parse(read_stream(active, 1)[0]).header.rcode == 2
            assert silent.recv(1) == b""
            dripping.settimeout(IDLE * 0.2)  # were the octet progress, it would be hung up on in 0.4 of it
            assert dripping.recv(1) == b""
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_packet_that_our_code_fails_on_does_not_end_it(
    listener: socket.socket, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine(os.urandom)
    honest = engine.receive_query

    def fail_once(*args: object) -> list[object]:
        monkeypatch.setattr(engine, "receive_query", honest)
        raise RuntimeError("a defect")

    monkeypatch.setattr(engine, "receive_query", fail_once)
    thread = run(Forwarder(listener, engine, os.urandom))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    with udp, connect(path) as control, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        parameters = {"config": {}, "sockets": [{"kind": "udp"}]}
        socket.send_fds(control, [pack(varlink.call("io.devlink.Forwarder.Configure", parameters))], [udp.fileno()])
        assert b"error" not in control.recv(65536)
        client.settimeout(PATIENCE)
        client.connect(udp.getsockname())
        client.send(question("www.example"))
        wait_until(lambda: "a defect in the forwarder" in capsys.readouterr().err)
        client.send(question("www.example"))
        assert parse(client.recv(512)).header.rcode == 2
    thread.join(PATIENCE)
    assert not thread.is_alive()
