"""Routes that others take away: put back at the kernel's word, until it is a fight; the machine only notes it."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any, cast

import pytest

from devlink.core.network import ObservedNetwork, ObservedRoute, Route, RouteKey
from devlink.errors import DevlinkError, HelperError
from devlink.helper import reasserting
from devlink.helper.machine import Machine
from devlink.helper.reasserting import SETTLE, Reasserter
from devlink.helper.repair import Lack, Mended
from devlink.helper.restraint import BURST
from tests.helper.fakes import LIMIT, FakeMonitor, watch_the_kernel

ROUTE = Route(destination=ip_network("10.20.0.0/16"), next_hop=ip_address("172.16.0.13"), oif="eth0")
VPN = ObservedRoute(destination=ROUTE.destination, oif="tun0", protocol=3)
OTHER = replace(ROUTE, destination=ip_network("10.254.0.0/16"))
BESIDE = replace(VPN, destination=OTHER.destination)
"""In another place than OTHER's."""
HOLDER = replace(BESIDE, oif="wg0", metric=OTHER.metric)


class World:
    """A machine with two routes, a link, and a kernel that speaks when the test does."""

    def __init__(self, monitors: list[FakeMonitor]) -> None:
        self.lock = asyncio.Lock()
        self.wanted = (ROUTE, OTHER)
        self.missing: tuple[Route, ...] = ()
        self.waiting: tuple[Route, ...] = ()
        """Those of the missing that have no link."""
        self.held: tuple[Route, ...] = ()
        """Those of the missing whose place another has."""
        self.failure: DevlinkError | None = None
        self.put_back = self.looks = 0
        self._monitors = monitors
        self.reasserter = Reasserter(cast(Machine, self))
        self.reasserter.start()

    async def lack(self) -> Lack:
        assert self.lock.locked()
        return Lack(taken=tuple(r for r in self.missing if r not in self.waiting), waiting=self.waiting)

    async def reassert(self, leave: Collection[RouteKey], lack: Lack) -> Mended:
        assert self.lock.locked()
        assert set(lack.taken) | set(lack.waiting) == set(self.missing)
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        could = [r for r in self.missing if r not in self.waiting and r.key not in leave]
        back, held = (tuple(r for r in could if (r in self.held) is there) for there in (False, True))
        self.missing = tuple(r for r in self.missing if r not in back)
        self.put_back += bool(back)
        return Mended(back=back, held=held)

    @property
    def fought(self) -> str:
        """Why what is missing is left alone, as it is told; nothing where none is."""
        contest = self.reasserter.fought(self.missing)
        return contest.why if contest is not None else ""

    @property
    def occupied(self) -> str:
        """Who has the place of what is missing, as it is told; nothing where nobody has."""
        contest = self.reasserter.occupied(self.missing)
        return contest.why if contest is not None else ""

    async def told(self, *missing: Route) -> None:
        """The kernel says that something has changed; all comes of it that does."""
        self.missing = missing
        self._monitors[-1].changed()
        task = self.reasserter._watch._looking
        assert task is not None
        async with asyncio.timeout(LIMIT):
            await asyncio.sleep(0.01)
            while self.lock.locked():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)


