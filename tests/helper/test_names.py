"""How forwarder and resolver are switched as one: in which order, by which mode, and what happens by itself."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar

import pytest

from devlink.core.names import DomainName
from devlink.core.network import ObservedNetwork
from devlink.core.plan import ForwarderConfig, Upstream, Zone
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError, VerificationError
from devlink.helper import names as module
from devlink.helper import netwatch
from devlink.helper import resolver as resolver_module
from devlink.helper.installed import Installed
from devlink.helper.journal import Journal
from devlink.helper.names import Names
from devlink.helper.parts import Parts
from devlink.helper.policy import Policy
from devlink.resolvers.facts import Facts
from devlink.resolvers.mode import BusQuery, Place, Row, Telling, Tools, Watched

LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""
LOOPBACK = Place(address=ip_address("127.0.0.231"))
ZONE = Zone(suffix=DomainName.parse("cluster.local"), servers=(Upstream(address=ip_address("10.20.0.2")),))
NAMES = Installed(zones=(ZONE,))
LINK_SERVERS, FILE_SERVERS = (Upstream(address=ip_address(text)) for text in ("192.0.2.1", "192.0.2.2"))


class FakeMode:
    """Notes what it does in the world's log."""

    name: ClassVar[str]
    can_split: ClassVar[bool]
    rows: ClassVar[tuple[Row, ...]]
    queries: ClassVar[tuple[BusQuery, ...]] = ()
    programs: ClassVar[tuple[str, ...]] = ()
    servers: ClassVar[Upstream]
    log: ClassVar[list[str]]

    def __init__(self, tools: Tools) -> None:
        self.is_told = False
        self.refusal: HelperError | None = None
        self.link = 1

    def prepare(self, _: Telling) -> tuple[Place, ...]:
        self.log.append(f"prepare {self.name}")
        return (LOOPBACK,)

    def apply(self, _: Telling) -> None:
        self.log.append(f"apply {self.name}")
        if self.refusal is not None:
            raise self.refusal
        self.is_told = True

    def restore(self) -> None:
        self.log.append(f"restore {self.name}")
        self.is_told = False

    def nss_services(self) -> tuple[str, ...]:
        return ()

    def has_remains(self) -> bool:
        return self.is_told

    def is_ours(self) -> bool:
        return self.is_told

    def read_upstreams(self) -> tuple[Upstream, ...]:
        return (self.servers,)

    def read_ways(self) -> tuple[IPAddress, ...]:
        return (self.servers.address,)

    def watched(self) -> Watched:
        return Watched(files=(Path(self.name),))


class LinkMode(FakeMode):
    """Splits, by a link that may be made anew."""

    name = "link"
    can_split = True
    rows: ClassVar[tuple[Row, ...]] = (Row(rank=10, reason=lambda _: "it splits"),)
    servers = LINK_SERVERS

    def prepare(self, telling: Telling) -> tuple[Place, ...]:
        own = Place(address=ip_address("169.254.53.53"), device="devlink0", index=self.link)
        return (*super().prepare(telling), own)


class FileMode(FakeMode):
    """Sends all names to us."""

    name = "file"
    can_split = False
    rows: ClassVar[tuple[Row, ...]] = (Row(rank=90, reason=lambda _: "nothing else fits"),)
    servers = FILE_SERVERS


class FakeFeed:
    """A forwarder that serves what it is told."""

    log: ClassVar[list[str]]

    def __init__(self, _: Parts, *, lost: Callable[[], Awaitable[None]], returned: Callable[[], Awaitable[None]]):
        self.is_serving = False
        self.lost = lost
        self.told: list[tuple[ForwarderConfig, tuple[Place, ...]]] = []

    async def serve(self, config: ForwarderConfig, places: tuple[Place, ...]) -> None:
        self.log.append("serve")
        self.is_serving = True
        self.told.append((config, places))

    async def stop(self) -> None:
        self.log.append("stop")
        self.is_serving = False

    async def flush(self) -> int:
        return 0


class FakeWatch:
    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.watched = Watched()

    def watch(self, watched: Watched) -> None:
        self.watched = watched

    def close(self) -> None:
        self.watched = Watched()


class FakeMonitor:
    def __init__(self, _: Callable[[], None]) -> None:
        pass

    def close(self) -> None:
        pass


