"""Questions to the cluster's DNS by way of one gateway each: asked without waiting, and told when they are answered."""

import asyncio
import ctypes
import errno
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from devlink.core.names import DomainName
from devlink.core.plan import Upstream
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, Transport
from devlink.dns import wire
from devlink.errors import DevlinkError, HelperError, ProtocolError, reason
from devlink.helper.policy import Paths
from devlink.rpc.connection import Connection
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

DNS_PORT = 53
HEADER = bytes((1, 0, 0, 1, 0, 0, 0, 0, 0, 0))
"""Of a question with recursion desired, behind its id."""
TYPE_A = 1
TCP_LIMIT = 1.0
"""Seconds for an answer over TCP, from the first octet of the connection on."""
NEIGHBOURS_AT_ONCE = 8
_libc = ctypes.CDLL(None, use_errno=True)

Answered = Callable[[IPAddress, float], None]


class ProbeLine:
    """A line of its own to the helper for sockets that go by one gateway each; their ways end with it. Close it."""

    def __init__(self, session: str) -> None:
        self._session = session
        self._line: Connection | None = None
        self._opening = asyncio.Lock()
        self._is_closed = False

    async def open(self, via: IPAddress, target: IPAddress, kind: str) -> socket.socket:
        """A `udp` or `tcp` socket, not connected, whose packets to `target` go by `via` whatever the routes say.

        Raises DevlinkError, OSError and TimeoutError.
        """
        async with self._opening:
            parameters = {"session": self._session, "via": str(via), "target": str(target), "kind": kind}
            try:
                line = await self._connected()
                _, descriptor = await line.call_for_descriptor("io.devlink.Helper.OpenProbe", parameters)
            except ProtocolError as error:
                raise HelperError("The devlink helper went away.", why=reason(error), next_step="Try again.") from error
            finally:
                if self._is_closed and self._line is not None:
                    self._line.close()  # it may have been on its way when the others were closed
        sock = socket.socket(fileno=descriptor)
        if self._is_closed:
            sock.close()
            raise _nobody()
        sock.setblocking(False)
        return sock

    async def _connected(self) -> Connection:
        if self._is_closed:
            raise _nobody()
        if self._line is None or self._line.closed.done():
            self._line = await Connection.connect(str(Paths().socket))
        return self._line

    def close(self) -> None:
        """May be repeated."""
        self._is_closed = True
        if self._line is not None:
            self._line.close()


def _nobody() -> HelperError:
    return HelperError("Nobody probes any more.", next_step="Try again.")


