"""How forwarder and resolver are switched as one: in which order, by which mode, and what happens by itself."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from devlink.core.names import DomainName
from devlink.core.plan import Upstream, Zone
from devlink.errors import HelperError, ProtocolError, VerificationError
from devlink.helper import names
from devlink.helper.installed import Installed
from devlink.helper.journal import Journal
from devlink.helper.names import Names
from devlink.helper.parts import Parts
from devlink.helper.policy import Policy
from devlink.helper.resolver import AT_REST
from devlink.helper.restraint import BURST
from devlink.resolvers.mode import Telling, Watched
from devlink.rpc.tasks import spawn
from tests.helper.fakes import FILE_SERVERS, LIMIT, LINK_SERVERS, Edges, FakeWatch, FileMode, LinkMode, default_by

ZONE = Zone(suffix=DomainName.parse("cluster.local"), servers=(Upstream(address=ip_address("10.20.0.2")),))
NAMES = Installed(zones=(ZONE,))
OTHER = replace(ZONE, suffix=DomainName.parse("other.local"))
BOTH = Installed(zones=(ZONE, OTHER))
LESS = Installed(zones=(OTHER,))
OTHERS = (Upstream(address=ip_address("198.51.100.1")),)


class World(Edges):
    """A machine with both modes."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(patch, FileMode, LinkMode)
        self.lock = asyncio.Lock()
        self.names = Names(
            policy=Policy(), journal=Journal(folder / "journal"), parts=Parts(folder, private=True), lock=self.lock
        )
        own: Any = self.names
        self.feed = own._feed
        self.watch: FakeWatch = own._system
        self.link: LinkMode = own._resolver._modes["link"]
        self.file: FileMode = own._resolver._modes["file"]

    async def on(self, target: Installed = NAMES) -> None:
        async with self.lock:
            await self.names.on(target)

    async def less(self) -> None:
        async with self.lock:
            await self.names.less(LESS)

    async def off(self) -> None:
        async with self.lock:
            await self.names.off()

    async def fail_to_undo(self) -> None:
        async with self.lock:
            with pytest.raises(HelperError):
                await self.names.undo()
            await self.names.serve_ordinary_names()

    def domains(self) -> tuple[DomainName, ...]:
        """What the link was told of."""
        return self.link.told.domains if self.link.told is not None else ()

    async def look(self) -> None:
        """Something has changed, and all comes of it that does."""
        self.log.clear()
        self.watch.changed()
        await self.calm()


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
        assert not world.link.is_ours()
        assert not world.file.is_ours()

    run(body)


def test_whom_to_ask_is_said_by_the_mode_that_is_tried(run: Run) -> None:
    async def body(world: World) -> None:
        world.unproved = 1
        await world.on()
        assert [config.upstreams for config, _ in world.feed.told] == [LINK_SERVERS, FILE_SERVERS]

    run(body)


