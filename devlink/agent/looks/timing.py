"""How long it takes there and back: an echo, a handshake, a question to the cluster's DNS. Without any privilege."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from devlink.core.legs import Answer
from devlink.core.prefixes import IPAddress
from devlink.core.profile import DnsServer, Transport
from devlink.dns import wire
from devlink.doctor.path.questions import PORT, ask_over_tcp, is_answer, numbered
from devlink.kernel.neighbours import DISCARD
from devlink.rpc.tasks import spawn

LIMIT = 1.0
"""Seconds for an answer, whatever is asked."""
PING_LIMIT = 0.6
"""Seconds of these for what can be timed; the rest is for who is on the link and drops it."""
AGAIN = 0.3
"""Seconds until the same is asked in another way too: the first may be lost, or dropped by a firewall."""
TOGETHER = 0.03
"""Seconds within which answers come at once: that to the first question tells the time then."""
API_PORT = 443
"""Of the `kubernetes` service."""
_ECHO = {4: (8, socket.IPPROTO_ICMP), 6: (128, socket.IPPROTO_ICMPV6)}
"""The type of an echo request (RFC 792, RFC 4443), and its protocol, by IP version."""

Timed = Callable[[], Awaitable[float | None]]
"""Seconds until the answer; None where there is none."""


async def first_of(*askings: Timed, limit: float) -> float | None:
    """The time of the first answer to any; each is begun when the one before has failed, or has not answered for AGAIN.

    None where none has answered within `limit` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    left = list(askings)
    begun: list[asyncio.Task[float | None]] = []
    try:
        while sum(task.done() for task in begun) < len(askings):
            answered = next((n for n, task in enumerate(begun) if task.done() and task.result() is not None), None)
            if answered is not None:
                if answered:  # who was frozen answers all at once, and looks fast by the last of them
                    await asyncio.wait(begun[:answered], timeout=TOGETHER)
                break
            if left:
                begun.append(spawn(_quietly(left.pop(0)), name="time an answer"))
            until = min(deadline - loop.time(), AGAIN if left else limit)
            waiting = [task for task in begun if not task.done()]
            await asyncio.wait(waiting, timeout=until, return_when=asyncio.FIRST_COMPLETED)
            if loop.time() >= deadline:
                break
        return next((rtt for task in begun if task.done() and (rtt := task.result()) is not None), None)
    finally:
        for task in begun:
            task.cancel()


async def _nobody_tells() -> bool | None:
    return None


async def ask_machine(
    address: IPAddress, oif: str | None = None, is_on_link: Callable[[], Awaitable[bool | None]] = _nobody_tells
) -> Answer:
    """Whether a machine answers by itself, out of link `oif` where one is given; many drop pings, so where it is silent
    `is_on_link` tells."""
    rtt = await first_of(lambda: echo(address, oif), lambda: knock(address, oif), limit=PING_LIMIT)
    if rtt is not None:
        return Answer(rtt=rtt, is_there=True)
    try:
        async with asyncio.timeout(LIMIT - PING_LIMIT):
            return Answer(is_there=await is_on_link())
    except TimeoutError:
        return Answer(is_there=False)


async def echo(address: IPAddress, oif: str | None = None) -> float | None:
    """By ICMP, where this user may (`net.ipv4.ping_group_range`, for both families). Raises OSError."""
    kind, protocol = _ECHO[address.version]
    loop = asyncio.get_running_loop()
    with _socket(address, socket.SOCK_DGRAM, oif, protocol) as sock:
        sock.connect(_place(address, 0, oif))  # the loop's own would look up the address for this protocol, and fail
        token = os.urandom(8)
        began = loop.time()
        await loop.sock_sendall(sock, bytes((kind, 0, 0, 0, 0, 0, 0, 1)) + token)
        while token not in await loop.sock_recv(sock, 1 << 10):
            pass
        return loop.time() - began


async def knock(address: IPAddress, oif: str | None = None) -> float | None:
    """By a TCP connection to a port that nobody serves: that it is refused is an answer. Raises OSError."""
    loop = asyncio.get_running_loop()
    with _socket(address, socket.SOCK_STREAM, oif) as sock:
        began = loop.time()
        with suppress(ConnectionRefusedError):
            await loop.sock_connect(sock, _place(address, DISCARD, oif))
        return loop.time() - began


async def ask_dns(server: DnsServer, question: bytes) -> float | None:
    """As the ordinary routes lead to it."""

    async def over_udp() -> float | None:
        packet = numbered(question)
        loop = asyncio.get_running_loop()
        with _socket(server.address, socket.SOCK_DGRAM) as sock:
            await loop.sock_connect(sock, (str(server.address), PORT))
            began = loop.time()
            await loop.sock_sendall(sock, packet)
            while not is_answer(await loop.sock_recv(sock, wire.MAX_MESSAGE), packet):
                pass
            return loop.time() - began

    async def over_tcp() -> float | None:
        loop = asyncio.get_running_loop()
        with _socket(server.address, socket.SOCK_STREAM) as sock:
            began = loop.time()
            await loop.sock_connect(sock, (str(server.address), PORT))
            return loop.time() - began if await ask_over_tcp(sock, numbered(question)) else None

    if server.transport is Transport.TCP:
        return await first_of(over_tcp, limit=LIMIT)
    return await first_of(over_udp, over_udp if server.transport is Transport.UDP else over_tcp, limit=LIMIT)


async def ask_api(address: IPAddress) -> float | None:
    """A TCP handshake with the cluster's API, as the ordinary routes lead to it."""
    return await first_of(lambda: handshake(_socket(address, socket.SOCK_STREAM), address), limit=LIMIT)


async def handshake(sock: socket.socket, address: IPAddress) -> float:
    """With the cluster's API by `sock`, which is closed. Raises OSError; takes its time where nothing comes back."""
    loop = asyncio.get_running_loop()
    with sock:
        began = loop.time()
        await loop.sock_connect(sock, (str(address), API_PORT))
        return loop.time() - began


async def _quietly(asking: Timed) -> float | None:
    try:
        return await asking()
    except OSError:  # TimeoutError too; a user who may not ping has EACCES
        return None


def _socket(address: IPAddress, kind: socket.SocketKind, oif: str | None = None, protocol: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, kind, protocol)
    sock.setblocking(False)
    try:
        if oif is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, oif.encode())
    except PermissionError:  # before Linux 5.7 it took a privilege; it goes as the routes say
        pass
    except OSError:  # the link is gone
        sock.close()
        raise
    return sock


def _place(address: IPAddress, port: int, oif: str | None) -> tuple[str, int] | tuple[str, int, int, int]:
    if address.version == 4:
        return str(address), port
    return str(address), port, 0, socket.if_nametoindex(oif) if oif is not None and address.is_link_local else 0
