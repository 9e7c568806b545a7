"""Netlink's framing and one request socket: messages, attributes, acknowledgements, dumps (linux/netlink.h)."""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.errors import HelperError

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_DUMP = 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
"""The same bits as above, with this meaning in an NLMSG_ERROR."""
NLMSGERR_ATTR_MSG = 1
NLA_TYPE_MASK = 0x3FFF

SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 10, 11, 12

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_INT = struct.Struct("=i")
_UINT = struct.Struct("=I")

CHUNK = 128
"""Requests in one send. More gain nothing, and all their refusals together still fit the receive buffer."""
RECEIVE_BUFFER = 1 << 20
READ_SIZE = 1 << 18
"""Octets for one read; the kernel fills at most 32 KiB in a dump, a single message may be larger."""
DUMP_ATTEMPTS = 10
TIMEOUT = 5.0
"""Seconds. The kernel answers while it takes the request; only a held lock can make it late."""
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
"""By IP version."""


class Message(NamedTuple):
    """One netlink message, its body without the header."""

    type: int
    flags: int
    sequence: int
    port: int
    body: bytes


class Request(NamedTuple):
    """One message that is still to be numbered."""

    type: int
    flags: int
    body: bytes


class Refusal(NamedTuple):
    """Why the kernel did not do what a request asked."""

    errno: int
    """Positive; 0 stands for an acknowledgement."""
    text: str
    """The kernel's own words (extended acknowledgement), else those of the error number."""


def family_of(value: IPAddress | IPNetwork) -> int:
    """AF_INET or AF_INET6."""
    return FAMILIES[value.version]


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute with its padding."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def attribute_u32(kind: int, value: int) -> bytes:
    """One attribute that holds a number of 32 bits, in the machine's order."""
    return attribute(kind, _UINT.pack(value))


def u32(value: bytes) -> int:
    """The number that an attribute of 32 bits holds. Raises struct.error where it holds anything else."""
    number: int = _UINT.unpack(value)[0]
    return number


