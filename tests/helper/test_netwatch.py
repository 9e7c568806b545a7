"""When it is looked whether the laptop is in another network, and what of the network counts."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from devlink.core.network import PROTOCOL, ObservedNetwork, ObservedRoute
from devlink.helper import netwatch
from devlink.helper.netwatch import NetworkWatch, ways_out
from tests.helper.fakes import LIMIT, FakeMonitor, watch_the_kernel

HOME = ObservedRoute(
    destination=ip_network("0.0.0.0/0"), next_hop=ip_address("192.168.1.1"), oif="wlan0", protocol=16, metric=600
)


def ways(*routes: ObservedRoute) -> object:
    return ways_out(ObservedNetwork(routes=routes))


@pytest.mark.parametrize(
    "other",
    [
        replace(HOME, next_hop=ip_address("192.168.1.254")),
        replace(HOME, oif="eth0"),
        replace(HOME, destination=ip_network("::/0"), next_hop=ip_address("fe80::1")),
        ObservedRoute(destination=ip_network("0.0.0.0/0"), oif="tun0", protocol=3, table=51820),
    ],
)
def test_another_default_route_is_another_network(other: ObservedRoute) -> None:
    assert ways(HOME) != ways(other)
    assert ways(HOME) != ways(HOME, other)


@pytest.mark.parametrize(
    "beside",
    [
        HOME,
        replace(HOME, metric=20600),
        ObservedRoute(destination=ip_network("172.17.0.0/16"), oif="docker0", protocol=2),
        ObservedRoute(destination=ip_network("0.0.0.0/0"), oif=None, protocol=3, kind="unreachable"),
        ObservedRoute(destination=ip_network("10.20.0.0/16"), oif="wlan0", protocol=PROTOCOL),
    ],
)
def test_what_containers_and_we_add_and_what_leads_nowhere_is_no_other_network(beside: ObservedRoute) -> None:
    assert ways(HOME) == ways(HOME, beside)


class Looks:
    """Counts the looks; each finds a change or not, as the test says."""

    def __init__(self, *found: bool) -> None:
        self._found = list(found)
        self.count = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> bool:
        self.count += 1
        await self.go.wait()
        return self._found.pop(0) if self._found else False

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(LIMIT):
            while self.count < count:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert self.count == count


@pytest.fixture(autouse=True)
def monitors(monkeypatch: pytest.MonkeyPatch) -> list[FakeMonitor]:
    return watch_the_kernel(monkeypatch)


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(body)


def test_each_event_has_it_looked_once_and_once_more_where_something_had_changed(monitors: list[FakeMonitor]) -> None:
    async def body() -> None:
        looks = Looks(False, True)
        watch = NetworkWatch(looks)
        watch.start()
        watch.start()
        (monitor,) = monitors
        await looks.reach(0)
        monitor.changed()
        await looks.reach(1)
        monitor.changed()
        await looks.reach(3)
        watch.stop()
        watch.stop()
        assert monitor.is_closed

    run(body())


def test_what_comes_during_a_look_has_it_looked_again(monitors: list[FakeMonitor]) -> None:
    async def body() -> None:
        looks = Looks()
        looks.go.clear()
        watch = NetworkWatch(looks)
        watch.start()
        for _ in range(3):
            monitors[0].changed()
        await looks.reach(1)
        for _ in range(3):
            monitors[0].changed()
        looks.go.set()
        await looks.reach(2)
        watch.stop()

    run(body())


def test_what_comes_while_the_next_look_waits_is_looked_at_at_once(
    monitors: list[FakeMonitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netwatch, "LATE", 2 * LIMIT)

    async def body() -> None:
        looks = Looks(True, False)
        watch = NetworkWatch(looks)
        watch.start()
        monitors[0].changed()
        await looks.reach(1)
        monitors[0].changed()
        await looks.reach(2)
        watch.stop()

    run(body())


def test_it_can_be_started_again_and_a_kernel_without_it_is_no_reason_to_fail(monitors: list[FakeMonitor]) -> None:
    async def body() -> None:
        watch = NetworkWatch(Looks())
        watch.start()
        watch.stop()
        FakeMonitor.failure = OSError(97, "Address family not supported by protocol")
        watch.start()
        watch.stop()
        FakeMonitor.failure = None
        watch.start()
        assert [monitor.is_closed for monitor in monitors] == [True, False]

    run(body())