Run = Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monitors = watch_the_kernel(monkeypatch)
    monkeypatch.setattr(reasserting, "observe", lambda: ObservedNetwork(routes=(VPN, BESIDE, HOLDER)))

    def runner(body: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            world = World(monitors)
            assert monitors[-1].settle == SETTLE
            await body(world)
            world.reasserter.stop()
            assert monitors[-1].is_closed

        asyncio.run(main())

    return runner


def test_what_is_gone_is_put_back_at_the_kernels_word_and_nothing_is_done_where_nothing_is(run: Run) -> None:
    async def body(world: World) -> None:
        await world.told()
        assert world.put_back == 0
        await world.told(ROUTE)
        assert (world.put_back, world.missing) == (1, ())

    run(body)


def test_at_the_tenth_time_it_is_left_alone_and_said_loudly_who_is_there_instead(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(world: World) -> None:
        for _ in range(BURST + 5):
            await world.told(ROUTE)
        assert world.put_back == BURST - 1
        assert "10 times" in world.fought
        assert "dev tun0 proto boot" in world.fought
        assert not world.occupied
        world.reasserter.start()
        assert world.fought == ""
        await world.told(ROUTE)
        assert world.put_back == BURST, "what is applied anew is kept anew"

    run(body)
    assert [record.levelname for record in caplog.records].count("ERROR") == 1


def test_a_fight_for_one_route_says_nothing_of_another_and_each_that_is_left_is_told(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(world: World) -> None:
        other = world.wanted[1]
        for _ in range(BURST):
            await world.told(ROUTE)
        assert set(world.missing) == {ROUTE}
        await world.told(*world.wanted)
        assert set(world.missing) == {ROUTE}, "the other was taken for the first time"
        for _ in range(BURST):
            await world.told(*world.wanted)
        assert set(world.missing) == set(world.wanted)
        await world.told(other)
        assert world.missing != (), "that one is still left alone"
        assert world.fought
        await world.told()
        world.missing = (other,)
        assert world.fought == "", "all are there again, whoever put them there"
        await world.told(ROUTE)
        assert not world.missing

    run(body)
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [text.split()[0] for text in told] == ["10.20.0.0/16", "10.254.0.0/16"]


def test_a_link_that_flaps_is_no_fight(run: Run) -> None:
    async def body(world: World) -> None:
        for _ in range(3 * BURST):
            world.waiting = world.wanted
            await world.told(*world.wanted)
            world.waiting = ()
            await world.told(*world.wanted)
        assert world.put_back == 3 * BURST
        world.missing = world.wanted
        assert world.fought == ""

    run(body)


def test_it_is_a_fight_too_while_something_else_waits_for_its_link_and_that_is_put_back_after_it(run: Run) -> None:
    async def body(world: World) -> None:
        away = world.wanted[1]
        world.waiting = (away,)
        for _ in range(BURST + 5):
            await world.told(*world.wanted)
        assert world.put_back == BURST - 1
        assert "10 times" in world.fought
        world.waiting = ()
        await world.told(*world.wanted)
        assert world.missing == (ROUTE,), "what is given up stays so, and no other"

    run(body)


def test_a_place_that_another_holds_is_no_fight_and_taken_as_soon_as_it_is_free(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(world: World) -> None:
        world.held = (ROUTE,)
        await world.told(*world.wanted)
        assert set(world.missing) == {ROUTE}
        for _ in range(BURST + 5):
            await world.told(ROUTE)
        assert "holds their place" in world.occupied
        assert "dev tun0 proto boot" in world.occupied
        assert world.fought == "", "nothing was put back, so nothing was taken again"
        world.held = ()
        await world.told(ROUTE)
        assert not world.missing
        world.missing = (ROUTE,)
        assert world.occupied == ""

    run(body)
    assert caplog.text.count("holds their place") == 1
    assert "ERROR" not in caplog.text


def test_of_routes_that_are_missing_together_each_is_told_with_what_keeps_it_away(run: Run) -> None:
    async def body(world: World) -> None:
        away = replace(ROUTE, destination=ip_network("10.30.0.0/16"))
        world.waiting, world.held = (away,), (OTHER,)
        for _ in range(BURST):
            await world.told(ROUTE, OTHER, away)
        fought, occupied = (tell(world.missing) for tell in (world.reasserter.fought, world.reasserter.occupied))
        assert (fought and fought.routes, occupied and occupied.routes) == ((str(ROUTE),), (str(OTHER),))
        assert fought
        assert "dev tun0" in fought.why
        assert occupied
        assert "dev wg0" in occupied.why, "who has the very place, not who is beside it"
        assert world.reasserter.fought((OTHER, away)) is None, "of another session's nothing is said"
        assert world.reasserter.occupied((ROUTE, away)) is None

    run(body)


def test_what_cannot_be_put_back_yet_is_said_once_and_tried_at_each_word(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(world: World) -> None:
        world.failure = HelperError("The link eth0 is down.")
        for _ in range(5):
            await world.told(ROUTE)
        assert world.looks >= 5
        world.failure = None
        await world.told(ROUTE)
        assert world.put_back == 1

    run(body)
    assert caplog.text.count("eth0 is down") == 1


def test_a_rule_that_is_gone_is_put_back_though_no_route_is(run: Run) -> None:
    async def body(world: World) -> None:
        await world.told()
        assert world.looks == 1, "what is no route is the machine's to find"

    run(body)
