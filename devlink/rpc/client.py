"""A blocking varlink client: for the command line, which must start fast, and for short calls in a thread."""

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from devlink.errors import ProtocolError
from devlink.rpc import varlink
from devlink.rpc.framing import FrameReader, pack


class Client:
    """One connection; one call at a time. Every wait is bounded by `timeout` seconds (None: not at all)."""

    def __init__(self, sock: socket.socket, *, timeout: float | None = 10.0) -> None:
        self._socket = sock
        self._socket.settimeout(timeout)
        self._reader = FrameReader()
        self._messages: list[dict[str, Any]] = []

    @classmethod
    def connect(cls, path: Path | str, *, timeout: float | None = 10.0) -> Self:
        """Connect to a socket in the file system. Raises OSError as connect(2) does."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)  # close-on-exec, as all of Python's (PEP 446)
        try:
            sock.settimeout(timeout)
            sock.connect(str(path))
        except BaseException:
            sock.close()
            raise
        return cls(sock, timeout=timeout)

    def bound(self, timeout: float | None) -> None:
        """From now on, every wait is bounded by `timeout` seconds."""
        self._socket.settimeout(timeout)

    def call(self, method: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call and take the one reply.

        Raises the server's DevlinkError, ProtocolError when the connection ends first, TimeoutError.
        """
        self._send(varlink.call(method, parameters))
        return varlink.parse_reply(self._receive())[0]

    def stream(self, method: str, parameters: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Call with `more` and yield each reply until the last. Raises as `call` does."""
        self._send(varlink.call(method, parameters, more=True))
        yield from self.remaining()

    def remaining(self) -> Iterator[dict[str, Any]]:
        """The replies that a stream still owes, for a caller that was interrupted in the middle of it."""
        continues = True
        while continues:
            parameters, continues = varlink.parse_reply(self._receive())
            yield parameters

    def give_up(self) -> None:
        """Say that no more will be asked: the server cancels the call in progress and answers with how that ended."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side has gone already, and the next reply says so

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(pack(message))
        except ConnectionError:  # a BrokenPipeError of ours must not pass for one of stdout's
            pass  # what it said before it went, such as why, may still wait to be read

    def _receive(self) -> dict[str, Any]:
        while not self._messages:
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                raise ProtocolError(
                    "The other side of a devlink socket went away in the middle of a call.",
                    next_step="Try again; the log of the agent or the helper says more.",
                )
            self._messages = self._reader.feed(data)
        return self._messages.pop(0)
