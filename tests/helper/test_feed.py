"""What the helper asks of the forwarder: counts, flush, log; and what is said while it is not there."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from devlink.core.plan import ForwarderConfig, Upstream
from devlink.errors import HelperError, NotUpError, ProtocolError
from devlink.helper import feed as module
from devlink.helper.feed import Feed
from devlink.resolvers.mode import Place
from devlink.rpc import varlink
from devlink.rpc.connection import Connection
from devlink.rpc.framing import FrameReader, pack

LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""
PLACES = (Place(address=ip_address("127.0.0.231")),)
CONFIG = ForwarderConfig(upstreams=(Upstream(address=ip_address("192.0.2.1")),))


class FakeParts:
    """Starts forwarders that answer from a table; a method that is not in it is not answered."""

    def __init__(self) -> None:
        self.replies: dict[str, Mapping[str, Any]] = {"Configure": varlink.reply()}
        self.calls: list[tuple[str, Any]] = []
        self.starts = 0
        self.may_start = True
        self.tries = 0
        """In vain, to start one that may not."""
        self.dies_over = ""
        """The method that ends it."""
        self.sockets: list[socket.socket] = []
        """All that the feed has opened, one for each place."""
        self.told: list[str] = []
        """That it was `lost`, or has `returned`."""
        self._lines: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def connect(self, part: str) -> socket.socket:
        assert part == "forwarder"
        if not self.may_start:
            self.tries += 1
            raise HelperError("It does not start.")
        self.starts += 1
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._lines.append(its)
        thread = threading.Thread(target=self._serve, args=(its,), daemon=True)
        self._threads.append(thread)
        thread.start()
        return ours

    def _serve(self, line: socket.socket) -> None:
        reader = FrameReader()
        with line:
            while True:
                try:
                    data = line.recv(1 << 16)
                except OSError:
                    return
                if not data:
                    return
                for call in reader.feed(data):
                    name = call["method"].rpartition(".")[2]
                    self.calls.append((name, call["parameters"]))
                    if name == self.dies_over:
                        return
                    if name in self.replies:
                        line.sendall(pack(dict(self.replies[name])))

    def dismiss(self, part: str) -> None:
        """They end when their line does."""

    def kill(self) -> None:
        """Every forwarder dies."""
        for line in self._lines:
            try:
                line.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended already

    def end(self) -> None:
        for thread in self._threads:
            thread.join(LIMIT)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[FakeParts, Feed], Coroutine[Any, Any, None]]], None]:
    """Runs a test's body with a feed whose forwarder is not fed yet."""

    monkeypatch.setattr(module, "ANSWER_LIMIT", 0.2)

    def runner(body: Callable[[FakeParts, Feed], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            parts = FakeParts()

            async def bind(_: Place) -> list[socket.socket]:
                parts.sockets.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
                return parts.sockets[-1:]

            async def lost() -> None:
                parts.told.append("lost")

            async def returned() -> None:
                parts.told.append("returned")

            monkeypatch.setattr(module, "_bind", bind)
            feed = Feed(parts, lost=lost, returned=returned)  # type: ignore[arg-type]  # the fake has what is used
            try:
                async with asyncio.timeout(LIMIT):
                    await body(parts, feed)
            finally:
                await feed.stop()
                parts.end()

        asyncio.run(main())

    return runner


Run = Callable[[Callable[[FakeParts, Feed], Coroutine[Any, Any, None]]], None]


async def until(is_so: Callable[[], bool]) -> None:
    """Within the test's limit."""
    while not is_so():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.001)


def is_being_revived() -> bool:
    return "revive the forwarder" in {task.get_name() for task in asyncio.all_tasks()}


def are_open(sockets: list[socket.socket]) -> list[bool]:
    return [sock.fileno() >= 0 for sock in sockets]


def test_what_is_asked_is_what_the_interface_has(run: Run) -> None:
    async def body(parts: FakeParts, feed: Feed) -> None:
        parts.replies["GetStats"] = varlink.reply({"queries": 7})
        parts.replies["Flush"] = varlink.reply({"entries": 3})
        parts.replies["TakeLog"] = varlink.reply({"records": [{"name": "a."}], "lost": 2})
        await feed.serve(CONFIG, PLACES)
        assert await feed.stats() == {"queries": 7}
        assert await feed.flush() == 3
        assert await feed.take_log(on=True) == ([{"name": "a."}], 2)
        assert parts.calls[1:] == [("GetStats", {}), ("Flush", {}), ("TakeLog", {"on": True})]

    run(body)


def test_while_nothing_is_served_the_next_step_is_to_bring_something_up(run: Run) -> None:
    async def body(parts: FakeParts, feed: Feed) -> None:
        for ask in (feed.stats, feed.flush, lambda: feed.take_log(on=True)):
            with pytest.raises(NotUpError) as error:
                await ask()
            assert "devlink up" in error.value.next_step
        await feed.serve(CONFIG, PLACES)
        await feed.stop()
        with pytest.raises(NotUpError):
            await feed.stats()
        assert parts.starts == 1

    run(body)


def test_who_asks_while_it_is_being_started_again_waits_for_it(run: Run) -> None:
    async def body(parts: FakeParts, feed: Feed) -> None:
        parts.replies["GetStats"] = varlink.reply({"queries": 0})
        await feed.serve(CONFIG, PLACES)
        assert feed.starts == 1
        parts.kill()
        assert await feed.stats() == {"queries": 0}
        assert parts.starts == 2
        assert feed.starts == 2
        await feed.serve(CONFIG, PLACES)
        assert feed.starts == 2, "other rules, and the same forwarder"

    run(body)


def test_one_that_does_not_come_back_is_told(run: Run) -> None:
    async def body(parts: FakeParts, feed: Feed) -> None:
        await feed.serve(CONFIG, PLACES)
        parts.may_start = False
        parts.kill()
        with pytest.raises(HelperError, match="does not answer"):
            await feed.stats()

    run(body)


def test_one_that_hangs_is_ended_and_another_started(run: Run) -> None:
    async def body(parts: FakeParts, feed: Feed) -> None:
        await feed.serve(CONFIG, PLACES)
        with pytest.raises(HelperError, match="does not answer"):
            await feed.flush()
        parts.replies["Flush"] = varlink.reply({"entries": 0})
        assert await feed.flush() == 0
        assert parts.starts == 2

    run(body)


def test_one_of_another_version_is_told_at_once(run: Run) -> None:
    async def body(parts: FakeParts, feed: Feed) -> None:
        parts.replies["Flush"] = varlink.no_such_method("io.devlink.Forwarder.Flush")
        await feed.serve(CONFIG, PLACES)
        with pytest.raises(ProtocolError) as error:
            await feed.flush()
        assert "devlink --version" in error.value.next_step

    run(body)


@pytest.mark.parametrize("how", ["it dies over them", "it is of another version"])
def test_rules_that_the_forwarder_does_not_take_are_the_helpers_error_and_nothing_is_served(run: Run, how: str) -> None:
    async def body(parts: FakeParts, feed: Feed) -> None:
        parts.replies["Configure"] = varlink.no_such_method("io.devlink.Forwarder.Configure")
        if how == "it dies over them":
            parts.dies_over = "Configure"
        with pytest.raises(HelperError, match="does not take its rules"):
            await feed.serve(CONFIG, PLACES)
        assert not feed.is_serving
        assert are_open(parts.sockets) == [False]
        with pytest.raises(NotUpError):
            await feed.stats()

    run(body)


def test_away_for_longer_its_sockets_are_closed_and_that_is_said_once_as_is_its_return(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks is refused at once, and does not hang."""

    async def body(parts: FakeParts, feed: Feed) -> None:
        monkeypatch.setattr(module, "REVIVE_LIMIT", 0.05)
        await feed.serve(CONFIG, PLACES)
        parts.may_start = False
        parts.kill()
        await until(lambda: parts.told != [])
        assert are_open(parts.sockets) == [False]
        parts.may_start = True
        await until(lambda: not is_being_revived())
        assert parts.told == ["lost", "returned"]
        assert feed.is_serving
        assert are_open(parts.sockets) == [False, True]

    run(body)


def test_new_rules_start_the_one_that_is_away_and_nobody_else_does(run: Run) -> None:
    """Two would share the sockets."""

    async def body(parts: FakeParts, feed: Feed) -> None:
        await feed.serve(CONFIG, PLACES)
        parts.may_start = False
        parts.kill()
        await until(lambda: parts.tries > 0)
        assert is_being_revived()
        parts.may_start = True
        await feed.serve(CONFIG, PLACES)
        assert not is_being_revived()
        assert feed.is_serving

    run(body)


def test_one_that_ends_as_soon_as_it_has_taken_new_rules_is_started_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(parts: FakeParts, feed: Feed) -> None:
        call = Connection.call

        async def call_and_kill(connection: Connection, *arguments: Any, **options: Any) -> dict[str, Any]:
            monkeypatch.setattr(Connection, "call", call)
            said = await call(connection, *arguments, **options)
            parts.kill()
            await connection.closed
            return said

        await feed.serve(CONFIG, PLACES)
        monkeypatch.setattr(Connection, "call", call_and_kill)
        await feed.serve(CONFIG, PLACES)
        assert parts.starts == 2
        assert feed.is_serving

    run(body)


def test_at_other_places_than_before_it_listens_by_new_sockets(run: Run) -> None:
    """Those that are bound to a link that was made anew are dead."""

    async def body(parts: FakeParts, feed: Feed) -> None:
        link = Place(address=ip_address("169.254.53.53"), device="devlink0", index=1)
        await feed.serve(CONFIG, (*PLACES, link))
        await feed.serve(CONFIG, (*PLACES, link))
        assert (len(parts.sockets), parts.starts) == (2, 1)
        await feed.serve(CONFIG, (*PLACES, replace(link, index=2)))
        assert are_open(parts.sockets) == [False, False, True, True]
        assert parts.starts == 2

    run(body)


def test_a_place_that_cannot_be_had_has_the_other_places_let_go(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []

    async def bind(place: Place) -> list[socket.socket]:
        if place.device:
            raise HelperError("Another program has it.")
        opened.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        return opened[-1:]

    async def body(_: FakeParts, feed: Feed) -> None:
        monkeypatch.setattr(module, "_bind", bind)
        link = Place(address=ip_address("169.254.53.53"), device="devlink0", index=1)
        with pytest.raises(HelperError, match="Another program"):
            await feed.serve(CONFIG, (*PLACES, link))
        assert [sock.fileno() for sock in opened] == [-1]

    run(body)
