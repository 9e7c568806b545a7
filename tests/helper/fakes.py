"""Fakes at the helper's edges: ways of telling the system, the forwarder, what watches; and a libc that finds a name
only where the forwarder answers it."""

import asyncio
from collections.abc import Callable, Coroutine
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, ClassVar

import pytest

from devlink.core.names import DomainName
from devlink.core.network import ObservedNetwork, ObservedRoute
from devlink.core.plan import ForwarderConfig, Upstream
from devlink.core.prefixes import IPAddress
from devlink.errors import DevlinkError, HelperError, VerificationError
from devlink.helper import names, netwatch, resolver
from devlink.helper.parts import Parts
from devlink.resolvers.facts import Facts
from devlink.resolvers.mode import BusQuery, Place, ResolverMode, Row, Telling, Tools, Watched

Happening = Callable[[], Coroutine[Any, Any, None]]
LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""
LINK_SERVERS, FILE_SERVERS = ((Upstream(address=ip_address(text)),) for text in ("192.0.2.1", "192.0.2.2"))


class FakeMode:
    """A way of telling that keeps what it was told in itself, and may refuse."""

    name: ClassVar[str]
    can_split: ClassVar[bool]
    rows: ClassVar[tuple[Row, ...]]
    queries: ClassVar[tuple[BusQuery, ...]] = ()
    programs: ClassVar[tuple[str, ...]] = ()
    log: ClassVar[list[str]]
    """What all of them did, in order: `apply link`."""

    def __init__(self, tools: Tools) -> None:
        self.loopback = Place(address=tools.nameserver)
        self.told: Telling | None = None
        self.is_left = False
        self.upstreams: tuple[Upstream, ...] = ()
        self.services: tuple[str, ...] = ()
        self.unprepared: HelperError | None = None
        """Of `prepare`."""
        self.refusal: DevlinkError | None = None
        """Of `apply`."""
        self.resistance: HelperError | None = None
        """Of `restore`."""
        self.unreadable: HelperError | None = None
        self.reads = 0

    @property
    def did(self) -> list[str]:
        """This one alone, to the system: `apply`, `restore`."""
        deeds = (entry.split() for entry in self.log)
        return [deed[0] for deed in deeds if deed[1:] == [self.name] and deed[0] != "prepare"]

    def prepare(self, telling: Telling) -> tuple[Place, ...]:
        self.log.append(f"prepare {self.name}")
        if self.unprepared is not None:
            raise self.unprepared
        return (self.loopback,)

    def apply(self, telling: Telling) -> None:
        self.log.append(f"apply {self.name}")
        if self.refusal is not None:
            raise self.refusal
        self.told, self.is_left = telling, True

    def nss_services(self) -> tuple[str, ...]:
        return self.services

    def restore(self) -> None:
        self.log.append(f"restore {self.name}")
        if self.resistance is not None:
            raise self.resistance
        self.told, self.is_left = None, False

    def forget(self) -> None:
        """Another program takes its place."""
        self.told = None

    def has_remains(self) -> bool:
        return self.is_left

    def is_ours(self) -> bool:
        return self.told is not None

    def read_upstreams(self) -> tuple[Upstream, ...]:
        upstreams, failure = self.upstreams, self.unreadable
        self.reads += 1
        if failure is not None:
            raise failure
        return upstreams

    def read_ways(self) -> tuple[IPAddress, ...]:
        return tuple(each.address for each in self.read_upstreams())

    def watched(self) -> Watched:
        return Watched(files=(Path(self.name),))


class LinkMode(FakeMode):
    """Splits, by a link that may be made anew; fits where libc asks `resolve`."""

    name = "link"
    can_split = True
    rows: ClassVar[tuple[Row, ...]] = (
        Row(rank=10, reason=lambda facts: "libc asks it" if "resolve" in facts.hosts else ""),
    )

    def __init__(self, tools: Tools) -> None:
        super().__init__(tools)
        self.upstreams = LINK_SERVERS
        self.link = 1

    def prepare(self, telling: Telling) -> tuple[Place, ...]:
        own = Place(address=ip_address("169.254.53.53"), device="devlink0", index=self.link)
        return (*super().prepare(telling), own)

    def apply(self, telling: Telling) -> None:
        self.told = None  # a refusal takes what it was told before along
        super().apply(telling)


class FileMode(FakeMode):
    """Sends all names to us; fits everywhere."""

    name = "file"
    can_split = False
    rows: ClassVar[tuple[Row, ...]] = (Row(rank=90, reason=lambda _: "nothing else fits"),)

    def __init__(self, tools: Tools) -> None:
        super().__init__(tools)
        self.upstreams = FILE_SERVERS


