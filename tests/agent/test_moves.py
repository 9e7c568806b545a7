"""Sessions go with the laptop: kept, verified again, set aside where their cluster is not, and brought back."""

import asyncio
import dataclasses
from ipaddress import ip_address
from typing import Any

import pytest

from devlink.agent import keeping, restoring
from devlink.agent.carrying import all_silent
from devlink.agent.session import Heard, Wish
from devlink.agent.surroundings import Surroundings
from devlink.agent.wishes import KeptWishes
from devlink.core.findings import Finding
from devlink.core.health_records import Way
from devlink.core.network import PROTOCOL, ObservedNetwork, ObservedRoute
from devlink.core.plan import Plan
from devlink.core.profile import BridgeProfile, RoutingMode
from devlink.core.profile_document import decode_profile
from devlink.errors import DevlinkError, HelperError, IdentityError, NotUpError, VerificationError
from tests.agent.fake_gateways import TWO_GATEWAYS
from tests.agent.fakes import DEAD, PROD, QA, ROUTER, Run, World
from tests.core.plans import theirs

STRANGER = IdentityError("What answers here is not the cluster.", why="another CA", next_step="Whose network is this?")


async def up_and_noted(world: World) -> None:
    await world.up(QA)
    await world.looked()
    world.link.calls.clear()
    world.verified.clear()


async def move_away(world: World) -> None:
    """To a network that carries nothing of the cluster."""
    world.on_link, world.gateway = False, "cafe"
    world.verification = [DEAD]
    await world.told()


async def go_where_only_qa_works(world: World) -> None:
    """With both up; the router there carries the cluster, and prod wants a gateway."""
    await up_and_noted(world)
    await world.up(by_gateway(PROD))
    await world.looked()
    world.on_link, world.gateway = False, "office"
    await world.told()
    assert world.states == {"qa": "up", "prod": "suspended"}


def by_gateway(profile: BridgeProfile) -> BridgeProfile:
    return dataclasses.replace(profile, spec=dataclasses.replace(profile.spec, routing=RoutingMode.GATEWAY))


def finding(world: World) -> str:
    (session,) = world.supervisor.status()["sessions"]
    return str(session["findings"][0])


def test_a_change_that_changes_nothing_for_a_session_is_none(run: Run) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        for _ in range(3):
            await world.told()
        assert (world.link.calls, world.verified, world.states) == ([], [], {"qa": "up"})

    run(body)


