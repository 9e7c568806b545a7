"""One session's failover with gateways that answer or not, and a helper that switches or refuses."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from devlink.agent import failover
from devlink.agent.session import Session, State
from devlink.core.health_records import HopState
from devlink.core.prefixes import IPAddress
from devlink.errors import (
    DevlinkError,
    HelperError,
    IdentityError,
    NotUpError,
    ProtocolError,
    UsageError,
    VerificationError,
)
from devlink.rpc import varlink
from tests.agent.fake_gateways import FAST, STRANGER, THIRD, FakeLine, FakeProbes, World, run, wait_until_left
from tests.cli.test_session import assert_shape


def test_a_silent_gateway_is_left_and_gone_back_to_and_the_plan_knows() -> None:
    async def body(world: World) -> None:
        world.send()
        await world.until(lambda: "healthy" in {each["state"] for each in world.session.gateways})
        FakeProbes.silent = {world.first}
        await world.until(lambda: bool(world.session.plan.desired.detours), world.send)
        assert world.link.switches == [(world.first, world.second)]
        (detour,) = world.session.plan.desired.detours
        assert (detour.next_hop, detour.via, detour.oif) == (world.first, world.second, "eth0")
        assert [finding.code for finding in world.session.carrying] == ["DL-FAILED-OVER"]
        FakeProbes.silent = set()
        await world.until(lambda: not world.session.plan.desired.detours, world.send)
        assert world.link.switches[-1] == (world.first, world.first)
        assert world.session.carrying == ()
        assert world.told

    run(body)


def test_who_takes_over_is_shown_to_carry_once_it_does_and_that_is_told() -> None:
    async def body(world: World) -> None:
        seen = []

        def tell() -> None:
            carries = {each["address"]: each["carries"] for each in world.session.gateways}
            seen.append((carries[str(world.first)], carries[str(world.second)]))

        world.running._tell = tell
        world.link.going = going = asyncio.Event()
        await wait_until_left(world, world.link.begun)
        await asyncio.sleep(0)
        assert world.codes == ["DL-FAILED-OVER"]
        assert seen[-1] == (True, False), "it is decided, and no more"
        times, world.link.going = len(seen), None
        going.set()
        await world.until(lambda: bool(world.session.plan.desired.detours))
        await world.until(lambda: len(seen) > times)
        assert seen[times] == (False, True)

    run(body)


def test_what_the_status_shows_of_gateways_has_the_shape_that_the_interface_declares() -> None:
    async def body(world: World) -> None:
        world.send()
        await world.until(lambda: any(each["rtt_ms"] is not None for each in world.session.gateways))
        text = varlink.interface_description("io.devlink.Agent")
        for gateway in world.session.gateways:
            assert_shape(gateway, text, "Gateway")

    run(body)


def test_a_gateway_for_which_the_helper_gives_no_socket_is_not_left_for_one_that_answers() -> None:
    async def body(world: World) -> None:
        FakeProbes.refused = {world.first}
        rounds = 0

        def ask_both() -> None:
            nonlocal rounds
            rounds += 1
            world.send()
            world.running._act(world.running.health._begin(world.running.health.hops[world.second], 1e9))

        await world.until(lambda: rounds > 40, ask_both)
        assert world.states[str(world.second)] == "healthy"
        assert world.states[str(world.first)] == "unknown"
        assert world.link.switches == []
        FakeProbes.refused = set()
        await world.until(lambda: world.states[str(world.first)] == "healthy", world.send)

    run(body, replace(FAST, unheard_pause=0.03))


def test_how_long_a_gateway_is_what_it_is_is_told_as_of_now() -> None:
    async def body(world: World) -> None:
        world.send()
        await world.until(lambda: world.states[str(world.first)] == "healthy")
        world.running._act([])
        before, told = world.session.gateways[0]["since"], world.told
        await asyncio.sleep(0.25)
        assert world.session.gateways[0]["since"] > before
        assert world.told == told, "that time passes is nothing to tell"

    run(body)


def test_a_switch_that_is_refused_leaves_who_carried_it() -> None:
    async def body(world: World) -> None:
        world.link.refusal = VerificationError("It is not on the link.")
        with pytest.raises(VerificationError):
            await world.failovers.choose(None, world.second)
        assert not world.session.plan.desired.detours
        carrying = {each["address"] for each in world.session.gateways if each["carries"]}
        assert str(world.first) in carrying
        assert str(world.second) not in carrying

    run(body)


def test_where_the_kernel_does_not_tell_of_traffic_gateways_are_asked_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeLine, "refusal", HelperError("It does not tell.", why="No NFLOG."))
    monkeypatch.setattr(failover, "POLL", 0.02)

    async def body(world: World) -> None:
        await world.until(lambda: "DL-FAILOVER-SLOW" in {finding.code for finding in world.session.carrying})
        await world.until(lambda: "healthy" in {each["state"] for each in world.session.gateways})
        FakeProbes.silent = {world.first}
        await world.until(lambda: bool(world.session.plan.desired.detours))

    run(body)


@pytest.mark.parametrize(
    "failure", [BlockingIOError("backlog"), TimeoutError(), ProtocolError("It ended."), NotUpError("It is not up.")]
)
def test_a_line_that_tells_of_traffic_and_is_refused_or_ends_alone_is_had_again(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    monkeypatch.setattr(failover, "POLL", 0.02)

    async def body(world: World) -> None:
        FakeLine.failures.append(failure)
        await world.until(lambda: not FakeLine.failures)
        await world.until(lambda: world.states[str(world.first)] == "healthy")
        monkeypatch.setattr(failover, "POLL", 60.0)
        world.send()
        await world.until(FakeLine.traffic.empty)
        assert world.codes == []

    run(body)


@pytest.mark.parametrize(
    "failure",
    [UsageError("At most 32 are followed.", next_step="End what follows."), HelperError("The kernel is busy.")],
)
def test_what_cannot_be_told_of_traffic_is_told_again_once_the_reason_has_passed(
    monkeypatch: pytest.MonkeyPatch, failure: DevlinkError
) -> None:
    monkeypatch.setattr(failover, "POLL", 0.02)
    monkeypatch.setattr(failover, "HEAR_AGAIN", 0.1)

    async def body(world: World) -> None:
        FakeLine.failures.append(failure)
        await world.until(lambda: world.codes == ["DL-FAILOVER-SLOW"])
        (finding,) = world.session.carrying
        assert (finding.evidence, finding.fix) == (failure.what, failure.next_step)
        told = world.told
        await world.until(lambda: world.codes == [])
        assert world.told > told
        monkeypatch.setattr(failover, "POLL", 60.0)
        world.send()
        await world.until(FakeLine.traffic.empty)

    run(body)


def test_a_gateway_of_the_profile_that_is_not_on_a_link_here_is_refused_for_that() -> None:
    async def body(world: World) -> None:
        world.session.plan = replace(world.session.plan, alternatives={world.first: ()})
        world.failovers.keep([world.session])
        with pytest.raises(VerificationError, match="is not on its link") as caught:
            await world.failovers.choose(None, world.second)
        assert not isinstance(caught.value, IdentityError)
        assert str(world.second) in caught.value.what

    run(body)


def test_a_gateway_of_the_profile_behind_which_another_cluster_answers_is_refused_for_that() -> None:
    async def body(world: World) -> None:
        world.session.strangers = {world.second: STRANGER}
        world.failovers.keep([world.session])
        with pytest.raises(IdentityError, match="another cluster answered"):
            await world.failovers.choose(None, world.second)

    run(body)


def test_a_gateway_that_is_none_is_refused_with_the_names_of_those_that_are() -> None:
    async def body(world: World) -> None:
        with pytest.raises(UsageError, match="cannot carry") as caught:
            await world.failovers.choose(None, ip_address("192.0.2.1"))
        assert str(world.first) in caught.value.why
        with pytest.raises(NotUpError):
            await world.failovers.choose("other", world.second)

    run(body)


def test_a_choice_for_several_next_hops_is_made_for_all_or_for_none() -> None:
    async def body(world: World) -> None:
        world.with_routes(world.first, THIRD)
        world.failovers.keep([world.session])
        world.link.refused = {THIRD}
        with pytest.raises(VerificationError):
            await world.failovers.choose(None, world.second)
        assert world.link.switches == [(world.first, world.second), (world.first, world.first)]
        assert not world.session.plan.desired.detours
        assert not any(each["by_hand"] for each in world.session.gateways)
        assert world.codes == []

    run(body)


def test_who_carries_one_thing_by_choice_and_another_by_itself_is_shown_as_chosen() -> None:
    async def body(world: World) -> None:
        world.with_routes(world.first, world.second)
        world.failovers.keep([world.session])
        await world.failovers.choose(None, world.second)
        by_hand = {each["address"] for each in world.session.gateways if each["by_hand"]}
        assert by_hand == {str(world.second)}

    run(body)


def test_a_choice_that_is_refused_leaves_the_reason_why_another_one_carries() -> None:
    async def body(world: World) -> None:
        world.send()
        await world.until(lambda: world.states[str(world.first)] == "healthy")
        FakeProbes.silent = {world.first}
        await world.until(lambda: bool(world.session.plan.desired.detours), world.send)
        before = world.session.carrying
        world.link.refusal = VerificationError("It is not on the link.")
        with pytest.raises(VerificationError):
            await world.failovers.choose(None, world.first)
        world.running._changed()
        assert world.session.carrying == before
        assert f"{world.first} is silent" in before[0].title

    run(body)


def test_a_refused_switch_away_from_the_users_choice_leaves_it_their_choice() -> None:
    async def body(world: World) -> None:
        world.send()
        await world.until(lambda: world.states[str(world.first)] == "healthy")
        await world.failovers.choose(None, world.second)
        before = world.session.carrying
        world.link.refusal = VerificationError("It is not on the link.")
        way = world.running.health.ways[world.first]
        way_before = (way.via, way.by_hand, way.reason)
        await world.running._switch_quietly(world.running.health._move(way, world.first, 0.0, ""))
        assert (way.via, way.by_hand, way.reason) == way_before
        assert world.session.carrying == before

    run(body)


def test_while_nobody_answers_a_session_is_at_best_degraded_and_up_as_soon_as_somebody_does() -> None:
    async def body(world: World) -> None:
        world.send()
        await world.until(lambda: world.states[str(world.first)] == "healthy")
        FakeProbes.silent = {world.first, world.second}
        await world.until(lambda: world.session.at_best is State.DEGRADED, world.send)
        assert world.codes == ["DL-GATEWAYS-SILENT"]
        world.with_gateways(world.first, THIRD)
        world.failovers.keep([world.session])
        assert world.codes == ["DL-GATEWAYS-SILENT"], "a new edition is no answer"
        FakeProbes.silent = set()
        await world.until(lambda: world.session.at_best is State.UP, world.send)
        assert "DL-GATEWAYS-SILENT" not in world.codes

    run(body, replace(FAST, back_off=0.05))


def test_one_that_turns_out_another_clusters_when_it_is_to_take_over_is_passed_over_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body(world: World) -> None:
        async def look_behind(session: Session, gateway: IPAddress) -> None:
            if gateway == world.second:
                session.strangers = {gateway: STRANGER}
                raise IdentityError("It is another cluster's.")

        def meanwhile() -> None:
            world.failovers.keep([world.session])  # as it is at each change that is told
            world.send()

        monkeypatch.setattr(failover, "look_behind", look_behind)
        world.with_gateways(world.first, world.second, THIRD)
        world.failovers.keep([world.session])
        with pytest.raises(IdentityError):
            await world.failovers.choose(None, world.second)
        world.session.strangers = {}
        world.send()
        await world.until(lambda: world.states[str(world.first)] == "healthy")
        FakeProbes.silent = {world.first}
        await world.until(lambda: bool(world.link.switches), meanwhile)
        assert world.link.switches == [(world.first, THIRD)]

    run(body)


def test_the_preferred_one_is_left_when_it_is_another_clusters_and_not_gone_back_to_though_it_answers() -> None:
    async def body(world: World) -> None:
        world.session.strangers = {world.first: STRANGER}
        await world.until(lambda: bool(world.session.plan.desired.detours), world.send)
        end = asyncio.get_running_loop().time() + 2 * FAST.hold
        await world.until(lambda: asyncio.get_running_loop().time() > end, world.send)
        assert world.link.switches == [(world.first, world.second)]
        assert world.running.health.hops[world.first].state is HopState.DEAD

    run(body)


def test_the_only_gateway_is_told_of_while_it_is_silent_and_nobody_is_asked_to_take_its_place() -> None:
    async def body(world: World) -> None:
        world.with_gateways(world.first)
        world.failovers.keep([world.session])
        world.send()
        await world.until(lambda: world.states[str(world.first)] == "healthy")
        assert world.session.at_best is State.UP
        FakeProbes.silent = {world.first}
        await world.until(lambda: world.session.at_best is State.DEGRADED, world.send)
        assert world.codes == ["DL-GATEWAYS-SILENT"]
        assert "nobody could take its place" in world.session.carrying[0].title
        with pytest.raises(UsageError, match="nobody else"):
            await world.failovers.choose(None, None)
        assert world.link.switches == []
        FakeProbes.silent = set()
        await world.until(lambda: world.session.at_best is State.UP, world.send)
        assert world.codes == []

    run(body, replace(FAST, back_off=0.05))


def test_a_node_among_many_for_which_nobody_can_stand_in_is_not_asked_and_the_only_next_hop_is() -> None:
    async def body(world: World) -> None:
        spec = replace(world.session.wish.profile.spec, gateways=None)
        world.session.wish = replace(world.session.wish, profile=replace(world.session.wish.profile, spec=spec))
        world.with_routes(world.first, world.second)
        world.session.plan = replace(world.session.plan, alternatives={})
        assert failover.watched(world.session) == {}
        world.with_routes(world.first)
        world.session.plan = replace(world.session.plan, alternatives={})
        assert failover.watched(world.session) == {world.first: ()}

    run(body)


class SlowLook:
    """Behind a gateway, where nobody answers for a while."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slow: IPAddress) -> None:
        self.slow = slow
        self.begun, self.going = asyncio.Event(), asyncio.Event()
        self.failure: DevlinkError | None = None
        monkeypatch.setattr(failover, "look_behind", self._look_behind)

    async def _look_behind(self, session: Session, gateway: IPAddress) -> None:
        if gateway == self.slow:
            self.begun.set()
            await self.going.wait()
            if self.failure is not None:
                raise self.failure


