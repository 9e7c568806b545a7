"""An asyncio varlink server: bounded in connections and memory, cancels what a caller no longer waits for."""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from devlink.errors import DevlinkError, ProtocolError, UnexpectedError
from devlink.rpc import varlink
from devlink.rpc.framing import MAX_FRAME, FrameReader, pack
from devlink.rpc.peer import Peer, peer_of
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
MAX_CONNECTIONS_PER_UID = 64
MAX_QUEUED_CALLS = 16
PARTIAL_FRAME_LIMIT = 10.0
"""Seconds for the rest of a message to arrive, and for a reply to be taken."""
MAX_STRANGER_FRAME = 64 << 10
"""Octets in one message of a peer that may call nothing: it may still ask who we are, and read why not."""
MAX_UNANSWERED = 4 * MAX_FRAME
"""Octets of all messages together that are not answered yet: what bounds the memory, whoever sends how much at once."""


class CallerGoneError(Exception):
    """The caller takes no more replies. It ends the call, and nobody reads it."""


class Session:
    """One connection to the server, as a handler sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self.peer: Peer = peer_of(sock)
        self.finished = False
        """The caller has said that it will ask no more (EOF)."""
        self.unanswered = 0
        """Octets that came and are not answered yet."""
        self._socket = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, parameters: Mapping[str, Any]) -> None:
        """One reply of several (`continues`). Raises CallerGoneError."""
        try:
            await self._write(varlink.reply(parameters, continues=True))
        except OSError as error:
            raise CallerGoneError from error

    async def _write(self, message: dict[str, Any]) -> None:
        async with asyncio.timeout(PARTIAL_FRAME_LIMIT):
            await self._loop.sock_sendall(self._socket, pack(message))


Handler = Callable[[Session, varlink.Call], Awaitable[Mapping[str, Any]]]
Received = tuple[dict[str, Any], int]
"""A message, and how many octets are done with once it is answered."""


class Server:
    """Serves one interface on listening sockets.

    Calls of one connection are answered one after the other. At EOF the call in progress is cancelled (a handler rolls
    back in its `finally`, and what it returns or raises is still sent: the caller may have closed only its own half).
    """

    def __init__(
        self,
        interface: str,
        handlers: Mapping[str, Handler],
        *,
        closed: Callable[[Session], None] = lambda _: None,
        admit: Callable[[Peer], DevlinkError | None] = lambda _: None,
    ) -> None:
        """`admit` says why a peer may call nothing; `closed` is told of each connection's end."""
        self._interface = interface
        self._handlers = handlers
        self._closed = closed
        self._admit = admit
        self._connections: dict[Session, asyncio.Task[Any]] = {}

    @property
    def connections(self) -> int:
        """How many callers are connected."""
        return len(self._connections)

    @property
    def methods(self) -> frozenset[str]:
        """The names of the methods that have a handler."""
        return frozenset(self._handlers)

    async def serve(self, listener: socket.socket) -> None:
        """Accept until cancelled."""
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except ConnectionError:
                continue
            except OSError as error:  # out of file descriptors: not a reason to end, nor to spin
                log.warning("cannot accept: %s", error)
                await asyncio.sleep(0.1)
                continue
            sock.setblocking(False)
            session = Session(sock)
            per_uid = Counter(other.peer.uid for other in self._connections)
            if len(self._connections) >= MAX_CONNECTIONS or per_uid[session.peer.uid] >= MAX_CONNECTIONS_PER_UID:
                log.warning("too many connections: closed one of uid %d", session.peer.uid)
                sock.close()
                continue
            self._connections[session] = spawn(self._converse(session, sock), name=f"{self._interface} connection")

    async def close(self) -> None:
        """End all connections; calls in progress are cancelled and finish their rollback first."""
        tasks = list(self._connections.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _converse(self, session: Session, sock: socket.socket) -> None:
        calls: asyncio.Queue[Received] = asyncio.Queue(MAX_QUEUED_CALLS)
        loop = asyncio.get_running_loop()
        working = loop.create_task(self._work(session, calls))
        reading = loop.create_task(self._read(session, sock, calls))
        try:
            await asyncio.wait({working, reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            session.finished = True
            for task in (reading, working):
                task.cancel()
            await asyncio.gather(reading, working, return_exceptions=True)
            del self._connections[session]
            sock.close()
            self._closed(session)

    async def _read(self, session: Session, sock: socket.socket, calls: "asyncio.Queue[Received]") -> None:
        loop = asyncio.get_running_loop()
        reader = FrameReader()
        begun = loop.time()
        while True:
            try:
                # from the message's first octet: one that trickles in is no better than one that stops
                async with asyncio.timeout_at(begun + PARTIAL_FRAME_LIMIT if reader.partial else None):
                    data = await loop.sock_recv(sock, 1 << 16)
                before = reader.pending
                messages = reader.feed(data)
            except (OSError, ProtocolError) as error:  # TimeoutError is an OSError
                log.info("closed a connection of uid %d: %s", session.peer.uid, error or "a message was not finished")
                return
            if not data:
                return
            if before <= MAX_STRANGER_FRAME < reader.pending and self._admit(session.peer) is not None:
                log.info("closed a connection of uid %d: too large a message", session.peer.uid)
                return
            session.unanswered += len(data)
            if sum(other.unanswered for other in self._connections) > MAX_UNANSWERED:
                log.warning("too much at once: closed a connection of uid %d", session.peer.uid)
                return
            size = before + len(data) - reader.pending
            for message in messages:
                await calls.put((message, size if message is messages[-1] else 0))
            if messages or not before:
                begun = loop.time()

    async def _work(self, session: Session, calls: "asyncio.Queue[Received]") -> None:
        while not session.finished:
            message, size = await calls.get()
            try:
                call = varlink.parse_call(message)
            except ProtocolError as error:
                log.info("closed a connection: %s", error)
                return
            try:
                answer = await self._answer(session, call)
                if not call.oneway:
                    await session._write(answer)
            except (OSError, CallerGoneError):
                return  # nobody there to take it
            session.unanswered -= size

    async def _answer(self, session: Session, call: varlink.Call) -> dict[str, Any]:
        described = varlink.describe_service(call, (self._interface,))
        if described is not None:
            return described
        handler = self._handlers.get(call.method.rpartition(".")[2]) if call.interface == self._interface else None
        if handler is None:
            return varlink.no_such_method(call.method)
        try:
            refusal = self._admit(session.peer)
            if refusal is not None:
                raise refusal
            return varlink.reply(await handler(session, call))
        except DevlinkError as error:
            return varlink.error_reply(self._interface, error)
        except CallerGoneError:
            raise
        except Exception as error:  # a defect must reach the caller as an error, and not end the process
            log.exception("%s failed", call.method)
            return varlink.error_reply(
                self._interface,
                UnexpectedError(
                    f"{call.method} failed: {error!r}.",
                    why="This is a defect in devlink.",
                    next_step="Please report it with the log.",
                ),
            )