class FakeFeed:
    """A forwarder that serves what it is told, and refuses that as often as the test says."""

    log: ClassVar[list[str]]

    def __init__(self, _: Parts, *, lost: Happening, returned: Happening) -> None:
        self.lost, self.returned = lost, returned
        self.is_serving = False
        self.told: list[tuple[ForwarderConfig, tuple[Place, ...]]] = []
        self.flushed = 0
        self.refusals = 0

    async def serve(self, config: ForwarderConfig, places: tuple[Place, ...]) -> None:
        self.log.append("serve")
        self.is_serving = self.refusals == 0
        if not self.is_serving:
            self.refusals -= 1
            raise HelperError("The forwarder does not take its rules.")
        self.told.append((config, places))

    async def stop(self) -> None:
        self.log.append("stop")
        self.is_serving = False

    async def flush(self) -> int:
        self.flushed += 1
        return 3


class FakeMonitor:
    """The kernel's, which speaks when the test does."""

    opened: "list[FakeMonitor]" = []  # noqa: RUF012 - anew for each test
    failure: OSError | None = None

    def __init__(self, changed: Callable[[], None], *, settle: float = 0.0) -> None:
        if FakeMonitor.failure is not None:
            raise FakeMonitor.failure
        self.changed, self.settle = changed, settle
        self.is_closed = False
        FakeMonitor.opened.append(self)

    def close(self) -> None:
        self.is_closed = True


class FakeWatch:
    """Of the system's files and services, which speak when the test does."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.watched = Watched()

    def watch(self, watched: Watched) -> None:
        self.watched = watched

    def close(self) -> None:
        self.watched = Watched()


class Nameless:
    """Names that nobody has, on any machine; they may fail."""

    def __init__(self) -> None:
        self.refusal: HelperError | None = None

    async def has_remains(self) -> bool:
        return False

    async def off(self) -> None:
        if self.refusal is not None:
            refusal, self.refusal = self.refusal, None
            raise refusal

    async def undo(self) -> None:
        pass

    async def mend(self) -> None:
        pass


class Edges:
    """The fakes in their places, and what the test says of the machine; a test's world is made on it."""

    feed: FakeFeed

    def __init__(self, patch: pytest.MonkeyPatch, *modes: type[ResolverMode]) -> None:
        self.log: list[str] = []
        self.observed = ObservedNetwork()
        self.facts = Facts(hosts=("files", "resolve", "dns"))
        self.unproved = 0
        """So many proofs fail from now on."""
        for kind in (FakeMode, FakeFeed):
            patch.setattr(kind, "log", self.log, raising=False)
        patch.setattr(names, "Feed", FakeFeed)
        patch.setattr(names, "Watch", FakeWatch)
        patch.setattr(names, "TAKE_AGAIN_PAUSE", 0.01)
        patch.setattr(names, "observe", lambda: self.observed)
        watch_the_kernel(patch)
        patch.setattr(resolver, "observe", lambda _: self.facts)
        patch.setattr(resolver, "all_modes", lambda: modes)
        patch.setattr(resolver, "prove", self.prove)

    @property
    def monitors(self) -> list[FakeMonitor]:
        return FakeMonitor.opened

    def prove(self, name: DomainName, address: IPAddress, timeout: float, *, service: str = "") -> None:
        self.log.append("prove")
        served, _ = self.feed.told[-1]
        if self.unproved:
            self.unproved -= 1
        elif self.feed.is_serving and (name, address) in ((each.name, each.address) for each in served.proofs):
            return
        raise VerificationError("Names do not arrive.")

    async def calm(self) -> None:
        """All that was begun has come to its end."""
        async with asyncio.timeout(LIMIT):
            while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)


def watch_the_kernel(patch: pytest.MonkeyPatch) -> list[FakeMonitor]:
    """By fakes, which are in the list as they are opened."""
    patch.setattr(FakeMonitor, "opened", [])
    patch.setattr(FakeMonitor, "failure", None)
    patch.setattr(netwatch, "Monitor", FakeMonitor)
    patch.setattr(netwatch, "LATE", 0.005)
    return FakeMonitor.opened


def default_by(*gateways: str) -> ObservedNetwork:
    """A network whose default routes go by these."""
    to_all = ip_network("0.0.0.0/0")
    routes = (ObservedRoute(destination=to_all, next_hop=ip_address(g), oif="wlan0", protocol=16) for g in gateways)
    return ObservedNetwork(routes=tuple(routes))
