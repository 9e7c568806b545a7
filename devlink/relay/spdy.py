"""SPDY/3.1 as port-forward speaks it (draft-mbelshe-httpbis-spdy-00; moby/spdystream at the node): our end, no I/O.

For each TCP connection two streams are opened: `error`, on which the node says what went wrong, and `data`, by whose
number the connection goes here. This use of SPDY has no flow-control windows.

A node ends the data stream just before it says on the other that nobody listens, or that the pod broke off. So an end
is told only when the error stream is over too, or when the answer to a ping shows that nothing more was on its way.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from devlink.relay.dialect import Closed, Data, End, Event, Failed, Pong

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 0x01
VERSION = 3
REFUSED_STREAM, CANCEL = 3, 5
"""Why a stream is reset (section 2.6.3)."""
MAX_FRAME = 0xFFFFFF
"""Octets in one frame: its length has 24 bits."""
MAX_CONTROL = 64 * 1024
"""Octets of a control frame, and of its headers inflated: a node sends some dozens."""
MAX_WORDS = 4096
"""Octets of what the node says on one error stream that are kept."""
LAST_NUMBER = 0x7FFFFFFF
"""A stream's number has 31 bits, and is never used again."""
SMALL = 1024
"""Octets of a part below which it is copied to its neighbours: over TLS it would be a record of its own."""
_HEAD = struct.Struct(">II")


