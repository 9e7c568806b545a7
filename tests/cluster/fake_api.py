"""A small HTTPS server on loopback that answers as a test says, for what must be seen on a real connection."""

import asyncio
import gzip
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from devlink.cluster.access import Access
from tests.certificates import Authority, Issued

AUTHORITY = Authority()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case name; of several the last."""
    body: bytes
    user: str = ""
    """The common name of the client's certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is sent for it."""

    body: Any = field(default_factory=dict)
    """Octets as they are; anything else as JSON."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    packed: bool = False
    """gzip."""
    parts: tuple[bytes, ...] = ()
    """Chunks with a pause before each; instead of `body`."""
    pause: float = 0.0
    """Seconds."""
    cut: bool = False
    """The connection ends in the middle, or, without any part, before an answer."""


Respond = Callable[[Asked], Answer]


class FakeApi:
    """The server: what it was asked, and where it is."""

    def __init__(self, respond: Respond, context: ssl.SSLContext) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self._respond = respond
        self._context = context
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def access(self, **changes: Any) -> Access:
        """How it is reached."""
        given = {"name": "qa", "server": f"https://127.0.0.1:{self.port}", "ca": AUTHORITY.pem, **changes}
        return Access(**given)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await self._end.wait()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (head := await reader.readuntil(b"\r\n\r\n")) and await self._answer(head, reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        url = urlsplit(target)
        certificate = writer.get_extra_info("peercert") or {}
        names = {key: value for entry in certificate.get("subject", ()) for key, value in entry}
        asked = Asked(
            method=method, path=url.path, params=dict(parse_qsl(url.query)), headers=headers,
            body=await reader.readexactly(int(headers.get("content-length", 0))), user=names.get("commonName", ""),
        )  # fmt: skip
        self.asked.append(asked)
        answer = self._respond(asked)
        if answer.cut and not answer.parts:
            return False
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        body = gzip.compress(body) if answer.packed else body
        sent = {"Content-Type": "application/json", **answer.headers}
        sent |= {"Content-Encoding": "gzip"} if answer.packed else {}
        sent |= {"Transfer-Encoding": "chunked"} if answer.parts else {"Content-Length": str(len(body))}
        lines = [f"HTTP/1.1 {answer.status} Words", *(f"{name}: {value}" for name, value in sent.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if answer.parts else body))
        for part in answer.parts:
            await asyncio.sleep(answer.pause)
            writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            await writer.drain()
        if answer.cut:
            return False
        if answer.parts:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


@contextmanager
def serving(respond: Respond, folder: Path, issued: Issued | None = None) -> Iterator[FakeApi]:
    """The server, while the block runs; `issued`: its certificate, else one of AUTHORITY for 127.0.0.1."""
    issued = issued or AUTHORITY.issue("127.0.0.1", "localhost")
    (folder / "server.pem").write_text(issued.certificate + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.load_verify_locations(cadata=AUTHORITY.pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    made = FakeApi(respond, context)
    made.start()
    try:
        yield made
    finally:
        made.stop()
