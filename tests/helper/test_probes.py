"""Ways for probes, with a kernel that takes its time: nothing is left of them when their holders are gone."""

import asyncio
import contextlib
import socket
import threading
from ipaddress import ip_address

import pytest

from devlink.core.network import Route, Rule
from devlink.helper import probes
from devlink.helper.probes import Probes
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
        patch.setattr(probes, "delete_way", self.routes.discard)
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
            (await ways.open(holder, via, "eth0", TARGET, "udp")).close()
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
        opening = asyncio.get_running_loop().create_task(ways.open("one", VIA, "eth0", TARGET, "udp"))
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
