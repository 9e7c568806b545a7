"""What the helper does to the machine as sessions and networks come and go, with a forwarder that only notes it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from devlink.core.names import DomainName
from devlink.core.network import Route
from devlink.core.plan import Upstream, Zone
from devlink.errors import HelperError
from devlink.helper import machine as machine_module
from devlink.helper.installed import Installed, SessionRoutes
from devlink.helper.journal import Journal
from devlink.helper.machine import Machine
from devlink.helper.parts import Parts
from devlink.helper.policy import DnsPolicy, NamedUpstream, Policy
from devlink.helper.resolver import AT_REST
from devlink.kernel.ours import Ours
from devlink.resolvers.mode import Watched
from tests.helper.fakes import FILE_SERVERS, LIMIT, Edges, FakeWatch, FileMode, default_by

HOME = FILE_SERVERS
OFFICE = (Upstream(address=ip_address("198.51.100.1")),)
NOBODY: tuple[Upstream, ...] = ()
LIBC_DEFAULT = (Upstream(address=ip_address("127.0.0.1")),)
"""Whom libc asks where resolv.conf is empty."""
ROUTE = Route(destination=ip_network("10.20.0.0/16"), next_hop=ip_address("172.16.0.13"), oif="eth0")
PIN = replace(ROUTE, destination=ip_network("10.20.9.9/32"))
ZONE = Zone(suffix=DomainName.parse("cluster.local"), servers=(Upstream(address=ip_address("10.20.0.2")),))
NAMES = Installed(zones=(ZONE,))
MORE = Installed(zones=(ZONE, replace(ZONE, suffix=DomainName.parse("other.local"))))
NOTHING = Installed()
LOCAL_CACHE = NamedUpstream(address=ip_address("127.0.0.9"), port=5353)
DEFAULTS = DnsPolicy()


class World(Edges):
    """A machine at home, whose system sends all names to us."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, dns: DnsPolicy) -> None:
        super().__init__(patch, FileMode)
        self.observed = default_by("192.168.1.1")
        patch.setattr(machine_module, "observe_ours", Ours)
        patch.setattr(machine_module, "apply", lambda _: None)
        self.machine = Machine(
            policy=Policy(dns=dns), journal=Journal(folder / "journal.json"), parts=Parts(folder, private=True)
        )
        own: Any = self.machine.names
        self.feed = own._feed
        self.watch: FakeWatch = own._system
        self.resolver: FileMode = own._resolver._modes["file"]

    async def become(self, target: Installed, *, wanted: Installed = NOTHING) -> None:
        async with self.machine.lock:
            await self.machine.converge(target, wanted=wanted)

    async def look(self) -> None:
        """The kernel tells of a change, and all comes of it that does."""
        self.monitors[-1].changed()
        await self.calm()

    @property
    def asked(self) -> list[tuple[Upstream, ...]]:
        """Whom the forwarder was to ask, each time it was told."""
        return [config.upstreams for config, _ in self.feed.told]


Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a test's body with names served."""

    def runner(body: Callable[[World], Coroutine[Any, Any, None]], dns: DnsPolicy = DEFAULTS) -> None:
        async def main() -> None:
            world = World(tmp_path, monkeypatch, dns)
            await world.become(NAMES, wanted=NAMES)
            await body(world)

        asyncio.run(main())

    return runner


def test_it_tells_whom_the_forwarder_asks_as_long_as_there_is_one(run: Run) -> None:
    async def body(world: World) -> None:
        assert list(world.machine.names.upstreams) == [LOCAL_CACHE.upstream]
        assert await world.machine.names.protected_ways() == (LOCAL_CACHE.address, HOME[0].address)
        await world.become(NOTHING)
        assert list(world.machine.names.upstreams) == []

    run(body, DnsPolicy(upstreams=(LOCAL_CACHE,)))


# The network changes


def test_the_servers_that_another_network_names_are_asked_from_then_on(run: Run) -> None:
    async def body(world: World) -> None:
        await world.look()
        assert world.asked == [HOME]
        world.observed, world.resolver.upstreams = default_by("10.9.9.1"), OFFICE
        await world.look()
        assert world.asked == [HOME, OFFICE]
        assert world.machine.names.upstreams == OFFICE

    run(body)


def test_another_default_route_has_everything_forgotten_and_none_has_it_kept(run: Run) -> None:
    async def body(world: World) -> None:
        world.observed = default_by()
        await world.look()
        assert world.feed.flushed == 0, "there is no way out, and nothing that answers"
        world.observed = default_by("10.9.9.1")
        await world.look()
        assert world.feed.flushed == 1
        assert world.asked == [HOME]

    run(body)


def test_while_there_is_no_way_out_and_nobody_is_named_all_stays_as_it_is(run: Run) -> None:
    async def body(world: World) -> None:
        world.observed, world.resolver.upstreams = default_by(), NOBODY
        await world.look()
        assert world.asked == [HOME], "other upstreams would have every answer forgotten"
        assert world.feed.flushed == 0
        world.observed = default_by("10.9.9.1")
        await world.look()
        assert world.asked == [HOME, LIBC_DEFAULT], "with a way out, libc's own server is meant"

    run(body)


def test_servers_that_are_named_where_no_route_leads_out_are_asked(run: Run) -> None:
    async def body(world: World) -> None:
        world.observed, world.resolver.upstreams = default_by(), OFFICE
        await world.look()
        assert world.asked == [HOME, OFFICE]

    run(body)