def _dictionary() -> bytes:
    """The octets that deflate begins with (section 2.6.10.1): names with their lengths, then usual values."""
    names = (  # noqa: SIM905
        "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age "
        "allow authorization cache-control connection content-base content-encoding content-language content-length "
        "content-location content-md5 content-range content-type date etag expect expires from host if-match "
        "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
        "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
        "user-agent vary via warning www-authenticate method get status"
    ).split()
    counted = [*names, "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"]
    codes = (
        "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
        "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
        "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    )
    values = (
        "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
        "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
        "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
    )
    return b"".join(packed(each.encode()) for each in counted) + (codes + values).encode()


def packed(text: bytes) -> bytes:
    """With its length before it, as names and values of headers go."""
    return struct.pack(">I", len(text)) + text


DICTIONARY = _dictionary()


class _BreachError(Exception):
    """The other side broke the protocol; the text says how."""


@dataclass(slots=True)
class _Stream:
    """One TCP connection, by the number of its data stream; its error stream has the number two below."""

    said: bytearray = field(default_factory=bytearray)
    """What came on its error stream."""
    is_silent: bool = False
    """The node has ended the error stream, and said nothing there."""
    is_ended: bool = False
    """The pod sends no more."""
    is_told: bool = False
    """And that has been said."""
    is_finished: bool = False
    """We send no more."""


class Spdy:
    """A `Dialect`. What comes is handed on piece by piece: of data nothing is kept, of control frames MAX_CONTROL."""

    streams_limit = LAST_NUMBER // 4

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS, DICTIONARY)
        self._streams: dict[int, _Stream] = {}
        self._next = 1
        self._pinged = -1
        self._ending: list[int] = []  # streams that the pod has ended, of which nothing is said yet
        self._asked: dict[int, list[int]] = {}  # the same, by the ping whose answer would settle it
        self._out: list[bytes | bytearray | memoryview] = []
        self._head = bytearray()  # of a frame whose rest has not come yet: all of a control frame
        self._number, self._left, self._fin = 0, 0, False  # the data frame that is being read
        self._is_closed = False

    def open(self, port: int) -> int:
        error, number = self._next, self._next + 2
        if self._is_closed or number > LAST_NUMBER:
            raise ConnectionError("no new stream can be opened on it")
        request = str(error // 4)
        self._next += 4
        self._streams[number] = _Stream()
        self._open(error, "error", port, request)
        self._out.append(_HEAD.pack(error, FIN << 24))  # on the error stream only the node speaks
        self._open(number, "data", port, request)
        return number

    def send(self, stream: int, octets: bytes | bytearray | memoryview) -> None:
        at = self._streams.get(stream)
        size = len(octets)
        if at is None or at.is_finished or not size:
            return
        if size <= MAX_FRAME:
            self._out += (_HEAD.pack(stream, size), octets)
            return
        view = memoryview(octets)
        for begin in range(0, size, MAX_FRAME):
            part = view[begin : begin + MAX_FRAME]
            self._out += (_HEAD.pack(stream, len(part)), part)

    def end(self, stream: int) -> None:
        at = self._streams.get(stream)
        if at is not None and not at.is_finished:
            at.is_finished = True
            self._out.append(_HEAD.pack(stream, FIN << 24))
            self._tidy(stream, at)

    def reset(self, stream: int) -> None:
        if self._streams.pop(stream, None) is not None:
            self._control(RST_STREAM, struct.pack(">II", stream, CANCEL))

    def ping(self) -> None:
        self._ping()

    def take(self) -> list[bytes | bytearray | memoryview]:
        taken, self._out = self._out, []
        return together(taken)

    def receive(self, octets: bytes | memoryview) -> Sequence[Event]:
        """As the dialect's. No octets at all: the connection has ended."""
        if self._is_closed:
            return ()
        events: list[Event] = []
        self._take_in((octets,), events)
        return events

    def _take_in(self, pieces: Iterable[bytes | memoryview], events: list[Event]) -> None:
        if self._is_closed:
            return
        try:
            for piece in pieces:
                if not piece:
                    raise _BreachError("the connection ended")
                self._read(memoryview(piece), events)
            if self._ending:
                self._ask_of_endings()
        except _BreachError as breach:
            self._close(str(breach), events)

    def _close(self, why: str, events: list[Event]) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._streams.clear()
            events.append(Closed(why))

    def _read(self, view: memoryview, events: list[Event]) -> None:
        at, size = 0, len(view)
        while at < size:
            if self._left:
                end = min(at + self._left, size)
                self._left -= end - at
                self._data(view[at:end], events)
                at = end
            elif self._head or size - at < 8:
                at = self._collect(view, at, events)
            else:
                word, length = _HEAD.unpack_from(view, at)
                end = at + 8 + (length & MAX_FRAME)
                if not word >> 31:
                    at += 8
                    self._begin(word, length, events)
                elif end <= size and end - at <= MAX_CONTROL:
                    self._controlled(bytes(view[at:end]), events)
                    at = end
                else:
                    at = self._collect(view, at, events)

    def _collect(self, view: memoryview, at: int, events: list[Event]) -> int:
        """Part of a frame's beginning, or of a control frame, which is read when it is whole. Gives how far it went."""
        head = self._head
        wanted = 8 if len(head) < 8 else 8 + int.from_bytes(head[5:8], "big")
        part = view[at : at + wanted - len(head)]
        head += part
        if len(head) < wanted:
            return at + len(part)
        if wanted == 8:
            word, length = _HEAD.unpack(head)
            if not word >> 31:
                head.clear()
                self._begin(word, length, events)
                return at + len(part)
            if length & MAX_FRAME > MAX_CONTROL:
                raise _BreachError(f"a control frame of {length & MAX_FRAME} octets came")
            if length & MAX_FRAME:
                return at + len(part)
        whole = bytes(head)
        head.clear()
        self._controlled(whole, events)
        return at + len(part)

    def _begin(self, word: int, length: int, events: list[Event]) -> None:
        """Of a data frame."""
        self._number, self._left, self._fin = word, length & MAX_FRAME, bool(length >> 24 & FIN)
        if not self._left and self._fin:
            self._ended(word, events)

    def _data(self, piece: memoryview, events: list[Event]) -> None:
        number = self._number
        at = self._streams.get(number)
        if at is not None:
            if not at.is_ended:
                events.append(Data(number, piece))
        elif (at := self._streams.get(number + 2)) is not None:
            at.said += piece[: MAX_WORDS - len(at.said)]
        if self._fin and not self._left:
            self._ended(number, events)

    def _ended(self, number: int, events: list[Event]) -> None:
        """The node sends no more on that stream, be it data or error."""
        at = self._streams.get(number)
        if at is not None:
            at.is_ended = True
            if at.is_silent:
                self._tell_end(number, events)
            else:
                self._ending.append(number)
        elif (at := self._streams.get(number + 2)) is not None:
            at.is_silent = not at.said
            if at.said:
                events.append(Failed(number + 2, words(at.said)))
                self.reset(number + 2)
            elif at.is_ended:
                self._tell_end(number + 2, events)

    def _tell_end(self, number: int, events: list[Event]) -> None:
        at = self._streams.get(number)
        if at is not None:
            if not at.is_told:
                at.is_told = True
                events.append(End(number))
            self._tidy(number, at)

    def _ask_of_endings(self) -> None:
        open_yet = [each for each in self._ending if (at := self._streams.get(each)) and not at.is_told]
        self._ending.clear()
        if open_yet:
            self._asked[self._ping()] = open_yet

    def _ping(self) -> int:
        self._pinged = (self._pinged + 2) & LAST_NUMBER  # a client's are odd
        self._control(PING, struct.pack(">I", self._pinged))
        return self._pinged

    def _tidy(self, number: int, at: _Stream) -> None:
        if at.is_silent and at.is_ended and at.is_finished:
            del self._streams[number]

    def _controlled(self, frame: bytes, events: list[Event]) -> None:
        version, kind = struct.unpack_from(">HH", frame)
        if version != 0x8000 | VERSION:
            raise _BreachError(f"a frame of SPDY version {version & 0x7FFF} came")
        flags, body = frame[4], frame[8:]
        least = {SYN_STREAM: 10, SYN_REPLY: 4, RST_STREAM: 8, PING: 4, HEADERS: 4}.get(kind, 0)
        if len(body) < least:
            raise _BreachError(f"a frame of type {kind} with {len(body)} octets came")
        number = int.from_bytes(body[:4], "big") & LAST_NUMBER
        if kind in (SYN_STREAM, SYN_REPLY, HEADERS):
            self._keep_context(body[least:])
            if kind == SYN_STREAM:
                self._control(RST_STREAM, struct.pack(">II", number, REFUSED_STREAM))
            elif flags & FIN:
                self._ended(number, events)
        elif kind == RST_STREAM:
            self._was_reset(number, int.from_bytes(body[4:8], "big"), events)
        elif kind == PING:
            if number & 1:
                events.append(Pong())
                for each in self._asked.pop(number, ()):
                    self._tell_end(each, events)
            else:
                self._control(PING, body[:4])
        elif kind == GOAWAY:
            raise _BreachError("the node is closing it")

    def _was_reset(self, number: int, status: int, events: list[Event]) -> None:
        number = number if number in self._streams else number + 2
        at = self._streams.pop(number, None)
        if at is not None:
            events.append(Failed(number, words(at.said) or f"The node reset the stream (status {status})."))

    def _keep_context(self, deflated: bytes) -> None:
        """One compressor serves all headers of a session: each must go through, though none tells us anything."""
        try:
            self._inflate.decompress(deflated, MAX_CONTROL)
        except zlib.error as error:
            raise _BreachError(f"headers came that cannot be inflated: {error}") from None
        if self._inflate.unconsumed_tail or self._inflate.eof:
            raise _BreachError(f"headers of more than {MAX_CONTROL} octets came, or the last there can be")

    def _open(self, number: int, kind: str, port: int, request: str) -> None:
        headers = {b"streamtype": kind.encode(), b"port": b"%d" % port, b"requestid": request.encode()}
        plain = struct.pack(">I", len(headers)) + b"".join(packed(k) + packed(v) for k, v in headers.items())
        deflated = self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self._control(SYN_STREAM, struct.pack(">IIBB", number, 0, 0, 0) + deflated)

    def _control(self, kind: int, body: bytes) -> None:
        self._out.append(struct.pack(">HHI", 0x8000 | VERSION, kind, len(body)) + body)


def together(parts: list[bytes | bytearray | memoryview]) -> list[bytes | bytearray | memoryview]:
    """The same octets, with neighbours that are small in one part."""
    found: list[bytes | bytearray | memoryview] = []
    small: list[bytes | bytearray | memoryview] = []
    for part in parts:
        if len(part) < SMALL:
            small.append(part)
            continue
        if small:
            found.append(b"".join(small))
            small.clear()
        found.append(part)
    if small:
        found.append(b"".join(small))
    return found


def words(said: bytes | bytearray) -> str:
    """What a node said, fit for a terminal."""
    text = said.decode("utf-8", "replace")
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
