"""The blocking server of a process that serves one caller after another and then ends."""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from devlink.errors import ConflictError, NotPermittedError, ProtocolError, UnexpectedError
from devlink.rpc import answering, service, varlink
from devlink.rpc.client import Client
from devlink.rpc.framing import pack
from devlink.rpc.peer import Peer, peer_of

NAME = "io.devlink.Files"


def echo(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"got": dict(parameters)}


def conflict(_: Mapping[str, Any]) -> Mapping[str, Any]:
    raise ConflictError("Taken.")


def defect(_: Mapping[str, Any]) -> Mapping[str, Any]:
    raise ZeroDivisionError("a defect")


class EndError(BaseException):
    """Ends the server, as no failing method does."""


def end(_: Mapping[str, Any]) -> Mapping[str, Any]:
    raise EndError


METHODS = {"Echo": echo, "Conflict": conflict, "Defect": defect, "End": end}


class Serving:
    """The server in a thread, on a socket in a folder."""

    def __init__(self, path: Path, idle: float) -> None:
        self.path = path
        self.thread = threading.Thread(target=self._serve, args=(idle,), daemon=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self.thread.start()

    def _serve(self, idle: float) -> None:
        with self._listener:
            try:
                service.serve(self._listener, NAME, METHODS, idle=idle, call_limit=0.3)
            except EndError:
                pass

    def close(self) -> None:
        """End it without waiting until it finds itself idle."""
        try:
            with Client.connect(self.path) as client:
                client.call(f"{NAME}.End")
        except (OSError, ProtocolError):
            pass  # gone before, or at this
        self.thread.join()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    running = Serving(tmp_path / "socket", idle=0.5)
    yield running
    running.close()


@pytest.mark.slow
def test_calls_of_a_connection_are_answered_and_the_process_ends_when_nobody_comes(serving: Serving) -> None:
    with Client.connect(serving.path) as client:
        assert client.call(f"{NAME}.Echo", {"x": 1}) == {"got": {"x": 1}}
        with pytest.raises(ConflictError, match="Taken"):
            client.call(f"{NAME}.Conflict")
        assert client.call(f"{NAME}.Echo") == {"got": {}}
    serving.thread.join(10)
    assert not serving.thread.is_alive()


def test_a_defect_is_told_and_the_next_call_is_served(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    with Client.connect(serving.path) as client:
        with pytest.raises(UnexpectedError, match="ZeroDivisionError"):
            client.call(f"{NAME}.Defect")
        assert client.call(f"{NAME}.Echo") == {"got": {}}
    assert "Defect failed" in caplog.text


@pytest.mark.parametrize("broken", [b"x\0", b'{"method": 1}\0', b'{"half'], ids=["no-json", "no-call", "half"])
def test_a_connection_that_breaks_the_protocol_or_stalls_holds_the_next_up_only_briefly(
    serving: Serving, broken: bytes
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hostile:
        hostile.connect(str(serving.path))
        hostile.sendall(broken)
        with Client.connect(serving.path) as client:
            assert client.call(f"{NAME}.Echo") == {"got": {}}


def test_peers_that_may_not_drive_it_are_shown_out(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    peers = [Peer(pid=1, uid=os.geteuid() + 1, gid=0)]
    monkeypatch.setattr(service, "peer_of", lambda sock: peers.pop() if peers else peer_of(sock))
    monkeypatch.setattr(os, "stat", lambda _: type("Status", (), {"st_uid": 0})())
    with Client.connect(serving.path) as client, pytest.raises(ProtocolError):
        client.call(f"{NAME}.Echo")
    with Client.connect(serving.path) as client:
        assert client.call(f"{NAME}.Echo") == {"got": {}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"method": f"{NAME}.Nothing"}, "MethodNotFound"),
        ({"method": "io.devlink.Helper.Echo"}, "MethodNotFound"),
        (
            {"method": "org.varlink.service.GetInterfaceDescription", "parameters": {"interface": "x"}},
            "InterfaceNotFound",
        ),
    ],
)
def test_what_it_does_not_serve_is_a_standard_error(message: dict[str, Any], expected: str) -> None:
    assert answering.answer(NAME, METHODS, message, failed=print)["error"] == f"org.varlink.service.{expected}"


def test_it_describes_itself() -> None:
    info = answering.answer(NAME, METHODS, {"method": "org.varlink.service.GetInfo"}, failed=print)
    assert NAME in info["parameters"]["interfaces"]
    described = answering.answer(
        NAME,
        METHODS,
        {"method": "org.varlink.service.GetInterfaceDescription", "parameters": {"interface": NAME}},
        failed=print,
    )
    assert described["parameters"]["description"] == varlink.interface_description(NAME)
    assert pack(described)


def test_an_error_of_permission_keeps_its_class() -> None:
    def refuse(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise NotPermittedError("No.")

    methods: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {"Refuse": refuse}
    with pytest.raises(NotPermittedError):
        varlink.parse_reply(answering.answer(NAME, methods, {"method": f"{NAME}.Refuse"}, failed=print))
