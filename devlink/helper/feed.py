"""The forwarder's line: the DNS sockets that outlive it, what it is told, and its coming back when it dies."""

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from devlink.core.codec import encode
from devlink.core.plan import ForwarderConfig
from devlink.errors import DevlinkError, HelperError, NotUpError, ProtocolError, reason
from devlink.helper.parts import Parts
from devlink.resolvers.mode import Place
from devlink.rpc.connection import Connection
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

DNS_PORT = 53
BIND_LIMIT = 1.0
"""Seconds for a predecessor's forwarder to let go of the port."""
REVIVE_LIMIT = 1.0
"""Seconds that queries may wait in the sockets for a new forwarder; then clients are refused at once."""
CONFIGURE_LIMIT = 3.0
ANSWER_LIMIT = 2.0
"""Seconds after which a forwarder that says nothing hangs; and for one to come back, before a caller is told."""


class Feed:
    """Keeps one forwarder fed. Its duplicates of the DNS sockets hold the queries while a new one starts."""

    def __init__(
        self,
        parts: Parts,
        *,
        lost: Callable[[], Awaitable[None]],
        returned: Callable[[], Awaitable[None]],
    ) -> None:
        """`lost` is awaited when the forwarder did not come back in time and the sockets are closed; `returned` when
        it serves again after that."""
        self._parts = parts
        self._lost = lost
        self._returned = returned
        self._connection: Connection | None = None
        self._sockets: list[socket.socket] = []
        self._config: ForwarderConfig | None = None
        self._places: tuple[Place, ...] = ()
        self._reviving: asyncio.Task[None] | None = None
        self.starts = 0
        """How many forwarders have taken their rules: with each one, what the one before had noted is gone."""

    @property
    def is_serving(self) -> bool:
        return self._connection is not None and not self._connection.closed.done()

    async def answers(self) -> bool:
        """Whether the forwarder is there and answers us. One that hangs is ended, and another started."""
        connection = self._connection
        if connection is None or connection.closed.done():
            return False
        try:
            await connection.call("org.varlink.service.GetInfo", limit=ANSWER_LIMIT)
        except (DevlinkError, TimeoutError) as error:
            log.warning("the forwarder does not answer: %s", str(error) or f"it had {ANSWER_LIMIT:g} s")
            connection.close()
            return False
        return True

    async def stats(self) -> dict[str, Any]:
        """The forwarder's counts since its start, as its interface has them. Raises NotUpError and HelperError."""
        return await self._ask("GetStats")

    async def flush(self) -> int:
        """Have the forwarder forget every answer that it keeps; how many there were. Raises as `stats` does."""
        return int((await self._ask("Flush"))["entries"])

    async def take_log(self, *, on: bool) -> tuple[list[dict[str, Any]], int]:
        """Turn the log of questions on or off; what was logged since the last call, and how many more could not be
        kept. One that came back has it off. Raises as `stats` does."""
        taken = await self._ask("TakeLog", {"on": on})
        return taken["records"], taken["lost"]

    async def _ask(self, method: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ANSWER_LIMIT
        while self._config is not None:
            connection = self._connection
            if connection is not None:
                try:
                    return await connection.call(f"io.devlink.Forwarder.{method}", parameters, limit=ANSWER_LIMIT)
                except TimeoutError:
                    log.warning("the forwarder does not answer: it had %g s", ANSWER_LIMIT)
                    connection.close()  # it is ended, and another started
                except ProtocolError:
                    if not connection.closed.done():
                        raise  # it lives, and knows no such method
            if loop.time() >= deadline:
                raise HelperError(
                    "The forwarder does not answer.",
                    why="It is being started again.",
                    next_step="Try again in some seconds; the helper's log says more.",
                )
            await asyncio.sleep(0.02)  # it takes new rules at this moment, or comes back
        raise NotUpError(
            "No names are served: no session is up that has any.", next_step="Bring a profile up first: devlink up"
        )

    async def serve(self, config: ForwarderConfig, places: tuple[Place, ...]) -> None:
        """Have the forwarder serve `config` at these places. Raises HelperError; then nothing is served."""
        if places != self._places and self._sockets:
            await self.stop()
        self._config, self._places = config, places
        self._stop_reviving()
        try:
            if not self._sockets:
                await self._open(places)
            if not await self._configured_again():
                await self._connect()
        except (DevlinkError, OSError) as error:
            await self.stop()
            if isinstance(error, HelperError):
                raise
            raise HelperError(
                "The forwarder does not take its rules.",
                why="It does not answer." if isinstance(error, TimeoutError) else reason(error),
                next_step=getattr(error, "next_step", "") or "The helper's log says more.",
            ) from error

    async def _configured_again(self) -> bool:
        """Whether the present forwarder took the new rules; one that died or hangs is no reason to fail."""
        if not self.is_serving:
            return False
        connection, self._connection = self._connection, None
        assert connection is not None
        try:
            await self._configure(connection, with_sockets=False)
        except (ProtocolError, TimeoutError):
            connection.close()
            return False
        except BaseException:
            connection.close()
            raise
        if connection.closed.done():  # its end was noted while it was nobody's
            return False
        self._connection = connection
        return True

    async def stop(self) -> None:
        """Close the line and the sockets: the forwarder ends by itself."""
        self._config = None
        self._stop_reviving()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()
        self._close_sockets()
        await asyncio.to_thread(self._parts.dismiss, "forwarder")

    def _stop_reviving(self) -> None:
        if self._reviving is not None and self._reviving is not asyncio.current_task():
            self._reviving.cancel()
        self._reviving = None

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets = []

    async def _open(self, places: tuple[Place, ...]) -> None:
        await asyncio.to_thread(self._parts.dismiss, "forwarder")  # one that hangs may have the port
        sockets: list[socket.socket] = []
        try:
            for place in places:
                sockets += await _bind(place)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        self._sockets = sockets

    async def _connect(self) -> None:
        await asyncio.to_thread(self._parts.dismiss, "forwarder")  # one that hangs would take a part of the questions
        connection = Connection(await asyncio.to_thread(self._parts.connect, "forwarder"))
        try:
            await self._configure(connection, with_sockets=True)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self.starts += 1
        connection.closed.add_done_callback(lambda _: self._ended(connection))

    async def _configure(self, connection: Connection, *, with_sockets: bool) -> None:
        parameters: dict[str, object] = {"config": encode(self._config)}
        fds: tuple[int, ...] = ()
        if with_sockets:
            kinds = {socket.SOCK_DGRAM: "udp", socket.SOCK_STREAM: "tcp"}
            parameters["sockets"] = [{"kind": kinds[sock.type]} for sock in self._sockets]
            fds = tuple(sock.fileno() for sock in self._sockets)
        await connection.call("io.devlink.Forwarder.Configure", parameters, fds=fds, limit=CONFIGURE_LIMIT)

    def _ended(self, connection: Connection) -> None:
        if connection is self._connection and self._config is not None:
            self._connection = None
            log.warning("the forwarder ended; starting it again")
            self._reviving = spawn(self._revive(), name="revive the forwarder")

    async def _revive(self) -> None:
        loop = asyncio.get_running_loop()
        began, pause, given_up = loop.time(), 0.02, False
        while self._config is not None:
            try:
                # One that starts and hangs is not back either.
                async with asyncio.timeout(None if given_up else max(0.0, began + REVIVE_LIMIT - loop.time())):
                    if not self._sockets:
                        await self._open(self._places)
                    await self._connect()
            except (DevlinkError, OSError) as error:
                log.warning("the forwarder is not back yet: %s", str(error) or "it does not answer")
            else:
                log.warning("the forwarder is back after %.0f ms", (loop.time() - began) * 1000)
                self._reviving = None
                if given_up:
                    await self._returned()
                return
            if loop.time() - began >= REVIVE_LIMIT and not given_up:
                given_up = True
                self._close_sockets()
                await self._lost()
            await asyncio.sleep(pause)
            pause = min(2 * pause, 5.0)


async def _bind(place: Place) -> list[socket.socket]:
    """UDP and TCP sockets on port 53. Raises HelperError where another program holds it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + BIND_LIMIT
    family = socket.AF_INET if place.address.version == 4 else socket.AF_INET6
    while True:
        sockets: list[socket.socket] = []
        try:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
                sockets.append(sock)
                if kind == socket.SOCK_STREAM:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                else:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                if place.device:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, place.device.encode() + b"\0")
                sock.bind((str(place.address), DNS_PORT))
            sockets[1].listen(128)
            return sockets
        except OSError as error:
            for sock in sockets:
                sock.close()
            if error.errno == errno.EADDRINUSE and loop.time() < deadline:
                await asyncio.sleep(0.02)
                continue
            raise HelperError(
                f"Port {DNS_PORT} of {place.address} cannot be used for the forwarder.",
                why=f"{error.strerror}.",
                next_step="`ss -lnup sport = :53` shows who has it. One that has 0.0.0.0 has every address: have it "
                "listen on its own alone (dnsmasq: bind-interfaces; docker -p ADDRESS:53:53), or: devlink up --no-dns. "
                "For one that has this very address, `nameserver` in policy.toml names another.",
            ) from error
