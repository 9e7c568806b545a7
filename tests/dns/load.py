"""Many questions at a time to one forwarder, each with a known right answer under each set of rules."""

import select
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.dns.forwarder_process import PATIENCE
from tests.dns.lying_upstream import Turn
from tests.dns.messages import Unframer, frame

RETRY = 2.0
"""Seconds after which a client asks for the second and last time."""
_RD = b"\x01\x00\0\1\0\0\0\0\0\0"
_REFUSED = 5
_IN_A = b"\0\1\0\1"
_OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"

Rules = Callable[[str], int]
"""Gives the server whose answer is right for a name."""


def address(name: bytes, server: int) -> bytes:
    """What the server of that number says that the address of a name (labels in wire form, lower case) is."""
    return bytes((server,)) + (zlib.crc32(name) & 0xFFFFFF).to_bytes(3, "big")


def _wire(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"


def number(server: int) -> Callable[[Turn], None]:
    """The behaviour of a server: some answers only over TCP, and some questions over UDP are lost once."""
    dropped: set[bytes] = set()

    def behave(turn: Turn) -> None:
        packet = turn.packet
        end = packet.index(b"\0", 12) + 5
        name = packet[12 : end - 4].lower()
        chance = zlib.crc32(b"chance" + name)
        has_opt = packet[10:12] != b"\0\0"
        additional, opt = (b"\0\1", _OPT) if has_opt else (b"\0\0", b"")
        if not turn.tcp and chance % 400 == 0 and name not in dropped:
            dropped.add(name)
        elif not turn.tcp and chance % 50 == 0:
            turn.reply(packet[:2] + b"\x83\x80\0\1\0\0\0\0" + additional + packet[12:end] + opt)
        else:
            record = b"\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4" + address(name, server)
            turn.reply(packet[:2] + b"\x81\x80\0\1\0\1\0\0" + additional + packet[12:end] + record + opt)

    return behave


@dataclass(slots=True)
class _Question:
    name: str
    packet: bytes
    sent: float
    since: int
    """The oldest rules that may have been in force when it was sent first."""
    again: bool = False


@dataclass(slots=True)
class Client:
    """One socket with questions that wait."""

    connect: Callable[[], socket.socket]
    tcp: bool
    window: int
    sock: socket.socket = field(init=False)
    waiting: dict[int, _Question] = field(default_factory=dict)
    reader: Unframer = field(default_factory=Unframer)
    last: int = 0

    def open(self) -> None:
        self.sock = self.connect()
        self.sock.setblocking(False)
        self.reader = Unframer()

    def send(self, packet: bytes) -> None:
        """Raises OSError when the connection ended."""
        if self.tcp:
            self.sock.setblocking(True)
            self.sock.sendall(frame(packet))
            self.sock.setblocking(False)
        else:
            self.sock.send(packet)

    def receive(self) -> list[bytes]:
        """What has come. Raises OSError when the connection ended."""
        packets = []
        try:
            while True:
                data = self.sock.recv(65535)
                if not self.tcp:
                    packets.append(data)
                    continue
                if not data:
                    raise ConnectionResetError("the forwarder closed the connection")
                packets += self.reader.feed(data)
        except BlockingIOError:
            return packets


@dataclass(slots=True, kw_only=True)
class Load:
    """Asks for all names, and judges each answer."""

    clients: list[Client]
    names: Iterator[str]
    rules: list[Rules]
    """The first is in force; whoever changes them adds one, and counts `oldest` up when it is in force."""
    oldest: int = 0
    answered: int = 0
    retried: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def run(self, each: Callable[[int], None]) -> None:
        """Until every name has its answer or is lost; `each` is told, again and again, how many have."""
        poll = select.epoll()
        by_fd: dict[int, Client] = {}

        def connect(client: Client) -> None:
            client.open()
            by_fd[client.sock.fileno()] = client
            poll.register(client.sock, select.EPOLLIN)

        def reconnect(client: Client) -> None:
            """All that waits is asked again on a new connection: that is its second and last time."""
            poll.unregister(client.sock)
            del by_fd[client.sock.fileno()]
            client.sock.close()
            connect(client)
            for question in client.waiting.values():
                self._ask_again(client, question)

        for client in self.clients:
            connect(client)
        more = True
        looked = time.monotonic()
        while more or any(client.waiting for client in self.clients):
            for fd, _ in poll.poll(0.05):
                client = by_fd[fd]
                try:
                    for packet in client.receive():
                        self._judge(client, packet)
                except OSError:
                    reconnect(client)
            if more:
                more = self._fill(reconnect)
            if time.monotonic() > looked + 0.1:
                looked = time.monotonic()
                self._look_for_silence(looked)
            each(self.answered)
        for client in self.clients:
            client.sock.close()
        poll.close()

    def _fill(self, reconnect: Callable[[Client], None]) -> bool:
        """Ask until each client waits for as much as it may; False when there are no more names."""
        for client in self.clients:
            while len(client.waiting) < client.window:
                name = next(self.names, None)
                if name is None:
                    return False
                client.last = client.last % 0xFFFF + 1
                while client.last in client.waiting:
                    client.last = client.last % 0xFFFF + 1
                packet = client.last.to_bytes(2, "big") + _RD + _wire(name) + _IN_A
                client.waiting[client.last] = _Question(name, packet, time.monotonic(), self.oldest)
                try:
                    client.send(packet)
                except OSError:
                    reconnect(client)
        return True

    def _judge(self, client: Client, packet: bytes) -> None:
        question = client.waiting.get(int.from_bytes(packet[:2], "big"))
        if question is None:
            return  # asked twice, answered twice
        end = len(question.packet)
        if packet[12:end] != question.packet[12:]:
            self.wrong.append(f"{question.name}: {packet.hex()}")
            return
        del client.waiting[int.from_bytes(packet[:2], "big")]
        self.answered += 1
        name = question.packet[12:-4].lower()
        right = {address(name, rules(question.name)) for rules in self.rules[question.since :]}
        if packet[3] & 15 == _REFUSED and len(right) > 1:  # it waited for a zone's server when the zone went
            return
        if (
            packet[2] & 0x82 != 0x80
            or packet[3] & 15
            or packet[6:8] != b"\0\1"
            or packet[end + 12 : end + 16] not in right
        ):
            self.wrong.append(f"{question.name}: {packet.hex()} by rules {question.since} to {len(self.rules) - 1}")

    def _ask_again(self, client: Client, question: _Question) -> None:
        question.again = True
        question.sent = time.monotonic()
        self.retried += 1
        client.send(question.packet)

    def _look_for_silence(self, now: float) -> None:
        for client in self.clients:
            for ident, question in list(client.waiting.items()):
                if not question.again and now > question.sent + RETRY:
                    self._ask_again(client, question)
                elif question.again and now > question.sent + PATIENCE:
                    self.lost.append(question.name)
                    del client.waiting[ident]
