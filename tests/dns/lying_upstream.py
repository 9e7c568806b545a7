"""A name server that does as it is told: the right answer to every name is known, so that a wrong one is noticed."""

import hashlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dnslib

from devlink.core.plan import Upstream
from devlink.core.profile import Transport
from tests.dns.messages import Unframer, frame, upstream

LIE = "203.0.113.66"
"""The address in every answer that must not be believed."""
TICK = 0.01


def truth(name: str) -> str:
    """The right address of a name, whoever is asked for it."""
    digest = hashlib.sha256(name.rstrip(".").lower().encode()).digest()
    return f"10.{digest[0]}.{digest[1]}.{digest[2]}"


def name_in(asked: bytes) -> str:
    """The name that a packet asks for."""
    return str(dnslib.DNSRecord.parse(asked).q.qname)


def honest_answer(
    asked: bytes, *, address: str | None = None, ttl: int = 60, count: int = 1, edns: bool = True
) -> bytes:
    """An A record with the true address (or with another one); with `count`, so many of which the first is it."""
    record = dnslib.DNSRecord.parse(asked)
    reply = record.reply(ra=1, aa=0)
    addresses = [address or truth(str(record.q.qname))] + [f"10.99.{i >> 8}.{i & 255}" for i in range(1, count)]
    for each in addresses:
        reply.add_answer(dnslib.RR(record.q.qname, dnslib.QTYPE.A, rdata=dnslib.A(each), ttl=ttl))
    if edns and record.ar:
        reply.add_ar(dnslib.EDNS0(udp_len=1232))
    return bytes(reply.pack())


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One question that has come, and the ways to react to it."""

    packet: bytes
    tcp: bool
    number: int
    """How many questions came to this server by this transport before."""
    _server: "LyingUpstream"
    _source: tuple[str, int]
    _connection: socket.socket | None = None

    @property
    def has_opt(self) -> bool:
        return bool(dnslib.DNSRecord.parse(self.packet).ar)

    def reply(self, packet: bytes, *, after: float = 0.0) -> None:
        """Send a message, framed if the question came over TCP; `after` seconds if it came over UDP."""
        if self._connection is not None:
            self.send(frame(packet))
        else:
            self._server.send_later(packet, self._source, after)

    def reply_from(self, sock: socket.socket, packet: bytes) -> None:
        """Send a datagram from where nobody was asked."""
        sock.sendto(packet, self._source)

    def send(self, octets: bytes) -> None:
        """Octets as they are, over TCP."""
        assert self._connection is not None
        try:
            self._connection.sendall(octets)
        except OSError:
            pass  # the other side was faster with closing

    def close(self) -> None:
        """End the connection; what was sent arrives."""
        assert self._connection is not None
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def reset(self) -> None:
        """End the connection by RST."""
        assert self._connection is not None
        if self._connection.fileno() >= 0:
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._connection.close()


Behaviour = Callable[[Turn], None]


def honest(turn: Turn) -> None:
    turn.reply(honest_answer(turn.packet))


def silent(turn: Turn) -> None:
    pass


class LyingUpstream:
    """A server on one port of 127.0.0.1, with a behaviour for UDP and one for TCP (None: refused)."""

    def __init__(self, udp: Behaviour = honest, tcp: Behaviour | None = honest, *, greets: bool = True) -> None:
        """Without `greets` each TCP connection is closed as soon as it is accepted."""
        self.udp = udp
        self.tcp = tcp
        self.other_address: socket.socket
        """A socket at this server's port of another address."""
        self.other_port: socket.socket
        """A socket at another port of this server's address."""
        self.asked: list[tuple[str, bytes]] = []
        """Transport and packet of each question, in the order in which they came."""
        self.connections = 0
        self._greets = greets
        self._stopping = False
        self._numbers = {"udp": 0, "tcp": 0}
        self._later: list[tuple[float, bytes, tuple[str, int]]] = []
        self._udp_socket, self.other_address, self._listener = _one_port(listen=tcp is not None)
        self.port: int = self._udp_socket.getsockname()[1]
        self.other_port = _datagrams("127.0.0.1", 0)
        self._threads = [threading.Thread(target=self._serve_udp, daemon=True)]
        if self._listener is not None:
            self._threads.append(threading.Thread(target=self._serve_tcp, daemon=True))

    def upstream(self, transport: Transport = Transport.AUTO) -> Upstream:
        return upstream("127.0.0.1", port=self.port, transport=transport)

    def asked_by(self, transport: str) -> list[bytes]:
        return [packet for by, packet in self.asked if by == transport]

    def __enter__(self) -> Self:
        for thread in tuple(self._threads):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        for thread in self._threads:
            thread.join()
        for sock in (self._udp_socket, self._listener, self.other_port, self.other_address):
            if sock is not None:
                sock.close()

    def send_later(self, packet: bytes, source: tuple[str, int], after: float) -> None:
        if after:
            self._later.append((time.monotonic() + after, packet, source))
        else:
            self._udp_socket.sendto(packet, source)

    def _turn(self, transport: str, packet: bytes, source: tuple[str, int], connection: socket.socket | None) -> Turn:
        number = self._numbers[transport]
        self._numbers[transport] += 1
        self.asked.append((transport, packet))
        return Turn(
            packet=packet, tcp=connection is not None, number=number, _server=self, _source=source,
            _connection=connection,
        )  # fmt: skip

    def _serve_udp(self) -> None:
        while not self._stopping:
            if select.select([self._udp_socket], [], [], TICK)[0]:
                packet, source = self._udp_socket.recvfrom(65535)
                self.udp(self._turn("udp", packet, source, None))
            now = time.monotonic()
            for entry in [entry for entry in self._later if entry[0] <= now]:
                self._later.remove(entry)
                self._udp_socket.sendto(entry[1], entry[2])

    def _serve_tcp(self) -> None:
        assert self._listener is not None
        while not self._stopping:
            if select.select([self._listener], [], [], TICK)[0]:
                connection, source = self._listener.accept()
                self.connections += 1
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if not self._greets:
                    connection.close()
                    continue
                thread = threading.Thread(target=self._serve_connection, args=[connection, source], daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve_connection(self, connection: socket.socket, source: tuple[str, int]) -> None:
        assert self.tcp is not None
        reader = Unframer()
        with connection:
            while not self._stopping and connection.fileno() >= 0:
                if not select.select([connection], [], [], TICK)[0]:
                    continue
                try:
                    data = connection.recv(65535)
                except OSError:
                    return
                if not data:
                    return
                for packet in reader.feed(data):
                    self.tcp(self._turn("tcp", packet, source, connection))


def _datagrams(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    return sock


def _one_port(*, listen: bool) -> tuple[socket.socket, socket.socket, socket.socket | None]:
    """At one port: a UDP socket, another one at another address, and a listener, if one is wanted."""
    while True:
        udp = _datagrams("127.0.0.1", 0)
        port = udp.getsockname()[1]
        opened = [udp]
        try:
            opened.append(_datagrams("127.0.0.2", port))
            listener = socket.create_server(("127.0.0.1", port)) if listen else None
        except OSError:
            for sock in opened:
                sock.close()  # somebody else has that port
            continue
        return udp, opened[1], listener


def verdict(reply: bytes, asked: bytes) -> str:
    """What a client makes of a reply: `right`, `SERVFAIL EDE-CODE` or another rcode, `truncated`, or how it is wrong.

    It is read by dnspython, which takes nothing malformed and nothing behind the last record.
    """
    if reply[:2] != asked[:2]:
        return "wrong: another id"
    question = asked[12 : asked.index(b"\0", 12) + 5]
    if reply[12 : 12 + len(question)] != question:
        return "wrong: another question"
    try:
        message = dns.message.from_wire(reply)
    except Exception as error:
        return f"wrong: malformed ({error!r})"
    if not message.flags & dns.flags.QR:
        return "wrong: no response"
    if (message.edns >= 0) != bool(asked[10:12] != b"\0\0"):
        return "wrong: OPT against the client's wish"
    if message.rcode() != dns.rcode.NOERROR:
        codes = [option.code for option in message.extended_errors()]
        return " ".join([dns.rcode.to_text(message.rcode()), *(f"EDE {int(code)}" for code in codes)])
    if message.flags & dns.flags.TC:
        return "wrong: part of an answer" if message.answer else "truncated"
    name = str(message.question[0].name)
    found = [
        str(rdata)
        for rrset in message.answer
        for rdata in rrset
        if str(rrset.name).lower() == name.lower() and rrset.rdtype == dns.rdatatype.A
    ]
    return "right" if truth(name) in found and LIE not in found else f"wrong: {message.answer}"
