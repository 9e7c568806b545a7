"""Sessions kept up while helpers, networks and agents come and go."""

import asyncio
import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import Any

import pytest

from devlink.agent.session import Heard
from devlink.core.detours import with_detour
from devlink.core.network import ObservedRoute, Rule
from devlink.core.plan import Detour
from devlink.core.prefixes import IPAddress
from devlink.core.profile import RoutingMode
from devlink.core.profile_document import decode_profile
from devlink.errors import (
    DevlinkError,
    HelperError,
    IdentityError,
    NotTrustedError,
)
from tests.agent.fakes import AWAY, DEAD, PROD, QA, Run, World
from tests.core.model_kernel import USUAL
from tests.core.plans import theirs
from tests.core.profiles import SAMPLE


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"missing": ["10.20.0.0/16 via 172.16.0.13 dev eth0"]}, "DL-ROUTES-GONE"),
        ({"resolver": "overwritten"}, "DL-RESOLVER-GONE"),
        ({"forwarder": "restarting"}, "DL-FORWARDER-AWAY"),
        ({"routes": {"qa": []}}, "DL-ROUTES-GONE"),
    ],
)
def test_a_look_shows_what_is_no_longer_there_and_up_mends_it(run: Run, change: dict[str, Any], code: str) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        await world.supervisor.look()
        assert world.states == {"qa": "up"}
        for key, value in change.items():
            setattr(world.link, key, value)
        await world.supervisor.look()
        assert world.states == {"qa": "degraded"}
        assert code in {f["code"] for f in world.supervisor.status()["sessions"][0]["findings"]}
        world.link.missing, world.link.resolver, world.link.forwarder = [], "direct", "serving"
        await world.up(QA)
        assert world.states == {"qa": "up"}

    run(body)


def test_each_route_that_is_missing_is_told_with_the_cure_that_helps_it_and_no_other_sessions_reason(run: Run) -> None:
    fought, occupied, waiting = (f"10.{number}.0.0/16 via 172.16.0.13 dev eth0" for number in (20, 21, 22))

    async def body(world: World) -> None:
        await world.up(QA)
        await world.up(PROD)
        world.link.missing = [fought, occupied, waiting]
        world.link.contests["qa"] = {
            "fought": {"routes": [fought], "why": "taken away 10 times"},
            "occupied": {"routes": [occupied], "why": "a VPN is there"},
        }
        await world.supervisor.look()
        told = {
            session["name"]: {f["code"]: (f["evidence"], f["fix"]) for f in session["findings"]}
            for session in world.supervisor.status()["sessions"]
        }
        assert told["qa"]["DL-ROUTES-FOUGHT"][0] == f"{fought}: taken away 10 times"
        evidence, fix = told["qa"]["DL-ROUTES-HELD"]
        assert evidence == f"{occupied}: a VPN is there"
        assert "puts it back" not in fix, "`devlink up` ends with a conflict"
        assert "by themselves" in fix
        assert told["qa"]["DL-ROUTES-GONE"][0] == waiting
        assert told["prod"]["DL-ROUTES-GONE"][0] == "; ".join((fought, occupied, waiting))
        assert not {"DL-ROUTES-FOUGHT", "DL-ROUTES-HELD"} & set(told["prod"])

    run(body)


LAN = tuple(theirs(network, protocol=2) for network in ("172.16.0.0/24", "fd00:16::/64"))
VPN_TABLE = Rule(version=4, priority=5270, table=52)


@pytest.mark.parametrize(
    ("foreign", "code"),
    [
        (theirs("10.254.0.0/16", oif="tun0"), "DL-ROUTE-TAKEN"),
        (theirs("0.0.0.0/0", oif="tun0", table=52), "DL-POLICY-WINS"),
    ],
)
def test_who_wins_over_a_network_after_up_is_seen_by_a_look_and_no_longer_when_that_one_has_gone(
    run: Run, foreign: ObservedRoute, code: str
) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        await world.looked()
        world.foreign, world.rules = (*LAN, foreign), (VPN_TABLE, *USUAL)
        await world.supervisor.look()
        assert (world.states, code in world.codes) == ({"qa": "degraded"}, True)
        await world.supervisor.look()
        assert world.states == {"qa": "degraded"}
        world.foreign = LAN
        await world.supervisor.look()
        assert (world.states, code in world.codes) == ({"qa": "up"}, False)
        assert "apply qa" not in world.link.calls[2:], "it is told, and nothing is installed anew for it"

    run(body)


