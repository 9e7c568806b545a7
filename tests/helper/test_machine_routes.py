"""What the helper does to the routes, nexthop objects and rules of a real kernel, and puts back there."""

import asyncio
import errno
from collections.abc import Callable, Collection, Coroutine
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from devlink.core.network import FIRST_NEXTHOP_ID, PROTOCOL, Holding, Nexthop, Route, RouteKey, Rule
from devlink.core.plan import Detour
from devlink.errors import HelperError, NotUpError
from devlink.helper import machine
from devlink.helper.installed import Installed, SessionRoutes
from devlink.helper.journal import Journal
from devlink.helper.machine import Machine
from devlink.helper.parts import Parts
from devlink.helper.policy import Policy, RoutesPolicy
from devlink.helper.repair import Mended
from devlink.kernel import rules
from devlink.kernel.netlink import NetlinkSocket
from devlink.kernel.nexthops import RTM_GETNEXTHOP
from devlink.kernel.observe import observe
from devlink.kernel.ours import observe_ours
from devlink.kernel.routes import switch
from tests.helper.fakes import Nameless
from tests.kernel.private_network import in_private_network, ip, make_links

pytestmark = pytest.mark.lab

GATEWAY, SPARE, ROUTER = (ip_address(f"192.0.2.{last}") for last in (9, 10, 254))
SIX = ip_address("2001:db8::9")
TURN = Detour(next_hop=GATEWAY, via=SPARE, oif="v0")
LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""


def route(destination: str, next_hop: str | None = "192.0.2.9", *, table: int = 254) -> Route:
    hop = ip_address(next_hop) if next_hop is not None else None
    return Route(destination=ip_network(destination), next_hop=hop, oif="v0", table=table)


QA = SessionRoutes(
    session="qa",
    routes=(
        route("10.1.0.0/16"), route("10.2.0.0/16"), route("10.3.0.0/16", "192.0.2.10"), route("10.4.0.0/16", None),
        route("2001:db8:1::/48", "2001:db8::9"),
    ),
)  # fmt: skip
PROD = SessionRoutes(session="prod", routes=(route("10.8.0.0/16"),))
OVERRIDE = SessionRoutes(
    session="over",
    routes=(
        route("10.9.0.0/16", table=5230),
        replace(route("10.9.7.0/24", None, table=5230), kind="throw", oif=""),
    ),
)
PINS = (route("198.51.100.1/32", "192.0.2.254"),)
INSTALLED = Installed(sessions=(QA,), pins=PINS)
ALL = Installed(sessions=(QA, PROD, OVERRIDE), pins=PINS)
NOTHING = Installed()


class World:
    """A machine without names, in a network of its own."""

    def __init__(self, folder: Path, *, objects: bool = True) -> None:
        policy = Policy(routes=RoutesPolicy(nexthop_objects=objects))
        self.machine = Machine(
            policy=policy, journal=Journal(folder / "journal.json"), parts=Parts(folder, private=True)
        )
        self.names = Nameless()
        self.machine.names = self.names  # type: ignore[assignment]  # has what is used

    async def become(self, target: Installed, *, wanted: Installed = NOTHING) -> None:
        async with self.machine.lock:
            await self.machine.converge(target, wanted=wanted)

    async def mend(self, leave: Collection[RouteKey] = ()) -> Mended:
        """Look, and put back, as the helper does it after each change."""
        async with self.machine.lock:
            return await self.machine.reassert(leave, await self.machine.lack())

    async def is_whole(self) -> bool:
        return not await self.machine.missing_routes() and not await self.machine.has_remains()


Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a test's body in a network of its own, with this installed."""

    def runner(
        body: Callable[[World], Coroutine[Any, Any, None]], installed: Installed = INSTALLED, *, objects: bool = True
    ) -> None:
        async def main() -> None:
            world = World(tmp_path, objects=objects)
            await world.become(installed, wanted=installed)
            async with asyncio.timeout(LIMIT):
                await body(world)

        def inside() -> None:
            make_links()
            asyncio.run(main())

        in_private_network(inside)

    return runner


def ways() -> dict[str, str]:
    """By whom our routes go, as the kernel has it."""
    return {str(r.destination): str(r.next_hop) for r in observe().routes if r.is_ours}


def objects() -> dict[int, str]:
    return {each.id: str(each.next_hop) for each in observe_ours().nexthops}