class Probes:
    """The questions of one session. Close it."""

    def __init__(self, session: str, profile: BridgeProfile, answered: Answered) -> None:
        """`answered` is told by way of whom an answer came, and after how many seconds."""
        self._session = session
        self._answered = answered
        self._servers = _servers(profile)
        self._name = profile.spec.dns.domain.child("kubernetes.default.svc") if profile.spec.dns else None
        self._kinds: dict[int, str] = {}
        """By which transport the server of a family answered first: the other one may be lost in a firewall."""
        self._sockets: dict[tuple[IPAddress, int], _Udp] = {}
        self._line = ProbeLine(session)
        self._neighbours = asyncio.Semaphore(NEIGHBOURS_AT_ONCE)
        self._is_closed = False

    def ask(self, via: IPAddress, attempt: int) -> None:
        """Put one question. What goes wrong is no answer."""
        server = self._servers.get(via.version)
        if server is None or self._name is None:
            return
        transport = self._kinds.get(via.version, server.transport.value)
        question = os.urandom(2) + HEADER + _question(self._name)
        if transport in ("udp", "auto"):
            spawn(self._quietly(self._ask_udp(via, attempt, server, question)), name=f"probe by {via}")
        if transport in ("tcp", "auto"):
            spawn(self._quietly(self._ask_tcp(via, server, question)), name=f"probe by {via} over TCP")

    def prepare(self, via: IPAddress) -> None:
        """Have what a first question needs: it will be wanted in a hurry."""
        server = self._servers.get(via.version)
        if server is not None and (via, 0) not in self._sockets and self._kinds.get(via.version) == "udp":
            spawn(self._quietly(self._prepare(via, 0, server)), name=f"prepare to probe by {via}")

    async def neighbour(self, via: IPAddress) -> bool:
        """Whether `via` is on its link. Raises DevlinkError, OSError and TimeoutError where that cannot be told."""
        async with self._neighbours:
            line = await Connection.connect(str(Paths().socket))
            try:
                parameters = {"session": self._session, "via": str(via)}
                return bool((await line.call("io.devlink.Helper.AskNeighbour", parameters))["answers"])
            finally:
                line.close()

    def close(self) -> None:
        """The ways go with the line."""
        self._is_closed = True
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        self._line.close()

    async def _quietly(self, asking: Coroutine[Any, Any, None]) -> None:
        try:
            await asking
        except OSError as error:  # TimeoutError too; silence is what tells
            log.debug("a probe was not sent: %s", error)
        except DevlinkError as error:
            log.info("a probe was not sent: %s", error)

    async def _ask_udp(self, via: IPAddress, attempt: int, server: Upstream, question: bytes) -> None:
        key = (via, attempt)
        await self._prepare(via, attempt, server)
        try:
            self._sockets[key].send(question, (str(server.address), server.port))
        except OSError as error:
            if error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH):
                raise
            # Its way is gone: the link was down meanwhile. It is made again for the next one.
            self._sockets.pop(key).close()

    async def _prepare(self, via: IPAddress, attempt: int, server: Upstream) -> None:
        key = (via, attempt)
        if key not in self._sockets:
            sock = await self._line.open(via, server.address, "udp")
            if key in self._sockets:  # another round was as slow as this one
                sock.close()
            else:
                self._sockets[key] = _Udp(sock, lambda rtt: self._heard(via, "udp", rtt))

    async def _ask_tcp(self, via: IPAddress, server: Upstream, question: bytes) -> None:
        loop = asyncio.get_running_loop()
        with await self._line.open(via, server.address, "tcp") as sock:
            began = loop.time()
            async with asyncio.timeout(TCP_LIMIT):
                await loop.sock_connect(sock, (str(server.address), server.port))
                await loop.sock_sendall(sock, wire.frame(question))
                reader = wire.StreamReader()
                while data := await loop.sock_recv(sock, 1 << 16):
                    reader.feed(data)
                    while (reply := reader.take()) is not None:
                        if _is_answer(reply, question[:2]):
                            self._heard(via, "tcp", loop.time() - began)
                            return

    def _heard(self, via: IPAddress, kind: str, rtt: float) -> None:
        if not self._is_closed:
            self._kinds.setdefault(via.version, kind)
            self._answered(via, rtt)


class _Udp:
    """One socket: each question goes from a port of its own, as those of other programs do."""

    def __init__(self, sock: socket.socket, heard: Callable[[float], None]) -> None:
        self._socket = sock
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._id = b""
        self._sent = 0.0
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, question: bytes, server: tuple[str, int]) -> None:
        """Raises OSError."""
        # AF_UNSPEC dissolves the association and the port with it (connect(2)): an entry of the gateway's connection
        # tracking that leads to a dead server shall not decide over the next question too.
        _libc.connect(self._socket.fileno(), bytes(16), 16)
        self._socket.connect(server)
        self._id, self._sent = question[:2], self._loop.time()
        self._socket.send(question)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        # ECONNREFUSED is no answer: a firewall that rejects says it too.
        with suppress(OSError):
            if _is_answer(self._socket.recv(wire.MAX_MESSAGE), self._id):
                self._heard(self._loop.time() - self._sent)


def _servers(profile: BridgeProfile) -> dict[int, Upstream]:
    """The first server of the cluster's DNS of each family that the routes lead to."""
    found: dict[int, Upstream] = {}
    for server in profile.spec.dns.servers if profile.spec.dns else ():
        if any(server.address in prefix for prefix in profile.spec.prefixes):
            upstream = Upstream(address=server.address, port=DNS_PORT, transport=Transport(server.transport))
            found.setdefault(server.address.version, upstream)
    return found


def _question(name: DomainName) -> bytes:
    return name.wire + TYPE_A.to_bytes(2, "big") + wire.IN.to_bytes(2, "big")


def _is_answer(reply: bytes, number: bytes) -> bool:
    """Whatever it says: a refusal or an error has come the whole way there and back, too."""
    return len(reply) >= wire.HEADER and reply[:2] == number and bool(reply[2] & 0x80)
