"""The steps that every change of a session is made of: by whom it comes up where the preferred gateway is silent."""

import asyncio
import threading
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from devlink.agent import sessions
from devlink.agent.session import Session, Wish
from devlink.core.detours import pairs, with_detour
from devlink.core.plan import Detour, Plan, make_plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, Gateway, Identity, RoutingMode
from devlink.errors import HelperError, IdentityError, NotTrustedError, VerificationError
from tests.agent.fake_gateways import STRANGER
from tests.agent.fakes import DEAD, LIMIT, Run, World
from tests.core.plans import PROFILE, altered
from tests.core.profiles import pem

FIRST, SECOND, THIRD = (ip_address(f"172.16.0.{number}") for number in (13, 16, 20))
FIRST6, SECOND6 = (ip_address(f"fd00:16::{number}") for number in (13, 16))
REFUSED = NotTrustedError("It is not trusted.", next_step="devlink trust")


def by_gateways(*addresses: IPAddress, **changes: object) -> BridgeProfile:
    """A server of the cluster's DNS is behind the first gateway of each family, for which the others can stand in."""
    families = {address.version for address in addresses}
    return altered(
        gateways=tuple(Gateway(address=each, role="rr", priority=number) for number, each in enumerate(addresses)),
        pods=tuple(prefix for prefix in PROFILE.spec.pods or () if prefix.version in families),
        services=tuple(prefix for prefix in PROFILE.spec.services or () if prefix.version in families),
        nodes=None,
        routing=RoutingMode.GATEWAY,
        **changes,
    )


TWO = by_gateways(FIRST, SECOND)
BOTH_FAMILIES = by_gateways(FIRST, SECOND, FIRST6, SECOND6)


def session_of(world: World) -> Session:
    (session,) = world.supervisor._sessions
    return session


def passed_over(world: World) -> list[str]:
    (shown,) = world.supervisor.status()["sessions"]
    return [each["title"] for each in shown["findings"] if each["code"] == "DL-GATEWAY-PASSED-OVER"]


def switches(world: World) -> list[str]:
    return [call.removeprefix("switch qa ") for call in world.link.calls if call.startswith("switch ")]


def test_while_a_plan_is_made_the_agent_does_not_wait_for_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, going = threading.Event(), threading.Event()

    def slowly(*arguments: Any, **more: Any) -> Plan:
        begun.set()
        assert going.wait(LIMIT / 2), "nobody else came to do anything"
        return make_plan(*arguments, **more)

    monkeypatch.setattr(sessions, "make_plan", slowly)

    async def body(world: World) -> None:
        coming = asyncio.get_running_loop().create_task(world.up(TWO))
        await world.until(begun.is_set)
        going.set()
        await coming

    run(body)


def test_who_did_not_carry_it_and_who_does_are_both_named(run: Run) -> None:
    async def body(world: World) -> None:
        world.verification = [DEAD]
        await world.up(TWO)
        assert passed_over(world) == [f"By {FIRST} it did not come up, by {SECOND} it did: {DEAD.what}"]

    run(body)


def test_what_kept_it_from_a_gateway_is_told_until_packets_are_back_with_it(run: Run) -> None:
    async def body(world: World) -> None:
        world.verification = [DEAD]
        await world.up(TWO)
        told = passed_over(world)
        await world.told()
        world.gateway = "bb"
        count = len(world.verified)
        await world.told()
        assert len(world.verified) > count, "it was verified again in another network"
        assert passed_over(world) == told
        await world.up(TWO)
        assert passed_over(world) == told
        session = session_of(world)
        by_the_second = session.plan
        session.plan = replace(by_the_second, desired=replace(by_the_second.desired, detours=()))
        world.supervisor._sessions.tell()
        assert passed_over(world) == []
        session.plan = by_the_second
        assert passed_over(world) == [], "that it failed over later is another story"

    run(body)


def test_where_the_users_choice_does_not_carry_it_and_the_preferred_one_does_there_is_no_warning_nor_a_choice(
    run: Run,
) -> None:
    async def body(world: World) -> None:
        await world.up(TWO)
        session = session_of(world)
        detour = Detour(next_hop=FIRST, via=SECOND, oif="eth0")
        session.plan = replace(session.plan, desired=with_detour(session.plan.desired, FIRST, detour))
        session.by_hand = frozenset({(FIRST, SECOND)})
        world.verification = [DEAD]
        await world.up(TWO)
        assert switches(world) == [f"{FIRST} to {FIRST}"]
        session = session_of(world)
        assert (session.plan.desired.detours, session.by_hand) == ((), frozenset())
        assert passed_over(world) == []

    run(body)


