"""Questions over UDP: many at a time out of the kernel, answered from the cache's table, and back in one go.

This is the hot path. Of each packet it does as little as can be: take its octets behind the id, look them up, check
where the packet came from, and lay the answer over the question, so that id and client stay where the kernel put them.
"""

import ctypes
import socket
from collections.abc import Collection
from typing import Any, Protocol

from devlink.dns.answers import LARGEST_KEPT
from devlink.dns.engine import Engine

BATCH = 64
"""Datagrams at one go, before the other sockets get their turn."""
SLOT = 2048
"""Octets for one datagram. A longer question is cut, and then malformed; a longer answer goes out by itself."""
assert SLOT >= LARGEST_KEPT
NO_OCTET = 256
LOOPBACK6 = bytes(15) + b"\1"


class DatagramClient:
    """A client's question over UDP: where its answer goes."""

    __slots__ = ("source", "way")
    stream = False

    def __init__(self, way: "Datagrams", source: Any) -> None:
        self.way = way
        self.source = source
        """Its address as the way knows it."""


class Datagrams(Protocol):
    """One bound UDP socket, on which questions come and answers go."""

    sock: socket.socket
    count: int
    """How many datagrams the last `serve` took."""

    def replace(self, sock: socket.socket, own: frozenset[bytes]) -> None:
        """Go on with another socket on the same address; answers that are in flight will find it."""

    def serve(self, engine: Engine, now: float) -> list[tuple[DatagramClient, bytes]]:
        """Answer what waits and is in `engine.hot`; the other questions, each with who asked."""

    def answer(self, client: DatagramClient, packet: bytes) -> None:
        """Have it sent with the next `flush`."""

    def flush(self) -> None:
        """Send. What the kernel does not take is lost, as datagrams may be: the client asks again."""


