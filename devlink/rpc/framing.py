"""Varlink's wire format without any I/O: JSON objects, each ended by a NUL (varlink.org, "Protocol")."""

import json
from typing import Any

from devlink.errors import ProtocolError

MAX_FRAME = 8 << 20
"""Octets in one message. The largest of ours is a plan of 20,000 pod blocks, about 3 MB."""


class FrameReader:
    """Takes the stream in pieces of any size and gives whole messages. Bounded: one frame of MAX_FRAME."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that `data` completes. Raises ProtocolError; the connection is then good for nothing."""
        self._buffer += data
        messages = []
        while (end := self._buffer.find(0, self._searched)) >= 0:
            frame = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            messages.append(self._parse(frame))
        self._searched = len(self._buffer)
        if len(self._buffer) > self._limit:
            raise ProtocolError(f"A message on a devlink socket is larger than {self._limit >> 20} MiB.")
        return messages

    @property
    def partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer)

    @property
    def pending(self) -> int:
        """Octets of the message that has begun."""
        return len(self._buffer)

    def _parse(self, frame: bytes) -> dict[str, Any]:
        if len(frame) > self._limit:
            raise ProtocolError(f"A message on a devlink socket is larger than {self._limit >> 20} MiB.")
        try:
            message = json.loads(frame)
        except (ValueError, RecursionError):
            raise ProtocolError("A message on a devlink socket is not JSON.") from None
        if not isinstance(message, dict):
            raise ProtocolError("A message on a devlink socket is not a JSON object.")
        return message


def pack(message: dict[str, Any]) -> bytes:
    """One message as octets for the wire."""
    # ASCII, because a peer's "\ud800" has no UTF-8 form and must not end whoever quotes it in an answer.
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\0"
