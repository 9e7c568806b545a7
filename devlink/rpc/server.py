"""An asyncio varlink server: bounded in connections and memory, cancels what a caller no longer waits for."""

import array
import asyncio
import logging
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from devlink.errors import DevlinkError, ProtocolError, UnexpectedError
from devlink.rpc import varlink
from devlink.rpc.framing import MAX_FRAME, FrameReader, pack
from devlink.rpc.peer import Peer, peer_of, pidfd_of
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
"""Of all accounts but root's."""
MAX_CONNECTIONS_PER_UID = 64
RESERVED_CONNECTIONS = 4
"""What an account may always have, however many the others hold. The group's members are few: it adds up to little."""
MAX_QUEUED_CALLS = 16
PARTIAL_FRAME_LIMIT = 10.0
"""Seconds for the rest of a message to arrive, and for a reply to be taken."""
MAX_STRANGER_FRAME = 64 << 10
"""Octets in one message of a peer that may call nothing: it may still ask who we are, and read why not."""
MAX_UNANSWERED = 4 * MAX_FRAME
"""Octets of messages not answered yet, of all but root: bounds the memory, whoever sends how much at once."""
MAX_UNANSWERED_PER_UID = 2 * MAX_FRAME
"""The same for each account, and for root's alone."""
ROOT = 0
STRANGERS = -1
"""The one account of all who may call nothing: with the ids of subuid(5) one user can come as 65,536 of them."""


class CallerGoneError(Exception):
    """The caller takes no more replies. It ends the call, and nobody reads it."""


