"""A peer for commands: an agent or a helper that answers each method as the test says."""

import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from devlink import __version__
from devlink.rpc import varlink
from devlink.rpc.framing import FrameReader, pack

INFO: Mapping[str, Any] = varlink.reply({"version": __version__, "interfaces": []})


class FakePeer:
    """Listens on a socket; every call of a method gets all the messages that are noted for it."""

    def __init__(self, path: Path, replies: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """`replies`: by the method's last word. A method without any is never answered; EOF ends as the test says."""
        self.calls: list[dict[str, Any]] = []
        self._replies = {"GetInfo": [INFO], **replies}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._converse(connection)
                except OSError:
                    pass  # the command had enough

    def _converse(self, connection: socket.socket) -> None:
        reader = FrameReader()
        while data := connection.recv(1 << 16):
            for call in reader.feed(data):
                self.calls.append(call)
                replies = self._replies.get(call["method"].rpartition(".")[2], ())
                for reply in replies:
                    if reply is HANG_UP:
                        return
                    connection.sendall(pack(dict(reply)))

    @property
    def methods(self) -> list[str]:
        """The last words of the methods that were called."""
        return [call["method"].rpartition(".")[2] for call in self.calls]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


HANG_UP: Mapping[str, Any] = {}
"""In place of a reply: the peer dies."""
