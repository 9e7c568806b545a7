"""An API server with pods behind it, for the relay's tests: one HTTP port that lists them and upgrades to SPDY/3.1.

A pod's port is a function which gets a stream, in a task of its own, as a server in a pod gets a connection.
"""

import asyncio
import contextlib
import json
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qs, urlsplit

from devlink.relay.spdy import DICTIONARY

SYN_STREAM, SYN_REPLY, RST_STREAM, PING = 1, 2, 3, 6
FIN = 1
REFUSED = (
    "failed to connect to localhost:{port} inside namespace: dial tcp4 127.0.0.1:{port}: connect: connection refused"
)


class GoneError(Exception):
    """The upgrade is answered with a status instead."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PodStream:
    """The pod's end of one stream."""

    def __init__(self, session: "NodeSession", number: int) -> None:
        self._session = session
        self.number = number
        self._come: asyncio.Queue[bytes] = asyncio.Queue()
        self.was_reset = asyncio.Event()

    def came(self, octets: bytes) -> None:
        self._come.put_nowait(octets)

    async def read(self) -> bytes:
        """What came next; nothing at its FIN, or when it is reset."""
        return await self._come.get()

    async def write(self, octets: bytes) -> None:
        for at in range(0, len(octets), 1 << 20):
            piece = octets[at : at + (1 << 20)]
            self._session.write(struct.pack(">II", self.number, len(piece)) + piece)
            await self._session.drained()

    def end(self) -> None:
        self._session.write(struct.pack(">II", self.number, FIN << 24))

    def reset(self) -> None:
        self._session.control(RST_STREAM, struct.pack(">II", self.number, 5))


Server = Callable[[PodStream], Awaitable[None]]


