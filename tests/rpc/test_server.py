"""The asyncio server, driven over real sockets: one call after the other, cancelled at EOF, bounded in all."""

import asyncio
import contextlib
import gc
import os
import socket
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest

from devlink.errors import ConflictError, DevlinkError, NotPermittedError, NotUpError
from devlink.rpc import server, varlink
from devlink.rpc.framing import FrameReader, pack
from devlink.rpc.peer import Peer
from devlink.rpc.server import CallerGoneError, Server, Session
from devlink.rpc.varlink import Call

NAME = "io.devlink.Test"
LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""


class Caller:
    """One connection to the server under test."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._reader = FrameReader()
        self._messages: list[dict[str, Any]] = []

    async def send(self, method: str, parameters: Mapping[str, Any] | None = None, **flags: bool) -> None:
        await self.raw(pack({**varlink.call(f"{NAME}.{method}", parameters), **flags}))

    async def raw(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    async def receive(self) -> dict[str, Any] | None:
        """The next message, or None at EOF."""
        async with asyncio.timeout(LIMIT):
            while not self._messages:
                try:
                    data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)
                except ConnectionError:
                    return None
                if not data:
                    return None
                self._messages = self._reader.feed(data)
        return self._messages.pop(0)

    async def call(self, method: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        await self.send(method, parameters)
        message = await self.receive()
        assert message is not None
        return varlink.parse_reply(message)[0]


class Running:
    """A server on a socket, and what its handlers noted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[str] = []
        self.ended: list[Session] = []
        self.go_on = asyncio.Event()
        self.stranger = False
        self.server = Server(
            NAME,
            {
                "Echo": self._echo,
                "Wait": self._wait,
                "Count": self._count,
                "Fail": self._fail,
                "Break": self._break,
                "Flood": self._flood,
            },
            closed=self.ended.append,
            admit=self._admit,
        )

    def _admit(self, _: Peer) -> DevlinkError | None:
        return NotPermittedError("You may not.") if self.stranger else None

    async def _echo(self, _: Session, call: Call) -> Mapping[str, Any]:
        self.events.append(f"echo {call.parameters.get('n')}")
        return {"n": call.parameters.get("n")}

    async def _wait(self, _: Session, __: Call) -> Mapping[str, Any]:
        self.events.append("begun")
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.events.append("cancelled")
            await asyncio.sleep(0.02)  # a rollback takes its time
            self.events.append("rolled back")
            raise NotUpError("It was cancelled and taken back.") from None
        return {}

    async def _count(self, session: Session, call: Call) -> Mapping[str, Any]:
        for number in range(3 if call.more else 0):
            await session.send({"n": number})
        return {"n": 3}

    async def _fail(self, _: Session, __: Call) -> Mapping[str, Any]:
        raise ConflictError("Somebody has it.", why="They were first.", next_step="Ask them.")

    async def _break(self, _: Session, __: Call) -> Mapping[str, Any]:
        raise ZeroDivisionError("a defect")

    async def _flood(self, session: Session, __: Call) -> Mapping[str, Any]:
        try:
            while True:
                await session.send({"filling": "x" * 65536})
        except CallerGoneError:
            self.events.append("gave up")
            raise

    @contextlib.asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, str(self.path))
            yield Caller(sock)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not true():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.002)


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Running], Awaitable[None]]], None]:
    """Runs a test's body with a server."""

    def runner(body: Callable[[Running], Awaitable[None]]) -> None:
        async def main() -> None:
            running = Running(tmp_path / "socket")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                listener.bind(str(running.path))
                listener.listen(300)
                accepting = asyncio.get_running_loop().create_task(running.server.serve(listener))
                try:
                    await body(running)
                finally:
                    accepting.cancel()
                    await running.server.close()
                assert running.server.connections == 0

        asyncio.run(main())

    return runner


Run = Callable[[Callable[[Running], Coroutine[Any, Any, None]]], None]


def test_pipelined_calls_are_answered_in_their_order(run: Run) -> None:
    async def body(running: Running) -> None:
        async with running.caller() as caller:
            for n in range(40):  # more than the queue holds
                await caller.send("Echo", {"n": n})
            for n in range(40):
                assert await caller.receive() == {"parameters": {"n": n}}

    run(body)


