"""The blocking client against a peer that keeps to the protocol, breaks it, dies, or says nothing."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devlink.errors import NotUpError, ProtocolError
from devlink.rpc import varlink
from devlink.rpc.client import Client
from devlink.rpc.framing import FrameReader, pack

Answer = Callable[[socket.socket, dict[str, Any]], None]


class FakeServer:
    """The other end of a socket pair: a thread that answers each call as the test says."""

    def __init__(self, answer: Answer, timeout: float = 10.0) -> None:
        ours, theirs = socket.socketpair()
        self.client = Client(ours, timeout=timeout)
        self.calls: list[dict[str, Any]] = []
        self._answer = answer
        self._socket = theirs
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        reader = FrameReader()
        with self._socket:
            try:
                while data := self._socket.recv(1 << 16):
                    for message in reader.feed(data):
                        self.calls.append(message)
                        self._answer(self._socket, message)
                        if self._socket.fileno() < 0:
                            return
                self._answer(self._socket, {"method": "EOF", "parameters": {}})
            except ConnectionError:
                pass  # the client has gone, or had enough

    def end(self) -> None:
        self.client.close()
        self._thread.join()


@pytest.fixture
def serving() -> Iterator[Callable[..., FakeServer]]:
    servers: list[FakeServer] = []

    def start(answer: Answer, timeout: float = 10.0) -> FakeServer:
        servers.append(FakeServer(answer, timeout))
        return servers[-1]

    yield start
    for server in servers:
        server.end()


def test_a_call_is_sent_as_varlink_has_it_and_its_reply_comes_back(serving: Callable[..., FakeServer]) -> None:
    server = serving(lambda sock, call: sock.sendall(pack(varlink.reply({"got": call["parameters"]}))))
    assert server.client.call("a.b.C", {"x": 1}) == {"got": {"x": 1}}
    assert server.client.call("a.b.C") == {"got": {}}
    assert server.calls[0] == {"method": "a.b.C", "parameters": {"x": 1}}


def test_a_stream_yields_each_reply_until_the_last(serving: Callable[..., FakeServer]) -> None:
    def answer(sock: socket.socket, _: dict[str, Any]) -> None:
        replies = [varlink.reply({"n": n}, continues=n < 2) for n in range(3)]
        sock.sendall(b"".join(pack(reply) for reply in replies))

    server = serving(answer)
    assert list(server.client.stream("a.b.C")) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert server.calls[0]["more"] is True
    assert list(server.client.stream("a.b.C")) == [{"n": 0}, {"n": 1}, {"n": 2}], "the connection goes on"


def test_an_error_is_raised_as_the_server_raised_it(serving: Callable[..., FakeServer]) -> None:
    error = NotUpError("Nothing is up.", next_step="See: devlink status")
    server = serving(lambda sock, _: sock.sendall(pack(varlink.error_reply("a.b", error))))
    with pytest.raises(NotUpError, match="Nothing is up") as raised:
        server.client.call("a.b.C")
    assert raised.value.next_step == "See: devlink status"


def test_who_gives_up_still_hears_how_it_ended(serving: Callable[..., FakeServer]) -> None:
    def answer(sock: socket.socket, call: dict[str, Any]) -> None:
        if call["method"] == "EOF":
            sock.sendall(pack(varlink.error_reply("a.b", NotUpError("Taken back."))))
        else:
            sock.sendall(pack(varlink.reply({"step": 1}, continues=True)))

    server = serving(answer)
    replies = server.client.stream("a.b.C")
    assert next(replies) == {"step": 1}
    server.client.give_up()
    with pytest.raises(NotUpError, match="Taken back"):
        list(server.client.remaining())


def test_a_server_that_dies_over_a_call_is_a_protocol_error_with_a_next_step(
    serving: Callable[..., FakeServer],
) -> None:
    server = serving(lambda sock, _: sock.close())
    with pytest.raises(ProtocolError, match="went away") as error:
        server.client.call("a.b.C")
    assert error.value.next_step


def test_a_server_that_has_gone_before_the_call_is_no_broken_pipe_of_ours() -> None:
    ours, theirs = socket.socketpair()
    with Client(ours) as client:
        theirs.close()
        with pytest.raises(ProtocolError, match="went away"):
            client.call("a.b.C", {"filling": "x" * (1 << 20)})
        client.give_up()  # and giving up on it is no error either


def test_what_a_server_said_before_it_went_is_read(serving: Callable[..., FakeServer]) -> None:
    ours, theirs = socket.socketpair()
    with Client(ours) as client:
        theirs.sendall(pack(varlink.error_reply("a.b", NotUpError("I am about to end."))))
        theirs.close()
        with pytest.raises(NotUpError, match="about to end"):
            client.call("a.b.C", {"filling": "x" * (1 << 20)})


def test_a_server_that_says_nothing_is_a_timeout(serving: Callable[..., FakeServer]) -> None:
    server = serving(lambda *_: None, timeout=0.05)
    with pytest.raises(TimeoutError):
        server.client.call("a.b.C")


@pytest.mark.parametrize("reply", [b"nonsense\0", b"[]\0", b"x" * (9 << 20)], ids=["text", "list", "endless"])
def test_a_server_that_does_not_speak_varlink_is_a_protocol_error(
    serving: Callable[..., FakeServer], reply: bytes
) -> None:
    def answer(sock: socket.socket, _: dict[str, Any]) -> None:
        sock.sendall(reply)

    server = serving(answer)
    with pytest.raises(ProtocolError):
        server.client.call("a.b.C")
    server.client.close()


def test_connecting_to_nobody_raises_as_connect_does_and_leaves_no_socket(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Client.connect(tmp_path / "nobody")
    with pytest.raises(OSError, match="too long"):
        Client.connect("/" + "x" * 200)
