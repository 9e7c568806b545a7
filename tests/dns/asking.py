"""Clients of every sort that ask a forwarder for names whose right answer is known."""

import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from devlink.core.plan import ForwarderConfig, Zone
from devlink.core.profile import Transport
from tests.dns.forwarder_process import Forwarder, read_stream
from tests.dns.lying_upstream import LyingUpstream, verdict
from tests.dns.messages import frame, name, question

CLIENTS = ((False, 1232), (False, None), (True, 1232))
"""Every sort of client: whether over TCP, and with which payload in OPT."""
FAILURES = ("SERVFAIL EDE 22", "SERVFAIL EDE 23")
"""The verdicts on an answer that says that no server has one."""
_numbers = itertools.count()


@contextmanager
def forwarding(settings: ForwarderConfig) -> Iterator[Forwarder]:
    forwarder = Forwarder().start()
    try:
        forwarder.connect()
        forwarder.configure(settings, sockets=True)
        yield forwarder
        assert forwarder.process is not None
        assert forwarder.process.poll() is None, "the forwarder has ended"
    finally:
        forwarder.close()


def served_by(
    *servers: LyingUpstream, kind: str = "cluster", transport: Transport = Transport.AUTO, suffix: str = "cluster.test"
) -> ForwarderConfig:
    upstreams = tuple(server.upstream(transport) for server in servers)
    if kind == "ordinary":
        return ForwarderConfig(upstreams=upstreams)
    return ForwarderConfig(zones=(Zone(suffix=name(suffix), servers=upstreams),))


@dataclass(slots=True)
class Asking:
    """One question whose answer is still to come."""

    sock: socket.socket
    packet: bytes
    tcp: bool

    def reply(self) -> bytes:
        """The answer; there must be one, and no other octet behind it."""
        with self.sock:
            reply = read_stream(self.sock, 1)[0] if self.tcp else self.sock.recv(65535)
            self.sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                self.sock.recv(1)
            return reply

    def verdict(self) -> str:
        return verdict(self.reply(), self.packet)


def ask(
    forwarder: Forwarder, suffix: str, *, tcp: bool = False, payload: int | None = 1232, label: str = "x"
) -> Asking:
    """Ask for a name below `suffix` that nobody has asked for yet."""
    number = next(_numbers)
    packet = question(f"{label}{number}.{suffix}", ident=number & 0xFFFF, payload=payload)
    sock = forwarder.tcp_client() if tcp else forwarder.udp_client()
    sock.sendall(frame(packet) if tcp else packet)
    return Asking(sock, packet, tcp)


def verdicts(forwarder: Forwarder, suffix: str = "cluster.test", *, times: int = 1) -> set[str]:
    """What clients of every sort get, who all ask at once."""
    asking = [ask(forwarder, suffix, tcp=tcp, payload=payload) for tcp, payload in CLIENTS * times]
    return {each.verdict() for each in asking}
