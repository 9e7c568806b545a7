"""The failovers of sessions that come up, change and go down."""

import asyncio
from dataclasses import replace
from ipaddress import ip_network

from devlink.core.detours import with_detour
from devlink.core.plan import Detour
from tests.agent.fake_gateways import FAST, STRANGER, THIRD, FakeLine, FakeProbes, World, run, wait_until_left


def test_a_session_that_is_not_up_has_no_gateways_to_show() -> None:
    async def body(world: World) -> None:
        probes = world.running._probes
        world.session.applied = False
        world.failovers.keep([world.session])
        assert world.session.gateways == ()
        assert isinstance(probes, FakeProbes)
        assert probes.is_closed

    run(body)


def test_a_new_edition_with_another_gateway_and_the_same_routes_has_that_one_take_over() -> None:
    async def body(world: World) -> None:
        world.send()
        await world.until(lambda: world.states[str(world.first)] == "healthy")
        world.with_gateways(world.first, THIRD)
        world.failovers.keep([world.session])
        assert world.states[str(world.first)] == "healthy", "what is known of it stays known"
        FakeProbes.silent = {world.first}
        await world.until(lambda: bool(world.link.switches), world.send)
        assert world.link.switches == [(world.first, THIRD)]

    run(body)


def test_a_gateway_that_turns_out_to_be_another_clusters_does_not_take_over() -> None:
    async def body(world: World) -> None:
        world.with_gateways(world.first, world.second, THIRD)
        world.session.strangers = {world.second: STRANGER}
        world.failovers.keep([world.session])
        world.send()
        await world.until(lambda: world.states[str(world.first)] == "healthy")
        FakeProbes.silent = {world.first}
        await world.until(lambda: bool(world.link.switches), world.send)
        assert world.link.switches == [(world.first, THIRD)]

    run(body)


def test_packets_do_not_stay_with_a_gateway_that_turns_out_to_be_another_clusters() -> None:
    async def body(world: World) -> None:
        world.with_gateways(world.first, world.second, THIRD)
        world.failovers.keep([world.session])
        await world.failovers.choose(None, world.second)
        world.session.strangers = {world.second: STRANGER}
        world.failovers.keep([world.session])
        await world.until(lambda: not world.session.plan.desired.detours)
        assert world.link.switches[-1] == (world.first, world.first)

    run(body)


def test_traffic_to_a_route_that_a_new_edition_adds_has_its_next_hop_asked() -> None:
    async def body(world: World) -> None:
        desired = world.session.plan.desired
        like = next(route for route in desired.routes if route.next_hop == world.first)
        more = replace(like, destination=ip_network("10.99.0.0/16"))
        world.session.plan = replace(world.session.plan, desired=replace(desired, routes=(*desired.routes, more)))
        world.failovers.keep([world.session])
        FakeLine.traffic.put_nowait("10.99.0.7")
        await world.until(lambda: world.states[str(world.first)] == "healthy")

    run(body)


def test_nothing_is_made_anew_where_nothing_has_changed() -> None:
    async def body(world: World) -> None:
        before = world.running
        world.session.wish = replace(world.session.wish, fetched=1.0)
        await world.failovers.choose(None, world.second)
        world.failovers.keep([world.session])
        assert world.running is before

    run(body)


def test_the_users_choice_outlives_a_new_edition() -> None:
    async def body(world: World) -> None:
        await world.failovers.choose(None, world.second)
        desired = world.session.plan.desired
        more = replace(desired.routes[0], destination=ip_network("10.99.0.0/16"))
        world.session.plan = replace(world.session.plan, desired=replace(desired, routes=(*desired.routes, more)))
        world.failovers.keep([world.session])
        assert "as you chose" in world.session.carrying[0].title
        end = asyncio.get_running_loop().time() + 2 * FAST.hold
        await world.until(lambda: asyncio.get_running_loop().time() > end, world.send)
        assert world.link.switches == [(world.first, world.second)]
        assert world.session.by_hand == {(world.first, world.second)}

    run(body)


def test_packets_go_back_from_a_gateway_that_took_the_place_of_the_one_the_user_chose() -> None:
    async def body(world: World) -> None:
        world.with_gateways(world.first, world.second, THIRD)
        world.failovers.keep([world.session])
        await world.failovers.choose(None, world.second)
        world.session.strangers = {world.second: STRANGER}
        world.session.plan = replace(
            world.session.plan,
            desired=with_detour(
                world.session.plan.desired, world.first, Detour(next_hop=world.first, via=THIRD, oif="eth0")
            ),
        )
        world.failovers.keep([world.session])
        assert world.session.by_hand == frozenset()
        await world.until(lambda: not world.session.plan.desired.detours, world.send)

    run(body)


def test_nothing_is_switched_while_a_session_is_installed_anew_and_its_new_plan_says_who_carries_it_then() -> None:
    async def body(world: World) -> None:
        world.send()
        await world.until(lambda: world.states[str(world.first)] == "healthy")
        plan = world.session.plan
        async with world.failovers.held("qa"):
            FakeProbes.silent = {world.first}
            end = asyncio.get_running_loop().time() + 0.3
            world.failovers.keep([world.session])
            await world.until(lambda: asyncio.get_running_loop().time() > end, world.send)
            assert world.link.switches == []
            detour = Detour(next_hop=world.first, via=world.second, oif="eth0")
            world.session.plan = replace(plan, desired=with_detour(plan.desired, world.first, detour))
        world.failovers.keep([world.session])
        assert world.running.health.ways[world.first].via == world.second
        FakeProbes.silent = set()
        await world.until(lambda: not world.session.plan.desired.detours, world.send)

    run(body)


def test_a_switch_that_is_on_its_way_is_in_the_plan_before_the_session_is_installed_anew() -> None:
    async def body(world: World) -> None:
        world.link.going = going = asyncio.Event()
        await wait_until_left(world, world.link.begun)
        asyncio.get_running_loop().call_later(0.05, going.set)
        async with world.failovers.held("qa"):
            assert [detour.via for detour in world.session.plan.desired.detours] == [world.second]

    run(body)
