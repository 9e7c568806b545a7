"""An asyncio varlink client that lives long: the agent's to the helper, the helper's to the forwarder."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Self

from devlink.errors import DevlinkError, ProtocolError
from devlink.rpc import varlink
from devlink.rpc.framing import FrameReader, pack


class Connection:
    """One connection whose end is noticed at once. Calls are answered in their order."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._waiting: list[asyncio.Future[dict[str, Any]]] = []
        self._sending = asyncio.Lock()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Done when the other side has gone, or we have closed."""
        self._loop.add_reader(sock.fileno(), self._readable)

    @classmethod
    async def connect(cls, path: str, *, limit: float = 2.0) -> Self:
        """Connect to a socket in the file system. Raises OSError as connect(2) does, TimeoutError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(limit):
                await asyncio.get_running_loop().sock_connect(sock, path)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    async def call(
        self,
        method: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        fds: tuple[int, ...] = (),
        limit: float = 10.0,
    ) -> dict[str, Any]:
        """Call, passing `fds` along, and await the reply.

        Raises the server's DevlinkError, ProtocolError when the connection ends first, TimeoutError.
        """
        future: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        async with asyncio.timeout(limit):
            async with self._sending:
                if self.closed.done():
                    raise _gone()
                self._waiting.append(future)
                data = pack(varlink.call(method, parameters))
                try:
                    if fds:
                        sent = socket.send_fds(self._socket, [data], fds)
                        data = data[sent:]
                    await self._loop.sock_sendall(self._socket, data)
                except OSError as error:
                    self.close()
                    raise _gone() from error
                except BaseException:
                    self.close()  # half a message is out: nothing that follows it could be understood
                    raise
                finally:
                    if self.closed.done():
                        self._socket.close()
                        future.exception()  # what is raised here instead says it; nobody else asks for this one
            return await future

    def close(self) -> None:
        """Close; calls that wait fail with ProtocolError."""
        if self.closed.done():
            return
        self.closed.set_result(None)
        self._loop.remove_reader(self._socket.fileno())
        if self._sending.locked():
            # The loop still watches the descriptor for whoever sends: wake that one, and let it close.
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was faster
        else:
            self._socket.close()
        for future in self._waiting:
            if not future.done():
                future.set_exception(_gone())
        self._waiting.clear()

    def _readable(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            messages = self._reader.feed(data)
        except ProtocolError:
            self.close()
            return
        for message in messages:
            if not self._waiting:
                self.close()
                return
            future = self._waiting.pop(0)
            if future.done():  # its caller stopped waiting
                continue
            try:
                future.set_result(varlink.parse_reply(message)[0])
            except DevlinkError as error:
                future.set_exception(error)


def _gone() -> ProtocolError:
    return ProtocolError("The other side of a devlink socket went away in the middle of a call.")
