"""Whether data come back from a port, with as little as its protocol allows: no ping, nothing that is written down."""

import asyncio
import socket
import ssl
import struct

from devlink.core.diagnosis import Outcome
from devlink.core.explain import BY_PORT
from devlink.core.judging import Reached
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress
from devlink.core.text import printable
from devlink.dns import wire
from devlink.doctor.path.exchange import outcome_of
from devlink.doctor.path.questions import ask_over_tcp, numbered

LIMIT = 2.0
"""Seconds for all of one connection: a lost SYN is sent again after one."""
COMMON = tuple(sorted(BY_PORT))
"""Tried where no port is named: any answer shows that packets come back."""
GREETING = 0.2
"""Seconds for a server to speak first, before it is told that nothing will be asked."""
_STEP = 0.02
WAITING = (1, 4)
"""ESTABLISHED and FIN_WAIT1: `tcpi_state`, the first octet of TCP_INFO (linux/tcp.h, net/tcp_states.h)."""


async def reach(address: IPAddress, port: int, protocol: str, host: str) -> Reached:
    """Connect and have data come back, within LIMIT. `protocol`: http, https, dns, or empty where it is not known;
    `host`: what HTTP and TLS are told."""
    connected = False
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            async with asyncio.timeout(LIMIT):
                await loop.sock_connect(sock, (str(address), port))
                connected = True
                return Reached(port=port, outcome=Outcome.ANSWERED, detail=await _exchange(sock, protocol, host))
    except TimeoutError:
        return Reached(port=port, outcome=Outcome.HANGS if connected else Outcome.SILENT)
    except OSError as error:
        if connected:  # a reset has come the whole way, as data do
            return Reached(port=port, outcome=Outcome.ANSWERED, detail="connects, and is closed at once")
        return Reached(port=port, outcome=outcome_of(error))


async def reach_any(address: IPAddress, host: str) -> tuple[Reached, ...]:
    """The common ports, side by side."""
    return tuple(await asyncio.gather(*(reach(address, port, BY_PORT[port], host) for port in COMMON)))


async def _exchange(sock: socket.socket, protocol: str, host: str) -> str:
    """What came back, in words. Raises TimeoutError by its caller's limit, OSError."""
    match protocol:
        case "http":
            return await _head(sock, host)
        case "https":
            return await _handshake(sock, host)
        case "dns":
            return await _dns(sock)
    return await _half_close(sock)


async def _head(sock: socket.socket, host: str) -> str:
    loop = asyncio.get_running_loop()
    name = f"[{host}]" if ":" in host else host
    await loop.sock_sendall(sock, f"HEAD / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    data = await loop.sock_recv(sock, 4096)
    first = printable(data.partition(b"\n")[0].strip().decode(errors="replace"))[:60]
    return f"HEAD / is answered: {first}" if data else "connects, and closes without an answer"


async def _handshake(sock: socket.socket, host: str) -> str:
    """The certificate is not checked: whether bytes come back is the question, not whose they are."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    loop = asyncio.get_running_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname=host)
    while True:
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            await loop.sock_sendall(sock, outgoing.read())
            data = await loop.sock_recv(sock, 1 << 14)
            if not data:
                return "connects, and closes during the TLS handshake"
            incoming.write(data)
        except ssl.SSLError as error:
            return f"answers, but not with TLS as it should: {error.reason or 'handshake failed'}"
        else:
            await loop.sock_sendall(sock, outgoing.read())  # so that the server's log has no failure
            return f"{session.version()} handshake; the certificate is not checked here"


async def _dns(sock: socket.socket) -> str:
    """Who is the root's name server: every server has an answer to that, be it a refusal."""
    question = bytes((1, 0, 0, 1, 0, 0, 0, 0, 0, 0)) + DomainName(()).wire + struct.pack("!HH", wire.NS, wire.IN)
    return "answers DNS over TCP" if await ask_over_tcp(sock, numbered(question)) else "connects, and closes"


async def _half_close(sock: socket.socket) -> str:
    """Say that nothing will be asked. The kernel there must confirm that (RFC 9293 section 3.6), whatever the protocol,
    so data have then come the way there and back: where half a flow is dropped (R2), it stays unconfirmed."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(GREETING):
            if await loop.sock_recv(sock, 4096):
                return "connects, and the server speaks"
            return "connects, and closes"
    except TimeoutError:
        pass
    sock.shutdown(socket.SHUT_WR)
    # The kernel tells of it to nobody who does not ask.
    while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in WAITING:  # noqa: ASYNC110
        await asyncio.sleep(_STEP)
    return "connects, and packets come back; its protocol was not spoken"