def test_a_route_of_ours_that_is_taken_again_and_again_while_it_is_looked_is_no_other_place(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        looks: list[str] = []

        def look_around(profile: BridgeProfile, *_: object) -> tuple[ObservedNetwork, Surroundings]:
            """As without our route, four times; then it is there again."""
            looks.append(world.gateway)
            world.gateway = "aa" if len(looks) > 4 else "router"
            observed, around = world._look_around(profile)
            (session,) = world.supervisor._sessions
            ours = [ObservedRoute(destination=r.destination, protocol=PROTOCOL) for r in session.plan.desired.routes]
            return dataclasses.replace(observed, routes=tuple(ours[len(looks) <= 4 :])), around

        monkeypatch.setattr(keeping, "look_around", look_around)
        await world.told()
        assert (len(looks), world.verified, world.states) == (5, [], {"qa": "up"})

    run(body)


def test_who_comes_and_takes_a_part_of_the_networks_is_told_until_it_goes(run: Run) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        world.foreign = (theirs("10.20.7.0/24", oif="tun0"),)
        await world.told()
        assert "DL-ROUTE-KEPT" in world.codes
        assert (world.link.calls, world.states) == ([], {"qa": "up"}), "nothing else is asked for"
        world.foreign = ()
        await world.told()
        assert "DL-ROUTE-KEPT" not in world.codes

    run(body)


def test_a_gateway_that_comes_to_the_link_may_take_over_from_then_on(run: Run) -> None:
    async def body(world: World) -> None:
        first, second = ip_address("172.16.0.13"), ip_address("172.16.0.16")
        world.away = {second}
        await world.up(decode_profile(TWO_GATEWAYS))
        await world.looked()
        world.away = set()
        await world.told()
        assert (await world.supervisor.failover(None, second))["before"] == str(first)
        assert [(each.next_hop, each.via) for each in world.link.desired["qa"].detours] == [(first, second)]

    run(body)


def test_where_next_hops_are_behind_a_router_that_carries_nothing_all_is_released_and_the_reason_told(run: Run) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        await move_away(world)
        assert (world.states, world.link.held) == ({"qa": "suspended"}, {})
        assert world.link.calls == ["release qa"], "nobody's names are sent to a network that is not the cluster's"
        assert "DL-SUSPENDED" in finding(world)
        assert "devlink up qa" in finding(world)
        (session,) = world.supervisor.status()["sessions"]
        assert (session["routes"], session["zones"], session["resolver"]) == ([], [], "")
        assert "is behind 192.168.1.1" in session["reason"]

    run(body)


def test_a_network_whose_router_carries_the_cluster_is_gone_over_to(run: Run) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        world.on_link, world.gateway = False, "office"
        await world.told()
        assert world.states == {"qa": "up"}
        assert world.verified == [RoutingMode.ROUTER, RoutingMode.ROUTER], "before and after it is installed"
        assert world.supervisor.status()["sessions"][0]["mode"] == "router"

    run(body)


def test_what_was_suspended_comes_back_by_itself_and_is_verified(run: Run) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        await move_away(world)
        world.verified.clear()
        await world.told()
        assert world.verified == [], "the same place is not tried at each word"
        world.on_link, world.gateway = True, "aa"
        await world.told()
        assert (world.states, world.link.held) == ({"qa": "up"}, {"qa": "up"})
        assert world.verified == [RoutingMode.PER_NODE]
        assert world.kept == ["qa.json"]

    run(body)


def test_a_network_that_numbers_itself_like_the_office_gets_nothing_until_the_laptop_is_elsewhere(run: Run) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        world.gateway = "hostile"
        world.verification = [STRANGER]
        await world.told()
        assert (world.states, world.link.held) == ({"qa": "suspended"}, {})
        assert STRANGER.what in finding(world)
        for _ in range(3):
            await world.told()
        assert world.verified == [RoutingMode.PER_NODE]
        world.gateway, world.verification = "other", [STRANGER]
        await world.told()
        assert (world.states, world.link.held) == ({"qa": "suspended"}, {}), "never silently"
        world.gateway = "aa"
        await world.told()
        assert world.states == {"qa": "up"}

    run(body)


@pytest.mark.parametrize("what", ["the helper is started again", "the agent is started again", "the laptop has slept"])
def test_where_another_cluster_answered_nothing_is_brought_back_unattended_whatever_begins_anew(
    run: Run, what: str
) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        world.gateway, world.verification = "hostile", [STRANGER]
        await world.told()
        assert world.states == {"qa": "suspended"}
        world.link.calls.clear()
        match what:
            case "the helper is started again":
                world.link.lost(HelperError("It is away."))
                await world.link.returned()
            case "the agent is started again":
                world.supervisor.close()
                world.again()
                await world.supervisor.resume()
            case _:
                world.clocks[-1].jumped()
                await world.looked()
        assert (world.states, world.link.held) == ({"qa": "suspended"}, {})
        assert not any(call.startswith("apply") for call in world.link.calls)
        assert STRANGER.what in finding(world), "the next agent knows why, too"
        assert world.kept == ["set-aside"]
        world.gateway = "aa"
        await world.told()
        assert world.states == {"qa": "up"}
        assert KeptWishes(world.folder).read()["qa"].refusal is None

    run(body)


def test_where_another_cluster_answered_its_user_may_try_it(run: Run) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        world.gateway, world.verification = "hostile", [STRANGER]
        await world.told()
        await world.up(QA)
        assert world.states == {"qa": "up"}, "the cluster was built anew, and its new profile fetched"

    run(body)


def test_what_cannot_be_verified_after_a_change_stays_and_is_told_and_looked_at_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "PAUSES", (0.01, 0.01))

    async def body(world: World) -> None:
        await up_and_noted(world)
        world.gateway, world.verification = "bb", [VerificationError("The cluster's DNS does not answer.")] * 2
        await world.told()
        assert (world.states, world.link.held, world.link.calls) == ({"qa": "degraded"}, {"qa": "up"}, [])
        await world.supervisor.look()
        assert world.states == {"qa": "degraded"}, "that its routes are there does not make it up"
        assert "DL-UNVERIFIED" in finding(world)
        await world.until(lambda: world.states == {"qa": "up"})
        await world.supervisor.look()
        assert world.states == {"qa": "up"}

    run(body)


