"""The client of `devlink files`: asks again once, and says what is wrong."""

import ipaddress
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from devlink.errors import HelperError
from devlink.resolvers.files import INTERFACE
from devlink.resolvers.files.client import FilesClient
from devlink.rpc.answering import answer
from devlink.rpc.framing import FrameReader, pack

OURS = ipaddress.ip_address("169.254.53.53")


class FakeFiles:
    """The other end: hangs up on the first calls, then answers."""

    def __init__(self, *, deaths: int = 0) -> None:
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self._deaths = deaths
        self._threads: list[threading.Thread] = []

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=self._serve, args=(theirs,))
        thread.start()
        self._threads.append(thread)
        return ours

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            reader = FrameReader()
            while data := connection.recv(4096):
                for message in reader.feed(data):
                    if self._deaths:
                        self._deaths -= 1
                        return
                    connection.sendall(pack(answer(INTERFACE, self._methods(), message, failed=print)))

    def _methods(self) -> dict[str, Any]:
        def note(verb: str) -> Any:
            def method(parameters: Mapping[str, Any]) -> dict[str, Any]:
                self.calls.append((verb, parameters))
                if parameters.get("nameserver") == "127.0.0.99":
                    raise HelperError("It was refused.", why="By the test.", next_step="Nothing.")
                return {}

            return method

        return {"Write": note("Write"), "Restore": note("Restore")}

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def test_the_verbs_carry_the_mode_and_the_address() -> None:
    fake = FakeFiles()
    client = FilesClient(fake.connect)
    client.write(OURS)
    client.restore(OURS, mode="openresolv")
    client.restore()
    fake.join()
    assert fake.calls == [
        ("Write", {"mode": "direct", "nameserver": "169.254.53.53"}),
        ("Restore", {"mode": "openresolv", "nameserver": "169.254.53.53"}),
        ("Restore", {"mode": "direct"}),
    ]


def test_a_process_that_died_over_a_call_is_asked_again() -> None:
    fake = FakeFiles(deaths=1)
    FilesClient(fake.connect).write(OURS)
    fake.join()
    assert len(fake.calls) == 1


def test_a_process_that_dies_twice_is_an_error() -> None:
    fake = FakeFiles(deaths=2)
    with pytest.raises(HelperError, match="twice"):
        FilesClient(fake.connect).write(OURS)
    fake.join()
    assert not fake.calls


def test_an_error_of_the_process_reaches_the_caller_whole_and_is_not_asked_again() -> None:
    fake = FakeFiles()
    with pytest.raises(HelperError) as caught:
        FilesClient(fake.connect).write(ipaddress.ip_address("127.0.0.99"))
    fake.join()
    assert (caught.value.what, caught.value.why) == ("It was refused.", "By the test.")
    assert len(fake.calls) == 1


def test_a_process_that_is_silent_is_an_error_in_bounded_time() -> None:
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(HelperError, match="does not answer"):
        FilesClient(lambda: ours, timeout=0.05).write(OURS)


def test_a_socket_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(tmp_path / "files"))
        except OSError:
            connection.close()
            raise
        return connection

    with pytest.raises(HelperError, match="cannot be reached"):
        FilesClient(connect).write(OURS)