def test_a_call_waits_for_the_one_before_it(run: Run) -> None:
    async def body(running: Running) -> None:
        async with running.caller() as caller:
            await caller.send("Wait")
            await caller.send("Echo", {"n": 1})
            await running.until(lambda: running.events == ["begun"])
            async with running.caller() as other:
                assert await other.call("Echo", {"n": 2}) == {"n": 2}, "another connection does not wait"
            running.go_on.set()
            assert await caller.receive() == {"parameters": {}}
            assert await caller.receive() == {"parameters": {"n": 1}}

    run(body)


def test_a_oneway_call_is_done_and_not_answered(run: Run) -> None:
    async def body(running: Running) -> None:
        async with running.caller() as caller:
            await caller.send("Echo", {"n": 1}, oneway=True)
            await caller.send("Fail", oneway=True)
            await caller.send("Echo", {"n": 2})
            assert await caller.receive() == {"parameters": {"n": 2}}
            assert running.events == ["echo 1", "echo 2"]

    run(body)


def test_with_more_there_are_several_replies_and_without_it_one(run: Run) -> None:
    async def body(running: Running) -> None:
        async with running.caller() as caller:
            await caller.send("Count", more=True)
            for n in range(3):
                assert await caller.receive() == {"parameters": {"n": n}, "continues": True}
            assert await caller.receive() == {"parameters": {"n": 3}}
            assert await caller.call("Count") == {"n": 3}

    run(body)


def test_eof_in_the_middle_of_a_call_cancels_it_and_the_error_of_the_rollback_still_arrives(run: Run) -> None:
    async def body(running: Running) -> None:
        async with running.caller() as caller:
            await caller.send("Wait")
            await running.until(lambda: running.events == ["begun"])
            caller.half_close()
            message = await caller.receive()
            assert message is not None
            assert running.events == ["begun", "cancelled", "rolled back"]
            with pytest.raises(NotUpError, match="taken back"):
                varlink.parse_reply(message)
            assert await caller.receive() is None

    run(body)


def test_calls_that_had_not_begun_at_eof_are_not_begun(run: Run) -> None:
    async def body(running: Running) -> None:
        async with running.caller() as caller:
            await caller.send("Wait")
            await caller.send("Echo", {"n": 1})
            await running.until(lambda: running.events == ["begun"])
            caller.half_close()
            while await caller.receive() is not None:
                pass
            assert "echo 1" not in running.events

    run(body)


def test_a_caller_that_dies_has_its_call_rolled_back_and_its_end_told_once(run: Run) -> None:
    async def body(running: Running) -> None:
        async with running.caller() as caller:
            await caller.send("Wait")
            await running.until(lambda: running.events == ["begun"])
        await running.until(lambda: bool(running.ended))
        assert running.events == ["begun", "cancelled", "rolled back"]
        assert len(running.ended) == 1
        assert running.ended[0].finished

    run(body)


def test_a_server_that_closes_waits_for_the_rollback(run: Run) -> None:
    async def body(running: Running) -> None:
        async with running.caller() as caller:
            await caller.send("Wait")
            await running.until(lambda: running.events == ["begun"])
            await running.server.close()
            assert running.events == ["begun", "cancelled", "rolled back"]
            assert running.server.connections == 0

    run(body)


def test_a_server_that_closes_waits_for_the_rollback_of_one_who_has_just_gone(run: Run) -> None:
    async def body(running: Running) -> None:
        async with running.caller() as caller:
            await caller.send("Wait")
            await running.until(lambda: running.events == ["begun"])
        await running.until(lambda: running.events == ["begun", "cancelled"])
        await running.server.close()
        assert running.events == ["begun", "cancelled", "rolled back"]

    run(body)


def test_a_server_that_closes_hangs_up_on_one_who_has_only_just_come(run: Run) -> None:
    async def body(running: Running) -> None:
        async with running.caller() as caller:
            while not running.server.connections:  # noqa: ASYNC110 (it is the very turn of the loop that counts)
                await asyncio.sleep(0)
            await running.server.close()  # before anything was read from there
            assert running.server.connections == 0
            assert await caller.receive() is None

    run(body)