def test_what_has_forgotten_us_is_told_again(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        await world.look()
        assert world.log == []
        world.link.forget()
        await world.look()
        assert world.log == ["prepare link", "apply link"]

    run(body)


def test_on_a_link_that_was_made_anew_the_forwarder_has_new_sockets(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        world.link.forget()
        world.link.link = 2
        await world.look()
        assert [places[1].index for _, places in world.feed.told] == [1, 2]

    run(body)


def test_what_can_no_longer_be_told_is_tried_by_another_mode(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        world.link.forget()
        world.link.refusal = HelperError("It is gone.")
        await world.look()
        assert world.file.is_ours()
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
        assert world.link.is_ours() == splits
        assert not world.file.is_ours()

    run(body)


def test_without_a_forwarder_what_was_left_by_an_earlier_helper_is_given_back_as_well(run: Run) -> None:
    async def body(world: World) -> None:
        world.file.is_left = True
        await world.feed.lost()
        assert not world.file.is_left

    run(body)


def test_what_shows_a_loop_is_the_forwarders_to_answer(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        world.feed.refusals = 2  # one for each mode
        with pytest.raises(HelperError):
            await world.on(BOTH)
        assert world.names.loop_probe in world.feed.told[-1][0].proofs
        await world.off()
        assert world.names.loop_probe is None

    run(body)


def test_a_session_that_goes_takes_its_zones_along(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        world.log.clear()
        await world.less()
        assert world.log == ["apply link", "serve"]
        assert world.feed.told[-1][0].zones == (OTHER,)
        await world.less()
        assert world.log == ["apply link", "serve"], "nothing is another"

    run(body)


def test_a_session_that_goes_takes_its_zones_along_though_the_resolver_refuses_and_is_told_later(run: Run) -> None:
    """The zones' routes go next: their names must not be asked for over the default route."""

    async def body(world: World) -> None:
        await world.on(BOTH)
        world.link.refusal = HelperError("The bus is away.")
        await world.less()
        assert world.feed.told[-1][0].zones == (OTHER,)
        assert world.domains() == ()
        world.link.refusal = None
        await world.calm()
        assert world.domains() == (OTHER.suffix,)
        assert (await world.names.resolver())[0] == "link"

    run(body)


def test_what_a_session_that_went_took_along_is_not_told_again(run: Run) -> None:
    """A mode that refuses may have forgotten all that it was told."""

    async def body(world: World) -> None:
        await world.on(BOTH)
        world.link.refusal = HelperError("The bus is away.")
        async with world.lock:
            await world.names.less(LESS)
            world.link.refusal = None
            assert "refused" in (await world.names.resolver())[1]
        await world.look()
        assert world.domains() == (OTHER.suffix,)

    run(body)


def test_a_session_that_goes_while_the_forwarder_is_away_takes_its_zones_along(run: Run) -> None:
    """It comes back with what it was told last."""

    async def body(world: World) -> None:
        await world.on(BOTH)
        world.feed.is_serving = False
        await world.less()
        assert world.feed.told[-1][0].zones == (OTHER,)

    run(body)


def test_a_session_that_goes_takes_its_zones_along_also_where_the_resolver_was_not_taken(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on(BOTH)
        world.link.unprepared = world.link.refusal = world.file.refusal = HelperError("Not now.")
        with pytest.raises(HelperError):
            await world.on(BOTH)
        assert world.feed.is_serving
        await world.less()
        assert world.feed.told[-1][0].zones == (OTHER,)

    run(body)


def test_a_forwarder_that_does_not_take_what_is_left_is_started_again(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on(BOTH)
        world.feed.refusals = 1
        await world.less()
        await world.calm()
        assert world.feed.is_serving
        assert world.feed.told[-1][0].zones == (OTHER,)

    run(body)


@pytest.mark.parametrize("goes", [False, True])
def test_while_the_bus_is_away_the_mode_stays_also_after_a_session_has_gone(
    run: Run, monkeypatch: pytest.MonkeyPatch, goes: bool
) -> None:
    def without_a_bus(*_: object) -> None:
        raise HelperError("There is no bus.")

    async def body(world: World) -> None:
        await world.on(BOTH)
        if goes:
            await world.less()
        for method in ("is_ours", "prepare"):
            monkeypatch.setattr(world.link, method, without_a_bus)
        await world.look()
        assert set(world.log) == {"prove"}
        assert (await world.names.resolver())[0] == "link"

    run(body)


def test_whoever_was_told_and_is_gone_for_good_is_followed_by_another_mode(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_a_bus(*_: object) -> None:
        raise HelperError("There is no bus.")

    async def body(world: World) -> None:
        await world.on()
        world.unproved = 1
        for method in ("is_ours", "prepare"):
            monkeypatch.setattr(world.link, method, without_a_bus)
        await world.look()
        assert (await world.names.resolver())[0] == "file"

    run(body)


def test_the_forwarder_gets_its_new_sockets_also_after_a_look_that_failed(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        world.link.forget()
        world.link.link, world.link.unreadable = 2, HelperError("Not at this moment.")
        await world.look()
        world.link.unreadable = None
        await world.look()
        assert [places[1].index for _, places in world.feed.told] == [1, 2]

    run(body)


def test_what_could_not_be_taken_back_and_is_written_over_stays_so(run: Run) -> None:
    async def body(world: World) -> None:
        world.unproved = 1
        await world.on()
        world.file.resistance = HelperError("The disk is read-only.")
        await world.fail_to_undo()
        world.file.forget()
        await world.look()
        assert "apply file" not in world.log

    run(body)


def given_back(world: World) -> None:
    assert not world.feed.is_serving
    assert not world.link.is_ours()
    assert not world.file.is_ours()


async def lose(world: World) -> None:
    """The forwarder ends and does not come back, in a mode that sends it all names."""
    world.unproved = 1
    await world.on(BOTH)
    world.feed.is_serving = False
    await world.feed.lost()
    given_back(world)
    assert world.watch.watched == Watched(), "who gives back what was ours is no other program"


@pytest.mark.parametrize("what", ["the kernel speaks", "a session goes"])
def test_once_the_resolver_was_given_back_the_forwarder_is_left_to_who_takes_the_resolver_again(
    run: Run, what: str
) -> None:
    """Started by another it would serve, and the resolver would stay given back."""

    async def body(world: World) -> None:
        await lose(world)
        if what == "the kernel speaks":
            world.link.upstreams = world.file.upstreams = OTHERS
            await world.look()
        else:
            await world.less()
        given_back(world)
        world.feed.is_serving = True
        await world.feed.returned()
        await world.calm()
        assert (await world.names.resolver())[0] == "link"
        assert len(world.feed.told[-1][0].zones) == (2 if what == "the kernel speaks" else 1)

    run(body)


def test_a_forwarder_that_is_back_has_the_resolver_taken_at_once_though_a_later_time_was_fixed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        monkeypatch.setattr(names, "TAKE_AGAIN_PAUSE", 2 * LIMIT)
        await lose(world)
        world.feed.refusals = 2  # one for each mode
        await world.names.mend()
        async with asyncio.timeout(LIMIT):
            while world.feed.refusals:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)
        await world.feed.returned()
        await world.calm()
        assert (await world.names.resolver())[0] == "link"

    run(body)


def test_the_tries_to_take_the_resolver_again_come_ever_later_though_one_came_before_its_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        pause = 0.005
        monkeypatch.setattr(names, "TAKE_AGAIN_PAUSE", pause)
        await lose(world)
        world.feed.refusals = 2 * 5  # five tries, one for each mode
        await world.names.mend()
        await world.feed.returned()
        began = time.monotonic()
        await world.calm()
        assert time.monotonic() - began >= pause * (1 + 2 + 4 + 8 + 16)

    run(body)


@pytest.mark.parametrize("what", ["the kernel speaks", "the forwarder is lost", "the forwarder is back"])
def test_what_happens_by_itself_waits_for_a_change_that_is_being_made(run: Run, what: str) -> None:
    async def body(world: World) -> None:
        world.unproved = 1
        await world.on()
        world.file.forget()
        world.feed.is_serving = what != "the forwarder is lost"
        async with world.lock:
            world.log.clear()
            if what == "the kernel speaks":
                world.watch.changed()
            else:
                happens = world.feed.lost if what == "the forwarder is lost" else world.feed.returned
                spawn(happens(), name=what)
            await asyncio.sleep(0.05)  # enough for all of it
            assert world.log == []
        await world.calm()
        assert world.log

    run(body)


def test_after_an_undo_that_failed_the_servers_are_those_of_the_mode_that_still_sends_names(run: Run) -> None:
    async def body(world: World) -> None:
        world.file.apply(Telling(domains=(ZONE.suffix,), families=frozenset()))  # by an earlier helper
        world.file.resistance = HelperError("The disk is read-only.")
        await world.fail_to_undo()
        await world.look()
        assert [config.upstreams for config, _ in world.feed.told] == [FILE_SERVERS]
        assert world.feed.told[-1][0].zones == ()

    run(body)


def test_after_an_undo_that_failed_ordinary_names_go_on_though_their_mode_can_tell_nothing_any_more(run: Run) -> None:
    """As NetworkManager's, which has ended, and whose link is gone: its file still names us."""

    async def body(world: World) -> None:
        world.unproved = 1
        await world.on()
        world.file.resistance = world.file.unreadable = HelperError("It does not run.")
        world.file.forget()
        world.log.clear()
        await world.fail_to_undo()
        assert world.feed.is_serving
        config, _ = world.feed.told[-1]
        assert (config.zones, config.upstreams) == ((), FILE_SERVERS)
        assert "prepare file" not in world.log

    run(body)


def test_after_an_undo_that_failed_nobody_answers_for_the_zones_whose_routes_are_gone(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        world.link.resistance = HelperError("The bus is away.")
        await world.fail_to_undo()
        assert not world.feed.is_serving

    run(body)


def test_whatever_a_mode_fails_by_it_is_taken_back_and_another_one_tried(run: Run) -> None:
    async def body(world: World) -> None:
        world.link.refusal = ProtocolError("The files' line ended.")
        await world.on()
        assert world.log[:4] == ["prepare link", "serve", "apply link", "restore link"]
        assert (await world.names.resolver())[0] == "file"

    run(body)


def test_a_forwarder_that_returns_while_the_resolver_is_about_to_be_taken_again_has_it_taken_once(run: Run) -> None:
    async def body(world: World) -> None:
        await lose(world)
        world.feed.is_serving = True
        await world.feed.returned()
        await world.feed.returned()
        await world.calm()
        assert world.log.count("prepare link") == 2, "once when names came up, and once now"

    run(body)


def test_what_is_left_is_nobodys_only_where_no_names_are_wanted(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        assert not await world.names.has_remains()
        async with world.lock:
            await world.names.undo()
        assert world.watch.watched == AT_REST, "what was ours may be put back by others"
        assert not await world.names.has_remains()
        world.file.is_left = True
        assert await world.names.has_remains()

    run(body)


def test_what_was_given_up_is_told_once_more_by_a_forwarder_that_returns_and_no_new_count_begins(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on()
        for _ in range(BURST):
            world.link.forget()
            await world.look()
        await world.feed.returned()
        await world.calm()
        assert world.log.count("apply link") == 1
        world.link.forget()
        await world.look()
        assert "apply link" not in world.log

    run(body)


def test_where_the_system_splits_and_names_nobody_the_forwarder_asks_nobody(run: Run) -> None:
    """libc's default, this machine, is meant for all names; what asks the forwarder may be there."""

    async def body(world: World) -> None:
        world.link.upstreams = ()
        await world.on()
        assert world.feed.told[-1][0].upstreams == ()

    run(body)


@pytest.mark.parametrize("looked", [False, True])
def test_without_a_way_out_and_a_server_those_from_before_are_asked_whoever_asks_first(run: Run, looked: bool) -> None:
    """The agent hears of it as the helper does: its Apply may come before the look."""

    async def body(world: World) -> None:
        world.observed = default_by("192.168.1.1")
        world.unproved = 1
        await world.on()
        world.observed, world.file.upstreams = default_by(), ()
        if looked:
            await world.look()
        await world.on()
        await world.look()
        assert world.names.upstreams == FILE_SERVERS

    run(body)


def test_what_another_network_said_is_forgotten_also_where_an_apply_came_before_the_look(run: Run) -> None:
    async def body(world: World) -> None:
        world.observed = default_by("192.168.1.1")
        await world.on()
        world.observed = default_by("10.9.9.1")
        await world.on()
        await world.look()
        assert world.feed.flushed == 1

    run(body)


def test_what_is_watched_follows_the_mode_with_each_look(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolv.conf that leads elsewhere now has other files behind it."""

    async def body(world: World) -> None:
        await world.on()
        elsewhere = Watched(files=(Path("elsewhere"),))
        monkeypatch.setattr(world.link, "watched", lambda: elsewhere)
        await world.look()
        assert world.watch.watched == elsewhere

    run(body)


def test_the_mode_knows_the_families_of_the_clusters_addresses(run: Run) -> None:
    async def body(world: World) -> None:
        await world.on(replace(NAMES, networks=(ip_network("fd00:20::/64"),)))
        assert world.link.told is not None
        assert world.link.told.families == {4, 6}

    run(body)
