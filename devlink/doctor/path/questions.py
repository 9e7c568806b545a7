"""What the cluster's DNS is asked to see whether anything comes back, and what answers that."""

import asyncio
import os
import socket
from collections.abc import Iterable

from devlink.core.names import DomainName
from devlink.core.prefixes import IPNetwork
from devlink.core.profile import ClusterDns, DnsServer
from devlink.dns import replies, wire
from devlink.dns.client import Answer
from devlink.errors import VerificationError

PORT = 53
KNOWN = "kubernetes.default.svc"
"""Below its domain: a service that every cluster has."""
PADDING_OPTION = 12
"""RFC 7830: octets that say nothing."""
_HEADER = bytes((1, 0, 0, 1, 0, 0, 0, 0, 0, 0))
"""Of one question with recursion desired, behind its id."""


def question_for(dns: ClusterDns) -> bytes:
    """The A record of a service that every cluster has; whatever is answered, an answer it is. Without an id."""
    name = dns.domain.child(KNOWN)
    return _HEADER + name.wire + wire.A.to_bytes(2, "big") + wire.IN.to_bytes(2, "big")


def padded(question: bytes, length: int) -> bytes:
    """The same with so much padding (RFC 7830) that the packet has `length` octets."""
    opt = wire.opt_record(0, wire.option(PADDING_OPTION, b""))
    fill = bytes(max(0, length - 2 - len(question) - len(opt)))
    counted = question[: len(_HEADER) - 1] + b"\1" + question[len(_HEADER) :]  # one additional record
    return counted + wire.opt_record(0, wire.option(PADDING_OPTION, fill))


def address_types(services: tuple[IPNetwork, ...] | None) -> tuple[str, ...]:
    """The types of the addresses that service may have: a dual-stack cluster gives it one of either family."""
    families = {prefix.version for prefix in services or ()} or {4, 6}
    return tuple({4: "A", 6: "AAAA"}[family] for family in sorted(families))


def numbered(question: bytes) -> bytes:
    """The packet that asks it, with an id of its own."""
    return os.urandom(2) + question


def is_answer(reply: bytes, packet: bytes) -> bool:
    """Whether it answers `packet`, by whatever it says: a refusal has come the whole way there and back, too."""
    return reply[:2] == packet[:2] and replies.is_reply_to(reply, packet[2:], _question_end(packet))


def _question_end(packet: bytes) -> int:
    """Where its only question ends: what follows, an OPT record, is no part of what is repeated."""
    return wire.skip_name(packet, wire.HEADER) + 4


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


def check_known(name: DomainName, answers: Iterable[Answer]) -> None:
    """Raise VerificationError unless one of `answers` has an address for `name`, a service that every cluster has."""
    answers = tuple(answers)
    if not any(answer.rcode == "NOERROR" and answer.addresses for answer in answers):
        said = " and ".join(dict.fromkeys(_NO_ADDRESS.get(answer.rcode, answer.rcode) for answer in answers))
        raise VerificationError(
            f"The cluster's DNS does not know {name}.",
            why=f"It says {said}, and every cluster has this service: the profile's dns.domain is probably wrong "
            "(kubelet's clusterDomain).",
            next_step="Correct dns.domain in the profile; a pod's /etc/resolv.conf shows it behind `search`.",
        )


_NO_ADDRESS = {"NOERROR": "that it has no address (NOERROR)", "NXDOMAIN": "that there is no such name (NXDOMAIN)"}