async def until(condition: Callable[[], bool]) -> None:
    """The kernel tells its own parts of a carrier a moment later."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.005)


def test_each_session_has_one_object_for_each_next_hop_and_pins_have_none(run: Run) -> None:
    async def body(world: World) -> None:
        await world.become(ALL, wanted=ALL)
        ours = observe_ours()
        assert len(ours.nexthops) == 5
        by_object = {str(r.destination): r.nexthop_id for r in ours.routes}
        assert by_object["10.1.0.0/16"] == by_object["10.2.0.0/16"] != 0
        assert len({by_object[each] for each in ("10.1.0.0/16", "10.3.0.0/16", "10.8.0.0/16", "10.9.0.0/16")}) == 4
        assert by_object["10.4.0.0/16"] == by_object["198.51.100.1/32"] == by_object["10.9.7.0/24"] == 0
        assert [(rule.version, rule.priority, rule.table) for rule in ours.rules] == [(4, 5200, 5230)]
        assert await world.is_whole()
        await world.become(INSTALLED)
        assert len(observe_ours().nexthops) == 3
        assert observe_ours().rules == ()
        await world.become(NOTHING)
        left = observe_ours()
        assert not left.routes + left.nexthops + left.rules
        assert await world.is_whole()

    run(body)


@pytest.mark.parametrize("with_objects", [True, False])
def test_a_switch_turns_the_routes_of_one_session_by_one_next_hop_and_back(run: Run, with_objects: bool) -> None:
    async def body(world: World) -> None:
        await world.become(ALL, wanted=ALL)
        before = ways()
        await world.machine.switch("qa", GATEWAY, TURN)
        assert ways() == before | {"10.1.0.0/16": str(SPARE), "10.2.0.0/16": str(SPARE)}
        assert await world.is_whole()
        turned = replace(ALL, sessions=(QA, PROD), detours={"qa": (TURN,)})
        await world.become(turned, wanted=turned.of("qa"))
        assert ways()["10.1.0.0/16"] == str(SPARE), "applied again with its detour, it stays where it was"
        await world.machine.switch("qa", GATEWAY, None)
        assert ways()["10.1.0.0/16"] == str(GATEWAY)
        assert bool(objects()) is with_objects

    run(body, objects=with_objects)


def test_a_session_that_has_no_routes_by_a_next_hop_cannot_be_switched_from_it(run: Run) -> None:
    async def body(world: World) -> None:
        for session, hop in (("qa", ROUTER), ("prod", GATEWAY)):
            with pytest.raises(NotUpError, match=session):
                await world.machine.switch(session, hop, TURN)

    run(body)


@pytest.mark.parametrize("with_objects", [True, False])
def test_a_switch_that_the_kernel_refuses_changes_nothing(run: Run, with_objects: bool) -> None:
    async def body(world: World) -> None:
        before = ways()
        with pytest.raises(HelperError, match=r"203\.0\.113\.1"):
            await world.machine.switch("qa", GATEWAY, replace(TURN, via=ip_address("203.0.113.1")))
        assert ways() == before
        assert await world.is_whole()

    run(body, objects=with_objects)


def test_a_switch_of_two_objects_whose_second_the_kernel_refuses_leaves_the_first_as_it_was(run: Run) -> None:
    ip_first = replace(PROD, routes=(*PROD.routes, replace(route("10.98.0.0/16"), oif="v1")))
    installed = Installed(sessions=(ip_first,))

    async def body(world: World) -> None:
        ip("address", "add", "198.51.100.1/24", "dev", "v1")
        ip("route", "add", "192.0.2.9/32", "dev", "v1")
        await world.become(installed, wanted=installed)
        before = objects()
        assert len(before) == 2
        turned: list[int] = []

        def refusing(nexthop: Nexthop) -> bool:
            if turned:
                raise HelperError("No second one.")
            turned.append(nexthop.id)
            return switch(nexthop)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(machine, "switch", refusing)
            with pytest.raises(HelperError, match="second"):
                await world.machine.switch("prod", GATEWAY, TURN)
        assert turned
        assert objects() == before
        assert await world.is_whole()

    run(body, NOTHING)


def test_a_switch_puts_back_objects_that_another_hand_took(run: Run) -> None:
    async def body(world: World) -> None:
        ip("nexthop", "flush", "proto", "231")
        await world.machine.switch("qa", GATEWAY, TURN)
        assert ways()["10.2.0.0/16"] == str(SPARE)
        assert await world.is_whole()

    run(body)


def test_a_number_that_somebody_has_is_not_taken(run: Run) -> None:
    async def body(world: World) -> None:
        await world.become(NOTHING)
        ip("nexthop", "add", "id", str(FIRST_NEXTHOP_ID), "via", "192.0.2.77", "dev", "v0")
        await world.become(INSTALLED, wanted=INSTALLED)
        assert set(objects()) == {FIRST_NEXTHOP_ID + 1, FIRST_NEXTHOP_ID + 2, FIRST_NEXTHOP_ID + 3}
        ip("nexthop", "flush", "proto", "231")
        ip("nexthop", "add", "id", str(FIRST_NEXTHOP_ID + 1), "via", "192.0.2.77", "dev", "v0")
        await world.mend()
        assert FIRST_NEXTHOP_ID + 1 not in objects()
        assert len(objects()) == 3
        assert await world.is_whole()

    run(body)


HANDS = {
    "route delete 10.1.0.0/16": {"10.1.0.0/16"},
    "route replace 10.1.0.0/16 via 192.0.2.77 metric 50 proto 231": {"10.1.0.0/16"},
    "route delete 10.4.0.0/16": {"10.4.0.0/16"},
    "route delete 198.51.100.1/32": {"198.51.100.1/32"},
    "-6 route delete 2001:db8:1::/48": {"2001:db8:1::/48"},
    "nexthop flush proto 231": {
        "10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "2001:db8:1::/48", "10.8.0.0/16", "10.9.0.0/16",
    },
    f"nexthop replace id {FIRST_NEXTHOP_ID} via 192.0.2.77 dev v0": {"10.1.0.0/16", "10.2.0.0/16"},
    "rule delete pref 5200": {"10.9.0.0/16", "10.9.7.0/24"},
    "route delete throw 10.9.7.0/24 table 5230": {"10.9.7.0/24"},
    "link set v0 mtu 1400": set(),
}  # fmt: skip


@pytest.mark.parametrize("deed", HANDS)
def test_what_another_hand_took_is_missing_and_put_back_and_told(run: Run, deed: str) -> None:
    async def body(world: World) -> None:
        before, wanted = ways(), HANDS[deed]
        ip(*deed.split())
        assert {str(r.destination) for r in await world.machine.missing_routes()} == wanted
        put_back = (await world.mend()).back
        assert {str(r.destination) for r in put_back} == wanted
        assert put_back == tuple(r for r in ALL.routes if str(r.destination) in wanted), "as the session wants them"
        assert ways() == before
        assert await world.is_whole()
        assert await world.mend() == Mended()

    run(body, ALL)


@pytest.mark.parametrize("with_objects", [True, False])
def test_what_waits_for_its_link_is_not_tried_and_put_back_when_it_is_there_again(run: Run, with_objects: bool) -> None:
    async def body(world: World) -> None:
        before = ways()
        for end in ("v1", "v0"):
            ip("link", "set", end, "down")
            await until(lambda: not observe_ours().nexthops)
            assert await world.mend() == Mended()
            ip("link", "set", end, "up")
            ip("address", "replace", "2001:db8::1/64", "dev", "v0", "nodad")
            await until(lambda: all(link.up for link in observe().links))
            missing = await world.machine.missing_routes()
            assert await world.mend() == Mended(back=missing)
            assert ways() == before
            assert await world.is_whole()

    run(body, objects=with_objects)


@pytest.mark.parametrize("with_objects", [True, False])
def test_what_leads_to_a_next_hop_that_is_off_link_is_taken_away_until_it_is_on_link_again(
    run: Run, with_objects: bool
) -> None:
    async def body(world: World) -> None:
        before = ways()
        ip("route", "add", "default", "via", "192.0.2.254")
        ip("address", "add", "203.0.113.1/24", "dev", "v0")
        ip("route", "add", "default", "via", "203.0.113.254", "metric", "7")
        ip("address", "delete", "192.0.2.1/24", "dev", "v0")
        assert await world.mend() == Mended()
        assert set(ways()) == {"10.4.0.0/16", "2001:db8:1::/48"}
        assert all(":" in hop for hop in objects().values()), "the kernel keeps objects that lead nowhere"
        ip("address", "add", "192.0.2.1/24", "dev", "v0")
        assert (await world.mend()).back
        assert ways() == before
        assert await world.is_whole()

    run(body, objects=with_objects)


@pytest.mark.parametrize("with_objects", [True, False])
def test_a_place_that_another_took_keeps_nothing_else_from_being_put_back(run: Run, with_objects: bool) -> None:
    many = SessionRoutes(session="qa", routes=tuple(route(f"10.7.{number}.0/24") for number in range(200)))

    async def body(world: World) -> None:
        for stolen in ("10.7.0.0/24", "10.7.150.0/24"):
            ip("route", "replace", stolen, "via", "192.0.2.77", "metric", "50", "proto", "static")
        ip(*("nexthop flush proto 231" if with_objects else "route flush proto 231").split())
        ip("rule", "delete", "pref", "5200")
        mended = await world.mend()
        assert {str(r.destination) for r in mended.held} == {"10.7.0.0/24", "10.7.150.0/24"}
        assert set(await world.machine.missing_routes()) == set(mended.held)
        assert len(mended.back) == 200
        assert (await world.machine.lack()).taken == mended.held
        ip("route", "delete", "10.7.0.0/24")
        assert [str(r.destination) for r in (await world.mend()).back] == ["10.7.0.0/24"]

    run(body, Installed(sessions=(many, OVERRIDE)), objects=with_objects)


def test_what_is_to_be_left_alone_is_not_put_back_nor_what_it_alone_needs(run: Run) -> None:
    async def body(world: World) -> None:
        ip("nexthop", "flush", "proto", "231")
        ip("rule", "delete", "pref", "5200")
        ip("route", "delete", "10.4.0.0/16")
        left = {r.key for r in OVERRIDE.routes} | {route("10.3.0.0/16").key}
        assert left & {r.key for r in (await world.mend(left)).back} == set()
        assert {r.key for r in await world.machine.missing_routes()} == left
        assert observe_ours().rules == ()
        assert len(objects()) == 3
        await world.mend()
        assert await world.is_whole()

    run(body, ALL)


def test_what_goes_missing_after_it_was_looked_is_left_to_the_next_look(run: Run) -> None:
    async def body(world: World) -> None:
        ip("route", "delete", "10.1.0.0/16")
        lack = await world.machine.lack()
        ip("route", "delete", "10.4.0.0/16")
        assert [str(r.destination) for r in (await world.machine.reassert((), lack)).back] == ["10.1.0.0/16"]
        assert [str(r.destination) for r in (await world.machine.lack()).taken] == ["10.4.0.0/16"]
        await world.mend()
        assert await world.is_whole()

    run(body, ALL)


def test_for_a_look_and_putting_back_ten_thousand_routes_are_dumped_and_compared_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next switch waits for it, and each switch is followed by a look."""

    async def body(world: World) -> None:
        ip("route", "delete", "10.1.0.0/16")
        calls: list[str] = []

        def counted(name: str) -> Callable[..., Any]:
            real = getattr(machine, name)

            def call(*arguments: Any) -> Any:
                calls.append(name)
                return real(*arguments)

            return call

        for name in ("observe_ours", "missing"):
            monkeypatch.setattr(machine, name, counted(name))
        assert (await world.mend()).back == (QA.routes[0],)
        assert sorted(calls) == ["missing", "observe_ours"]

    run(body)


