"""The DNS questions that pass a host's interfaces, and the packets for some prefixes, taken off the wire.

As a program (`python -m devlink.lab.capture PREFIX...`) it runs inside the host: `ready`, then on EOF of stdin one JSON
line for each message and each packet. As a module it reads those lines.
"""

import ipaddress
import json
import os
import select
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

DNS_PORT = 53
ETH_P_ALL = 0x0003
RECEIVE_BUFFER = 8 << 20
"""Octets: nothing may be lost while the machine is busy."""
TCP, UDP = 6, 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of one DNS message on the wire."""

    name: str
    """Lower-case, without the last dot; `.` for the root."""
    qtype: int
    transport: str
    """`udp` or `tcp`."""
    source: str
    destination: str
    is_response: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One packet on the wire, of any protocol, by which nothing is known but its ends."""

    protocol: int
    source: str
    destination: str


@dataclass(slots=True)
class Capture:
    """What was seen, once the block that captures is left."""

    questions: list[Question] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)
    """Those for the prefixes that were asked for."""

    @property
    def names(self) -> set[str]:
        """Every name that was asked for or answered."""
        return {question.name for question in self.questions}

    def read(self, lines: Iterable[str]) -> None:
        """Take over what the program wrote."""
        for line in lines:
            item = json.loads(line)
            if "name" in item:
                self.questions.append(Question(**item))
            else:
                self.packets.append(Packet(**item))


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of an IP packet that counts here."""

    protocol: int
    source: str
    destination: str
    source_port: int
    destination_port: int
    sequence: int
    """TCP only."""
    payload: bytes

    @property
    def stream(self) -> tuple[str, str, int, int]:
        """One direction of a TCP connection."""
        return (self.source, self.destination, self.source_port, self.destination_port)


def parse_packet(packet: bytes) -> Segment | None:
    """The UDP datagram or TCP segment to or from port 53 in an IP packet, else None. Fragments are not put together."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        header, protocol = (packet[0] & 15) * 4, packet[9]
        end = int.from_bytes(packet[2:4], "big")
        source, destination = socket.inet_ntop(socket.AF_INET, packet[12:16]), packet[16:20]
        target = socket.inet_ntop(socket.AF_INET, destination)
        if int.from_bytes(packet[6:8], "big") & 0x1FFF:
            return None
    elif version == 6 and len(packet) >= 40:
        header, protocol = 40, packet[6]
        end = 40 + int.from_bytes(packet[4:6], "big")
        source = socket.inet_ntop(socket.AF_INET6, packet[8:24])
        target = socket.inet_ntop(socket.AF_INET6, packet[24:40])
    else:
        return None
    body = packet[header:end]
    if (protocol == UDP and len(body) < 8) or (protocol == TCP and len(body) < 20) or protocol not in (UDP, TCP):
        return None
    source_port, destination_port = struct.unpack_from(">HH", body)
    if DNS_PORT not in (source_port, destination_port):
        return None
    sequence = int.from_bytes(body[4:8], "big") if protocol == TCP else 0
    payload = body[8:] if protocol == UDP else body[(body[12] >> 4) * 4 :]
    return Segment(protocol, source, target, source_port, destination_port, sequence, payload)


def parse_questions(message: bytes) -> list[tuple[str, int, bool]]:
    """Name, type and "is a response" of each question of a DNS message; an empty list for what is none."""
    if len(message) < 12:
        return []
    flags, count = struct.unpack_from(">2xHH", message)
    found: list[tuple[str, int, bool]] = []
    offset = 12
    for _ in range(count):
        labels = []
        while True:
            if offset >= len(message):
                return found
            length = message[offset]
            offset += 1
            if length == 0:
                break
            # A question comes first: there is nothing yet that a compression pointer could point at.
            if length > 63 or offset + length > len(message):
                return found
            labels.append(message[offset : offset + length].decode("ascii", "backslashreplace").lower())
            offset += length
        if offset + 4 > len(message):
            return found
        (qtype,) = struct.unpack_from(">H", message, offset)
        offset += 4
        found.append((".".join(labels) or ".", qtype, bool(flags & 0x8000)))
    return found


class Reader:
    """Packets in, questions out; puts TCP streams together, each from where it was first seen."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str, int, int], tuple[int, bytes]] = {}

    def feed(self, packet: bytes) -> Iterator[Question]:
        """The questions that this IP packet completes."""
        segment = parse_packet(packet)
        if segment is None:
            return
        if segment.protocol == UDP:
            yield from _questions(segment, "udp", segment.payload)
            return
        for message in self._messages(segment):
            yield from _questions(segment, "tcp", message)

    def _messages(self, segment: Segment) -> Iterator[bytes]:
        expected, pending = self._streams.get(segment.stream, (segment.sequence, b""))
        if not segment.payload:
            # SYN, ACK, FIN: a SYN counts one octet, which the first segment with data shows by itself.
            return
        seen = (expected - segment.sequence) & 0xFFFFFFFF
        if seen >= 1 << 31:  # a segment was lost: what is pending will never be whole
            seen, pending = 0, b""
        fresh = segment.payload[seen:]  # without what was sent again
        pending += fresh
        after = (segment.sequence + len(segment.payload)) & 0xFFFFFFFF
        while len(pending) >= 2:
            size = int.from_bytes(pending[:2], "big")
            if len(pending) < 2 + size:
                break
            yield pending[2 : 2 + size]
            pending = pending[2 + size :]
        if fresh:
            self._streams[segment.stream] = (after, pending)


def _questions(segment: Segment, transport: str, message: bytes) -> Iterator[Question]:
    for name, qtype, is_response in parse_questions(message):
        yield Question(
            name=name, qtype=qtype, transport=transport, source=f"{segment.source}#{segment.source_port}",
            destination=f"{segment.destination}#{segment.destination_port}", is_response=is_response,
        )  # fmt: skip


def parse_ends(packet: bytes) -> Packet | None:
    """Whence and whither an IP packet goes; None for what is none."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        protocol, addresses, family = packet[9], packet[12:20], socket.AF_INET
    elif version == 6 and len(packet) >= 40:
        protocol, addresses, family = packet[6], packet[8:40], socket.AF_INET6
    else:
        return None
    half = len(addresses) // 2
    source, destination = (socket.inet_ntop(family, each) for each in (addresses[:half], addresses[half:]))
    return Packet(protocol=protocol, source=source, destination=destination)


def main() -> None:
    """Capture until stdin ends, then print what was seen."""
    reader = Reader()
    wanted = [ipaddress.ip_network(prefix) for prefix in sys.argv[1:]]
    found: list[Question | Packet] = []
    # SOCK_DGRAM: packets come without the link's header, so that a TUN link reads like an Ethernet.
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        wire.setblocking(False)
        print("ready", flush=True)
        poll = select.poll()
        poll.register(0, select.POLLIN | select.POLLHUP)
        poll.register(wire, select.POLLIN)
        ending = False
        while not ending:
            ending = any(fd == 0 for fd, _ in poll.poll()) and not os.read(0, 4096)
            # Also after the end of stdin: what the interface saw before it waits in the socket.
            while True:
                try:
                    packet, place = wire.recvfrom(65536)
                except BlockingIOError:
                    break
                if place[0] != "lo":
                    found += reader.feed(packet)
                    if wanted and (ends := parse_ends(packet)) is not None:
                        destination = ipaddress.ip_address(ends.destination)
                        found += [ends] * any(destination in prefix for prefix in wanted)
    for item in found:
        print(json.dumps(asdict(item)))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
