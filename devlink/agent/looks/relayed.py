"""The path of a session that is relayed: the API server, and the node and the pod behind which the cluster's DNS is."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from devlink.agent.looks import timing
from devlink.core.codec import parse_address
from devlink.core.legs import Answer
from devlink.core.prefixes import IPAddress
from devlink.core.profile import DnsServer, Transport
from devlink.core.relay import RelayChain
from devlink.errors import DevlinkError
from devlink.rpc.tasks import spawn

DNS_PORT = 53
PORTS = {"https": 443, "http": 80}
"""Of a server whose URL names none."""
Resolver = Callable[[IPAddress, int], Awaitable[RelayChain]]
"""Where a connection of one session would end, as its relay says. Raises DevlinkError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySeen:
    """What one look has seen."""

    server: Answer
    """Of the API server, or of the proxy before it: a handshake."""
    at: IPAddress | None
    """Whom that was with."""
    chain: RelayChain | None
    """To the cluster's DNS. None where there is none, or the relay does not say."""
    dns: Answer


async def see(server: str, dns: DnsServer | None, question: bytes, resolve: Resolver) -> RelaySeen:
    """Ask both at once; takes `timing.LIMIT` where something is silent. `server` is `RelayState.server`."""
    asking = spawn(_ask_server(server), name="ask the API server")
    try:
        chain, answer = await _ask_dns(dns, question, resolve) if dns is not None else (None, Answer())
        taken, at = await asking
    finally:
        asking.cancel()
    return RelaySeen(server=taken, at=at, chain=chain, dns=answer)


def host_and_port(server: str) -> tuple[str, int]:
    """Of an API server's URL, or a proxy's; an empty host where it is none."""
    try:
        parts = urlsplit(server)
        return parts.hostname or "", parts.port or PORTS.get(parts.scheme, 443)
    except ValueError:
        return "", 0


async def _ask_server(server: str) -> tuple[Answer, IPAddress | None]:
    """The name is looked up first, which does not count."""
    host, port = host_and_port(server)
    if not host:
        return Answer(), None
    loop = asyncio.get_running_loop()
    at: IPAddress | None
    try:
        async with asyncio.timeout(timing.LIMIT):
            (family, kind, protocol, _, place), *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            at = parse_address(str(place[0]))
            with socket.socket(family, kind, protocol) as sock:
                sock.setblocking(False)
                began = loop.time()
                await loop.sock_connect(sock, place)
                return Answer(rtt=loop.time() - began, is_there=True), at
    except OSError:  # TimeoutError too
        return Answer(is_there=False), at


async def _ask_dns(server: DnsServer, question: bytes, resolve: Resolver) -> tuple[RelayChain | None, Answer]:
    """Over TCP alone, which is what is relayed."""
    try:
        async with asyncio.timeout(timing.LIMIT):
            chain = await resolve(server.address, DNS_PORT)
    except (DevlinkError, TimeoutError):
        return None, Answer()
    if chain.refused:
        return chain, Answer()
    rtt = await timing.ask_dns(replace(server, transport=Transport.TCP), question)
    return chain, Answer(rtt=rtt, is_there=rtt is not None)