def test_a_look_that_sees_another_network_has_the_session_go_with_it(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        await world.looked()
        world.on_link, world.gateway = False, "office"
        await world.supervisor.look()
        await world.looked()
        assert world.supervisor.status()["sessions"][0]["mode"] == "router"

    run(body)


def test_the_mode_to_which_the_helper_goes_over_is_shown_and_stays_so_while_another_program_has_its_place(
    run: Run,
) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        for told, shown in (("file", "file"), ("overwritten", "file"), ("", "file"), ("link", "link")):
            world.link.resolver = told
            await world.supervisor.look()
            assert world.supervisor.status()["sessions"][0]["resolver"] == shown

    run(body)


def test_a_helper_that_is_slow_to_say_what_it_has_is_asked_again_by_the_next_look(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.link.failures["list"] = HelperError("It does not answer within 5 s.")
        await world.supervisor.look()
        assert world.states == {"qa": "degraded"}
        await world.supervisor.look()
        assert world.states == {"qa": "up"}

    run(body)


def test_all_who_ask_at_once_are_told_of_the_same_look(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.link.slow = asyncio.Event()
        world.link.missing = ["10.20.0.0/16 via 172.16.0.13 dev eth0"]
        looks = [asyncio.get_running_loop().create_task(world.supervisor.look()) for _ in range(2)]
        await world.until(lambda: "list" in world.link.calls)
        await asyncio.sleep(0.01)
        assert not any(look.done() for look in looks), "nobody is told what is not known yet"
        world.link.slow.set()
        await asyncio.gather(*looks)
        assert world.states == {"qa": "degraded"}
        assert world.link.calls.count("list") == 1

    run(body)


def test_while_something_changes_a_look_says_only_whether_the_helper_is_well(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.link.slow = asyncio.Event()
        coming = asyncio.get_running_loop().create_task(world.up(PROD))
        await world.until(lambda: "prod" in world.states)
        await world.supervisor.look()
        assert world.states == {"qa": "up", "prod": "connecting"}
        world.link.failures["ready"] = HelperError("It hangs.")
        await world.supervisor.look()
        assert world.states == {"qa": "degraded", "prod": "connecting"}
        world.link.slow.set()
        await coming
        await world.supervisor.look()
        assert world.states == {"qa": "up", "prod": "up"}

    run(body)


def test_a_helper_that_goes_and_comes_back_gets_everything_again(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        await world.up(PROD)
        changed = asyncio.get_running_loop().create_task(world.supervisor.changed())
        await asyncio.sleep(0)
        world.link.lost(AWAY)
        await changed  # whoever watches is told
        assert world.states == {"qa": "degraded", "prod": "degraded"}
        world.link.held.clear()
        world.link.calls.clear()
        await world.link.returned()
        assert world.link.calls == ["apply qa", "confirm qa", "apply prod", "confirm prod"]
        assert world.states == {"qa": "up", "prod": "up"}

    run(body)


def test_what_the_new_helper_refuses_is_shown_as_degraded_and_the_rest_comes_up(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        await world.up(PROD)
        world.link.lost(AWAY)
        world.link.held.clear()
        world.link.failures["apply qa"] = NotTrustedError("It is not trusted.")
        await world.link.returned()
        assert world.states == {"qa": "degraded", "prod": "up"}
        assert world.supervisor.status()["sessions"][0]["findings"][0]["title"] == "It is not trusted."
        await world.up(QA)
        assert world.states["qa"] == "up", "up mends it"

    run(body)


class Pauses:
    """What sleeps, and for how long; each goes on when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        self._waiting: list[asyncio.Event] = []
        sleep = asyncio.sleep

        async def paused(seconds: float) -> None:
            if not seconds:
                return await sleep(0)
            self.seconds.append(seconds)
            self._waiting.append(asyncio.Event())
            await self._waiting[-1].wait()

        monkeypatch.setattr(asyncio, "sleep", paused)

    async def end(self) -> None:
        """End all that have begun. Returns when each has come to the next one, or to its end."""
        waiting, self._waiting = self._waiting, []
        trying = {task for task in asyncio.all_tasks() if task.get_name().startswith("try ")}
        for event in waiting:
            event.set()
        while trying := {task for task in trying if not task.done()}:
            if len(self._waiting) >= len(trying):
                return
            await asyncio.wait(trying, timeout=0.001)


async def lose(world: World, *errors: DevlinkError) -> None:
    """The helper goes and comes back, and so many verifications fail from then on."""
    world.link.lost(AWAY)
    world.link.held.clear()
    world.verification += errors
    await world.link.returned()


def finding(world: World) -> Mapping[str, Any]:
    """The first that is shown."""
    first: Mapping[str, Any] = world.supervisor.status()["sessions"][0]["findings"][0]
    return first


def test_what_cannot_be_brought_up_again_at_that_moment_is_tried_again_after_longer_and_longer_pauses(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        pauses = Pauses(monkeypatch)
        await world.up(QA)
        await lose(world, DEAD, DEAD, DEAD)
        for seconds in (1, 2, 4):
            await world.until(lambda: bool(pauses.seconds))
            assert pauses.seconds == [seconds]
            assert world.states == {"qa": "degraded"}
            assert finding(world)["title"] == DEAD.what
            assert "tried again" in finding(world)["fix"]
            pauses.seconds.clear()
            await pauses.end()
        assert world.states == {"qa": "up"}
        assert world.link.held == {"qa": "up"}
        assert pauses.seconds == []

    run(body)


def test_each_is_tried_on_its_own_and_its_reason_is_shown_meanwhile(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        pauses = Pauses(monkeypatch)
        await world.up(QA)
        await world.up(PROD)
        await lose(world, DEAD)
        assert world.states == {"qa": "degraded", "prod": "up"}
        slow = asyncio.Event()
        world.verification.append(slow)
        await world.until(lambda: bool(pauses.seconds))
        ending = asyncio.get_running_loop().create_task(pauses.end())
        await world.until(lambda: world.states["qa"] == "connecting")
        assert finding(world)["title"] == DEAD.what
        slow.set()
        await ending
        assert world.states == {"qa": "up", "prod": "up"}

    run(body)


def test_while_a_helper_that_is_back_is_told_again_its_absence_is_no_reason_any_more(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.link.lost(AWAY)
        assert finding(world)["title"] == AWAY.what
        slow = asyncio.Event()
        world.verification.append(slow)
        returning = asyncio.get_running_loop().create_task(world.supervisor._keeper._helper_returned())
        await world.until(lambda: world.states == {"qa": "connecting"})
        assert finding(world)["code"] != "DL-NOT-INSTALLED"
        slow.set()
        await returning

    run(body)


def test_each_return_of_the_helper_begins_anew_and_ends_the_tries_before(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        pauses = Pauses(monkeypatch)
        await world.up(QA)
        for _ in range(4):
            pauses.seconds.clear()
            await lose(world, DEAD)
            await world.until(lambda: pauses.seconds == [1])
        world.link.calls.clear()
        world.verification += [DEAD] * 4
        pauses.seconds.clear()
        await pauses.end()
        assert world.link.calls == ["apply qa", "release qa"]
        assert pauses.seconds == [2]

    run(body)


def test_the_tenth_try_is_its_users_and_it_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        pauses = Pauses(monkeypatch)
        await world.up(QA)
        await lose(world, *[DEAD] * 20)
        await world.until(lambda: bool(pauses.seconds))
        for _ in range(9):
            assert "devlink up" not in finding(world)["fix"]
            await pauses.end()
        assert pauses.seconds == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert finding(world)["title"] == DEAD.what
        assert "devlink up qa" in finding(world)["fix"]
        world.verification.clear()
        await world.up(QA)
        assert world.states == {"qa": "up"}

    run(body)


@pytest.mark.parametrize("tries", [0, 2])
def test_where_another_cluster_answers_nothing_is_tried_unattended(
    run: Run, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    async def body(world: World) -> None:
        pauses = Pauses(monkeypatch)
        await world.up(QA)
        other = IdentityError("Another cluster answers.", next_step="Whose network is this?")
        await lose(world, *[DEAD] * tries, other)
        for _ in range(tries):
            await world.until(lambda: bool(pauses.seconds))
            await pauses.end()
        await world.until(lambda: "devlink up qa" in finding(world)["fix"])
        assert len(pauses.seconds) == tries
        assert finding(world)["title"].startswith(other.what)
        assert world.states == {"qa": "suspended"}

    run(body)


@pytest.mark.parametrize("tries", [0, 2])
def test_where_the_network_itself_leads_to_another_cluster_nothing_is_tried_unattended_either(
    run: Run, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    """There next hops do not tell one network from another, so only who answers ends the tries."""

    async def body(world: World) -> None:
        pauses = Pauses(monkeypatch)
        await world.up(dataclasses.replace(QA, spec=dataclasses.replace(QA.spec, routing=RoutingMode.ROUTER)))
        other = IdentityError("Another cluster answers.", next_step="Whose network is this?")
        await lose(world, *[DEAD] * tries, other, *[other] * 20)
        for _ in range(tries):
            await world.until(lambda: bool(pauses.seconds))
            await pauses.end()
        await world.until(lambda: not [t for t in asyncio.all_tasks() if t.get_name() == "try qa again"])
        assert len(pauses.seconds) == tries
        assert world.states == {"qa": "suspended"}
        assert finding(world)["title"].startswith(other.what)

    run(body)


def test_a_try_waits_for_what_its_user_does(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        pauses = Pauses(monkeypatch)
        await world.up(QA)
        await world.up(PROD)
        await lose(world, DEAD)
        await world.until(lambda: bool(pauses.seconds))
        slow = asyncio.Event()
        world.verification.append(slow)
        renewing = asyncio.get_running_loop().create_task(world.up(PROD))
        await world.until(lambda: world.states["prod"] == "connecting")
        world.link.calls.clear()
        ending = asyncio.get_running_loop().create_task(pauses.end())
        for _ in range(10):
            await asyncio.sleep(0)
        assert world.states == {"qa": "degraded", "prod": "connecting"}
        slow.set()
        await renewing
        await ending
        assert world.link.calls == ["confirm prod", "apply qa", "confirm qa"]

    run(body)


@pytest.mark.parametrize("what", ["was taken down", "is to end", "was brought up by its user", "has no helper"])
def test_what_is_not_to_be_brought_up_again_is_not_tried_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async def body(world: World) -> None:
        pauses = Pauses(monkeypatch)
        await world.up(QA)
        await lose(world, DEAD)
        await world.until(lambda: bool(pauses.seconds))
        match what:
            case "was taken down":
                await world.supervisor.down("qa", everything=False)
            case "is to end":
                world.link.failures["ready"] = AWAY
                with pytest.raises(HelperError):
                    await world.supervisor.down("qa", everything=False)
            case "was brought up by its user":
                await world.up(QA)
            case "has no helper":
                world.link.is_connected = False
        world.link.calls.clear()
        await pauses.end()
        assert world.link.calls == []
        assert len(pauses.seconds) == 1

    run(body)


def test_an_agent_that_is_started_again_takes_over_what_its_lease_still_holds(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        await world.up(PROD, dns=False)
        held = {"qa": "orphaned"}  # prod's lease has run out
        world.again()
        world.link.held = held
        await world.supervisor.resume()
        assert (world.states, world.kept) == ({"qa": "up"}, ["qa.json"])
        assert world.link.calls == ["list", "apply qa", "confirm qa"]

    run(body)


def test_what_another_agent_holds_is_not_taken_over(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.again()
        world.link.held = {"qa": "up"}
        await world.supervisor.resume()
        assert (world.states, world.kept) == ({}, [])

    run(body)


@pytest.mark.parametrize("garbage", ["", "{", "[]", '{"profile": 1}', "\udcff"])
def test_what_was_kept_and_cannot_be_read_keeps_no_agent_from_starting(run: Run, garbage: str) -> None:
    async def body(world: World) -> None:
        await world.up(PROD)
        (world.folder / "qa.json").write_bytes(garbage.encode("utf-8", "surrogateescape"))
        world.again()
        world.link.held = {"prod": "orphaned"}
        await world.supervisor.resume()
        assert (world.states, world.kept) == ({"prod": "up"}, ["prod.json"])

    run(body)


def test_a_helper_that_is_away_at_the_start_keeps_no_agent_from_starting(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.again()
        world.link.failures["list"] = HelperError("It is away.")
        await world.supervisor.resume()
        assert (world.states, world.kept) == ({}, [])
        world.again()
        await world.supervisor.resume()
        assert world.link.calls == [], "with nothing kept nobody is asked"

    run(body)


def test_an_agent_that_is_started_again_plans_with_what_its_user_chose(run: Run) -> None:
    async def body(world: World) -> None:
        excluded, winning = (ipaddress.ip_network(text) for text in ("10.20.9.0/24", "10.254.0.0/16"))
        await world.up(QA, exclude=(excluded,), override=(winning,))
        chosen = world.link.routes["qa"]
        assert not any(route.startswith("10.20.0.0/16 ") for route in chosen)
        assert any(route.startswith("10.254.0.0/16 ") and "table 5230" in route for route in chosen)
        world.again()
        world.link.held = {"qa": "orphaned"}
        await world.supervisor.resume()
        assert world.link.routes["qa"] == chosen
        (shown,) = world.supervisor.status()["sessions"]
        assert (shown["exclude"], shown["override"]) == (["10.20.9.0/24"], ["10.254.0.0/16"])

    run(body)


def test_a_laptop_that_moved_where_the_profile_cannot_work_keeps_no_agent_from_starting(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(dataclasses.replace(QA, spec=dataclasses.replace(QA.spec, routing=RoutingMode.GATEWAY)))
        await world.up(PROD)
        world.again()
        world.link.held = {"qa": "orphaned", "prod": "orphaned"}
        world.on_link = False
        await world.supervisor.resume()
        assert world.states == {"prod": "up", "qa": "suspended"}
        assert world.kept == ["prod.json", "set-aside"]
        assert world.link.held == {"prod": "up"}, "its lease has not to run out first"

    run(body)


TWO_GATEWAYS = decode_profile(SAMPLE.replace('"fd00:16::13"', "172.16.0.16", 1))


async def failed_over(world: World) -> Detour:
    """Up, and a gateway chosen by hand carries what the node should."""
    await world.up(TWO_GATEWAYS)
    (session,) = world.supervisor._sessions
    hop = next(hop for hop in session.plan.desired.next_hops if session.plan.candidates(hop))
    via, oif = session.plan.candidates(hop)[0]
    detour = Detour(next_hop=hop, via=via, oif=oif)
    session.plan = dataclasses.replace(session.plan, desired=with_detour(session.plan.desired, hop, detour))
    session.by_hand = frozenset({(hop, via)})
    world.supervisor._sessions.failovers.keep([])  # as one that comes up so
    world.supervisor._sessions.tell()
    return detour


def carrying(world: World) -> tuple[tuple[Detour, ...], frozenset[tuple[IPAddress, IPAddress]]]:
    (session,) = world.supervisor._sessions
    return world.link.desired["qa"].detours, session.by_hand


def test_a_helper_that_comes_back_leads_packets_where_they_were_led_before(run: Run) -> None:
    async def body(world: World) -> None:
        detour = await failed_over(world)
        world.link.held.clear()
        world.link.lost(AWAY)
        assert world.states == {"qa": "degraded"}
        await world.link.returned()
        assert world.states == {"qa": "up"}
        assert carrying(world) == ((detour,), frozenset({(detour.next_hop, detour.via)}))

    run(body)


def test_an_agent_that_is_started_again_leads_packets_where_they_were_led_before(run: Run) -> None:
    async def body(world: World) -> None:
        detour = await failed_over(world)
        world.again()
        world.link.held["qa"] = "orphaned"
        await world.supervisor.resume()
        assert world.states == {"qa": "up"}
        assert carrying(world) == ((detour,), frozenset({(detour.next_hop, detour.via)}))
        await world.supervisor.down(None, everything=False)
        assert world.kept == []

    run(body)


def test_what_was_noted_of_detours_and_cannot_be_read_keeps_no_session_from_coming_back(run: Run) -> None:
    async def body(world: World) -> None:
        await failed_over(world)
        (path,) = world.folder.glob("*.ways")
        path.write_text("{")
        world.again()
        world.link.held["qa"] = "orphaned"
        await world.supervisor.resume()
        assert world.states == {"qa": "up"}
        assert carrying(world) == ((), frozenset())

    run(body)


def test_up_again_leaves_the_users_choice_of_a_gateway(run: Run) -> None:
    async def body(world: World) -> None:
        detour = await failed_over(world)
        await world.up(TWO_GATEWAYS)
        assert carrying(world) == ((detour,), frozenset({(detour.next_hop, detour.via)}))

    run(body)


def test_a_look_finds_a_session_degraded_while_none_of_its_gateways_answers(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        (session,) = world.supervisor._sessions
        session.heard = Heard(is_silent=True)
        await world.supervisor.look()
        assert world.states == {"qa": "degraded"}
        session.heard = Heard(answers=True)
        await world.supervisor.look()
        assert world.states == {"qa": "up"}

    run(body)