def test_what_waits_for_its_link_is_no_other_hands_deed(run: Run) -> None:
    async def body(world: World) -> None:
        ip("route", "delete", "10.1.0.0/16")
        assert [str(r.destination) for r in (await world.machine.lack()).taken] == ["10.1.0.0/16"]
        ip("link", "set", "v0", "down")
        lack = await world.machine.lack()
        assert (lack.taken, len(lack.waiting)) == ((), len(INSTALLED.routes))

    run(body)


@pytest.mark.parametrize("with_objects", [True, False])
def test_after_a_failure_all_is_as_it_was_objects_and_rules_too(run: Run, with_objects: bool) -> None:
    async def body(world: World) -> None:
        before, objects = observe(), observe_ours().nexthops
        conflict = replace(PROD, routes=(*PROD.routes, route("10.99.0.0/16", "203.0.113.1")))
        target = Installed(sessions=(QA, OVERRIDE, conflict), detours={"qa": (TURN,)})
        with pytest.raises(HelperError, match=r"203\.0\.113\.1"):
            await world.become(target, wanted=target)
        after = observe()
        assert (set(after.routes), after.rules) == (set(before.routes), before.rules)
        assert set(observe_ours().nexthops) == set(objects)
        world.names.refusal = HelperError("The names do not go.")
        with pytest.raises(HelperError, match="do not go"):
            await world.become(NOTHING)
        assert await world.is_whole()

    run(body, objects=with_objects)


