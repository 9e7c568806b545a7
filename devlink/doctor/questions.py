"""The question that the agent puts to the cluster's DNS to see whether anything comes back, and what answers it."""

import asyncio
import os
import socket
from collections.abc import Iterable

from devlink.core.profile import ClusterDns, DnsServer
from devlink.dns import replies, wire

PORT = 53
_HEADER = bytes((1, 0, 0, 1, 0, 0, 0, 0, 0, 0))
"""Of one question with recursion desired, behind its id."""


def question_for(dns: ClusterDns) -> bytes:
    """The A record of a service that every cluster has; whatever is answered, an answer it is. Without an id."""
    name = dns.domain.child("kubernetes.default.svc")
    return _HEADER + name.wire + wire.A.to_bytes(2, "big") + wire.IN.to_bytes(2, "big")


def numbered(question: bytes) -> bytes:
    """The packet that asks it, with an id of its own."""
    return os.urandom(2) + question


def is_answer(reply: bytes, packet: bytes) -> bool:
    """Whether it answers `packet`, by whatever it says: a refusal has come the whole way there and back, too."""
    return reply[:2] == packet[:2] and replies.is_reply_to(reply, packet[2:], len(packet))


async def ask_over_tcp(sock: socket.socket, packet: bytes) -> bool:
    """Ask over a connected socket; whether the answer came before the end of the stream. Raises OSError."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, wire.frame(packet))
    reader = wire.StreamReader()
    while data := await loop.sock_recv(sock, 1 << 16):
        reader.feed(data)
        while (reply := reader.take()) is not None:
            if is_answer(reply, packet):
                return True
    return False


def first_by_version(servers: Iterable[DnsServer]) -> dict[int, DnsServer]:
    """The first of each IP version."""
    found: dict[int, DnsServer] = {}
    for server in servers:
        found.setdefault(server.address.version, server)
    return found
