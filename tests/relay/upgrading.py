"""Servers on loopback that agree to an upgrade or not, and the proxies before them, for the tests of dialling."""

import asyncio
import base64
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from devlink.cluster.access import Access, Credentials
from tests.certificates import Authority, Issued

AUTHORITY = Authority()
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

SILENCE = b"HTTP/1.1 "
"""An answer that goes no further."""


@dataclass(frozen=True)
class Asked:
    """One request."""

    line: str
    headers: Mapping[str, str]
    alpn: str | None = None
    name: str | None = None
    """Whom the client expects, by SNI."""

    @property
    def form(self) -> str:
        """As the dialler names it."""
        if not self.line.startswith("GET"):
            return "spdy"
        return "websocket" if self.headers["sec-websocket-protocol"] == "v4.channel.k8s.io" else "spdy-websocket"


Respond = Callable[[Asked], bytes]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def agree(asked: Asked, *, protocol: str | None = None, accept: bytes = b"") -> bytes:
    """An answer 101, and one octet of the new protocol."""
    head = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {asked.headers['upgrade']}\r\n"
    if asked.form != "spdy":
        digest = hashlib.sha1(asked.headers["sec-websocket-key"].encode() + GUID, usedforsecurity=False).digest()
        head += f"Sec-WebSocket-Accept: {(accept or base64.b64encode(digest)).decode()}\r\n"
        head += f"Sec-WebSocket-Protocol: {protocol or asked.headers['sec-websocket-protocol']}\r\n"
    return head.encode() + b"\r\n!"


def refuse(status: int, body: str) -> bytes:
    return f"HTTP/1.1 {status} Words\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@dataclass
class Upgrading:
    """An API server, as far as upgrades go."""

    respond: Respond = agree
    issued: Issued | None = None
    """Its certificate; None: it speaks in the clear."""
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    def access(self, *, path: str = "", token: str = "secret", **changes: object) -> Access:
        server = f"{'https' if self.issued else 'http'}://127.0.0.1:{self.port}{path}"
        given: dict[str, object] = {
            "name": "qa", "server": server, "ca": AUTHORITY.pem, "credentials": Credentials(token=token), **changes,
        }  # fmt: skip
        return Access(**given)  # type: ignore[arg-type]

    @property
    def forms(self) -> list[str]:
        return [each.form for each in self.asked]

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        inside = writer.get_extra_info("ssl_object")
        alpn = inside.selected_alpn_protocol() if inside else None
        self.asked.append(Asked(line, headers, alpn, getattr(inside, "told_name", None)))
        answer = self.respond(self.asked[-1])
        writer.write(answer)
        if answer.startswith(b"HTTP/1.1 101") or answer == SILENCE:
            await reader.read()
        elif not answer:
            writer.transport.abort()


def server_context(issued: Issued, folder: Path) -> ssl.SSLContext:
    (folder / "server.pem").write_text(issued.certificate + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])

    def told(inside: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        inside.told_name = name  # type: ignore[attr-defined]

    context.sni_callback = told
    return context


@asynccontextmanager
async def listening(talk: Talk, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port where `talk` serves each connection; all are over with the block."""
    writers: list[asyncio.StreamWriter] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        writers.append(writer)
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*tasks)


@asynccontextmanager
async def serving(upgrading: Upgrading, folder: Path) -> AsyncIterator[Upgrading]:
    context = server_context(upgrading.issued, folder) if upgrading.issued else None
    async with listening(upgrading.talk, context) as port:
        upgrading.port = port
        yield upgrading


@dataclass
class Proxy:
    """Leads to 127.0.0.1, whatever host is named; `heard` has what it was asked."""

    refusal: bytes = b""
    """Instead of leading anywhere."""
    heard: list[bytes] = field(default_factory=list)

    async def by_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heard.append(head)
        if self.refusal:
            writer.write(self.refusal)
            return
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        await self._lead(port, b"HTTP/1.1 200 Connection established\r\n\r\n", reader, writer)

    async def by_socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """RFC 1928 and 1929; each octet of an answer on its own, as a network may cut it."""
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        if 2 in methods:
            writer.write(b"\5")
            await asyncio.sleep(0)
            writer.write(b"\2")
            _, size = await reader.readexactly(2)
            user = await reader.readexactly(size)
            password = await reader.readexactly((await reader.readexactly(1))[0])
            self.heard.append(user + b":" + password)
            writer.write(b"\1\0")
        else:
            writer.write(b"\5\0")
        kind = (await reader.readexactly(4))[3]
        size = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
        self.heard.append(await reader.readexactly(size))
        port = int.from_bytes(await reader.readexactly(2), "big")
        if self.refusal:
            writer.write(self.refusal)
            return
        await self._lead(port, b"\5\0\0\3\4name\0\0", reader, writer)

    async def _lead(self, port: int, agreed: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, thither = await asyncio.open_connection("127.0.0.1", port)
        writer.write(agreed)

        async def carry(come: asyncio.StreamReader, go: asyncio.StreamWriter) -> None:
            try:
                while part := await come.read(65536):
                    go.write(part)
            except OSError:
                pass
            go.transport.abort()

        await asyncio.gather(carry(reader, thither), carry(there, writer))
