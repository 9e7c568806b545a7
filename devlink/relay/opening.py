"""A connection while it is being opened: TCP, perhaps through a proxy, and TLS; then whoever wanted it gets it."""

import asyncio
import base64
import ipaddress
import ssl
from urllib.parse import unquote, urlsplit

import h11

from devlink.cluster.api import KEEPALIVE
from devlink.cluster.proxies import PORTS
from devlink.core.text import host_and_port

HAPPY_EYEBALLS = 0.25
"""Seconds until the next address of a name is tried as well (RFC 8305 section 5)."""
MAX_BODY = 64 * 1024
"""Octets of a refusal that are read."""
SOCKS_PORT = 1080
NO_AUTHENTICATION, BY_PASSWORD = 0, 2
"""Methods of SOCKS5 (RFC 1928 section 3; RFC 1929)."""
SOCKS_REPLIES = (
    "", "it failed", "its rules do not allow that", "no network leads there", "no host is there",
    "it was refused there", "its time was up", "it knows no CONNECT", "it knows no such address",
)  # fmt: skip
"""By number (RFC 1928 section 6)."""


class Opening(asyncio.Protocol):
    """The connection until it is handed over."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._come = bytearray()
        self._news = asyncio.Event()
        self._is_lost = False
        self._lost: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        raw = transport.get_extra_info("socket")
        for level, option, value in KEEPALIVE:
            raw.setsockopt(level, option, value)

    def data_received(self, data: bytes) -> None:
        self._come += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost, self._lost = True, exc
        self._news.set()

    async def some(self) -> bytes:
        """What has come; nothing at the connection's end. Raises OSError where it broke."""
        while not self._come and not self._is_lost:
            self._news.clear()
            await self._news.wait()
        if not self._come and self._lost is not None:
            raise self._lost
        return self._left()

    async def exactly(self, size: int) -> bytes:
        """That many octets. Raises OSError where there are fewer."""
        while len(self._come) < size:
            if self._is_lost:
                raise self._lost or ConnectionResetError("It ended the connection")
            self._news.clear()
            await self._news.wait()
        come = bytes(self._come[:size])
        del self._come[:size]
        return come

    def give_back(self, octets: bytes) -> None:
        """What `some` gave and belongs to whoever gets the connection."""
        self._come[:0] = octets

    async def start_tls(self, context: ssl.SSLContext, name: str, limit: float) -> None:
        """From here on it is encrypted; `name`: whom the certificate must be for. `limit`: seconds."""
        if self._come:
            raise ConnectionAbortedError("Octets came before TLS")
        if self._is_lost:
            raise self._lost or ConnectionResetError("It ended the connection")
        transport = await asyncio.get_running_loop().start_tls(
            self.transport, self, context, server_hostname=name, ssl_handshake_timeout=limit
        )
        assert transport is not None
        self.transport = transport

    def hand_over(self, protocol: asyncio.Protocol | asyncio.BufferedProtocol) -> asyncio.Transport:
        """The connection is `protocol`'s, with what has come already. Gives the transport.

        It is told of `connection_made`, and of an end that came before.
        """
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        come = self._left()
        if isinstance(protocol, asyncio.BufferedProtocol):
            while come:
                buffer = memoryview(protocol.get_buffer(len(come)))
                size = min(len(come), len(buffer))
                buffer[:size] = come[:size]
                protocol.buffer_updated(size)
                come = come[size:]
        elif come:
            protocol.data_received(come)
        if self._is_lost:
            asyncio.get_running_loop().call_soon(protocol.connection_lost, self._lost)
        return self.transport

    def abort(self) -> None:
        self.transport.abort()

    def _left(self) -> bytes:
        come = bytes(self._come)
        self._come.clear()
        return come