def parse_attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes from `offset` on, by type without its flags. Ends where a length makes no sense, as the kernel's
    own parser does."""
    found = {}
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            break
        found[kind & NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def pack_message(request: Request, sequence: int, port: int = 0) -> bytes:
    """One message as octets."""
    kind, flags, body = request
    padding = b"\0" * (-len(body) % 4)
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, port) + body + padding


def parse_messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            break
        yield Message(kind, flags, sequence, port, data[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


def parse_error(message: Message) -> Refusal:
    """What an NLMSG_ERROR or NLMSG_DONE says."""
    code = -int(_INT.unpack_from(message.body)[0]) if len(message.body) >= _INT.size else 0
    text = ""
    if message.flags & NLM_F_ACK_TLVS:
        offset = _INT.size
        if message.type == NLMSG_ERROR:
            # The request's header comes back, and its body too unless NETLINK_CAP_ACK left it out.
            echoed = _HEADER.size if message.flags & NLM_F_CAPPED else _UINT.unpack_from(message.body, offset)[0]
            offset += (echoed + 3) & ~3
        words = parse_attributes(message.body, offset).get(NLMSGERR_ATTR_MSG, b"")
        text = words.rstrip(b"\0").decode(errors="backslashreplace")
    return Refusal(code, text or (os.strerror(code) if code else ""))


def unreachable_kernel(error: OSError) -> HelperError:
    """The error for a person where the kernel does not tell what is there."""
    return HelperError(
        "The machine's network could not be read.",
        why=f"The kernel's routing socket said: {error.strerror or error}.",
        next_step="Try again; if it stays, `ip route` shows whether the kernel answers others.",
    )


class NetlinkSocket:
    """A socket for requests to rtnetlink: no groups, so that nothing but answers arrives. Use it in a `with`.

    Every method raises OSError with the kernel's number and words; TimeoutError after TIMEOUT seconds of silence.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        try:
            self._socket.settimeout(TIMEOUT)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
                self._socket.setsockopt(SOL_NETLINK, option, 1)
            self._socket.bind((0, 0))
            self._port: int = self._socket.getsockname()[0]
        except BaseException:
            self._socket.close()
            raise
        self._sequence = 0
        self._buffer = bytearray(READ_SIZE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._socket.close()

    def get(self, kind: int, body: bytes) -> Message:
        """Ask for one object."""
        sequence = self._send((Request(kind, 0, body),))
        while True:
            for message in self._receive():
                if message.sequence != sequence:
                    continue
                if message.type == NLMSG_ERROR:
                    raise OSError(*parse_error(message))
                return message

    def dump(self, kind: int, body: bytes, answer: int) -> list[bytes]:
        """Ask for all objects of a kind; the bodies of the messages of type `answer`.

        Asks again while the table changed under the dump.
        """
        for _ in range(DUMP_ATTEMPTS):
            bodies, consistent = self._dump_once(kind, body, answer)
            if consistent:
                return bodies
        raise OSError(errno.EAGAIN, f"the kernel's table changed during each of {DUMP_ATTEMPTS} dumps")

    def batch(self, requests: Sequence[tuple[int, int, bytes]]) -> dict[int, Refusal]:
        """Send at most CHUNK requests at once; the refusals by their place. One refused does not stop the next.

        Raises OSError with ENOBUFS when answers were lost: what was done is then to be looked up.
        """
        assert 0 < len(requests) <= CHUNK
        final = len(requests) - 1
        kind, flags, body = requests[-1]
        numbered = [*requests[:-1], (kind, flags | NLM_F_ACK, body)]
        last = self._send(numbered)
        first = last - final
        refusals = {}
        while True:
            for message in self._answers():
                if message.type != NLMSG_ERROR or not first <= message.sequence <= last:
                    continue
                verdict = parse_error(message)
                if verdict.errno:
                    refusals[message.sequence - first] = verdict
                if message.sequence == last:
                    return refusals

    def _answers(self) -> list[Message]:
        """As `_receive`; where answers were lost, the rest of them is lost too."""
        try:
            return self._receive()
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                self._drain()
            raise

    def _drain(self) -> None:
        """Read all that is there. Until then the kernel drops what it would answer next (NETLINK_S_CONGESTED)."""
        self._socket.setblocking(False)
        try:
            with suppress(BlockingIOError):
                while True:
                    self._socket.recv(1)
        finally:
            self._socket.settimeout(TIMEOUT)

    def _dump_once(self, kind: int, body: bytes, answer: int) -> tuple[list[bytes], bool]:
        sequence = self._send((Request(kind, NLM_F_DUMP, body),))
        bodies: list[bytes] = []
        consistent = True
        while True:
            try:
                data = self._read()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                # Another dump on this socket before the end of this one is EBUSY: read on, then ask again.
                consistent = False
                continue
            # As `parse_messages` does it, in place: a table may have ten thousand routes.
            offset, end = 0, len(data)
            while offset + _HEADER.size <= end:
                length, found, flags, number, port = _HEADER.unpack_from(data, offset)
                if length < _HEADER.size or offset + length > end:
                    break
                if number == sequence and port == self._port:
                    if flags & NLM_F_DUMP_INTR:
                        consistent = False
                    if found == answer:
                        bodies.append(data[offset + _HEADER.size : offset + length])
                    elif found in (NLMSG_ERROR, NLMSG_DONE):
                        verdict = parse_error(next(parse_messages(data[offset:])))
                        if verdict.errno:
                            raise OSError(*verdict)
                        return bodies, consistent
                offset += (length + 3) & ~3

    def _send(self, requests: Sequence[tuple[int, int, bytes]]) -> int:
        """Send them in one datagram; the sequence number of the last."""
        pack, size, number = _HEADER.pack, _HEADER.size, self._sequence
        parts = []
        for kind, flags, body in requests:
            number += 1
            length = size + len(body)
            parts.append(pack(length, kind, flags | NLM_F_REQUEST, number, 0))
            parts.append(body)
            if length & 3:
                parts.append(b"\0" * (-length & 3))
        self._sequence = number
        self._socket.send(b"".join(parts))
        return self._sequence

    def _receive(self) -> list[Message]:
        """The messages of one datagram that are the kernel's answers to this socket."""
        return [message for message in parse_messages(self._read()) if message.port == self._port]

    def _read(self) -> bytes:
        """One datagram of the kernel; nothing for somebody else's."""
        size, _, flags, sender = self._socket.recvmsg_into([self._buffer])
        if flags & socket.MSG_TRUNC:
            raise OSError(errno.EMSGSIZE, f"the kernel sent a message of more than {READ_SIZE} octets")
        if sender[0] != 0:  # any process may send to a netlink socket; only port 0 is the kernel
            return b""
        return bytes(memoryview(self._buffer)[:size])