def test_a_deliberate_error_arrives_with_its_words_and_the_connection_goes_on(run: Run) -> None:
    async def body(running: Running) -> None:
        async with running.caller() as caller:
            with pytest.raises(ConflictError) as error:
                await caller.call("Fail")
            assert (error.value.what, error.value.why, error.value.next_step) == (
                "Somebody has it.",
                "They were first.",
                "Ask them.",
            )
            assert await caller.call("Echo", {"n": 1}) == {"n": 1}

    run(body)


def test_a_defect_in_a_handler_is_told_and_logged_and_the_server_lives_on(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(running: Running) -> None:
        async with running.caller() as caller:
            await caller.send("Break")
            message = await caller.receive()
            assert message is not None
            assert message["parameters"]["kind"] == "Unexpected"
            assert "ZeroDivisionError" in message["parameters"]["what"]
            assert await caller.call("Echo", {"n": 1}) == {"n": 1}

    run(body)
    assert "Break failed" in caplog.text


def test_a_stranger_may_ask_who_we_are_and_is_told_why_not_at_everything_else(run: Run) -> None:
    async def body(running: Running) -> None:
        running.stranger = True
        async with running.caller() as caller:
            await caller.raw(pack(varlink.call("org.varlink.service.GetInfo")))
            message = await caller.receive()
            assert message is not None
            assert NAME in message["parameters"]["interfaces"]
            with pytest.raises(NotPermittedError):
                await caller.call("Echo")
            assert running.events == []
            running.stranger = False  # the group database changed: the same connection will do
            assert await caller.call("Echo", {"n": 1}) == {"n": 1}

    run(body)


def test_a_stranger_may_send_no_more_than_a_small_message(run: Run) -> None:
    async def body(running: Running) -> None:
        size = 2 * server.MAX_STRANGER_FRAME + (1 << 17)
        async with running.caller() as caller:
            assert await caller.call("Echo", {"n": "x" * size}) == {"n": "x" * size}
        running.stranger = True
        async with running.caller() as caller:
            with contextlib.suppress(ConnectionError):
                await caller.send("Echo", {"n": "x" * size})
            assert await caller.receive() is None

    run(body)


@pytest.mark.parametrize("broken", [b"\0", b"x\0", b"[]\0", b'{"method": "NoDot"}\0', b'{"method": 1}\0'])
def test_what_is_no_call_ends_its_connection_alone(run: Run, broken: bytes) -> None:
    async def body(running: Running) -> None:
        async with running.caller() as other, running.caller() as caller:
            await caller.raw(broken)
            assert await caller.receive() is None
            assert await other.call("Echo", {"n": 1}) == {"n": 1}

    run(body)


@pytest.mark.parametrize("trickle", [False, True], ids=["stops", "trickles"])
def test_a_message_that_does_not_end_in_time_ends_its_connection(
    run: Run, monkeypatch: pytest.MonkeyPatch, trickle: bool
) -> None:
    monkeypatch.setattr(server, "PARTIAL_FRAME_LIMIT", 0.2)

    async def body(running: Running) -> None:
        async with running.caller() as idle, running.caller() as caller:
            await caller.raw(b'{"met')
            await running.until(lambda: running.server.connections == 2)
            async with asyncio.timeout(LIMIT):
                while running.server.connections == 2:
                    with contextlib.suppress(ConnectionError):
                        await caller.raw(b"x" if trickle else b"")
                    await asyncio.sleep(0.02)
            assert await caller.receive() is None
            assert await idle.call("Echo", {"n": 1}) == {"n": 1}, "between messages there is no limit"

    run(body)


def test_a_caller_that_never_reads_is_let_go_and_its_handler_knows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PARTIAL_FRAME_LIMIT", 0.2)

    async def body(running: Running) -> None:
        async with running.caller() as caller:
            await caller.send("Flood", more=True)
            await running.until(lambda: bool(running.ended))
            assert running.events == ["gave up"]

    run(body)


def test_connections_of_one_user_are_bounded_and_one_that_ends_makes_room(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS_PER_UID", 3)

    async def body(running: Running) -> None:
        async with contextlib.AsyncExitStack() as stack:
            callers = [await stack.enter_async_context(running.caller()) for _ in range(3)]
            for n, caller in enumerate(callers):
                assert await caller.call("Echo", {"n": n}) == {"n": n}
            async with running.caller() as surplus:
                assert await surplus.receive() is None
            callers[0].socket.close()
            await running.until(lambda: running.server.connections == 2)
            async with running.caller() as next_one:
                assert await next_one.call("Echo", {"n": 9}) == {"n": 9}

    run(body)


def test_messages_that_wait_for_an_answer_are_bounded_and_room_comes_back(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_UNANSWERED_PER_UID", 1 << 20)

    async def body(running: Running) -> None:
        filling = {"filling": "x" * (600 << 10)}
        async with running.caller() as first, running.caller() as second, running.caller() as third:
            await first.send("Wait", {"filling": "x" * (300 << 10)})
            await running.until(lambda: running.events == ["begun"])
            with contextlib.suppress(ConnectionError):
                await second.send("Wait", {"filling": "x" * (1000 << 10)})
            assert await second.receive() is None, "both are too much, and this one is the larger"
            assert await third.call("Echo", {"n": 1}) == {"n": 1}, "a small one still fits"
            running.go_on.set()
            assert await first.receive() == {"parameters": {}}
            for _ in range(5):  # each is answered before the next: they never add up
                assert await third.call("Echo", filling | {"n": 2}) == {"n": 2}

    run(body)


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets the callers from now on be of another uid: the tests' own cannot change it."""
    uid = os.getuid()
    monkeypatch.setattr(server, "peer_of", lambda _: Peer(pid=os.getpid(), uid=uid, gid=0))

    def change(to: int) -> None:
        nonlocal uid
        uid = to

    return change


Become = Callable[[int], None]


async def connect(running: Running, stack: contextlib.AsyncExitStack, count: int) -> list[Caller]:
    """So many connections, each accepted before the next uid's turn."""
    before = running.server.connections
    callers = [await stack.enter_async_context(running.caller()) for _ in range(count)]
    await running.until(lambda: running.server.connections == before + count)
    return callers


@pytest.mark.parametrize("other", [0, 1001], ids=["root", "another member"])
def test_one_who_sends_messages_without_end_is_closed_and_nobody_else(
    run: Run, monkeypatch: pytest.MonkeyPatch, become: Become, other: int
) -> None:
    monkeypatch.setattr(server, "MAX_UNANSWERED", 4 << 18)
    monkeypatch.setattr(server, "MAX_UNANSWERED_PER_UID", 2 << 18)

    async def body(running: Running) -> None:
        async with contextlib.AsyncExitStack() as stack:
            become(1000)
            flooders = await connect(running, stack, 6)
            become(other)
            (honest,) = await connect(running, stack, 1)
            for flooder in flooders:
                with contextlib.suppress(ConnectionError):
                    await flooder.raw(b"x" * ((1 << 18) - 1))
                assert await honest.call("Echo", {"n": "x" * (1 << 17)}) == {"n": "x" * (1 << 17)}
            await running.until(lambda: running.server.connections == 3)

    run(body)


def test_what_a_closed_connection_had_sent_is_not_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch, become: Become
) -> None:
    monkeypatch.setattr(server, "MAX_UNANSWERED_PER_UID", 2 << 18)
    readers: list[weakref.ref[FrameReader]] = []

    class Watched(FrameReader):
        def __init__(self) -> None:
            super().__init__()
            readers.append(weakref.ref(self))

    monkeypatch.setattr(server, "FrameReader", Watched)

    async def body(running: Running) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for flooder in await connect(running, stack, 6):
                with contextlib.suppress(ConnectionError):
                    await flooder.raw(b"x" * ((1 << 18) - 1))
            await running.until(lambda: running.server.connections == 2)
            await asyncio.sleep(0)
            assert sum(reader() is not None for reader in readers) == 2

    gc.disable()  # it would come in the end, and the memory would have grown until then
    try:
        run(body)
    finally:
        gc.enable()


def test_who_sends_faster_than_it_is_read_leaves_the_others_their_turns(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one that is to be closed wait, and keep its memory, until nobody sends any more."""
    pieces, turns = 50, 0

    async def body(running: Running) -> None:
        loop = asyncio.get_running_loop()
        plain, left = loop.sock_recv, pieces

        async def recv(sock: socket.socket, size: int) -> bytes:
            nonlocal left
            if sock is fast.socket or not left:
                return await plain(sock, size)
            left -= 1
            return b" " * size

        def turn() -> None:
            nonlocal turns
            if left:
                turns += 1
                loop.call_soon(turn)

        async with running.caller() as fast:
            monkeypatch.setattr(loop, "sock_recv", recv)
            await fast.raw(b" ")
            loop.call_soon(turn)
            await running.until(lambda: not left)

    run(body)
    assert turns >= pieces - 1


def test_of_many_users_the_one_who_owes_most_makes_room_and_root_is_never_among_them(
    run: Run, monkeypatch: pytest.MonkeyPatch, become: Become
) -> None:
    monkeypatch.setattr(server, "MAX_UNANSWERED", 3 << 18)
    monkeypatch.setattr(server, "MAX_UNANSWERED_PER_UID", 2 << 18)

    async def body(running: Running) -> None:
        async with contextlib.AsyncExitStack() as stack:
            users: list[Caller] = []
            for uid, size in ((0, 500 << 10), (1000, 300 << 10), (1001, 400 << 10)):
                become(uid)
                users += await connect(running, stack, 1)
                await users[-1].send("Wait", {"filling": "x" * size})
            await running.until(lambda: running.events == ["begun"] * 3)
            become(1002)
            (small,) = await connect(running, stack, 1)
            await small.raw(b"x" * (100 << 10))
            assert await users[2].receive() is not None, "how its call ended"
            assert await users[2].receive() is None
            running.go_on.set()
            for user in users[:2]:
                assert await user.receive() == {"parameters": {}}
            assert running.server.connections == 3

    run(body)


def test_a_full_house_has_a_seat_for_root_and_for_each_member(
    run: Run, monkeypatch: pytest.MonkeyPatch, become: Become
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 6)
    monkeypatch.setattr(server, "MAX_CONNECTIONS_PER_UID", 5)
    monkeypatch.setattr(server, "RESERVED_CONNECTIONS", 2)

    async def body(running: Running) -> None:
        async with contextlib.AsyncExitStack() as stack:
            become(1000)
            await connect(running, stack, 5)
            become(1001)
            await connect(running, stack, 2)
            assert await (await stack.enter_async_context(running.caller())).receive() is None, "the house is full"
            become(0)
            for n, caller in enumerate(await connect(running, stack, 5)):
                assert await caller.call("Echo", {"n": n}) == {"n": n}
            assert await (await stack.enter_async_context(running.caller())).receive() is None, "root has an end too"

    run(body)


def test_strangers_are_one_account_however_many_ids_they_come_with(
    run: Run, monkeypatch: pytest.MonkeyPatch, become: Become
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS_PER_UID", 3)

    async def body(running: Running) -> None:
        running.stranger = True
        async with contextlib.AsyncExitStack() as stack:
            for uid in (100000, 100001, 100002):
                become(uid)
                await connect(running, stack, 1)
            become(100003)
            assert await (await stack.enter_async_context(running.caller())).receive() is None
            running.stranger = False
            become(1000)
            (member,) = await connect(running, stack, 1)
            assert await member.call("Echo", {"n": 1}) == {"n": 1}

    run(body)


def test_listeners_that_run_out_of_descriptors_do_not_end_the_server(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(running: Running) -> None:
        loop = asyncio.get_running_loop()
        accept = loop.sock_accept
        failures = [OSError(24, "Too many open files"), ConnectionAbortedError()]

        async def failing(sock: socket.socket) -> Any:
            if failures:
                raise failures.pop()
            return await accept(sock)

        async with running.caller() as caller:
            assert await caller.call("Echo", {"n": 1}) == {"n": 1}
            monkeypatch.setattr(loop, "sock_accept", failing)
            async with running.caller() as second, running.caller() as third:
                assert await second.call("Echo", {"n": 2}) == {"n": 2}
                assert await third.call("Echo", {"n": 3}) == {"n": 3}

    run(body)
    assert "cannot accept" in caplog.text
