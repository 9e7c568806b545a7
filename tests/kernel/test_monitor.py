"""The monitor of the network: what it tells, how often, and that it says nothing while nothing changes."""

import asyncio
import socket
import subprocess
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from devlink.kernel import monitor as module
from devlink.kernel.monitor import Monitor
from devlink.kernel.netlink import Request, pack_message
from devlink.kernel.rtnetlink import RTM_NEWROUTE
from tests.kernel.private_network import in_private_network, ip, make_links

pytestmark = pytest.mark.lab

RTM_NEWLINK = 16
LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""
SETTLE = 0.05
QUIET = 4 * SETTLE
"""Seconds in which nothing must happen."""


class Told:
    """Counts what a monitor tells."""

    def __init__(self) -> None:
        self.count = 0
        self._news = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._news.set()

    async def next(self) -> None:
        async with asyncio.timeout(LIMIT):
            await self._news.wait()
        self._news.clear()

    async def quiet(self) -> None:
        """Wait until nothing more is told."""
        while True:
            before = self.count
            await asyncio.sleep(QUIET)
            if self.count == before:
                self._news.clear()
                return


def watched(body: Callable[[Told, Monitor], Coroutine[Any, Any, None]]) -> None:
    """Run the body with a monitor in a network of its own, once the links are there."""

    async def main() -> None:
        told = Told()
        monitor = Monitor(told, settle=SETTLE)
        try:
            await told.quiet()
            await body(told, monitor)
        finally:
            monitor.close()

    def inside() -> None:
        make_links()
        asyncio.run(main())

    in_private_network(inside)


@pytest.mark.parametrize(
    "change",
    [
        "route add default via 192.0.2.254",
        "-6 route add default via 2001:db8::fe",
        "address add 198.51.100.1/24 dev v0",
        "address delete 192.0.2.1/24 dev v0",
        "link set v1 down",
        "link delete v0",
        "link add veth7 type veth peer name veth8",
        "route add default via 192.0.2.254 table 100",
    ],
)
def test_a_change_of_links_addresses_or_default_routes_is_told(change: str) -> None:
    async def body(told: Told, _: Monitor) -> None:
        before = told.count
        ip(*change.split())
        await told.next()
        assert told.count == before + 1

    watched(body)


def test_other_routes_and_looking_are_not_told() -> None:
    async def body(told: Told, _: Monitor) -> None:
        before = told.count
        ip("route", "add", "203.0.113.0/24", "via", "192.0.2.254")
        ip("-6", "route", "add", "2001:db8:7::/48", "via", "2001:db8::fe")
        ip("route", "delete", "203.0.113.0/24")
        ip("route", "show")
        await asyncio.sleep(QUIET)
        assert told.count == before

    watched(body)


def test_while_nothing_changes_nothing_wakes_us() -> None:
    async def body(told: Told, monitor: Monitor) -> None:
        woken: list[int] = []
        readable = monitor._readable
        loop = asyncio.get_running_loop()

        def wake() -> None:
            woken.append(1)
            readable()

        loop.add_reader(monitor._socket.fileno(), wake)
        await asyncio.sleep(0.5)
        assert woken == []
        assert monitor._timer is None
        ip("link", "set", "v1", "down")
        await told.next()
        assert woken != []

    watched(body)


def test_a_burst_is_told_once_and_its_end_is_told_too() -> None:
    async def body(told: Told, _: Monitor) -> None:
        before = told.count
        for number in range(2, 60):
            ip("address", "add", f"192.0.2.{number}/32", "dev", "v0")
        assert told.count == before, "no reader runs while the commands do"
        await told.next()
        assert told.count == before + 1
        ip("route", "add", "default", "via", "192.0.2.254")
        await told.next()
        assert told.count == before + 2

    watched(body)


def test_what_the_buffer_cannot_hold_counts_as_a_change_and_the_next_one_is_told_again() -> None:
    async def body(told: Told, monitor: Monitor) -> None:
        monitor._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        before = told.count
        add_routes(500)
        await told.next()
        assert told.count == before + 1, "the events that were lost may have been any"
        await told.quiet()
        ip("route", "add", "default", "via", "192.0.2.254")
        await told.next()

    watched(body)


def add_routes(count: int) -> None:
    batch = "".join(f"route add 203.0.{n // 250}.{n % 250}/32 via 192.0.2.254\n" for n in range(count))
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)


def test_a_socket_that_fails_is_opened_anew() -> None:
    async def body(told: Told, monitor: Monitor) -> None:
        def failing(_: int) -> tuple[bytes, tuple[int, int]]:
            raise OSError(5, "Input/output error")

        broken = monitor._socket
        monitor._socket = Broken(broken, failing)  # type: ignore[assignment]  # has what is used
        opened = [OSError(24, "Too many open files")]

        def open_() -> socket.socket:
            if opened:
                raise opened.pop()
            return real()

        real, module._open = module._open, open_
        module.RETRY_PAUSE = SETTLE
        ip("link", "set", "v1", "down")
        await told.next()
        assert broken.fileno() == -1
        assert opened == []
        ip("link", "set", "v1", "up")
        await told.next()

    watched(body)


class Broken:
    """A socket whose reads fail."""

    def __init__(self, sock: socket.socket, recvfrom: Callable[[int], tuple[bytes, tuple[int, int]]]) -> None:
        self._sock = sock
        self.recvfrom = recvfrom

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


def test_what_another_process_sends_is_nobodys_word() -> None:
    async def body(told: Told, monitor: Monitor) -> None:
        before = told.count
        port = monitor._socket.getsockname()[0]
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as other:
            other.bind((0, 0))
            other.sendto(pack_message(Request(RTM_NEWLINK, 0, bytes(16)), 1), (port, 0))
        await asyncio.sleep(QUIET)
        assert told.count == before

    watched(body)


def test_after_the_close_nothing_is_told() -> None:
    async def body(told: Told, monitor: Monitor) -> None:
        before = told.count
        ip("link", "set", "v1", "down")
        await asyncio.sleep(0)
        monitor.close()
        await asyncio.sleep(QUIET)
        assert told.count == before

    watched(body)


def test_the_word_of_a_route_is_read_and_nothing_else_of_it() -> None:
    def route(length: int) -> bytes:
        return pack_message(Request(RTM_NEWROUTE, 0, bytes((socket.AF_INET, length)) + bytes(10)), 1)

    assert module._matters(route(0))
    assert module._matters(route(24) + route(0))
    assert not module._matters(route(24) + route(32))
    assert not module._matters(b"")
    assert not module._matters(route(0)[:20])
    assert not module._matters(pack_message(Request(RTM_NEWROUTE, 0, b""), 1))