def test_a_rollback_does_not_put_back_what_the_kernel_had_dropped_before(run: Run) -> None:
    async def body(world: World) -> None:
        ip("route", "delete", "10.1.0.0/16")
        bad = Installed(sessions=(QA, replace(PROD, routes=(route("10.99.0.0/16", "203.0.113.1"),))))
        with pytest.raises(HelperError):
            await world.become(bad, wanted=bad.of("prod"))
        assert [str(r.destination) for r in await world.machine.missing_routes()] == ["10.1.0.0/16"]

    run(body)


def test_what_a_killed_helper_left_is_undone_by_the_marks_alone(run: Run, tmp_path: Path) -> None:
    async def body(_: World) -> None:
        rules.add(Rule(version=4, priority=5199, table=5231, mark=0xE7, protocol=PROTOCOL))
        ip("route", "add", "default", "via", "192.0.2.9", "table", "5231", "proto", "231")
        ip("rule", "add", "pref", "5200", "lookup", "5230")
        ip("nexthop", "add", "id", "7", "via", "192.0.2.77", "dev", "v0")
        ip("route", "add", "10.50.0.0/16", "nhid", "7")
        fresh = World(tmp_path)
        assert await fresh.machine.has_remains()
        async with fresh.machine.lock:
            await fresh.machine.undo()
        assert not await fresh.machine.has_remains()
        observed = observe()
        assert not any(route.is_ours for route in observed.routes)
        assert not observe_ours().nexthops
        assert [r.priority for r in observed.rules if r.version == 4] == [0, 5200, 32766, 32767]
        assert [str(r.destination) for r in observed.routes if r.nexthop_id == 7] == ["10.50.0.0/16"]

    run(body, ALL)


