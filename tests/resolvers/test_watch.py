"""What changes under a resolver mode is told, once for each burst, however it is done; and nothing else is."""

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from devlink.errors import HelperError
from devlink.resolvers import watch as module
from devlink.resolvers.mode import Watched
from devlink.resolvers.watch import Watch

pytestmark = pytest.mark.slow
LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""
QUIET = 0.05
"""Seconds in which what must not happen has had its time: many times what it would take."""


class World:
    """A folder with a file, which is watched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "resolv.conf"
        self.file.write_text("nameserver 192.0.2.1\n")
        self.told = asyncio.Event()
        self.count = 0
        self.watch = Watch(self._changed)

    def _changed(self) -> None:
        self.count += 1
        self.told.set()

    async def hears(self) -> None:
        async with asyncio.timeout(LIMIT):
            await self.told.wait()
        self.told.clear()

    async def hears_nothing(self) -> None:
        await asyncio.sleep(QUIET)
        assert not self.told.is_set()


Run = Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(module, "SETTLE", 0.005)
    monkeypatch.setattr(module, "RETRY_PAUSE", 0.01)

    def runner(body: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            world = World(tmp_path)
            world.watch.watch(Watched(files=(world.file,)))
            try:
                await body(world)
            finally:
                world.watch.close()

        asyncio.run(main())

    return runner


def replaced(world: World) -> None:
    other = world.folder / "new"
    other.write_text("nameserver 192.0.2.2\n")
    other.rename(world.file)


def written(world: World) -> None:
    world.file.write_text("")


def removed(world: World) -> None:
    world.file.unlink()


def moved_away(world: World) -> None:
    world.file.rename(world.folder / "other")


def made_a_symlink(world: World) -> None:
    world.file.unlink()
    world.file.symlink_to("elsewhere")


@pytest.mark.parametrize("change", [replaced, written, removed, moved_away, made_a_symlink])
def test_a_file_is_seen_to_change_however_it_is_done_and_again_after_that(
    run: Run, change: Callable[[World], None]
) -> None:
    async def body(world: World) -> None:
        change(world)
        await world.hears()
        await world.hears_nothing()
        replaced(world)
        await world.hears()

    run(body)


def test_its_neighbours_are_not_told_of(run: Run) -> None:
    async def body(world: World) -> None:
        (world.folder / "passwd").write_text("")
        (world.folder / "passwd").unlink()
        await world.hears_nothing()

    run(body)


def test_a_burst_is_told_once(run: Run) -> None:
    async def body(world: World) -> None:
        for _ in range(20):
            replaced(world)
        await world.hears()
        await world.hears_nothing()
        assert world.count == 1

    run(body)


def test_what_a_symlink_leads_to_is_seen_to_change(run: Run) -> None:
    async def body(world: World) -> None:
        folder = world.folder / "run"
        folder.mkdir()
        target = folder / "stub.conf"
        target.write_text("")
        made = world.folder / "linked.conf"
        made.symlink_to(target)
        world.watch.watch(Watched(files=(made,)))
        target.write_text("nameserver 192.0.2.3\n")
        await world.hears()
        for _ in range(2):  # as resolved and NetworkManager do it; the second one is another inode's
            (folder / "new").write_text("nameserver 192.0.2.4\n")
            (folder / "new").rename(target)
            await world.hears()

    run(body)


def test_a_file_is_seen_to_change_where_its_folder_hears_nothing(run: Run) -> None:
    """As where another is mounted on it: here it is written by its name in another folder."""

    async def body(world: World) -> None:
        (world.folder / "elsewhere").mkdir()
        other = world.folder / "elsewhere" / "other.conf"
        other.hardlink_to(world.file)
        other.write_text("nameserver 192.0.2.5\n")
        await world.hears()

    run(body)


def test_a_folder_that_is_not_there_yet_is_waited_for(run: Run) -> None:
    async def body(world: World) -> None:
        file = world.folder / "run" / "resolved" / "resolv.conf"
        world.watch.watch(Watched(files=(file,)))
        file.parent.mkdir(parents=True)
        await world.hears()
        file.write_text("")
        await world.hears()
        file.unlink()
        file.parent.rmdir()
        await world.hears()
        file.parent.mkdir()
        await world.hears()
        file.write_text("")
        await world.hears()

    run(body)


def test_what_is_no_longer_watched_is_not_told_of(run: Run) -> None:
    async def body(world: World) -> None:
        before = len(os.listdir("/proc/self/fd"))
        world.watch.watch(Watched())
        replaced(world)
        await world.hears_nothing()
        assert len(os.listdir("/proc/self/fd")) < before
        world.watch.watch(Watched(files=(world.file,)))
        replaced(world)
        world.watch.close()
        await world.hears_nothing()

    run(body)


# Services


class FakeSignals:
    """A line to the bus: the test writes into the other end."""

    def __init__(self) -> None:
        self._mine, self._theirs = os.pipe()
        self.is_closed = False

    def fileno(self) -> int:
        return self._mine

    def take(self) -> bool:
        said = os.read(self._mine, 1)
        if not said:
            raise HelperError("The bus has ended.")
        return said == b"s"

    def send(self, said: bytes) -> None:
        os.write(self._theirs, said)

    def end(self) -> None:
        os.close(self._theirs)

    def close(self) -> None:
        os.close(self._mine)
        self.is_closed = True


OBJECTS = (("org.example.Names", "/org/example"),)


def test_a_signal_is_told_and_a_bus_that_ends_is_listened_to_anew(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[FakeSignals] = []
    failures = [HelperError("There is no bus yet.")]

    def open_signals(objects: object) -> FakeSignals:
        assert objects == OBJECTS
        if failures:
            raise failures.pop()
        opened.append(FakeSignals())
        return opened[-1]

    monkeypatch.setattr(module, "open_signals", open_signals)

    async def body(world: World) -> None:
        world.watch.watch(Watched(objects=OBJECTS))
        await world.hears()  # of what may have changed before there was a line
        opened[0].send(b"s")
        await world.hears()
        opened[0].send(b"-")
        await world.hears_nothing()
        failures.append(HelperError("It is being restarted."))
        opened[0].end()
        await world.hears()
        assert len(opened) == 2
        opened[1].send(b"s")
        await world.hears()
        world.watch.close()
        assert [line.is_closed for line in opened] == [True, True]
        opened[1].end()

    run(body)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_line_that_is_opened_too_late_is_closed(run: Run, monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    opened: list[FakeSignals] = []
    asked, answered = threading.Event(), threading.Event()

    def open_signals(objects: object) -> FakeSignals:
        asked.set()
        assert answered.wait(LIMIT)
        if not is_there:
            raise HelperError("There is no bus.")
        opened.append(FakeSignals())
        return opened[-1]

    monkeypatch.setattr(module, "open_signals", open_signals)

    async def body(world: World) -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        world.watch.watch(Watched(objects=OBJECTS))
        assert await asyncio.to_thread(asked.wait, LIMIT)
        world.watch.close()
        answered.set()
        await world.hears_nothing()
        gc.collect()
        assert complaints == []

    run(body)
    assert [line.is_closed for line in opened] == [True] * is_there
    for line in opened:
        line.end()
