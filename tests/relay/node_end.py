"""The node's end of port-forward, as small as it can be: what the tests of our end speak with. Not devlink's code."""

import struct
import zlib
from dataclasses import dataclass, field

from devlink.relay.spdy import DICTIONARY


def control(kind: int, body: bytes, flags: int = 0, version: int = 3) -> bytes:
    """A control frame of SPDY."""
    return struct.pack(">HHI", 0x8000 | version, kind, flags << 24 | len(body)) + body


def data(stream: int, octets: bytes = b"", *, fin: bool = False) -> bytes:
    return struct.pack(">II", stream, fin << 24 | len(octets)) + octets


def text(*octets: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(each)) + each for each in octets)


@dataclass(frozen=True)
class Frame:
    """One of the client's frames."""

    kind: int
    """0: data."""
    stream: int
    fin: bool
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class NodeEnd:
    """Reads what a client sends, and makes what a node answers."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj()
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._come = b""

    def read(self, octets: bytes) -> list[Frame]:
        self._come += octets
        frames = []
        while len(self._come) >= 8:
            first, second = struct.unpack_from(">II", self._come)
            end = 8 + (second & 0xFFFFFF)
            if len(self._come) < end:
                break
            body, self._come = self._come[8:end], self._come[end:]
            kind = first & 0xFFFF if first >> 31 else 0
            stream = struct.unpack_from(">I", body)[0] if kind else first
            headers = self._headers(body[10:]) if kind == 1 else {}
            frames.append(Frame(kind, stream, bool(second >> 24 & 1), body, headers))
        return frames

    def reply(self, stream: int, *, fin: bool = False, more: bytes = b"") -> bytes:
        """SYN_REPLY; `more`: what stands in its headers beside the nothing that a node sends."""
        plain = struct.pack(">I", 1) + text(b"x", more) if more else struct.pack(">I", 0)
        packed = self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return control(2, struct.pack(">I", stream) + packed, flags=fin)

    def opened(self, stream: int, *, fin: bool = False, more: bytes = b"") -> bytes:
        """SYN_STREAM, which no node sends."""
        packed = self._deflate.compress(struct.pack(">I", 1) + text(b"x", more)) + self._deflate.flush(
            zlib.Z_SYNC_FLUSH
        )
        return control(1, struct.pack(">IIBB", stream, 0, 0, 0) + packed, flags=fin)

    def _headers(self, packed: bytes) -> dict[str, str]:
        if self._inflate.unused_data or not packed:
            return {}
        try:
            plain = self._inflate.decompress(packed)
        except zlib.error:  # the first time it says that it wants the dictionary
            self._inflate = zlib.decompressobj(zdict=DICTIONARY)
            plain = self._inflate.decompress(packed)
        (count,) = struct.unpack_from(">I", plain)
        words, at = [], 4
        for _ in range(2 * count):
            (size,) = struct.unpack_from(">I", plain, at)
            words.append(plain[at + 4 : at + 4 + size].decode())
            at += 4 + size
        assert at == len(plain)
        return dict(zip(words[::2], words[1::2], strict=True))


def message(octets: bytes, *, code: int = 2, first: int = 0x80, mask: bytes = b"") -> bytes:
    """A frame of a websocket, of a server where there is no mask."""
    size = len(octets)
    bit = 0x80 if mask else 0
    if size < 126:
        head = bytes((first | code, bit | size))
    elif size < 0x10000:
        head = bytes((first | code, bit | 126)) + struct.pack(">H", size)
    else:
        head = bytes((first | code, bit | 127)) + struct.pack(">Q", size)
    return head + mask + (bytes(each ^ mask[at % 4] for at, each in enumerate(octets)) if mask else octets)


def messages(octets: bytes) -> list[tuple[int, bytes]]:
    """What a client sent, whole frames only, each masked: (code, octets)."""
    found, at = [], 0
    while at < len(octets):
        first, second = octets[at : at + 2]
        assert first & 0xF0 == 0x80 and second & 0x80, "whole, and masked"  # noqa: PT018
        size, at = second & 0x7F, at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(octets[at : at + width], "big"), at + width
        mask, body = octets[at : at + 4], octets[at + 4 : at + 4 + size]
        assert len(body) == size
        found.append((first & 0x0F, bytes(each ^ mask[n % 4] for n, each in enumerate(body)) if any(mask) else body))
        at += 4 + size
    return found
