"""Sessions that are relayed: how they come to it, what is done for their relay, and how they come home."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from devlink.agent import draining, relays, restoring
from devlink.agent.session import Session, Wish
from devlink.core.findings import Finding, Severity
from devlink.core.plan import Desired, Relaying
from devlink.core.profile import BridgeProfile, RoutingMode
from devlink.core.relay import Refused, RelayState
from devlink.errors import ClusterError, ConflictError, IdentityError, UsageError, VerificationError
from devlink.rpc.tasks import spawn
from tests.agent.fake_relay import Farm
from tests.agent.fakes import AWAY, DEAD, PROD, QA, Run, World

Body = Callable[[World, Farm], Awaitable[None]]
ENVIRON = {"KUBECONFIG": "/k", "HTTPS_PROXY": "http://proxy:3128", "AWS_SECRET_ACCESS_KEY": "s", "NOTIFY_SOCKET": "/n"}


@pytest.fixture
def far(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Body], None]:
    """A laptop on whose link nobody of the cluster is, and whose router does not carry it."""
    monkeypatch.setattr(relays, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(draining, "LEAST", 0.0)

    def runner(body: Body) -> None:
        async def main(world: World) -> None:
            farm = Farm(world, tmp_path, monkeypatch)
            world.on_link = False
            await body(world, farm)
            world.supervisor.close()

        run(main)

    return runner


async def up(world: World) -> None:
    world.verification = [DEAD]
    await world.supervisor.up(
        dataclasses.replace(wish(), kubeconfig="/k", environment={"HTTPS_PROXY": "http://proxy:3128"}),
        replace=False, progress=world.progress, environ=ENVIRON,
    )  # fmt: skip
    await world.looked()
    assert session(world).is_relayed


def wish() -> Wish:
    return Wish(profile=QA)


def session(world: World) -> Session:
    (only,) = world.supervisor._sessions
    return only


def known(world: World) -> RelayState:
    return session(world).relay or RelayState()


def test_auto_goes_over_to_a_relay_where_the_router_does_not_carry_the_networks(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        assert world.link.calls == ["apply qa", "apply qa", "open qa", "confirm qa"]
        assert world.verified == [RoutingMode.ROUTER, RoutingMode.RELAY]
        shown = world.supervisor.status()["sessions"][0]
        assert (shown["state"], shown["mode"]) == ("up", "relay")
        assert "the network does not carry" in shown["reason"]
        (config,) = farm.last.served
        assert set(config.prefixes) == {route.destination for route in world.link.desired["qa"].routes}
        assert (config.session, config.api) == ("qa", QA.spec.api)
        assert farm.last.environ == {name: ENVIRON[name] for name in ENVIRON if name != "NOTIFY_SOCKET"}
        await world.until(lambda: session(world).relay is not None)
        assert world.supervisor.status()["sessions"][0]["relay"]["server"] == "https://api.example:6443"
        await world.supervisor.down(None, everything=False)
        await world.until(lambda: farm.last.has_ended)

    far(body)


def test_without_the_rights_what_failed_before_stands_with_why_it_is_not_relayed(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        farm.obstacle = ClusterError("You may not reach pods.", next_step="Ask for the role.")
        with pytest.raises(
            VerificationError, match=r"DNS does not answer.*Nor can it be relayed.*You may not reach pods"
        ):
            await up(world)
        assert (world.link.held, world.states, farm.relays) == ({}, {}, [])

    far(body)


def test_what_a_relay_refused_is_said_and_where_nothing_came_to_it_so_is_that(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        relay = world.supervisor._sessions.relays.get("qa")
        assert relay is not None

        async def explained(state: RelayState) -> str:
            farm.last.state = state
            error = VerificationError("It is silent.", why="No answer.")
            await relay.explain(error)
            return error.why

        assert "firewall drop what leaves by devlink0" in await explained(RelayState())
        assert await explained(RelayState(opened=1)) == "No answer."
        refused = Refused(reason="api", count=1, last="10.0.0.1:53: It is away.")
        assert await explained(RelayState(refused=(refused,))) == (
            "No answer. The relay refused: api: 10.0.0.1:53: It is away."
        )

    far(body)


def test_another_cluster_is_never_a_reason_to_relay(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        world.verification = [IdentityError("Another cluster.")]
        with pytest.raises(IdentityError):
            await world.up(QA)
        assert not farm.asked

    far(body)


def test_a_relay_that_ends_is_told_and_started_again_with_the_same_listeners(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        told: list[str] = []
        monkeyed = world.supervisor._sessions.relays.get("qa")
        assert monkeyed is not None
        first = farm.last
        before = first.listeners
        await first.die()
        await world.until(lambda: bool(session(world).relay_trouble) or len(farm.relays) > 1)
        told += [finding.code for finding in session(world).relay_trouble]
        await world.until(lambda: len(farm.relays) == 2 and bool(farm.last.served))
        assert told == ["DL-RELAY-DOWN"]
        assert (farm.last.served, farm.last.listeners) == (first.served, before)
        await world.until(lambda: not session(world).relay_trouble)
        assert world.states == {"qa": "up"}

    far(body)


def test_a_relay_that_cannot_serve_again_has_its_reason_told(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        farm.unfit = UsageError("The kubeconfig is no YAML.", next_step="See: kubectl config view")
        await farm.last.die()
        await world.until(lambda: any("no YAML" in each.evidence for each in session(world).relay_trouble))
        assert [(each.code, each.fix) for each in session(world).relay_trouble] == [
            ("DL-RELAY-DOWN", "See: kubectl config view")
        ]
        farm.unfit = None
        await world.until(lambda: not session(world).relay_trouble)

    far(body)


def test_only_what_a_person_would_look_up_for_is_told(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        await world.until(lambda: session(world).relay is not None)
        changed = spawn(world.supervisor.changed(), name="changed")
        await asyncio.sleep(0)
        farm.last.tell(RelayState(server=farm.last.state.server, sent=5, received=7))
        await world.until(lambda: known(world).sent == 5)
        await asyncio.sleep(0)
        assert not changed.done()
        farm.last.tell(dataclasses.replace(farm.last.state, refused=(Refused(reason="no-pods", count=1),)))
        await changed

    far(body)


def test_where_names_do_not_answer_what_the_relay_found_is_the_cure(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        relay = world.supervisor._sessions.relays.get(session(world).name)
        assert relay is not None
        broken = Finding(
            code="DL-RELAY-UPGRADE", severity=Severity.ERROR, title="No port-forward gets through.", evidence="400",
            fix="let upgrades through",
        )  # fmt: skip
        farm.last.state = RelayState(refused=(Refused(reason="api", count=1, last="400."),), findings=(broken,))
        error = VerificationError("Silent.", why="No answer.", next_step="Are its pods ready?")
        await relay.explain(error)
        told = "No answer. The relay refused: api: 400. No port-forward gets through. (DL-RELAY-UPGRADE)"
        assert (error.why, error.next_step) == (told, "let upgrades through")

    far(body)


def test_what_a_relay_cannot_do_degrades_its_session_until_it_can(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        well = farm.last.state
        refused = Finding(code="DL-RELAY-RIGHTS", severity=Severity.ERROR, title="No.")
        farm.last.tell(dataclasses.replace(well, findings=(refused,)))
        await world.until(lambda: world.states == {"qa": "degraded"})
        assert "DL-RELAY-RIGHTS" in world.codes
        farm.last.tell(well)
        await world.until(lambda: world.states == {"qa": "up"})

    far(body)


def test_packets_that_are_no_tcp_are_a_finding(far: Callable[[Body], None]) -> None:
    async def body(world: World, _: Farm) -> None:
        await up(world)
        await world.supervisor.look()
        assert "DL-RELAY-UDP" not in world.codes
        world.link.no_tcp = 3
        await world.supervisor.look()
        assert "DL-RELAY-UDP" in world.codes

    far(body)


def test_at_home_it_has_routes_and_what_is_open_in_the_relay_ends_by_itself(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        farm.last.tell(dataclasses.replace(farm.last.state, streams=2))
        await world.until(lambda: known(world).streams == 2)
        world.on_link, world.gateway = True, "home"
        await world.told()
        assert world.supervisor.status()["sessions"][0]["mode"] == "per-node"
        await world.until(lambda: farm.last.is_draining)
        assert world.link.desired["qa"].relay == Relaying(draining=True)
        farm.last.tell(dataclasses.replace(farm.last.state, streams=0))
        await world.until(lambda: session(world).plan.desired.relay is None)
        await world.until(lambda: farm.last.has_ended)
        assert world.link.desired["qa"] == session(world).plan.desired
        assert world.link.held == {"qa": "up"}
        assert not session(world).wish.relayed

    far(body)


def test_what_does_not_come_up_at_home_goes_back_to_its_relay_and_is_not_tried_there_again(
    far: Callable[[Body], None],
) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        world.on_link, world.gateway, world.verification = True, "home", [DEAD]
        await world.told()
        assert (session(world).is_relayed, world.states) == (True, {"qa": "up"})
        assert "by per-node it did not come up" in session(world).plan.reason
        assert len(farm.relays) == 1
        assert not farm.last.has_ended, "it was there all the while"
        world.verified.clear()
        await world.told()
        await world.told()
        assert RoutingMode.PER_NODE not in world.verified

    far(body)


def test_a_router_takes_over_only_once_it_is_seen_to_carry(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        world.gateway = "bb"
        await world.told()
        assert (session(world).is_relayed, farm.last.checked) == (True, 1)
        farm.is_carried, world.gateway = True, "cc"
        await world.told()
        assert (session(world).plan.mode, world.states) == (RoutingMode.ROUTER, {"qa": "up"})
        await world.until(lambda: farm.last.has_ended)

    far(body)


def test_away_again_it_is_relayed_without_anybodys_word(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        world.on_link = True
        await world.up(QA)
        await world.looked()
        world.on_link, world.gateway, world.verification = False, "cafe", [DEAD]
        await world.told()
        assert (session(world).is_relayed, world.states) == (True, {"qa": "up"})
        assert farm.last.served

    far(body)


def test_suspended_it_is_tried_by_a_relay_where_it_comes_to(
    far: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "PAUSES", ())

    async def body(world: World, farm: Farm) -> None:
        farm.obstacle = ClusterError("It does not answer.")
        world.on_link = True
        await world.up(QA)
        await world.looked()
        world.on_link, world.gateway, world.verification = False, "cafe", [DEAD]
        await world.told()
        assert world.states == {"qa": "suspended"}
        farm.obstacle, world.gateway, world.verification = None, "hotel", [DEAD]
        await world.told()
        assert (session(world).is_relayed, world.states) == (True, {"qa": "up"})

    far(body)


def test_another_agent_relays_on_with_what_is_kept_of_the_environment(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        world.supervisor.close()
        before = world.link
        await world.until(lambda: farm.last.has_ended)
        again = world.again()
        world.link.held = dict.fromkeys(before.held, "orphaned")
        await again.resume()
        assert (session(world).is_relayed, world.states) == (True, {"qa": "up"})
        assert len(farm.relays) == 2
        kept = farm.last.environ
        assert (kept["KUBECONFIG"], kept["HTTPS_PROXY"]) == ("/k", "http://proxy:3128")
        assert RoutingMode.ROUTER not in world.verified[2:], "it is known that the network does not carry it"

    far(body)


def test_with_another_helper_the_same_relay_gets_new_listeners(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        world.link.is_connected = False
        world.link.lost(AWAY)
        assert world.states == {"qa": "degraded"}
        assert not farm.last.has_ended, "what is open shall go on"
        world.link.is_connected = True
        await world.link.returned()
        assert (world.states, len(farm.relays), len(farm.last.served)) == ({"qa": "up"}, 1, 2)

    far(body)


def test_brought_up_anew_where_it_is_relayed_nothing_that_works_is_taken_away(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        world.verified.clear()
        await world.supervisor.up(
            wish(), replace=False, progress=world.progress, environ={"KUBECONFIG": "/another"},
        )  # fmt: skip
        assert world.verified == [RoutingMode.RELAY]
        assert len(farm.relays) == 1
        assert farm.last.environ == {"KUBECONFIG": "/another"}, "who signed in anew is known to it"

    far(body)


def test_brought_up_by_routes_what_is_open_in_its_relay_goes_on(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        farm.last.tell(dataclasses.replace(farm.last.state, streams=2))
        await world.until(lambda: known(world).streams == 2)
        world.on_link = True
        await world.up(QA, routing=RoutingMode.PER_NODE)
        assert session(world).is_draining
        await world.until(lambda: farm.last.is_draining)
        assert not farm.last.has_ended

    far(body)


@pytest.mark.parametrize("other", [QA, PROD])
def test_where_something_else_does_not_come_up_in_its_place_a_relay_serves_on(
    far: Callable[[Body], None], other: BridgeProfile
) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        world.on_link, world.verification = True, [DEAD]
        with pytest.raises(VerificationError):
            await world.up(other, routing=RoutingMode.PER_NODE, replace=True)
        assert (session(world).is_relayed, world.states, world.link.held) == (True, {"qa": "up"}, {"qa": "up"})
        assert world.link.calls[-3:] == [f"apply qa{' for prod' * (other is PROD)}", "open qa", "confirm qa"]
        assert (len(farm.relays), len(farm.last.served), farm.last.has_ended) == ((1, 2, False), (2, 1, False))[
            other is PROD
        ]

    far(body)


def test_who_is_connected_by_a_session_that_is_replaced_hears_of_it_and_a_refusal_leaves_it_relayed(
    far: Callable[[Body], None],
) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        first, apply = farm.last, world.link.apply

        async def applying(desired: Desired, replace: tuple[str, ...] = ()) -> Mapping[str, object]:
            assert first.has_ended, "its redirect is there still"
            return await apply(desired, replace)

        world.on_link, world.link.failures["apply prod for qa"] = True, ConflictError("No.")
        world.link.apply = applying  # type: ignore[method-assign]
        with pytest.raises(ConflictError):
            await world.up(PROD, replace=True)
        assert (world.states, world.link.calls[-1]) == ({"qa": "up"}, "open qa")
        assert (len(farm.relays), farm.last.has_ended) == (2, False)
        await world.up(PROD, replace=True)
        assert world.states == {"prod": "up"}
        await world.until(lambda: farm.last.has_ended)

    far(body)


def test_a_session_that_goes_by_routes_has_no_relay_left_that_had_ended_before(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        world.supervisor._sessions.relays._running["qa"]._reviving = spawn(asyncio.sleep(9), name="as if waiting")
        await farm.last.die()
        await world.until(lambda: bool(session(world).relay_trouble))
        world.on_link = True
        await world.up(QA, routing=RoutingMode.PER_NODE)
        assert session(world).plan.desired.relay is None
        assert world.supervisor._sessions.relays.get("qa") is None

    far(body)


def test_what_is_still_open_after_its_time_is_cut(far: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "MOST", 0.01)

    async def body(world: World, farm: Farm) -> None:
        await up(world)
        farm.last.tell(dataclasses.replace(farm.last.state, streams=2))
        await world.until(lambda: known(world).streams == 2)
        world.on_link, world.gateway = True, "home"
        await world.told()
        await world.until(lambda: session(world).plan.desired.relay is None)
        await world.until(lambda: farm.last.has_ended)
        assert (world.link.desired["qa"].relay, world.link.held) == (None, {"qa": "up"})

    far(body)


def test_after_a_sleep_a_relay_looks_which_of_its_connections_are_there_still(far: Callable[[Body], None]) -> None:
    async def body(world: World, farm: Farm) -> None:
        await up(world)
        world.clocks[-1].jumped()
        await world.looked()
        assert (farm.last.checked, world.states) == (1, {"qa": "up"})

    far(body)