def test_what_another_gateway_did_not_bring_up_is_led_as_before_while_the_next_hops_others_are_tried(run: Run) -> None:
    async def body(world: World) -> None:
        world.verification = [DEAD, DEAD]
        await world.up(BOTH_FAMILIES)
        assert switches(world) == [f"{FIRST} to {SECOND}", f"{FIRST} to {FIRST}", f"{FIRST6} to {SECOND6}"]
        assert pairs(session_of(world).plan.desired) == pairs(world.link.desired["qa"]) == {(FIRST6, SECOND6)}
        assert passed_over(world) == [f"By {FIRST6} it did not come up, by {SECOND6} it did: {DEAD.what}"]

    run(body)


def test_a_detour_from_before_is_gone_back_to_where_neither_the_preferred_one_nor_another_brings_it_up(
    run: Run,
) -> None:
    async def body(world: World) -> None:
        profile = by_gateways(FIRST, SECOND, THIRD, FIRST6, SECOND6)
        await world.up(profile)
        session = session_of(world)
        detour = Detour(next_hop=FIRST, via=SECOND, oif="eth0")
        session.plan = replace(session.plan, desired=with_detour(session.plan.desired, FIRST, detour))
        world.verification = [DEAD] * 3
        await world.up(profile)
        assert switches(world)[:3] == [f"{FIRST} to {FIRST}", f"{FIRST} to {THIRD}", f"{FIRST} to {SECOND}"]
        assert pairs(world.link.desired["qa"]) == {(FIRST, SECOND), (FIRST6, SECOND6)}

    run(body)


def test_a_gateway_that_the_helper_refuses_is_passed_over_for_the_next_one(run: Run) -> None:
    async def body(world: World) -> None:
        world.verification = [DEAD]
        world.link.failures[f"switch qa {FIRST} to {SECOND}"] = REFUSED
        await world.up(by_gateways(FIRST, SECOND, THIRD))
        assert pairs(session_of(world).plan.desired) == {(FIRST, THIRD)}

    run(body)


def test_where_the_helper_refuses_all_others_it_is_told_what_the_preferred_one_lacks(run: Run) -> None:
    async def body(world: World) -> None:
        world.verification = [DEAD]
        world.link.failures[f"switch qa {FIRST} to {SECOND}"] = REFUSED
        with pytest.raises(VerificationError) as caught:
            await world.up(TWO)
        assert caught.value is DEAD
        assert (world.states, world.link.held) == ({}, {})

    run(body)


@pytest.mark.parametrize(
    "error", [IdentityError("Another cluster answers."), HelperError("It went away."), VerificationError("Nobody.")]
)
def test_an_edition_that_no_gateway_brings_up_leaves_who_carries_what_was_up_before(
    run: Run, error: VerificationError | HelperError
) -> None:
    async def body(world: World) -> None:
        await world.up(BOTH_FAMILIES)
        world.verification = [DEAD, *[error] * 2]
        newer = by_gateways(FIRST, SECOND, FIRST6, SECOND6, mtu=1400)
        with pytest.raises(type(error)):
            await world.supervisor.renew(Wish(profile=newer))
        assert session_of(world).wish.profile == BOTH_FAMILIES
        assert session_of(world).plan.desired == world.link.desired["qa"]
        assert world.states == {"qa": "up"}

    run(body)


def test_one_behind_which_another_cluster_answers_is_not_tried_though_the_routes_prefer_it(run: Run) -> None:
    async def body(world: World) -> None:
        profile = by_gateways(FIRST, SECOND, THIRD)
        await world.up(profile)
        session = session_of(world)
        detour = Detour(next_hop=FIRST, via=SECOND, oif="eth0")
        session.plan = replace(session.plan, desired=with_detour(session.plan.desired, FIRST, detour))
        session.strangers = {FIRST: STRANGER}
        world.verification = [DEAD]
        await world.up(profile)
        assert switches(world) == [f"{FIRST} to {THIRD}"]

    run(body)


def test_strangers_stay_known_when_it_is_brought_up_again_and_are_forgotten_where_another_cluster_is_meant(
    run: Run,
) -> None:
    async def body(world: World) -> None:
        profile = by_gateways(FIRST, SECOND, THIRD)
        await world.up(profile)
        session_of(world).strangers = {SECOND: STRANGER}
        world.verification = [DEAD]
        await world.up(profile)
        assert set(session_of(world).strangers) == {SECOND}
        assert switches(world) == [f"{FIRST} to {THIRD}"]
        await world.up(by_gateways(FIRST, SECOND, THIRD, identity=Identity(ca=pem(b"another one's" * 20))))
        assert session_of(world).strangers == {}

    run(body)
