"""The agent's and the helper's long-lived client: order, ends noticed at once, and half-sent messages."""

import asyncio
import fcntl
import gc
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from devlink.errors import ConflictError, ProtocolError
from devlink.rpc import varlink
from devlink.rpc.connection import Connection
from devlink.rpc.framing import FrameReader, pack
from devlink.rpc.tasks import spawn

LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""


class Other:
    """The other end, moved by hand."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._reader = FrameReader()
        self._messages: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT):
            while not self._messages:
                data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 20)
                assert data, "the connection has ended"
                self._messages = self._reader.feed(data)
        return self._messages.pop(0)

    def reply(self, message: dict[str, Any]) -> None:
        self.socket.sendall(pack(message))


def run(body: Callable[[Connection, Other], Awaitable[None]]) -> None:
    complaints: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
        ours, theirs = socket.socketpair()
        connection = Connection(ours)
        with theirs:
            try:
                async with asyncio.timeout(LIMIT):
                    await body(connection, Other(theirs))
            finally:
                connection.close()
        assert ours.fileno() == -1, "a closed connection keeps no descriptor"

    asyncio.run(main())
    gc.collect()
    assert complaints == [], "a failure that was raised has been told"


def start(call: Awaitable[dict[str, Any]]) -> "asyncio.Task[dict[str, Any]]":
    async def awaited() -> dict[str, Any]:
        return await call

    return asyncio.get_running_loop().create_task(awaited())


def test_calls_made_at_once_get_their_own_replies_in_order() -> None:
    async def body(connection: Connection, other: Other) -> None:
        calls = [start(connection.call("a.b.C", {"n": n})) for n in range(3)]
        numbers = [(await other.receive())["parameters"]["n"] for _ in range(3)]
        for n in numbers:
            other.reply(varlink.reply({"n": n}))
        assert [(await call)["n"] for call in calls] == [0, 1, 2]

    run(body)


def test_the_error_of_one_call_is_raised_there_and_nowhere_else() -> None:
    async def body(connection: Connection, other: Other) -> None:
        first, second = start(connection.call("a.b.C")), start(connection.call("a.b.C"))
        await other.receive()
        await other.receive()
        other.reply(varlink.error_reply("a.b", ConflictError("Taken.")))
        other.reply(varlink.reply({"n": 2}))
        with pytest.raises(ConflictError, match="Taken"):
            await first
        assert await second == {"n": 2}

    run(body)


def test_the_other_sides_end_is_noticed_at_once_without_a_call() -> None:
    async def body(connection: Connection, other: Other) -> None:
        other.socket.close()
        await connection.closed
        with pytest.raises(ProtocolError, match="went away"):
            await connection.call("a.b.C")

    run(body)


def test_calls_that_wait_fail_when_the_other_side_ends() -> None:
    async def body(connection: Connection, other: Other) -> None:
        calls = [start(connection.call("a.b.C")) for _ in range(2)]
        await other.receive()
        other.socket.close()
        for call in calls:
            with pytest.raises(ProtocolError, match="went away"):
                await call

    run(body)


def test_the_reply_to_a_call_that_nobody_waits_for_goes_to_nobody_else() -> None:
    async def body(connection: Connection, other: Other) -> None:
        with pytest.raises(TimeoutError):
            await connection.call("a.b.Slow", limit=0.02)
        second = start(connection.call("a.b.C"))
        await other.receive()
        await other.receive()
        other.reply(varlink.reply({"late": True}))
        other.reply(varlink.reply({"late": False}))
        assert await second == {"late": False}

    run(body)


@pytest.mark.parametrize("said", [b"nonsense\0", b'{"parameters":{}}\0'], ids=["no-varlink", "unasked"])
def test_a_peer_that_breaks_the_protocol_is_hung_up_on(said: bytes) -> None:
    async def body(connection: Connection, other: Other) -> None:
        other.socket.sendall(said)
        await connection.closed

    run(body)


def test_descriptors_come_with_the_message() -> None:
    async def body(connection: Connection, other: Other) -> None:
        reading, writing = os.pipe()
        try:
            call = start(connection.call("a.b.Take", fds=(writing,)))
            await asyncio.sleep(0)
            async with asyncio.timeout(LIMIT):
                while True:
                    try:
                        _, fds, _, _ = socket.recv_fds(other.socket, 1 << 16, 4)
                        break
                    except BlockingIOError:
                        await asyncio.sleep(0.001)
            with os.fdopen(fds[0], "wb") as passed:
                passed.write(b"through")
            assert os.read(reading, 16) == b"through"
            other.reply(varlink.reply())
            assert await call == {}
        finally:
            os.close(reading)
            os.close(writing)

    run(body)


LARGE = {"filling": "x" * (6 << 20)}
"""More than the sockets' buffers take."""