async def begin_choice(world: World, look: SlowLook) -> "asyncio.Task[Mapping[str, Any]]":
    """`devlink failover` to the second one, until it is looked behind that."""
    choosing = asyncio.get_running_loop().create_task(world.failovers.choose(None, world.second))
    await world.until(look.begun.is_set)
    return choosing


def test_nothing_is_switched_any_more_when_it_was_taken_down_while_it_was_looked_behind_a_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body(world: World) -> None:
        look = SlowLook(monkeypatch, world.second)
        await wait_until_left(world, look.begun)
        running = world.running
        world.failovers.keep([])
        look.going.set()
        await running.stop()
        await world.until(lambda: running._switches == 0)
        assert world.link.switches == []
        assert not world.session.plan.desired.detours

    run(body)


def test_a_choice_is_not_made_any_more_when_it_was_taken_down_while_it_was_looked_behind_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body(world: World) -> None:
        look = SlowLook(monkeypatch, world.second)
        choosing = await begin_choice(world, look)
        world.failovers.keep([])
        look.going.set()
        with pytest.raises(NotUpError):
            await choosing
        assert world.link.switches == []

    run(body)


def test_a_choice_is_made_by_the_edition_that_came_while_it_was_looked_behind_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body(world: World) -> None:
        look = SlowLook(monkeypatch, world.second)
        choosing = await begin_choice(world, look)
        world.with_gateways(world.first, THIRD, world.second)
        world.failovers.keep([world.session])
        look.going.set()
        await choosing
        assert world.link.switches == [(world.first, world.second)]
        assert world.session.by_hand == {(world.first, world.second)}

    run(body)


