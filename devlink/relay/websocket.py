"""Websocket frames (RFC 6455), the client's end, without I/O; and SPDY inside of them, as Kubernetes 1.30 and later do.

What comes is handed on piece by piece, as it comes: no message is put together, so none can be too large.
"""

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from devlink.relay.dialect import Closed, Event, Pong
from devlink.relay.spdy import Spdy, together, words

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
WHOLE = 0x80 | BINARY
"""The first octet of a binary message in one frame."""
MAX_CONTROL = 125
"""Octets of a control frame (section 5.5)."""
NO_MASK = b"\0\0\0\0"
"""A key that changes nothing. A mask keeps a proxy that reads along from taking our octets for HTTP (section 10.3);
inside of TLS nobody reads along, and a random one costs more than the encryption."""


class Piece(NamedTuple):
    """Octets of a binary message."""

    octets: memoryview
    begins: bool
    """The first of its message."""
    ends: bool
    """The last of its message."""


class Websocket:
    """Frames both ways. `mask` gives four octets for each frame; None: NO_MASK."""

    def __init__(self, *, mask: Callable[[], bytes] | None = None) -> None:
        self._mask = mask
        self._out: list[bytes | bytearray | memoryview] = []
        self._head = bytearray()
        self._left = 0  # octets of the data frame that is being read
        self._is_last = False  # frame of its message
        self._inside = False  # of a message: its next frame is a continuation
        self._begins = False
        self._is_closed = False

    def message(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """One binary message of these parts, in order."""
        self._frame(BINARY, parts, sum(map(len, parts)))

    def ping(self) -> None:
        self._frame(PING, (), 0)

    def take(self) -> list[bytes | bytearray | memoryview]:
        taken, self._out = self._out, []
        return together(taken)

    def receive(self, octets: bytes | memoryview) -> list[Piece | Pong | Closed]:
        """What the octets mean; after a Closed, nothing. No octets at all: the connection has ended."""
        events: list[Piece | Pong | Closed] = []
        if self._is_closed:
            return events
        view = memoryview(octets)
        at, size = 0, len(view)
        if not size:
            self._close("the connection ended", events)
        while at < size and not self._is_closed:
            if self._left:
                end = min(at + self._left, size)
                self._left -= end - at
                self._piece(view[at:end], events)
                at = end
            elif size - at >= 4 and view[at] == WHOLE and view[at + 1] < 127 and not self._head and not self._inside:
                # Nearly all that come: a server makes thousands of them a second.
                length, at = view[at + 1], at + 2
                if length == 126:
                    length, at = view[at] << 8 | view[at + 1], at + 2
                if (end := at + length) <= size:
                    events.append(Piece(view[at:end], True, True))
                    at = end
                else:
                    self._left, self._is_last, self._begins = length, True, True
            else:
                at = self._collect(view, at, events)
        return events

    def _piece(self, octets: memoryview, events: list[Piece | Pong | Closed]) -> None:
        ends = self._is_last and not self._left
        events.append(Piece(octets, self._begins, ends))
        self._begins = False

    def _collect(self, view: memoryview, at: int, events: list[Piece | Pong | Closed]) -> int:
        """A frame's head, and the whole of a control frame. Gives how far it went."""
        head = self._head
        while (lacking := self._wanted(head) - len(head)) > 0:
            part = view[at : at + lacking]
            if not part:
                return at
            head += part
            at += len(part)
            if len(head) == 2 and (fault := self._fault(head[0], head[1])):
                self._close(fault, events)
                return at
        code, size = head[0] & 0x0F, head[1]
        if code >= CLOSE:
            body = bytes(head[2:])
            head.clear()
            self._controlled(code, body, events)
            return at
        if size > MAX_CONTROL:
            size = int.from_bytes(head[2:], "big")
        self._left, self._is_last = size, bool(head[0] & 0x80)
        self._begins = self._begins or code != CONTINUATION
        self._inside = not self._is_last
        head.clear()
        if size >> 63:
            self._close("a frame without a length came", events)
        elif not size and self._is_last:
            self._piece(view[:0], events)
        return at

    def _wanted(self, head: bytearray) -> int:
        """Octets of the head, and of a control frame's body, as far as is known."""
        if len(head) < 2:
            return 2
        if head[0] & 0x0F >= CLOSE:
            return 2 + head[1]
        return 2 + {126: 2, 127: 8}.get(head[1], 0)

    def _fault(self, first: int, second: int) -> str:
        """What the first two octets of a frame break, or nothing."""
        code = first & 0x0F
        if first & 0x70:
            return "a frame of an extension came that nobody asked for"
        if second & 0x80:
            return "a masked frame came from a server"
        if code in (CLOSE, PING, PONG):
            return "" if first & 0x80 and second <= MAX_CONTROL else "a control frame came in parts, or is too long"
        if code == TEXT:
            return "text came where octets are spoken"
        if code not in (CONTINUATION, BINARY):
            return f"a frame of the unknown kind {code} came"
        if (code == CONTINUATION) != self._inside:
            return "a message came in the midst of another, or has no beginning"
        return ""

    def _controlled(self, code: int, body: bytes, events: list[Piece | Pong | Closed]) -> None:
        if code == PING:
            self._frame(PONG, (body,), len(body))
        elif code == PONG:
            events.append(Pong())
        else:
            self._frame(CLOSE, (body[:2],), len(body[:2]))
            number = int.from_bytes(body[:2], "big")
            self._close(" ".join(filter(None, (f"the server closed it (code {number})", words(body[2:])))), events)

    def _close(self, why: str, events: list[Piece | Pong | Closed]) -> None:
        self._is_closed = True
        events.append(Closed(why))

    def _frame(self, code: int, parts: Sequence[bytes | bytearray | memoryview], size: int) -> None:
        if self._is_closed:
            return
        key = self._mask() if self._mask else NO_MASK
        if size <= MAX_CONTROL:
            head = struct.pack(">BB4s", 0x80 | code, 0x80 | size, key)
        elif size < 0x10000:
            head = struct.pack(">BBH4s", 0x80 | code, 0x80 | 126, size, key)
        else:
            head = struct.pack(">BBQ4s", 0x80 | code, 0x80 | 127, size, key)
        self._out.append(head)
        if key == NO_MASK:
            self._out += parts
        else:
            self._out.append(masked(b"".join(parts), key))


def masked(octets: bytes, key: bytes) -> bytes:
    """Each octet xor the key's, which is repeated (section 5.3); the same undoes it."""
    size = len(octets)
    keys = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(octets, "little") ^ int.from_bytes(keys, "little")).to_bytes(size, "little")


class SpdyWebsocket(Spdy):
    """A `Dialect`: what waits is one message each time that it is taken; how messages are cut means nothing."""

    def __init__(self, *, mask: Callable[[], bytes] | None = None) -> None:
        super().__init__()
        self._websocket = Websocket(mask=mask)

    def ping(self) -> None:
        """Both kinds: the API server answers one, the node the other, unless a pod that does not read holds it up."""
        self._websocket.ping()
        super().ping()

    def receive(self, octets: bytes | memoryview) -> Sequence[Event]:
        pieces: list[memoryview] = []
        events: list[Event] = []
        closed = ""
        for event in self._websocket.receive(octets):
            if isinstance(event, Piece):
                if event.octets:
                    pieces.append(event.octets)
            elif isinstance(event, Closed):
                closed = event.why
            else:
                events.append(event)
        self._take_in(pieces, events)
        if closed:
            self._close(closed, events)
        return events

    def take(self) -> list[bytes | bytearray | memoryview]:
        waiting = super().take()
        if waiting:
            self._websocket.message(waiting)
        return self._websocket.take()