def test_what_belongs_to_probes_is_remains_only_where_nobody_knows_of_it_and_stays_while_sessions_come_and_go(
    run: Run,
) -> None:
    async def body(world: World) -> None:
        probe = Rule(version=4, priority=5199, table=5231, mark=0xE7, protocol=PROTOCOL)
        rules.add(probe)
        ip("route", "add", "default", "via", "192.0.2.9", "table", "5231", "proto", "231")
        await world.become(ALL, wanted=ALL)
        await world.become(NOTHING)
        ours = observe_ours()
        assert ours.rules == (probe,)
        assert [r.table for r in ours.routes] == [5231]
        assert await world.machine.has_remains()
        for left, known in ((False, ours.routes), (True, ())):
            held = Holding(routes=known, rules=ours.rules)
            assert await world.machine.has_remains(held) is left

    run(body)


def test_a_kernel_that_has_no_nexthop_objects_gets_plain_routes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = NetlinkSocket.dump

    def before_5_3(self: NetlinkSocket, kind: int, body: bytes, answer: int) -> list[bytes]:
        if kind == RTM_GETNEXTHOP:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(self, kind, body, answer)

    monkeypatch.setattr(NetlinkSocket, "dump", before_5_3)

    async def body(world: World) -> None:
        assert {route.nexthop_id for route in observe_ours().routes} == {0}
        await world.machine.switch("qa", GATEWAY, TURN)
        assert ways()["10.1.0.0/16"] == str(SPARE)
        assert await world.is_whole()

    run(body)


def test_the_object_of_a_role_is_known_by_its_number_alone() -> None:
    numbers = {("qa", GATEWAY, "v0"): 7}
    holding = Installed(sessions=(QA,), detours={"qa": (TURN,)}).holding(numbers)
    assert holding.nexthops == (Nexthop(id=7, next_hop=SPARE, oif="v0"),)
    assert {r.nexthop_id for r in holding.routes} == {0, 7}
    assert SIX in {r.next_hop for r in holding.routes}