class NodeSession:
    """One upgraded connection, the node's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pod: Mapping[int, Server]) -> None:
        self._reader, self._writer, self._pod = reader, writer, pod
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS, DICTIONARY)
        self._deflate = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, 0, DICTIONARY)
        self._tasks: set[asyncio.Task[None]] = set()
        self.streams: dict[int, PodStream] = {}
        self.opened = self.pings = 0
        self.answers_pings = True

    def write(self, octets: bytes) -> None:
        self._writer.write(octets)

    async def drained(self) -> None:
        await self._writer.drain()

    def control(self, kind: int, body: bytes) -> None:
        self.write(struct.pack(">HHI", 0x8003, kind, len(body)) + body)

    def break_off(self) -> None:
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()

    async def run(self) -> None:
        try:
            while True:
                word, length = struct.unpack(">II", await self._reader.readexactly(8))
                flags, body = length >> 24, await self._reader.readexactly(length & 0xFFFFFF)
                if word >> 31:
                    self._controlled(word & 0xFFFF, body)
                else:
                    stream = self.streams.get(word)
                    if stream is not None and body:
                        stream.came(body)
                    if stream is not None and flags & FIN:
                        stream.came(b"")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for stream in self.streams.values():
                stream.came(b"")
            for task in self._tasks:
                task.cancel()
            self._writer.close()

    def _controlled(self, kind: int, body: bytes) -> None:
        number = int.from_bytes(body[:4], "big")
        if kind == SYN_STREAM:
            headers = self._headers(body[10:])
            empty = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            self.control(SYN_REPLY, struct.pack(">I", number) + empty)
            if headers["streamtype"] == "data":
                self._serve(number, int(headers["port"]))
        elif kind == PING:
            self.pings += 1
            if self.answers_pings:
                self.control(PING, body)
        elif kind == RST_STREAM and number in self.streams:
            self.streams[number].was_reset.set()
            self.streams[number].came(b"")

    def _headers(self, octets: bytes) -> dict[str, str]:
        plain, texts, at = self._inflate.decompress(octets), [], 4
        while at < len(plain):
            size = int.from_bytes(plain[at : at + 4], "big")
            texts.append(plain[at + 4 : at + 4 + size].decode())
            at += 4 + size
        return dict(zip(texts[::2], texts[1::2], strict=True))

    def _serve(self, number: int, port: int) -> None:
        self.opened += 1
        stream = self.streams[number] = PodStream(self, number)
        server = self._pod.get(port)
        if server is None:
            self.fail(number, REFUSED.format(port=port))
            return
        task = asyncio.get_running_loop().create_task(self._run(server, stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, server: Server, stream: PodStream) -> None:
        with contextlib.suppress(ConnectionError):
            await server(stream)

    def fail(self, number: int, why: str) -> None:
        """Said on its error stream, which then ends; then the data stream does (kubelet's portForward)."""
        self.write(struct.pack(">II", number - 2, len(why)) + why.encode())
        self.write(struct.pack(">II", number - 2, FIN << 24) + struct.pack(">II", number, FIN << 24))


class ApiServer:
    """Pods by `NAMESPACE/NAME`, each with an address and its servers by port. `objects`: what GET gives, by path."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[int, Server]] = {}
        self.addresses: dict[str, str] = {}
        self.declared: dict[str, tuple[int, ...]] = {}
        self.sessions: list[NodeSession] = []
        self.refuses: Callable[[str], GoneError | None] = lambda _: None
        self.upgrades = 0
        self.tokens: list[str] = []
        self.allowed = True
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self, port: int = 0, address: str = "127.0.0.1") -> None:
        self._server = await asyncio.start_server(self._serve, address, port, limit=1 << 22)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """As a server that is killed."""
        if self._server is not None:
            self._server.close()
        for session in self.sessions:
            session.break_off()
        self.sessions.clear()
        for writer in self._writers:
            writer.transport.abort()

    def add(self, name: str, address: str, servers: dict[int, Server], *, declared: tuple[int, ...] = ()) -> None:
        self.pods[name], self.addresses[name] = servers, address
        self.declared[name] = declared or tuple(servers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                target = head[0].split()[1]
                if "upgrade" in headers:
                    self.tokens.append(headers.get("authorization", ""))
                    if await self._upgrade(target, headers, reader, writer):
                        return
                    continue
                status, answer = self.answer(urlsplit(target).path, parse_qs(urlsplit(target).query), body)
                self._reply(writer, status, answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _reply(self, writer: asyncio.StreamWriter, status: int, tree: object) -> None:
        text = json.dumps(tree).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        writer.write(head.encode() + text)

    async def _upgrade(
        self, target: str, headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        name = "/".join(urlsplit(target).path.split("/")[4:7:2])
        if headers["upgrade"] != "SPDY/3.1":
            self._reply(writer, 400, {"kind": "Status", "message": "unable to upgrade: no websocket here"})
            return False
        refusal = self.refuses(name)
        if refusal is None and name not in self.pods:
            refusal = GoneError(404, f'pods "{name}" not found')
        if refusal is not None:
            self._reply(writer, refusal.status, {"kind": "Status", "code": refusal.status, "message": str(refusal)})
            return False
        self.upgrades += 1
        writer.write(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n")
        writer.write(b"X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n")
        session = NodeSession(reader, writer, self.pods[name])
        self.sessions.append(session)
        await session.run()
        if session in self.sessions:
            self.sessions.remove(session)
        return True

    def answer(self, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, object]:
        if path.endswith("/selfsubjectaccessreviews"):
            return 201, {**json.loads(body), "status": {"allowed": self.allowed}}
        if path == "/api/v1/pods":
            wanted = query.get("fieldSelector", [""])[0].rpartition("=")[2]
            return 200, {"items": [self._pod(name) for name, at in self.addresses.items() if at == wanted]}
        parts = path.split("/")
        if len(parts) == 7 and parts[5] == "pods" and f"{parts[4]}/{parts[6]}" in self.pods:
            return 200, self._pod(f"{parts[4]}/{parts[6]}")
        if path.endswith(("/services", "/endpointslices")):
            return 200, {"items": []}
        return 404, {"kind": "Status", "code": 404, "message": "not found"}

    def _pod(self, name: str) -> object:
        namespace, _, pod = name.partition("/")
        address = self.addresses[name]
        ports = [{"containerPort": port} for port in self.declared[name]]
        return {
            "metadata": {"namespace": namespace, "name": pod},
            "spec": {"nodeName": "node-1", "containers": [{"name": "c", "ports": ports}]},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
        }