class Session:
    """One connection to the server, as a handler sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self.peer: Peer = peer_of(sock)
        self.account = self.peer.uid
        """On whose account its octets and its connection go: the uid, or STRANGERS."""
        self.finished = False
        """The caller has said that it will ask no more (EOF)."""
        self.unanswered = 0
        """Octets that came and are not answered yet."""
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._reading: asyncio.Task[None] | None = None
        self._descriptors: list[int] = []
        self._passed: list[int] = []

    def take_descriptors(self) -> list[int]:
        """Those that came along since it was asked last, in order; the handler's to close."""
        taken, self._passed = self._passed, []
        return taken

    def open_pidfd(self) -> int:
        """A descriptor of the process that connected, the handler's to close. Raises OSError where it is gone."""
        return pidfd_of(self._socket)

    def attach(self, descriptor: int) -> None:
        """Pass a file descriptor along with the next reply; it is ours to close from here on."""
        self._descriptors.append(descriptor)

    async def send(self, parameters: Mapping[str, Any]) -> None:
        """One reply of several (`continues`). Raises CallerGoneError."""
        try:
            await self._write(varlink.reply(parameters, continues=True))
        except OSError as error:
            raise CallerGoneError from error

    def _end(self) -> None:
        """Have it treated as though the caller had gone: a call in progress is rolled back."""
        self.finished = True
        if self._reading is not None:
            self._reading.cancel()

    async def _write(self, message: dict[str, Any]) -> None:
        data = pack(message)
        async with asyncio.timeout(PARTIAL_FRAME_LIMIT):
            if self._descriptors:
                try:
                    data = data[socket.send_fds(self._socket, [data], self._descriptors) :]
                finally:
                    self._drop_descriptors()
            await self._loop.sock_sendall(self._socket, data)

    def _drop_descriptors(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    async def _receive(self, sock: socket.socket, descriptors: int) -> bytes:
        """What came; `descriptors`: how many may come with it. Raises OSError, and ProtocolError where more did."""
        if not descriptors:
            return await self._loop.sock_recv(sock, 1 << 16)
        while True:
            try:
                # Not recv_fds: before Python 3.14 it takes flags, and leaves them out.
                space = socket.CMSG_SPACE(descriptors * 4)
                data, ancillary, flags, _ = sock.recvmsg(1 << 16, space, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await self._readable(sock)
                continue
            for level, kind, octets in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self._passed += array.array("i", octets[: len(octets) // 4 * 4])
            if flags & socket.MSG_CTRUNC or len(self._passed) > descriptors:
                raise ProtocolError(f"more than {descriptors} descriptors came")
            return data

    async def _readable(self, sock: socket.socket) -> None:
        arrived: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(sock.fileno(), _settle, arrived)
        try:
            await arrived
        finally:
            self._loop.remove_reader(sock.fileno())


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


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
        descriptors: int = 0,
    ) -> None:
        """`admit` says why a peer may call nothing; `closed` is told of each connection's end; so many `descriptors`
        may come at once on a connection."""
        self._interface = interface
        self._handlers = handlers
        self._closed = closed
        self._admit = admit
        self._takes = descriptors
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
            session.account = self._account(session.peer)
            if not self._has_room(session.account):
                log.warning("too many connections: closed one of uid %d", session.peer.uid)
                sock.close()
                continue
            self._connections[session] = spawn(self._converse(session, sock), name=f"{self._interface} connection")

    async def close(self) -> None:
        """End all connections; calls in progress are cancelled and finish their rollback first."""
        for session in self._connections:
            session._end()  # to cancel its task would break off what rolls back already, and leave a socket
        await asyncio.gather(*self._connections.values(), return_exceptions=True)

    def _account(self, peer: Peer) -> int:
        try:
            return peer.uid if peer.uid == ROOT or self._admit(peer) is None else STRANGERS
        except OSError as error:  # the group database, too, needs a file descriptor
            log.warning("cannot tell who uid %d is: %s", peer.uid, error)
            return STRANGERS

    def _has_room(self, account: int) -> bool:
        held = Counter(other.account for other in self._connections)
        if held[account] >= MAX_CONNECTIONS_PER_UID:
            return False
        return account == ROOT or held[account] < RESERVED_CONNECTIONS or held.total() - held[ROOT] < MAX_CONNECTIONS

    def _too_much_from(self) -> Session | None:
        """The connection to end because too much waits for an answer, or None.

        It is the one that owes most of the account that owes most: who sends little is never closed for who sends much.
        """
        owed: Counter[int] = Counter()
        for session in self._connections:
            owed[session.account] += 0 if session.finished else session.unanswered
        root = owed.pop(ROOT, 0)
        if root > MAX_UNANSWERED_PER_UID:
            account = ROOT
        elif owed and (max(owed.values()) > MAX_UNANSWERED_PER_UID or owed.total() > MAX_UNANSWERED):
            account = max(owed, key=owed.__getitem__)
        else:
            return None
        there = (each for each in self._connections if each.account == account and not each.finished)
        return max(there, key=lambda each: each.unanswered)

    async def _converse(self, session: Session, sock: socket.socket) -> None:
        calls: asyncio.Queue[Received] = asyncio.Queue(MAX_QUEUED_CALLS)
        loop = asyncio.get_running_loop()
        working = loop.create_task(self._work(session, calls))
        reading = session._reading = loop.create_task(self._read(session, sock, calls))
        try:
            await asyncio.wait({working, reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            session.finished = True
            for task in (reading, working):
                task.cancel()
            await asyncio.gather(reading, working, return_exceptions=True)
            session._drop_descriptors()
            for descriptor in session.take_descriptors():
                os.close(descriptor)
            session._reading = None  # else a circle keeps the half message that it read until the collector comes
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
                    data = await session._receive(sock, self._takes)
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
            while (debtor := self._too_much_from()) is not None:
                log.warning("too much at once: closed a connection of uid %d", debtor.peer.uid)
                debtor._end()
            if session.finished:
                return
            size = before + len(data) - reader.pending
            for message in messages:
                await calls.put((message, size if message is messages[-1] else 0))
            if messages or not before:
                begun = loop.time()
            await asyncio.sleep(0)  # sock_recv gives what is there without a turn for the others, nor for who is ended

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
