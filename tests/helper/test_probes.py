"""Ways for probes, with a kernel that takes its time: nothing is left of them when their holders are gone."""

import asyncio
import contextlib
import socket
import threading
from ipaddress import ip_address

import pytest

from devlink.core.network import Route, Rule
from devlink.errors import NotUpError, UsageError
from devlink.helper import probes
from devlink.helper.probes import MAX_TARGETS, MAX_WAYS_OF_ONE, Probes
from devlink.kernel import rules

VIA, OTHER, TARGET = (ip_address(text) for text in ("172.16.0.13", "172.16.0.16", "10.254.0.2"))


class Kernel:
    """Holds what it is told, as slowly as the test says."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.rules: set[Rule] = set()
        self.routes: set[Route] = set()
        self.is_asked, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        patch.setattr(rules, "add", self.rules.add)
        patch.setattr(rules, "delete", self.rules.discard)
        patch.setattr(probes, "put_way", self.put)
        patch.setattr(probes, "delete_ways", self.routes.difference_update)
        patch.setattr(probes, "probe_socket", lambda *_: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def put(self, route: Route) -> None:
        self.is_asked.set()
        assert self.go_on.wait(10)
        self.routes.add(route)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def test_a_way_goes_with_the_last_who_holds_it_and_the_dead_end_with_the_last_way(kernel: Kernel) -> None:
    async def body() -> None:
        ways = Probes()
        for holder, via in (("one", VIA), ("two", VIA), ("two", OTHER)):
            (await ways.open(holder, 1000, via, "eth0", TARGET, "udp")).close()
        assert len(kernel.routes) == 2
        assert len(kernel.rules) == 3
        await ways.close("two")
        assert {route.next_hop for route in kernel.routes} == {VIA}
        assert len(kernel.rules) == 2
        await ways.close("one")
        assert not kernel.routes
        assert not kernel.rules

    asyncio.run(body())


def test_a_caller_that_goes_while_its_way_is_made_leaves_nothing(kernel: Kernel) -> None:
    async def body() -> None:
        ways = Probes()
        kernel.go_on.clear()
        opening = asyncio.get_running_loop().create_task(ways.open("one", 1000, VIA, "eth0", TARGET, "udp"))
        await asyncio.to_thread(kernel.is_asked.wait)
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opening
        closing = asyncio.get_running_loop().create_task(ways.close("one"))
        await asyncio.sleep(0.01)
        kernel.go_on.set()
        await closing
        assert not kernel.routes
        assert not kernel.rules

    asyncio.run(body())


def test_targets_of_a_way_and_ways_of_a_user_are_few_and_take_nothing_from_another(kernel: Kernel) -> None:
    async def body() -> None:
        ways = Probes()
        (await ways.open("two", 1001, VIA, "eth0", TARGET, "udp")).close()
        theirs = set(kernel.routes)
        for number in range(MAX_TARGETS + 5):
            (await ways.open("one", 1000, VIA, "eth0", TARGET + number, "udp")).close()
        assert theirs < kernel.routes
        mine = kernel.routes - theirs
        assert {r.destination.network_address for r in mine} == {TARGET + n for n in range(5, MAX_TARGETS + 5)}
        for number in range(1, MAX_WAYS_OF_ONE):
            (await ways.open("one", 1000, VIA + number, "eth0", TARGET, "udp")).close()
        with pytest.raises(UsageError, match="at most"):
            await ways.open("one", 1000, VIA + MAX_WAYS_OF_ONE, "eth0", TARGET, "udp")
        (await ways.open("two", 1001, OTHER, "eth0", TARGET, "udp")).close()
        await ways.close("one")
        assert theirs < kernel.routes
        assert len(kernel.routes) == 2

    asyncio.run(body())


def test_a_way_that_is_made_or_asked_for_while_all_is_undone_is_not_there_after_it(kernel: Kernel) -> None:
    async def body() -> None:
        ways, loop = Probes(), asyncio.get_running_loop()
        kernel.go_on.clear()
        first = loop.create_task(ways.open("one", 1000, VIA, "eth0", TARGET, "udp"))
        await asyncio.to_thread(kernel.is_asked.wait)
        second = loop.create_task(ways.open("two", 1000, OTHER, "eth0", TARGET, "udp"))
        await asyncio.sleep(0.01)
        loop.call_later(0.02, kernel.go_on.set)
        async with ways.forgotten():
            assert kernel.routes, "the undoing comes after what was begun"
            kernel.routes.clear()
            kernel.rules.clear()
            third = loop.create_task(ways.open("two", 1000, OTHER, "eth0", TARGET, "udp"))
            await asyncio.sleep(0.01)
        (await first).close()
        for late in (second, third):
            with pytest.raises(NotUpError):
                await late
        assert not kernel.routes
        assert not kernel.rules
        (await ways.open("one", 1000, VIA, "eth0", TARGET, "udp")).close()
        async with ways.held() as held:
            assert set(held.routes) == kernel.routes
            assert set(held.rules) == kernel.rules

    asyncio.run(body())
