"""An asyncio varlink client that lives long: the agent's to the helper, the helper's to the forwarder."""

import array
import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Self

from devlink.errors import DevlinkError, ProtocolError
from devlink.rpc import varlink
from devlink.rpc.framing import FrameReader, pack

MAX_DESCRIPTORS = 32
"""With one reply."""
DESCRIPTOR_SPACE = socket.CMSG_LEN(4 * MAX_DESCRIPTORS)
"""Octets."""
Reply = tuple[dict[str, Any], bool]
"""Its parameters, and whether more replies follow."""


class Connection:
    """One connection whose end is noticed at once. Calls are answered in their order."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._waiting: list[asyncio.Future[Reply]] = []
        self._descriptors: list[int] = []
        self._arrived: list[dict[str, Any]] = []
        self._is_streaming = False
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
        async with asyncio.timeout(limit):
            reply, _ = await (await self._ask(varlink.call(method, parameters), fds))
            return reply

    async def call_for_descriptor(
        self, method: str, parameters: Mapping[str, Any] | None = None, *, limit: float = 10.0
    ) -> tuple[dict[str, Any], int]:
        """The same for a method that passes one file descriptor, which is then the caller's to close.

        One call at a time on a connection that makes such calls. Raises as `call` does, and ProtocolError without one.
        """
        reply, descriptors = await self.call_for_descriptors(method, parameters, limit=limit)
        if len(descriptors) != 1:
            for descriptor in descriptors:
                os.close(descriptor)
            raise ProtocolError(f"The answer to {method} came without its file descriptor.")
        return reply, descriptors[0]

    async def call_for_descriptors(
        self, method: str, parameters: Mapping[str, Any] | None = None, *, limit: float = 10.0
    ) -> tuple[dict[str, Any], tuple[int, ...]]:
        """The same for a method that passes any number of them, at most `MAX_DESCRIPTORS`, in its order."""
        reply = await self.call(method, parameters, limit=limit)
        descriptors, self._descriptors = tuple(self._descriptors), []
        return reply, descriptors

    async def stream(
        self, method: str, parameters: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Call with `more`, and yield each reply; nothing else can be asked on this connection. Raises as `call` does,
        but never TimeoutError."""
        self._is_streaming = True
        future = await self._ask(varlink.call(method, parameters, more=True), ())
        continues = True
        try:
            while continues:
                reply, continues = await future
                if continues:
                    future = self._loop.create_future()
                    self._waiting.append(future)
                    self._deliver()
                yield reply
        finally:
            future.cancel()

    async def _ask(self, message: dict[str, Any], fds: tuple[int, ...]) -> "asyncio.Future[Reply]":
        future: asyncio.Future[Reply] = self._loop.create_future()
        async with self._sending:
            if self.closed.done():
                raise _gone()
            self._waiting.append(future)
            data = pack(message)
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
        return future

    def give_up(self) -> None:
        """Say that no more will be asked: the server cancels the call in progress and answers with how that ended."""
        if self.closed.done():
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side has gone already, and who waits hears of it

    def close(self) -> None:
        """Close; calls that wait fail with ProtocolError."""
        if self.closed.done():
            return
        self.closed.set_result(None)
        self._drop_descriptors()
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
            # Not recv_fds: before Python 3.14 it takes flags, and leaves them out.
            data, ancillary, _, _ = self._socket.recvmsg(1 << 16, DESCRIPTOR_SPACE, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, octets in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._descriptors += array.array("i", octets[: len(octets) // 4 * 4])
        if not data:
            self.close()
            return
        try:
            self._arrived += self._reader.feed(data)
        except ProtocolError:
            self.close()
            return
        self._deliver()

    def _deliver(self) -> None:
        """Give the messages that came to those who wait for them."""
        while self._arrived:
            if not self._waiting:
                if not self._is_streaming:  # nobody has asked
                    self.close()
                return
            message, future = self._arrived.pop(0), self._waiting.pop(0)
            if future.done():  # its caller stopped waiting
                continue
            try:
                future.set_result(varlink.parse_reply(message))
            except DevlinkError as error:
                future.set_exception(error)

    def _drop_descriptors(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


def _gone() -> ProtocolError:
    return ProtocolError("The other side of a devlink socket went away in the middle of a call.")