def test_a_move_during_which_the_file_could_not_be_read_is_seen_at_the_next_look(run: Run) -> None:
    async def body(world: World) -> None:
        world.observed, world.resolver.unreadable = default_by("10.9.9.1"), HelperError("It cannot be read.")
        await world.look()
        assert world.feed.flushed == 0
        world.resolver.unreadable = None
        await world.look()
        assert world.feed.flushed == 1

    run(body)


@pytest.mark.parametrize("why", ["nobody is named", "it cannot be read"])
def test_servers_that_are_named_after_the_kernels_last_word_are_found_by_a_second_look(run: Run, why: str) -> None:
    async def body(world: World) -> None:
        world.observed = default_by()
        if why == "nobody is named":
            world.resolver.upstreams = NOBODY
        else:
            world.resolver.unreadable = HelperError("It cannot be read.")
        world.monitors[-1].changed()
        while world.resolver.reads < 2:  # noqa: ASYNC110 - once when names came up, and once now
            await asyncio.sleep(0)
        world.resolver.unreadable, world.resolver.upstreams = None, OFFICE
        await world.calm()
        assert world.asked == [HOME, OFFICE]

    run(body)


def test_up_again_without_a_network_forgets_nothing_either(run: Run) -> None:
    async def body(world: World) -> None:
        world.observed, world.resolver.upstreams = default_by(), NOBODY
        await world.look()
        await world.become(NAMES, wanted=NAMES)
        assert set(world.asked) == {HOME}

    run(body)


def test_a_forwarder_that_does_not_take_the_new_servers_gives_the_resolver_back_and_is_started_again(run: Run) -> None:
    async def body(world: World) -> None:
        world.observed, world.resolver.upstreams = default_by("10.9.9.1"), OFFICE
        world.feed.refusals = 1
        await world.look()
        assert world.resolver.did == ["apply", "restore", "apply"], "nobody waited for a forwarder that was not there"
        assert world.feed.is_serving
        assert world.asked == [HOME, OFFICE]

    run(body)


@pytest.mark.parametrize("what", ["the disk is full", "the bus is away, and back"])
def test_what_is_still_wanted_after_a_rollback_that_failed_is_tried_again(run: Run, what: str) -> None:
    """By the resolver: the forwarder serves, so nothing else would see that nobody asks it."""

    async def body(world: World) -> None:
        refusal = world.resolver.refusal = HelperError("Not now.")
        if what != "the disk is full":
            world.resolver.unprepared = world.resolver.resistance = refusal
        with pytest.raises(HelperError):
            await world.become(MORE, wanted=MORE)
        world.resolver.refusal = world.resolver.unprepared = world.resolver.resistance = None
        if what != "the disk is full":
            world.resolver.forget()
        await world.calm()
        assert (await world.machine.names.resolver())[0] == "file"
        assert world.resolver.told is not None
        assert world.resolver.told.domains == (ZONE.suffix,)
        assert world.watch.watched != Watched()

    run(body)


def test_once_nothing_is_served_the_kernel_is_not_listened_to(run: Run) -> None:
    async def body(world: World) -> None:
        await world.become(NAMES, wanted=NAMES)
        assert [monitor.is_closed for monitor in world.monitors] == [False]
        await world.become(NOTHING)
        assert [monitor.is_closed for monitor in world.monitors] == [True], "each change would wake an idle helper"

    run(body)


# Sessions come and go


def test_a_session_without_names_that_goes_takes_its_networks_out_of_the_protected_ones(run: Run) -> None:
    async def body(world: World) -> None:
        both = replace(NAMES, sessions=(SessionRoutes(session="qa", routes=(ROUTE,)),), networks=(ROUTE.destination,))
        await world.become(both, wanted=NAMES)
        await world.become(NAMES)
        assert [config.private for config, _ in world.feed.told[-2:]] == [(ROUTE.destination,), ()]

    run(body, DnsPolicy(rebinding_protection=True))


def test_a_pin_that_goes_is_nothing_to_tell_the_forwarder(run: Run) -> None:
    async def body(world: World) -> None:
        pinned = replace(NAMES, pins=(PIN,))
        await world.become(pinned, wanted=NAMES)
        before = len(world.feed.told)
        await world.become(NAMES)
        assert len(world.feed.told) == before

    run(body, DnsPolicy(rebinding_protection=True))


# At rest


def test_what_another_program_puts_back_of_ours_while_nothing_is_up_is_taken_back(run: Run) -> None:
    async def body(world: World) -> None:
        await world.become(NOTHING)
        assert world.watch.watched == AT_REST
        world.resolver.is_left = True  # a VPN that ends has put back what it found
        world.watch.changed()
        await world.calm()
        assert not world.resolver.is_left
        world.machine.names.close()
        assert world.watch.watched == Watched()

    run(body)


def test_what_cannot_be_taken_back_at_once_is_tried_again_until_it_can(run: Run) -> None:
    async def body(world: World) -> None:
        await world.become(NOTHING)
        world.resolver.is_left, world.resolver.resistance = True, HelperError("The disk is read-only.")
        world.log.clear()
        world.watch.changed()
        async with asyncio.timeout(LIMIT):
            while len(world.log) < 4:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)
        world.resolver.resistance = None
        await world.calm()
        assert not world.resolver.is_left

    run(body)