def test_a_call_that_times_out_half_sent_ends_the_connection() -> None:
    async def body(connection: Connection, other: Other) -> None:
        with pytest.raises(TimeoutError):
            await connection.call("a.b.C", LARGE, limit=0.05)
        assert connection.closed.done(), "what followed half a message could not be understood"
        with pytest.raises(ProtocolError):
            await connection.call("a.b.C")

    run(body)


def test_a_peer_that_dies_while_it_is_sent_to_ends_the_call_at_once_and_frees_the_descriptor() -> None:
    async def body(connection: Connection, other: Other) -> None:
        call = start(connection.call("a.b.C", LARGE, limit=LIMIT * 10))
        await asyncio.sleep(0.02)
        assert not call.done(), "the buffers took it all: the test shows nothing"
        other.socket.close()
        with pytest.raises(ProtocolError, match="went away"):
            await call
        # A new connection, on the same descriptor number perhaps, is not disturbed by the old one's end.
        ours, theirs = socket.socketpair()
        with theirs:
            second, end = Connection(ours), Other(theirs)
            again = start(second.call("a.b.C"))
            await end.receive()
            end.reply(varlink.reply({"n": 1}))
            assert await again == {"n": 1}
            second.close()

    run(body)


def test_closing_while_a_call_is_being_sent_ends_it() -> None:
    async def body(connection: Connection, other: Other) -> None:
        call = start(connection.call("a.b.C", LARGE, limit=LIMIT * 10))
        await asyncio.sleep(0.02)
        connection.close()
        with pytest.raises(ProtocolError, match="went away"):
            await call

    run(body)


def test_connecting_to_nobody_raises_as_connect_does(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(Connection.connect(str(tmp_path / "nobody")))


def test_a_descriptor_comes_with_its_reply() -> None:
    async def body(connection: Connection, other: Other) -> None:
        asked = start(_text_behind(connection))
        await other.receive()
        reading, writing = os.pipe()
        socket.send_fds(other.socket, [pack(varlink.reply({"n": 1}))], [reading])
        os.close(reading)
        os.write(writing, b"through")
        os.close(writing)
        assert await asked == {"n": 1, "text": "through"}

    run(body)


async def _text_behind(connection: Connection) -> dict[str, Any]:
    reply, descriptor = await connection.call_for_descriptor("a.b.C")
    assert not os.get_inheritable(descriptor)
    with os.fdopen(descriptor, "rb") as file:
        return {**reply, "text": file.read().decode()}


def test_a_reply_without_its_descriptor_is_an_error() -> None:
    async def body(connection: Connection, other: Other) -> None:
        asked = start(_text_behind(connection))
        await other.receive()
        other.reply(varlink.reply({"n": 1}))
        with pytest.raises(ProtocolError, match="without its file descriptor"):
            await asked

    run(body)


def test_any_number_of_descriptors_comes_with_a_reply_in_order() -> None:
    async def body(connection: Connection, other: Other) -> None:
        asked = spawn(connection.call_for_descriptors("a.b.C"), name="ask")
        await other.receive()
        read, write = os.pipe()
        with os.fdopen(read, "rb"), os.fdopen(write, "wb"):
            socket.send_fds(other.socket, [pack(varlink.reply({"n": 2}))], [read, write] * 10)
            reply, descriptors = await asked
            assert reply == {"n": 2}
            kinds = [fcntl.fcntl(each, fcntl.F_GETFL) & os.O_ACCMODE for each in descriptors]
            assert kinds == [os.O_RDONLY, os.O_WRONLY] * 10
            for each in descriptors:
                assert not os.get_inheritable(each)
                os.close(each)

    run(body)


def test_a_stream_gives_each_reply_also_those_that_came_at_once() -> None:
    async def body(connection: Connection, other: Other) -> None:
        seen = []

        async def follow() -> dict[str, Any]:
            async for reply in connection.stream("a.b.C"):
                seen.append(reply["n"])
                await asyncio.sleep(0)
            return {}

        following = start(follow())
        assert (await other.receive())["more"]
        other.socket.sendall(b"".join(pack(varlink.reply({"n": n}, continues=n < 4)) for n in range(5)))
        await following
        assert seen == [0, 1, 2, 3, 4]

    run(body)


def test_a_stream_ends_with_an_error_when_the_other_side_does() -> None:
    async def body(connection: Connection, other: Other) -> None:
        async def follow() -> dict[str, Any]:
            async for reply in connection.stream("a.b.C"):
                assert reply == {"n": 0}
            return {}

        following = start(follow())
        await other.receive()
        other.reply(varlink.reply({"n": 0}, continues=True))
        other.socket.close()
        with pytest.raises(ProtocolError, match="went away"):
            await following

    run(body)
