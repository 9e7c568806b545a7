"""A way to the API server itself: both ends end by themselves, and who does not read is waited for."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from devlink.relay.straight import Straight


class Told:
    """What came of it here."""

    def __init__(self) -> None:
        self.come = b""
        self.has_come, self.has_ended = asyncio.Event(), asyncio.Event()

    def received(self, pieces: Sequence[bytes | memoryview]) -> None:
        self.come += b"".join(pieces)
        self.has_come.set()

    def ended(self) -> None:
        self.has_ended.set()

    def failed(self, why: str) -> None: ...

    def cut(self, why: str) -> None: ...

    def writable(self, yes: bool) -> None: ...


def connected(body: Callable[[Straight, Told, socket.socket], Awaitable[None]]) -> None:
    async def inside() -> None:
        ours, server = socket.socketpair()
        with server:
            server.setblocking(False)
            told = Told()
            _, way = await asyncio.get_running_loop().create_connection(lambda: Straight(told), sock=ours)
            async with asyncio.timeout(20):
                await body(way, told, server)
            way.drop(reset=True)
            await asyncio.sleep(0)

    asyncio.run(inside())


def test_a_server_that_has_ended_hears_what_is_said_and_its_end() -> None:
    async def body(way: Straight, told: Told, server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        server.sendall(b"bye")
        server.shutdown(socket.SHUT_WR)
        await told.has_ended.wait()
        assert told.come == b"bye"
        way.send(b"one more thing")
        assert await loop.sock_recv(server, 99) == b"one more thing"
        way.end()
        assert await loop.sock_recv(server, 99) == b""

    connected(body)


def test_nothing_is_read_while_it_is_held() -> None:
    async def body(way: Straight, told: Told, server: socket.socket) -> None:
        await asyncio.sleep(0)  # from now on it is read
        way.hold()
        server.sendall(b"hello")
        await asyncio.sleep(0.02)
        assert told.come == b""
        way.release()
        await told.has_come.wait()
        assert told.come == b"hello"

    connected(body)
