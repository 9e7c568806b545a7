"""Questions to the cluster's DNS by way of one gateway each: asked without waiting, and told when they are answered."""

import asyncio
import ctypes
import errno
import logging
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from devlink.core.prefixes import Cover, IPAddress
from devlink.core.profile import BridgeProfile, DnsServer
from devlink.dns import wire
from devlink.doctor.path.questions import PORT, ask_over_tcp, first_by_version, is_answer, numbered, question_for
from devlink.errors import DevlinkError, HelperError, ProtocolError, UsageError, reason
from devlink.helper.policy import Paths
from devlink.rpc.connection import Connection
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

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

    @property
    def is_lost(self) -> bool:
        """It has ended at the helper's end, and all ways that it held with it."""
        return self._line is not None and self._line.closed.done()

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
        self._question = question_for(profile.spec.dns) if profile.spec.dns else b""
        self._servers = _servers(profile)
        self._kinds: dict[int, str] = {}
        """By which transport the server of a family answered first: the other one may be lost in a firewall."""
        self._sockets: dict[tuple[IPAddress, int], _Udp] = {}
        self.unput: set[IPAddress] = set()
        """By whom no question of this round could be put: there is no socket yet, or the helper gives no more."""
        self._refused = ""
        self._awaited: set[tuple[IPAddress, int, str]] = set()
        """For which questions a socket is on its way: while the helper hangs they shall not pile up."""
        self._line = ProbeLine(session)
        self._neighbours = asyncio.Semaphore(NEIGHBOURS_AT_ONCE)
        self._is_closed = False

    @property
    def is_lost(self) -> bool:
        """The helper is gone or another one: nothing keeps what is sent by these sockets on its way any more."""
        return self._line.is_lost

    def can_ask(self, via: IPAddress) -> bool:
        """Whether the cluster's DNS has a server of its family; many a cluster of two families has it in one."""
        return via.version in self._servers

    def ask(self, via: IPAddress, attempt: int) -> None:
        """Put one question. What goes wrong is no answer, but for want of a socket: that is noted in `unput`."""
        server = self._servers.get(via.version)
        if server is None:
            return
        if attempt == 0:  # later on, a socket that is late is no reason to wait longer for a gateway that is silent
            self.unput.add(via)
        transport = self._kinds.get(via.version, server.transport.value)
        packet = numbered(self._question)
        if transport in ("udp", "auto") and (via, attempt, "udp") not in self._awaited:
            spawn(self._quietly(via, self._ask_udp(via, attempt, server, packet)), name=f"probe by {via}")
        if transport in ("tcp", "auto") and (via, attempt, "tcp") not in self._awaited:
            spawn(self._quietly(via, self._ask_tcp(via, attempt, server, packet)), name=f"probe by {via} over TCP")

    def prepare(self, via: IPAddress) -> None:
        """Have what a first question needs: it will be wanted in a hurry."""
        server = self._servers.get(via.version)
        if server is not None and (via, 0) not in self._sockets and self._kinds.get(via.version) == "udp":
            spawn(self._quietly(via, self._prepare(via, 0, server)), name=f"prepare to probe by {via}")

    async def socket_by(self, via: IPAddress, target: IPAddress) -> socket.socket:
        """As `ProbeLine.open`, for a TCP handshake where there is no DNS to be asked."""
        return await self._line.open(via, target, "tcp")

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

    async def _quietly(self, via: IPAddress, asking: Coroutine[Any, Any, None]) -> None:
        try:
            await asking
        except OSError as error:  # TimeoutError too; silence is what tells
            log.debug("a probe was not sent: %s", error)
        except UsageError as error:  # there are too many, which says nothing of this one
            self.unput.add(via)
            self._tell(error)
        except DevlinkError as error:  # nothing can go by this one: it is off the link, or the kernel takes no such way
            self.unput.discard(via)
            self._tell(error)

    def _tell(self, error: DevlinkError) -> None:
        """Once for all whom the helper refuses for the same reason."""
        if str(error) != self._refused and not self._is_closed:
            self._refused = str(error)
            log.info("a probe was not sent: %s", error)

    async def _ask_udp(self, via: IPAddress, attempt: int, server: DnsServer, packet: bytes) -> None:
        key = (via, attempt)
        await self._prepare(via, attempt, server)
        self.unput.discard(via)
        try:
            self._sockets[key].send(packet, (str(server.address), PORT))
        except OSError as error:
            if error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH):
                raise
            # Its way is gone: the link was down meanwhile. It is made again for the next one.
            self._sockets.pop(key).close()

    async def _prepare(self, via: IPAddress, attempt: int, server: DnsServer) -> None:
        key = (via, attempt)
        if key not in self._sockets:
            sock = await self._open(via, attempt, server, "udp")
            if key in self._sockets:  # another round was as slow as this one
                sock.close()
            else:
                self._sockets[key] = _Udp(sock, lambda rtt: self._heard(via, "udp", rtt))

    async def _open(self, via: IPAddress, attempt: int, server: DnsServer, kind: str) -> socket.socket:
        """As `ProbeLine.open`."""
        self._awaited.add((via, attempt, kind))
        try:
            return await self._line.open(via, server.address, kind)
        finally:
            self._awaited.discard((via, attempt, kind))

    async def _ask_tcp(self, via: IPAddress, attempt: int, server: DnsServer, packet: bytes) -> None:
        loop = asyncio.get_running_loop()
        with await self._open(via, attempt, server, "tcp") as sock:
            self.unput.discard(via)
            began = loop.time()
            async with asyncio.timeout(TCP_LIMIT):
                await loop.sock_connect(sock, (str(server.address), PORT))
                if await ask_over_tcp(sock, packet):
                    self._heard(via, "tcp", loop.time() - began)

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
        self._packet = b""
        self._sent = 0.0
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, packet: bytes, server: tuple[str, int]) -> None:
        """Raises OSError."""
        # AF_UNSPEC dissolves the association and the port with it (connect(2)): an entry of the gateway's connection
        # tracking that leads to a dead server shall not decide over the next question too.
        _libc.connect(self._socket.fileno(), bytes(16), 16)
        self._socket.connect(server)
        self._packet, self._sent = packet, self._loop.time()
        self._socket.send(packet)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        # ECONNREFUSED is no answer: a firewall that rejects says it too.
        with suppress(OSError):
            if is_answer(self._socket.recv(wire.MAX_MESSAGE), self._packet):
                self._heard(self._loop.time() - self._sent)


def _servers(profile: BridgeProfile) -> dict[int, DnsServer]:
    """The first server of the cluster's DNS of each family that the routes lead to."""
    ours = Cover(profile.spec.prefixes)
    servers = profile.spec.dns.servers if profile.spec.dns else ()
    return first_by_version(server for server in servers if ours.find_address(server.address) is not None)
