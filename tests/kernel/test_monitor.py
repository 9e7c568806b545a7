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
        "-6 address add 2001:db8::7/64 dev v0 nodad",
        "-6 address delete 2001:db8::1/64 dev v0",
        "rule add pref 100 lookup 77",
        "-6 rule add pref 100 lookup 77",
        "route add 10.1.0.0/16 via 192.0.2.9 proto 231",
        "-6 route add 2001:db8:7::/48 via 2001:db8::9 proto 231 table 5230",
        "nexthop add id 7 via 192.0.2.9 dev v0 proto 231",
    ],
)
def test_a_change_of_links_addresses_default_routes_rules_or_of_ours_is_told(change: str) -> None:
    async def body(told: Told, _: Monitor) -> None:
        before = told.count
        ip(*change.split())
        await told.next()
        assert told.count == before + 1

    watched(body)


def counted(monitor: Monitor) -> list[int]:
    """One more in the list for each time that the monitor is woken."""
    woken: list[int] = []
    readable = monitor._readable

    def wake() -> None:
        woken.append(1)
        readable()

    asyncio.get_running_loop().add_reader(monitor._socket.fileno(), wake)
    return woken


def test_other_routes_and_looking_wake_nobody() -> None:
    async def body(told: Told, monitor: Monitor) -> None:
        before, woken = told.count, counted(monitor)
        ip("route", "add", "203.0.113.0/24", "via", "192.0.2.254")
        ip("-6", "route", "add", "2001:db8:7::/48", "via", "2001:db8::fe")
        ip("route", "delete", "203.0.113.0/24")
        ip("route", "show")
        await asyncio.sleep(QUIET)
        assert (told.count, woken) == (before, [])

    watched(body)


def test_ten_thousand_changes_of_other_programs_routes_wake_nobody() -> None:
    async def body(told: Told, monitor: Monitor) -> None:
        before, woken = told.count, counted(monitor)
        add_routes(5000)
        add_routes(5000, verb="delete")
        await asyncio.sleep(QUIET)
        assert (told.count, woken) == (before, [])
        ip("link", "set", "v1", "down")
        await told.next()
        assert woken

    watched(body)


def test_ten_thousand_routes_replaced_by_other_programs_elsewhere_wake_nobody() -> None:
    async def body(told: Told, monitor: Monitor) -> None:
        add_routes(2500)
        before, woken = told.count, counted(monitor)
        for more in ("proto bird src 192.0.2.1", "proto bird") * 2:
            add_routes(2500, verb="replace", more=more)
        ip("-6", "route", "add", "2001:db8:7::/48", "via", "2001:db8::fe")
        ip("-6", "route", "replace", "2001:db8:7::/48", "via", "2001:db8::fd")
        await asyncio.sleep(QUIET)
        assert (told.count, woken) == (before, [])

    watched(body)


@pytest.mark.parametrize(("destination", "hops"), [("10.1.0.0/16", "192.0.2."), ("2001:db8:7::/48", "2001:db8::")])
def test_another_program_that_replaces_a_route_of_ours_in_its_place_is_told(destination: str, hops: str) -> None:
    async def body(told: Told, _: Monitor) -> None:
        ip("route", "add", destination, "via", f"{hops}9", "metric", "50", "proto", "231")
        await told.next()
        await told.quiet()
        before = told.count
        ip("route", "replace", destination, "via", f"{hops}77", "metric", "50", "proto", "static")
        await told.next()
        assert told.count == before + 1

    watched(body)


@pytest.mark.parametrize(("destination", "hop"), [("10.1.0.0/16", "192.0.2.77"), ("2001:db8:7::/48", "2001:db8::77")])
def test_another_program_that_gives_a_place_that_may_be_ours_back_is_told(destination: str, hop: str) -> None:
    async def body(told: Told, _: Monitor) -> None:
        ip("route", "add", destination, "via", hop, "metric", "50", "proto", "static")
        await told.quiet()
        before = told.count
        ip("route", "delete", destination, "via", hop, "metric", "50")
        await told.next()
        assert told.count == before + 1

    watched(body)


@pytest.mark.parametrize("address", ["192.0.2.1/24", "2001:db8::1/64"])
def test_an_address_that_is_only_renewed_wakes_nobody_and_its_loss_is_told(address: str) -> None:
    async def body(told: Told, monitor: Monitor) -> None:
        before = told.count
        await asyncio.sleep(0.02)  # the kernel notes the time in hundredths of a second
        woken = counted(monitor)
        for lifetime in ("300", "forever"):
            lifetimes = ("valid_lft", lifetime, "preferred_lft", lifetime)
            ip("address", "change", address, "dev", "v0", *lifetimes)
        await asyncio.sleep(QUIET)
        assert (told.count, woken) == (before, [])
        ip("address", "delete", address, "dev", "v0")
        await told.next()

    watched(body)


def test_while_nothing_changes_nothing_wakes_us() -> None:
    async def body(told: Told, monitor: Monitor) -> None:
        woken = counted(monitor)
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
        add_routes(500, more="proto 231")
        await told.next()
        assert told.count == before + 1, "the events that were lost may have been any"
        await told.quiet()
        ip("route", "add", "default", "via", "192.0.2.254")
        await told.next()

    watched(body)


def add_routes(count: int, *, verb: str = "add", more: str = "proto bird") -> None:
    """Routes of another program, or whose it may be."""
    lines = (f"route {verb} 203.{n >> 8}.{n & 255}.0/32 via 192.0.2.254 {more}\n" for n in range(count))
    subprocess.run(["ip", "-batch", "-"], input="".join(lines), text=True, check=True)


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