class World:
    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.unproved = 0
        """So many proofs fail from now on."""
        for kind in (FakeMode, FakeFeed):
            patch.setattr(kind, "log", self.log, raising=False)
        patch.setattr(module, "Feed", FakeFeed)
        patch.setattr(module, "Watch", FakeWatch)
        patch.setattr(module, "TAKE_AGAIN_PAUSE", 0.01)
        patch.setattr(module, "observe", ObservedNetwork)
        patch.setattr(netwatch, "Monitor", FakeMonitor)
        patch.setattr(netwatch, "LATE", 0.01)
        patch.setattr(resolver_module, "observe", lambda _: Facts())
        patch.setattr(resolver_module, "all_modes", lambda: (FileMode, LinkMode))
        patch.setattr(resolver_module, "prove", self._prove)
        self.lock = asyncio.Lock()
        self.names = Names(
            policy=Policy(), journal=Journal(folder / "journal"), parts=Parts(folder, private=True), lock=self.lock
        )
        own: Any = self.names
        self.feed: FakeFeed = own._feed
        self.watch: FakeWatch = own._system
        self.link: LinkMode = own._resolver._modes["link"]
        self.file: FileMode = own._resolver._modes["file"]

    def _prove(self, *_: object, **__: object) -> None:
        self.log.append("prove")
        if self.unproved:
            self.unproved -= 1
            raise VerificationError("Names do not arrive.")

    async def on(self) -> None:
        async with self.lock:
            await self.names.on(NAMES)

    async def off(self) -> None:
        async with self.lock:
            await self.names.off()

    async def look(self) -> None:
        """Something has changed, and all comes of it that does."""
        self.log.clear()
        self.watch.changed()
        await self.calm()

    async def calm(self) -> None:
        async with asyncio.timeout(LIMIT):
            while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)


Run = Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def runner(body: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            await body(World(tmp_path, monkeypatch))

        asyncio.run(main())

    return runner


def test_going_up_the_resolver_comes_last_and_going_down_first(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        assert world.log == ["prepare link", "serve", "apply link", "prove"]
        assert world.watch.watched == Watched(files=(Path("link"),))
        world.log.clear()
        await world.off()
        assert world.log == ["restore link", "stop"]

    run(body)


def test_a_mode_that_does_not_prove_itself_is_taken_back_before_the_next_one_is_tried(run: Run) -> None:
    async def body(world: World) -> None:
        world.unproved = 1
        await world.on()
        tried = ["prepare link", "serve", "apply link", "prove", "restore link"]
        assert world.log == [*tried, "prepare file", "serve", "apply file", "prove"]
        name, reason = await world.names.resolver()
        assert name == "file"
        assert reason == "nothing else fits; link did not serve: Names do not arrive."
        assert [places[1:] for _, places in world.feed.told][-1] == (), "nobody listens on the link any more"

    run(body)


def test_where_no_mode_proves_itself_none_is_left_on(run: Run) -> None:
    async def body(world: World) -> None:
        world.unproved = 2
        with pytest.raises(VerificationError):
            await world.on()
        assert not world.link.is_told
        assert not world.file.is_told

    run(body)


def test_whom_to_ask_is_said_by_the_mode_that_is_tried(run: Run) -> None:
    async def body(world: World) -> None:
        world.unproved = 1
        await world.on()
        assert [config.upstreams for config, _ in world.feed.told] == [(LINK_SERVERS,), (FILE_SERVERS,)]

    run(body)


def test_what_has_forgotten_us_is_told_again(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        await world.look()
        assert world.log == []
        world.link.is_told = False
        await world.look()
        assert world.log == ["apply link", "prepare link"]

    run(body)


def test_on_a_link_that_was_made_anew_the_forwarder_has_new_sockets(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        world.link.is_told, world.link.link = False, 2
        await world.look()
        assert [places[1].index for _, places in world.feed.told] == [1, 2]

    run(body)


def test_what_can_no_longer_be_told_is_tried_by_another_mode(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        world.link.is_told, world.link.refusal = False, HelperError("It is gone.")
        await world.look()
        assert world.file.is_told
        assert (await world.names.resolver())[0] == "file"
        assert world.watch.watched == Watched(files=(Path("file"),))

    run(body)


@pytest.mark.parametrize("splits", [True, False])
def test_without_a_forwarder_the_resolver_is_given_back_where_ordinary_names_come_to_it(run: Run, splits: bool) -> None:
    async def body(world: World) -> None:
        world.unproved = 0 if splits else 1
        await world.on()
        world.feed.is_serving = False
        await world.feed.lost()
        assert world.link.is_told == splits
        assert not world.file.is_told

    run(body)


def test_a_session_that_goes_takes_its_zones_along(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        world.log.clear()
        other = replace(ZONE, suffix=DomainName.parse("other.local"))
        async with world.lock:
            await world.names.less(Installed(zones=(other,)))
        assert world.log == ["apply link", "serve"]
        assert world.feed.told[-1][0].zones == (other,)
        async with world.lock:
            await world.names.less(Installed(zones=(other,)))
        assert world.log == ["apply link", "serve"], "nothing is another"

    run(body)
