"""One session's failover with gateways that answer or not, and a helper that switches or refuses."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from devlink.agent import failover
from devlink.agent.failover import Failover, Failovers
from devlink.agent.session import Session, State, Wish
from devlink.core.detours import with_detour
from devlink.core.health import Times
from devlink.core.network import ObservedNetwork, Path
from devlink.core.plan import Detour, addresses_of_interest, make_plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile_document import decode_profile
from devlink.errors import HelperError, NotUpError, UsageError, VerificationError
from devlink.rpc import varlink
from tests.cli.test_session import assert_shape
from tests.core.profiles import SAMPLE

LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""
TWO_GATEWAYS = SAMPLE.replace('"fd00:16::13"', "172.16.0.16", 1)
FAST = Times(limits=(0.03, 0.02, 0.02), pause=0.03, idle_pause=0.05, hold=0.2)


class FakeProbes:
    """Gateways that answer at once, if they do."""

    silent: "set[IPAddress]" = set()  # noqa: RUF012 - anew for each test

    def __init__(self, session: str, profile: object, answered: Callable[[IPAddress, float], None]) -> None:
        self.answered = answered
        self.is_closed = False

    def ask(self, via: IPAddress, attempt: int) -> None:
        if via not in self.silent:
            asyncio.get_running_loop().call_soon(self.answered, via, 0.0001)

    def prepare(self, via: IPAddress) -> None:
        pass

    async def neighbour(self, via: IPAddress) -> bool:
        return True

    def close(self) -> None:
        self.is_closed = True


class FakeLine:
    """Traffic that the test makes, or a helper that cannot tell of it."""

    refusal: HelperError | None = None
    traffic: "asyncio.Queue[str]"

    @classmethod
    async def connect(cls, path: str) -> "FakeLine":
        return cls()

    async def stream(self, method: str, parameters: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        if self.refusal is not None:
            raise self.refusal
        yield {"destinations": []}
        while True:
            yield {"destinations": [await FakeLine.traffic.get()]}

    def close(self) -> None:
        pass


class FakeLink:
    """Notes the switches."""

    def __init__(self) -> None:
        self.switches: list[tuple[str, str | None]] = []
        self.refusal: VerificationError | None = None
        self.refused: set[IPAddress] = set()
        """Next hops of which nothing may be switched."""

    async def switch(self, session: str, next_hop: IPAddress, via: IPAddress | None) -> Mapping[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        if next_hop in self.refused:
            raise VerificationError("It is not on the link.")
        self.switches.append((str(next_hop), str(via) if via is not None else None))
        return {"oif": "eth0"}


class World:
    def __init__(self, times: Times = FAST) -> None:
        FakeLine.traffic = asyncio.Queue()
        profile = decode_profile(TWO_GATEWAYS)
        paths = {address: Path(oif="eth0") for address in addresses_of_interest(profile)}
        plan = make_plan(profile, ObservedNetwork(paths=paths))
        self.session = Session(wish=Wish(profile=profile), plan=plan, applied=True)
        self.session.enter(State.UP, 1.0)
        gateways = [gateway.address for gateway in profile.spec.gateways or ()]
        self.first, self.second = gateways[:2]
        self.link = FakeLink()
        self.told = 0
        self.failovers = Failovers(self.link, self.tell, times)  # type: ignore[arg-type]  # the fake has what is used
        self.failovers.keep([self.session])

    def tell(self) -> None:
        self.told += 1

    @property
    def running(self) -> Failover:
        ((_, running),) = self.failovers._running.values()
        return running

    @property
    def states(self) -> dict[str, str]:
        return {each["address"]: each["state"] for each in self.session.gateways}

    @property
    def codes(self) -> list[str]:
        return [finding.code for finding in self.session.carrying]

    def with_gateways(self, *addresses: IPAddress) -> None:
        """A new edition of the profile, with the same routes."""
        profile = self.session.wish.profile
        (like, *_) = profile.spec.gateways or ()
        gateways = tuple(
            replace(like, address=address, priority=10 * number) for number, address in enumerate(addresses, 1)
        )
        profile = replace(profile, spec=replace(profile.spec, gateways=gateways))
        paths = {address: Path(oif="eth0") for address in addresses_of_interest(profile)}
        routes = self.session.plan.desired.routes
        self.session.wish = replace(self.session.wish, profile=profile)
        self.session.plan = make_plan(profile, ObservedNetwork(paths=paths))
        assert self.session.plan.desired.routes == routes

    def with_routes(self, *hops: IPAddress) -> None:
        """One route by each."""
        desired = self.session.plan.desired
        routes = tuple(
            replace(desired.routes[0], destination=ip_network(f"10.20.{number}.0/24"), next_hop=hop)
            for number, hop in enumerate(hops)
        )
        alternatives = {hop: tuple((via, "eth0") for via in (self.second, self.first) if via != hop) for hop in hops}
        plan = replace(self.session.plan, desired=replace(desired, routes=routes), alternatives=alternatives)
        self.session.plan = plan

    def send(self) -> None:
        routes = self.session.plan.desired.routes
        FakeLine.traffic.put_nowait(str(next(r.destination[1] for r in routes if r.next_hop == self.first)))

    async def until(self, true: Callable[[], bool], meanwhile: Callable[[], object] = int) -> None:
        async with asyncio.timeout(LIMIT):
            while not true():
                meanwhile()
                await asyncio.sleep(0.005)


def run(body: Callable[[World], Awaitable[None]], times: Times = FAST) -> None:
    async def main() -> None:
        world = World(times)
        try:
            await body(world)
        finally:
            world.failovers.keep([])
            await asyncio.sleep(0.01)

    asyncio.run(main())


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "Probes", FakeProbes)
    monkeypatch.setattr(failover, "Connection", FakeLine)
    monkeypatch.setattr(FakeProbes, "silent", set())
    monkeypatch.setattr(FakeLine, "refusal", None)


def test_a_silent_gateway_is_left_and_gone_back_to_and_the_plan_knows() -> None:
    async def body(world: World) -> None:
        world.send()
        await world.until(lambda: "healthy" in {each["state"] for each in world.session.gateways})
        FakeProbes.silent = {world.first}
        await world.until(lambda: bool(world.session.plan.desired.detours), world.send)
        assert world.link.switches == [(str(world.first), str(world.second))]
        (detour,) = world.session.plan.desired.detours
        assert (detour.next_hop, detour.via, detour.oif) == (world.first, world.second, "eth0")
        assert [finding.code for finding in world.session.carrying] == ["DL-FAILED-OVER"]
        FakeProbes.silent = set()
        await world.until(lambda: not world.session.plan.desired.detours, world.send)
        assert world.link.switches[-1] == (str(world.first), None)
        assert world.session.carrying == ()
        assert world.told

    run(body)


def test_what_the_status_shows_of_gateways_has_the_shape_that_the_interface_declares() -> None:
    async def body(world: World) -> None:
        world.send()
        await world.until(lambda: any(each["rtt_ms"] is not None for each in world.session.gateways))
        text = varlink.interface_description("io.devlink.Agent")
        for gateway in world.session.gateways:
            assert_shape(gateway, text, "Gateway")

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


def test_a_gateway_that_is_none_is_refused_with_the_names_of_those_that_are() -> None:
    async def body(world: World) -> None:
        with pytest.raises(UsageError, match="cannot carry") as caught:
            await world.failovers.choose(None, ip_address("192.0.2.1"))
        assert str(world.first) in caught.value.why
        with pytest.raises(NotUpError):
            await world.failovers.choose("other", world.second)

    run(body)


def test_a_session_that_is_not_up_has_no_gateways_to_show() -> None:
    async def body(world: World) -> None:
        probes = world.running._probes
        world.session.applied = False
        world.failovers.keep([world.session])
        assert world.session.gateways == ()
        assert isinstance(probes, FakeProbes)
        assert probes.is_closed

    run(body)


THIRD = ip_address("172.16.0.20")


def test_a_new_edition_with_another_gateway_and_the_same_routes_has_that_one_take_over() -> None:
    async def body(world: World) -> None:
        world.send()
        await world.until(lambda: world.states[str(world.first)] == "healthy")
        world.with_gateways(world.first, THIRD)
        world.failovers.keep([world.session])
        assert world.states[str(world.first)] == "healthy", "what is known of it stays known"
        FakeProbes.silent = {world.first}
        await world.until(lambda: bool(world.link.switches), world.send)
        assert world.link.switches == [(str(world.first), str(THIRD))]

    run(body)


def test_a_gateway_that_turns_out_to_be_another_clusters_does_not_take_over() -> None:
    async def body(world: World) -> None:
        world.with_gateways(world.first, world.second, THIRD)
        world.session.strangers = frozenset({world.second})
        world.failovers.keep([world.session])
        world.send()
        await world.until(lambda: world.states[str(world.first)] == "healthy")
        FakeProbes.silent = {world.first}
        await world.until(lambda: bool(world.link.switches), world.send)
        assert world.link.switches == [(str(world.first), str(THIRD))]

    run(body)


def test_packets_do_not_stay_with_a_gateway_that_turns_out_to_be_another_clusters() -> None:
    async def body(world: World) -> None:
        world.with_gateways(world.first, world.second, THIRD)
        world.failovers.keep([world.session])
        await world.failovers.choose(None, world.second)
        world.session.strangers = frozenset({world.second})
        world.failovers.keep([world.session])
        await world.until(lambda: not world.session.plan.desired.detours)
        assert world.link.switches[-1] == (str(world.first), None)

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
        assert world.link.switches == [(str(world.first), str(world.second))]
        assert world.session.by_hand == {(world.first, world.second)}

    run(body)


def test_packets_go_back_from_a_gateway_that_took_the_place_of_the_one_the_user_chose() -> None:
    async def body(world: World) -> None:
        world.with_gateways(world.first, world.second, THIRD)
        world.failovers.keep([world.session])
        await world.failovers.choose(None, world.second)
        world.session.strangers = frozenset({world.second})
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


def test_a_switch_that_is_on_its_way_is_in_the_plan_before_the_session_is_installed_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body(world: World) -> None:
        begun, going = asyncio.Event(), asyncio.Event()
        switch = world.link.switch

        async def slowly(session: str, next_hop: IPAddress, via: IPAddress | None) -> Mapping[str, Any]:
            begun.set()
            await going.wait()
            return await switch(session, next_hop, via)

        monkeypatch.setattr(world.link, "switch", slowly)
        world.send()
        await world.until(lambda: world.states[str(world.first)] == "healthy")
        FakeProbes.silent = {world.first}
        await world.until(begun.is_set, world.send)
        asyncio.get_running_loop().call_later(0.05, going.set)
        async with world.failovers.held("qa"):
            assert [detour.via for detour in world.session.plan.desired.detours] == [world.second]

    run(body)


def test_a_choice_for_several_next_hops_is_made_for_all_or_for_none() -> None:
    async def body(world: World) -> None:
        world.with_routes(world.first, THIRD)
        world.failovers.keep([world.session])
        world.link.refused = {THIRD}
        with pytest.raises(VerificationError):
            await world.failovers.choose(None, world.second)
        assert world.link.switches == [(str(world.first), str(world.second)), (str(world.first), None)]
        assert not world.session.plan.desired.detours
        assert not any(each["by_hand"] for each in world.session.gateways)
        assert world.codes == []

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