def test_a_neighbour_that_does_not_say_who_it_is_has_it_verified_each_time(run: Run) -> None:
    async def body(world: World) -> None:
        world.gateway = ""
        await up_and_noted(world)
        await world.told()
        assert world.verified == [RoutingMode.PER_NODE]
        assert world.link.calls == []

    run(body)


def test_a_moment_without_a_network_gives_nothing_back_and_a_longer_one_does(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        monkeypatch.setattr(keeping, "OFFLINE_LIMIT", 1000.0)
        world.is_offline = True
        await world.told()
        await world.told()
        assert (world.states, world.link.calls) == ({"qa": "degraded"}, [])
        world.is_offline = False
        await world.told()
        assert (world.states, world.verified) == ({"qa": "up"}, [RoutingMode.PER_NODE])
        monkeypatch.setattr(keeping, "OFFLINE_LIMIT", 0.01)
        world.is_offline = True
        await world.told()
        await world.until(lambda: world.states == {"qa": "suspended"})
        await world.looked()
        assert world.link.held == {}
        assert world.supervisor.status()["sessions"][0]["reason"] == restoring.NO_WAY, "its next hops are on no link"
        world.is_offline = False
        world.gateway = "bb"
        await world.told()
        assert world.states == {"qa": "up"}

    run(body)


def test_a_network_that_comes_in_the_moment_of_its_loss_is_not_taken_for_one_that_was_tried(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        monkeypatch.setattr(keeping, "OFFLINE_LIMIT", 0.0)
        release = world.link.release

        async def released(session: str) -> None:
            await release(session)
            world.is_offline, world.gateway = False, "bb"

        monkeypatch.setattr(world.link, "release", released)
        world.is_offline = True
        await world.told()
        await world.told()
        assert world.link.calls == ["release qa", "apply qa", "confirm qa"]
        assert world.states == {"qa": "up"}

    run(body)


class Traveller:
    """Has the laptop come to another place in the middle of verifications, each of which then ends as given."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, *ends: tuple[str, DevlinkError | None]) -> None:
        self._world, self._ends = world, list(ends)
        monkeypatch.setattr("devlink.agent.verify.verify", self._verify)

    async def _verify(self, profile: BridgeProfile, plan: Plan, **more: Any) -> tuple[Finding, ...]:
        if self._ends:
            self._world.gateway, error = self._ends.pop(0)
            self._world.monitors[-1].changed()
            for _ in range(3):  # what is looked at in threads has time
                await asyncio.sleep(0.01)
            if error is not None:
                raise error
        return await self._world._verify(profile, plan, **more)


def test_a_network_that_comes_while_another_one_is_tried_is_tried_too(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        await move_away(world)
        Traveller(world, monkeypatch, ("aa", STRANGER))
        world.on_link, world.gateway = True, "hostile"
        await world.told()
        assert world.states == {"qa": "up"}

    run(body)


def test_a_network_that_comes_while_what_is_installed_is_found_to_be_strangers_is_tried_too(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        Traveller(world, monkeypatch, ("aa", STRANGER))
        world.gateway = "hostile"
        await world.told()
        assert world.states == {"qa": "up"}
        assert world.link.calls == ["release qa", "apply qa", "confirm qa"]

    run(body)


def test_a_network_that_comes_while_a_helper_that_returned_is_told_is_tried_too(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        world.link.lost(HelperError("It is away."))
        world.link.held.clear()
        Traveller(world, monkeypatch, ("aa", STRANGER))
        world.gateway = "hostile"
        await world.link.returned()
        await world.until(lambda: world.states == {"qa": "up"})

    run(body)


def test_a_network_that_comes_while_another_one_is_verified_is_verified_too(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        Traveller(world, monkeypatch, ("cc", None))
        world.gateway = "bb"
        await world.told()
        assert (world.states, len(world.verified)) == ({"qa": "up"}, 2)

    run(body)


def test_what_was_released_while_a_change_was_looked_at_is_not_verified_as_if_it_were_there(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "PAUSES", (0.0, 1000.0))

    async def body(world: World) -> None:
        await up_and_noted(world)
        world.gateway, world.verification = "bb", [DEAD]
        await world.told()
        assert world.states == {"qa": "degraded"}
        Traveller(world, monkeypatch, ("cc", STRANGER))
        await world.until(lambda: world.states == {"qa": "suspended"})
        await world.told()
        assert world.states == {"qa": "up"}
        assert world.link.calls == ["release qa", "apply qa", "confirm qa"]

    run(body)


def test_where_a_profile_finds_no_next_hop_the_reason_of_the_network_before_is_not_told(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(by_gateway(QA))
        await world.looked()
        assert "is on this link" in world.supervisor.status()["sessions"][0]["reason"]
        world.on_link, world.gateway = False, "cafe"
        await world.told()
        assert world.states == {"qa": "suspended"}
        assert world.supervisor.status()["sessions"][0]["reason"] == restoring.NO_WAY

    run(body)


def test_without_a_helper_what_is_suspended_can_be_taken_down_and_what_was_installed_cannot(run: Run) -> None:
    async def body(world: World) -> None:
        await go_where_only_qa_works(world)
        away = HelperError("It is away.")
        world.link.lost(away)
        world.link.failures["ready"] = away
        assert await world.supervisor.down("prod", everything=False) == ("prod",)
        assert world.states == {"qa": "degraded"}
        assert world.kept == ["qa.json"]
        world.link.failures["ready"] = away
        with pytest.raises(HelperError):
            await world.supervisor.down(None, everything=True)

    run(body)


def gateways(world: World, state: str, *carrying: Finding) -> None:
    """What failover tells of the only session."""
    (session,) = world.supervisor._sessions
    session.heard = Heard(answers=state == "healthy", is_asking=state == "suspect", is_silent=bool(carrying))
    session.carrying = carrying
    world.supervisor._keeper._told()


SILENT = all_silent(Way(candidates=(ROUTER,), via=ROUTER))


def test_while_all_gateways_are_silent_a_session_is_degraded_and_a_look_leaves_it_so(run: Run) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        gateways(world, "silent", SILENT)
        assert world.states == {"qa": "degraded"}
        await world.supervisor.look()
        assert world.states == {"qa": "degraded"}
        assert await world.supervisor.renew(Wish(profile=QA)), "a newer edition may name gateways that live"
        gateways(world, "healthy")
        assert world.states == {"qa": "up"}
        world.link.lost(HelperError("It is away."))
        gateways(world, "healthy")
        assert world.states == {"qa": "degraded"}, "for another reason"

    run(body)


def test_what_is_in_doubt_and_rests_says_so_and_is_tried_as_soon_as_a_gateway_answers(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "PAUSES", (0.0,))

    async def body(world: World) -> None:
        await up_and_noted(world)
        gateways(world, "silent")
        world.gateway, world.verification = "bb", [DEAD, DEAD]
        await world.told()
        (session,) = world.supervisor._sessions
        await world.until(lambda: session.rests)
        assert "It is tried every 5 min, when a gateway answers anew, in another network, and by:" in finding(world)
        for _ in range(3):
            gateways(world, "silent")
        assert session.rests
        gateways(world, "healthy")
        await world.until(lambda: world.states == {"qa": "up"})

    run(body)


def test_the_answer_of_a_gateway_changes_nothing_of_what_is_told_of_a_doubt(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "PAUSES", ())

    async def body(world: World) -> None:
        await up_and_noted(world)
        gateways(world, "silent")
        world.gateway, world.verification = "bb", [DEAD]
        await world.told()
        (session,) = world.supervisor._sessions
        await world.until(lambda: session.rests)
        before, trying = finding(world), session.trying
        gateways(world, "healthy")
        await world.until(lambda: session.trying is not trying and session.rests)
        assert finding(world) == before

    run(body)


@pytest.mark.parametrize("is_heard", [False, True])
def test_what_is_in_doubt_is_tried_at_long_intervals_whether_gateways_are_listened_to_or_not(
    run: Run, monkeypatch: pytest.MonkeyPatch, is_heard: bool
) -> None:
    monkeypatch.setattr(restoring, "PAUSES", ())
    pauses: list[float] = []
    ended = asyncio.Semaphore(0)
    sleep = asyncio.sleep

    async def paused(seconds: float) -> None:
        if not seconds:
            return await sleep(0)
        pauses.append(seconds)
        await ended.acquire()

    async def body(world: World) -> None:
        await up_and_noted(world)
        if is_heard:
            gateways(world, "healthy")
        monkeypatch.setattr(asyncio, "sleep", paused)
        world.gateway, world.verification = "bb", [DEAD] * 4
        await world.told()
        for tries in range(1, 4):
            await world.until(lambda tries=tries: pauses == [300.0] * tries)  # type: ignore[misc]
            assert len(world.verified) == tries
            assert world.states == {"qa": "degraded"}
            assert "It is tried every 5 min, " in finding(world)
            assert ("when a gateway answers anew" in finding(world)) is is_heard
            ended.release()
        await world.until(lambda: len(pauses) == 4)
        world.verification = []
        ended.release()
        await world.until(lambda: world.states == {"qa": "up"})
        (session,) = world.supervisor._sessions
        await world.until(lambda: session.trying is not None and session.trying.done())

    run(body)


def test_doubts_that_were_over_before_the_long_interval_was_are_not_tried_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "PAUSES", ())
    monkeypatch.setattr(restoring, "IN_DOUBT", 0.02)

    async def body(world: World) -> None:
        await up_and_noted(world)
        world.gateway, world.verification = "bb", [DEAD]
        await world.told()
        await world.until(lambda: "It is tried every" in finding(world))
        world.gateway = "cc"
        await world.told()
        assert (world.states, len(world.verified)) == ({"qa": "up"}, 2)
        world.verification = [DEAD]
        (session,) = world.supervisor._sessions
        await world.until(lambda: session.trying is not None and session.trying.done())
        assert (world.states, len(world.verified)) == ({"qa": "up"}, 2)

    run(body)


@pytest.mark.parametrize(("meanwhile", "tried"), [("suspect", 0), ("silent", 1)])
def test_only_a_gateway_that_was_silent_has_doubts_tried_anew_by_its_answer(
    run: Run, monkeypatch: pytest.MonkeyPatch, meanwhile: str, tried: int
) -> None:
    monkeypatch.setattr(restoring, "PAUSES", (0.0,))

    async def body(world: World) -> None:
        await up_and_noted(world)
        gateways(world, "healthy")
        world.gateway, world.verification = "bb", [DEAD] * 9
        await world.told()
        (session,) = world.supervisor._sessions
        await world.until(lambda: session.rests)
        before = len(world.verified)
        for state in (meanwhile, "healthy"):
            gateways(world, state)
        await world.until(lambda: session.rests)
        assert len(world.verified) - before == tried

    run(body)


def test_after_a_sleep_everything_is_looked_at_though_nothing_seems_to_have_changed(run: Run) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        world.clocks[-1].jumped()
        await world.looked()
        assert (world.states, world.verified) == ({"qa": "up"}, [RoutingMode.PER_NODE])
        await move_away(world)
        world.verified.clear()
        world.verification = [DEAD]
        world.clocks[-1].jumped()
        await world.looked()
        assert (world.states, world.verified) == ({"qa": "suspended"}, [RoutingMode.ROUTER])
        await world.supervisor.down(None, everything=False)
        assert (world.clocks[-1].is_closed, world.monitors[-1].is_closed) == (True, True), "with nothing up"

    run(body)


def test_a_suspended_session_can_be_taken_down_and_tried_by_its_user(run: Run) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        await move_away(world)
        world.verification = [DEAD]
        with pytest.raises(VerificationError):
            await world.up(QA)
        assert world.states == {"qa": "suspended"}
        assert await world.supervisor.down(None, everything=False) == ("qa",)
        assert (world.states, world.kept, world.link.held) == ({}, [], {})
        with pytest.raises(NotUpError):
            await world.supervisor.down("qa", everything=False)
        world.on_link, world.gateway = True, "aa"
        await world.told_nobody()
        assert world.states == {}, "what its user took down does not come back"

    run(body)


def test_a_suspended_session_outlives_its_agent_and_is_tried_by_the_next(run: Run) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        await move_away(world)
        assert world.kept == ["set-aside"]
        world.supervisor.close()
        world.again()
        world.verification = [DEAD]
        await world.supervisor.resume()
        assert world.states == {"qa": "suspended"}
        world.supervisor.close()
        world.again()
        world.on_link, world.gateway = True, "aa"
        await world.supervisor.resume()
        assert (world.states, world.kept) == ({"qa": "up"}, ["qa.json"])

    run(body)


def test_what_could_not_be_brought_up_again_is_tried_in_another_network_though_its_tries_are_over(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "PAUSES", ())

    async def body(world: World) -> None:
        await up_and_noted(world)
        world.link.lost(HelperError("It is away."))
        world.link.held.clear()
        world.verification = [DEAD]
        await world.link.returned()
        await world.until(lambda: "devlink up qa" in finding(world))
        assert world.states == {"qa": "degraded"}
        await world.told()
        assert world.states == {"qa": "degraded"}
        world.gateway = "bb"
        await world.told()
        assert world.states == {"qa": "up"}

    run(body)


def test_in_a_network_of_routers_a_silent_cluster_is_asked_again_after_a_while(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "PAUSES", (0.01,) * 5)

    async def body(world: World) -> None:
        world.on_link = False
        await up_and_noted(world)
        world.gateway, world.verification = "cafe", [DEAD, DEAD]
        await world.told()
        await world.until(lambda: world.states == {"qa": "suspended"})
        await world.until(lambda: world.states == {"qa": "up"})

    run(body)


def test_each_session_goes_its_own_way(run: Run) -> None:
    async def body(world: World) -> None:
        await go_where_only_qa_works(world)
        assert world.link.held == {"qa": "up"}

    run(body)


def test_while_its_user_changes_it_a_session_is_left_to_them_and_looked_at_after_that(run: Run) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        world.link.slow = asyncio.Event()
        coming = asyncio.get_running_loop().create_task(world.up(QA))
        await world.until(lambda: world.states == {"qa": "connecting"})
        world.on_link, world.gateway = False, "office"
        world.monitors[-1].changed()
        await asyncio.sleep(0.01)
        world.link.slow.set()
        await coming
        await world.until(lambda: world.supervisor.status()["sessions"][0]["mode"] == "router")

    run(body)


def test_what_is_set_aside_and_what_is_up_are_kept_apart_and_never_both(run: Run) -> None:
    async def body(world: World) -> None:
        await up_and_noted(world)
        kept = KeptWishes(world.folder)
        assert not kept.is_set_aside("qa")
        await move_away(world)
        assert kept.is_set_aside("qa")
        assert list(kept.read()) == ["qa"]

    run(body)