class _IoVec(ctypes.Structure):
    """struct iovec of readv(2)."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr of recvmsg(2)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("iov", ctypes.c_void_p),
        ("iov_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr of recvmmsg(2)."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class _Batch:
    """Room for BATCH messages, and the structures that show it to the kernel."""

    def __init__(self, name_size: int, names: bytearray | None = None, octets: bytearray | None = None) -> None:
        """Without `names` and `octets` it makes its own."""
        self.octets = octets if octets is not None else bytearray(BATCH * SLOT)
        self.names = names if names is not None else bytearray(BATCH * name_size)
        self._messages = (_Message * BATCH)()
        self._iovecs = (_IoVec * BATCH)()
        octets_at = ctypes.addressof(ctypes.c_char.from_buffer(self.octets))
        names_at = ctypes.addressof(ctypes.c_char.from_buffer(self.names))
        for index, (message, iovec) in enumerate(zip(self._messages, self._iovecs, strict=True)):
            iovec.base, iovec.length = octets_at + index * SLOT, SLOT
            header = message.header
            header.name, header.name_length = names_at + index * name_size, name_size
            header.iov, header.iov_count = ctypes.addressof(iovec), 1
        self.address = ctypes.addressof(self._messages)
        self.lengths = memoryview(self._messages).cast("B").cast("I")
        """`lengths[LENGTH * index + LENGTH_AT]` is what recvmmsg(2) received."""
        self.sizes = memoryview(self._iovecs).cast("B").cast("Q" if ctypes.sizeof(ctypes.c_size_t) == 8 else "I")
        """`sizes[2 * index + 1]` is what sendmmsg(2) shall send."""


MESSAGE_SIZE = ctypes.sizeof(_Message)
LENGTH, LENGTH_AT = MESSAGE_SIZE // 4, _Message.length.offset // 4


class BatchedDatagrams:
    """By recvmmsg(2) and sendmmsg(2): one system call for many packets."""

    def __init__(self, sock: socket.socket, own: frozenset[bytes]) -> None:
        """`own`: the addresses (packed) that the forwarder has: who asks from there is on this machine, as is who
        asks from loopback. Raises OSError where the C library has no such calls."""
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            self._receive, self._send = libc.recvmmsg, libc.sendmmsg
        except AttributeError as error:
            raise OSError("the C library has no recvmmsg") from error
        number, pointer = ctypes.c_int, ctypes.c_void_p
        self._receive.argtypes = (number, pointer, ctypes.c_uint, number, pointer)
        self._send.argtypes = (number, pointer, ctypes.c_uint, number)
        self.replace(sock, own)
        self._loopback = 127 if sock.family == socket.AF_INET else NO_OCTET
        """What the first octet of an address tells by itself."""
        # sockaddr_in and sockaddr_in6: family and port (and the flow) come before the address.
        self._name_size, self._address_at, address_size = (16, 4, 4) if sock.family == socket.AF_INET else (28, 8, 16)
        self._address_end = self._address_at + address_size
        self._questions = _Batch(self._name_size)
        # Answers lie where their questions lay, and go to the same names.
        self._answers = _Batch(self._name_size, self._questions.names, self._questions.octets)
        self._others: _Batch | None = None
        self._unsent: list[tuple[bytes, bytes]] = []
        view = memoryview(self._questions.octets)
        # For each message: its octets behind the id, and where its length, its source and its answer's size stand.
        self._slots = [
            (
                view[index * SLOT + 2 : (index + 1) * SLOT],
                index * LENGTH + LENGTH_AT,
                index * self._name_size + self._address_at,
                2 * index + 1,
            )
            for index in range(BATCH)
        ]

    def replace(self, sock: socket.socket, own: frozenset[bytes]) -> None:
        self.sock = sock
        self.count = 0
        self._fd = sock.fileno()
        self._own = own

    def serve(self, engine: Engine, now: float) -> list[tuple[DatagramClient, bytes]]:
        count = self._receive(self._fd, self._questions.address, BATCH, socket.MSG_DONTWAIT, None)
        self.count = count
        if count <= 0:
            return []  # drained; or an error of some earlier answer, which is nobody's now
        get, tick = engine.hot.get, int(now)
        lengths, names, sizes = self._questions.lengths, self._questions.names, self._answers.sizes
        octets, name_size, loopback = self._questions.octets, self._name_size, self._loopback
        others: list[tuple[DatagramClient, bytes]] = []
        first = 0  # of the answers that are not sent yet
        for slot, length_at, source_at, size_at in self._slots[:count]:
            entry = get(slot[: lengths[length_at] - 2].tobytes())
            if entry is not None and entry.tick == tick and names[source_at] == loopback:
                entry.hits += 1
                answer = entry.wire
                size = len(answer)
                slot[:size] = answer
                sizes[size_at] = size + 2
                continue
            index = size_at >> 1
            if first < index:
                self._send_run(first, index)
            first = index + 1
            if names[source_at] == loopback or self._is_local(source_at):
                at, name_at = index * SLOT, index * name_size
                source = bytes(names[name_at : name_at + name_size])
                packet = bytes(octets[at : at + lengths[length_at]])
                others.append((DatagramClient(self, source), packet))
            else:
                engine.counts.queries += 1
                engine.counts.dropped += 1
        self._send_run(first, count)
        return others

    def _is_local(self, source_at: int) -> bool:
        names = self._questions.names
        address = bytes(names[source_at : source_at + self._address_end - self._address_at])
        return address == LOOPBACK6 or address in self._own

    def _send_run(self, first: int, end: int) -> None:
        self._send_all(self._answers, first, end)

    def _send_all(self, batch: _Batch, first: int, end: int) -> None:
        while first < end:
            sent = self._send(self._fd, batch.address + first * MESSAGE_SIZE, end - first, socket.MSG_DONTWAIT)
            first += sent if sent > 0 else 1  # what it stumbled over is lost

    def answer(self, client: DatagramClient, packet: bytes) -> None:
        assert isinstance(client.source, bytes)
        self._unsent.append((packet, client.source))

    def flush(self) -> None:
        unsent = self._unsent
        if not unsent:
            return
        batch = self._others
        if batch is None:
            batch = self._others = _Batch(self._name_size)
        octets, names, sizes, name_size = batch.octets, batch.names, batch.sizes, self._name_size
        count = 0
        for packet, source in unsent:
            size = len(packet)
            if size > SLOT:
                self._send_large(packet, source)
                continue
            octets[count * SLOT : count * SLOT + size] = packet
            names[count * name_size : (count + 1) * name_size] = source
            sizes[2 * count + 1] = size
            count += 1
            if count == BATCH:
                self._send_all(batch, 0, count)
                count = 0
        self._send_all(batch, 0, count)
        unsent.clear()

    def _send_large(self, packet: bytes, source: bytes) -> None:
        family = self.sock.family
        host = socket.inet_ntop(family, source[self._address_at : self._address_end])
        port = int.from_bytes(source[2:4], "big")
        _send(self.sock, packet, (host, port))


class PlainDatagrams:
    """By recvfrom(2) and sendto(2), where the C library has no other."""

    def __init__(self, sock: socket.socket, own: frozenset[bytes]) -> None:
        """As of BatchedDatagrams."""
        self.replace(sock, own)

    def replace(self, sock: socket.socket, own: frozenset[bytes]) -> None:
        self.sock = sock
        self._own = {
            socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed) for packed in own
        }

    def serve(self, engine: Engine, now: float) -> list[tuple[DatagramClient, bytes]]:
        get, tick = engine.hot.get, int(now)
        others = []
        self.count = 0
        for _ in range(BATCH):
            try:
                packet, source = self.sock.recvfrom(SLOT)
            except OSError:
                break  # drained; or an error of some earlier answer, which is nobody's now
            self.count += 1
            host = source[0]
            if not is_local(host, self._own):
                engine.counts.queries += 1
                engine.counts.dropped += 1
                continue
            entry = get(packet[2:])
            if entry is not None and entry.tick == tick:
                entry.hits += 1
                _send(self.sock, packet[:2] + entry.wire, source)
            else:
                others.append((DatagramClient(self, source), packet))
        return others

    def answer(self, client: DatagramClient, packet: bytes) -> None:
        _send(self.sock, packet, client.source)

    def flush(self) -> None:
        pass


def is_local(host: str, own: Collection[str]) -> bool:
    """Whether a source address is this machine's: loopback, or the very address that is asked."""
    return host.startswith("127.") or host == "::1" or host in own


def _send(sock: socket.socket, packet: bytes, address: Any) -> None:
    try:
        sock.sendto(packet, address)
    except OSError:
        pass  # its buffer is full, or the link went away: the client asks again


def datagrams(sock: socket.socket, own: frozenset[bytes], *, portable: bool = False) -> Datagrams:
    """The best way that there is."""
    if not portable:
        try:
            return BatchedDatagrams(sock, own)
        except OSError:
            pass
    return PlainDatagrams(sock, own)