async def opened(host: str, port: int, *, proxy: str, limit: float) -> Opening:
    """A TCP connection to there; `proxy`: a URL (http, https, socks5), or empty. `limit`: seconds for each handshake.

    Raises OSError, ssl.SSLError, and UnicodeError for a name that can be none.
    """
    if not proxy:
        return await _dialled(host, port)
    parts = urlsplit(proxy)
    scheme = parts.scheme.lower()
    made = await _dialled(parts.hostname or "", parts.port or PORTS.get(scheme, SOCKS_PORT))
    pair = (unquote(parts.username or ""), unquote(parts.password or ""))
    try:
        if scheme == "https":
            await made.start_tls(ssl.create_default_context(), parts.hostname or "", limit)
        if scheme in ("http", "https"):
            await _connect(made, host, port, pair)
        elif scheme in ("socks5", "socks5h"):
            await _socks(made, host, port, pair)
        else:
            raise OSError(f"A proxy by {scheme} is not known here: http, https and socks5 are.")
    except BaseException:
        made.abort()
        raise
    return made


async def _dialled(host: str, port: int) -> Opening:
    _, made = await asyncio.get_running_loop().create_connection(
        Opening, host, port, happy_eyeballs_delay=HAPPY_EYEBALLS
    )
    return made


async def asked(made: Opening, request: h11.Request) -> tuple[h11.Response | h11.InformationalResponse, bytes]:
    """The answer, with its body where it is a refusal. Raises OSError; h11.ProtocolError for what is no HTTP.

    Where the other side agrees to another protocol (101, or 2xx to CONNECT) the connection is at its beginning.
    """
    http = h11.Connection(h11.CLIENT)
    made.transport.writelines([http.send(request), http.send(h11.EndOfMessage())])
    body = bytearray()
    answer: h11.Response | h11.InformationalResponse | None = None
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await made.some())
        elif isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                answer = event
                break
        elif isinstance(event, h11.Response):
            answer = event
            if http.their_state is h11.SWITCHED_PROTOCOL:
                break
        elif isinstance(event, h11.Data):
            body += event.data
        if answer is not None and (isinstance(event, h11.EndOfMessage) or len(body) > MAX_BODY):
            return answer, bytes(body[:MAX_BODY])
        if isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            if answer is None:
                raise ConnectionResetError("It ended the connection without an answer.")
            break
    made.give_back(http.trailing_data[0])
    return answer, bytes(body)


async def _connect(made: Opening, host: str, port: int, pair: tuple[str, str]) -> None:
    """CONNECT (RFC 9110 section 9.3.6), with the proxy's user and password where it has them."""
    there = host_and_port(host, port)
    headers = [("Host", there)]
    if pair[0]:
        headers.append(("Proxy-Authorization", "Basic " + base64.b64encode(":".join(pair).encode()).decode()))
    answer, _ = await asked(made, h11.Request(method="CONNECT", target=there, headers=headers))
    if not 200 <= answer.status_code < 300:
        raise OSError(f"The proxy refuses: {answer.status_code} {bytes(answer.reason).decode('latin-1')}".rstrip())


async def _socks(made: Opening, host: str, port: int, pair: tuple[str, str]) -> None:
    """SOCKS5 (RFC 1928); the proxy looks names up, as for Go's clients."""
    methods = bytes((NO_AUTHENTICATION, BY_PASSWORD)) if pair[0] else bytes((NO_AUTHENTICATION,))
    made.transport.write(bytes((5, len(methods))) + methods)
    version, method = await made.exactly(2)
    if version != 5:
        raise OSError("The proxy does not speak SOCKS5.")
    if method == BY_PASSWORD and pair[0]:
        user, password = (each.encode()[:255] for each in pair)
        made.transport.write(b"\1" + bytes((len(user),)) + user + bytes((len(password),)) + password)
        if (await made.exactly(2))[1]:
            raise OSError("The proxy does not accept user and password.")
    elif method != NO_AUTHENTICATION:
        raise OSError("The proxy wants to know who we are, in a way that the proxy's URL does not say.")
    made.transport.write(b"\5\1\0" + _socks_address(host) + port.to_bytes(2, "big"))
    version, reply, _, kind = await made.exactly(4)
    if reply:
        said = SOCKS_REPLIES[reply] if reply < len(SOCKS_REPLIES) else f"reply {reply}"
        raise OSError(f"The proxy refuses: {said}.")
    size = {1: 4, 4: 16}.get(kind) or (await made.exactly(1))[0]
    await made.exactly(size + 2)


def _socks_address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("idna")
        return bytes((3, len(name))) + name
    return (b"\1" if address.version == 4 else b"\4") + address.packed