def test_who_is_no_candidate_any_more_when_it_was_looked_behind_does_not_take_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body(world: World) -> None:
        look = SlowLook(monkeypatch, world.second)
        await wait_until_left(world, look.begun)
        world.with_gateways(world.first, THIRD)
        world.failovers.keep([world.session])
        look.going.set()
        await world.until(lambda: bool(world.link.switches), world.send)
        assert world.link.switches == [(world.first, THIRD)]

    run(body)


@pytest.mark.parametrize("failure", [None, IdentityError("It is another cluster's.")])
def test_what_was_decided_anew_while_it_was_looked_behind_a_gateway_is_what_is_done(
    monkeypatch: pytest.MonkeyPatch, failure: DevlinkError | None
) -> None:
    async def body(world: World) -> None:
        world.with_gateways(world.first, world.second, THIRD)
        world.failovers.keep([world.session])
        look = SlowLook(monkeypatch, world.second)
        look.failure = failure
        await wait_until_left(world, look.begun)
        FakeProbes.silent = {world.first, world.second}
        await world.until(lambda: world.running.health.ways[world.first].via == THIRD, world.send)
        look.going.set()
        await world.until(lambda: world.running._switches == 0)
        assert world.link.switches == [(world.first, THIRD)]
        assert world.running.health.ways[world.first].via == THIRD

    run(body)


def test_a_switch_that_lands_after_a_new_edition_has_come_is_what_that_one_goes_on_with() -> None:
    async def body(world: World) -> None:
        world.link.going = going = asyncio.Event()
        await wait_until_left(world, world.link.begun)
        before = world.running
        world.with_gateways(world.first, world.second, THIRD)
        world.failovers.keep([world.session])
        assert world.running is not before
        told = world.told
        going.set()
        await world.until(lambda: before._switches == 0)
        assert world.told > told
        world.failovers.keep([world.session])
        assert world.running.health.ways[world.first].via == world.second
        assert [finding.code for finding in world.session.carrying] == ["DL-FAILED-OVER"]

    run(body)
