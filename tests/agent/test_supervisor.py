"""Sessions brought up whole or not at all, with a helper that notes what is asked of it and fails on request."""

import asyncio
import dataclasses
import ipaddress
import json
from collections.abc import Mapping
from typing import Any

import pytest

from devlink.agent import sessions as module
from devlink.agent.cache import Origin
from devlink.agent.session import Wish
from devlink.agent.wishes import KeptWishes
from devlink.core.codec import encode
from devlink.core.findings import Finding, Severity
from devlink.core.plan import Desired
from devlink.core.profile import BridgeProfile
from devlink.core.profile_document import decode_profile
from devlink.errors import (
    ConflictError,
    DevlinkError,
    HelperError,
    NotTrustedError,
    NotUpError,
    VerificationError,
)
from tests.agent.fakes import AWAY, DEAD, PROD, QA, Run, World
from tests.core.profiles import SAMPLE


def test_a_session_is_applied_verified_confirmed_and_kept_in_that_order(run: Run) -> None:
    async def body(world: World) -> None:
        shown = await world.up(QA)
        assert shown["state"] == "up"
        assert world.link.calls == ["apply qa", "confirm qa"]
        assert (world.states, world.kept) == ({"qa": "up"}, ["qa.json"])
        assert world.steps[-1] == ("verified", True)
        assert await world.supervisor.down(None, everything=False) == ("qa",)
        assert (world.states, world.kept, world.link.held) == ({}, [], {})
        assert world.supervisor.is_idle

    run(body)


def test_ordinary_names_are_looked_at_beside_the_verification_and_keep_nothing_from_coming_up(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, warning = asyncio.Event(), Finding(code="DL-X", severity=Severity.WARNING, title="No names.")

    async def check(applied: Mapping[str, Any]) -> tuple[Finding, ...]:
        assert applied["resolver"] == "direct"
        asked.set()
        return (warning,)

    async def body(world: World) -> None:
        monkeypatch.setattr(module, "check_ordinary", check)
        world.verification = [asked]  # goes on only when the other one is under way
        shown = await world.up(QA)
        assert shown["state"] == "up"
        assert "DL-X" in [finding["code"] for finding in shown["findings"]]

    run(body)


def test_a_verification_that_fails_does_not_wait_for_ordinary_names(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(_: Mapping[str, Any]) -> tuple[Finding, ...]:
        await asyncio.Event().wait()
        return ()

    async def body(world: World) -> None:
        monkeypatch.setattr(module, "check_ordinary", check)
        world.verification = [DEAD]
        with pytest.raises(VerificationError):
            await world.up(QA)
        await world.until(lambda: "check ordinary names" not in {task.get_name() for task in asyncio.all_tasks()})

    run(body)


def test_up_of_what_is_up_is_applied_and_verified_again_whatever_is_left_of_it(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        await world.up(QA)
        assert world.link.calls == ["apply qa", "confirm qa", "apply qa", "confirm qa"]
        world.verification = [DEAD]
        with pytest.raises(VerificationError):
            await world.up(QA)

    run(body)


def test_what_was_lost_is_not_put_back_unseen_by_a_later_up_that_fails(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.verification.append(DEAD)
        world.link.failures["apply qa for prod"] = HelperError("The link is down.")
        with pytest.raises(VerificationError):
            await world.up(PROD, replace=True)
        assert world.states == {"qa": "degraded"}
        for profile, replace in ((QA, False), (PROD, True)):
            world.verification.append(DEAD)
            with pytest.raises(VerificationError):
                await world.up(profile, replace=replace)
            assert (world.states, world.link.held) == ({"qa": "degraded"}, {})

    run(body)


def test_what_the_helper_kept_after_a_repair_that_failed_is_not_shown_as_gone(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)

        async def refuse(desired: Desired, replace: tuple[str, ...] = ()) -> Mapping[str, Any]:
            raise HelperError("The disk is read-only.")

        apply, world.link.apply = world.link.apply, refuse  # type: ignore[method-assign]
        with pytest.raises(HelperError, match="read-only"):
            await world.up(QA)
        assert world.states == {"qa": "degraded"}
        assert world.link.held == {"qa": "up"}
        world.link.apply = apply  # type: ignore[method-assign]
        await world.supervisor.look()
        assert world.states == {"qa": "up"}

    run(body)


def test_what_another_hand_took_down_is_not_shown_as_up(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.link.held.clear()
        await world.supervisor.look()
        assert (world.states, world.kept) == ({}, [])

    run(body)


@pytest.mark.parametrize("refusal", [NotTrustedError("No."), ConflictError("It is another agent's.")])
def test_an_up_that_was_refused_takes_nothing_down(run: Run, refusal: DevlinkError) -> None:
    async def body(world: World) -> None:
        world.link.held["qa"] = "up"  # another agent's
        world.link.failures["apply qa"] = refusal
        with pytest.raises(type(refusal)):
            await world.up(QA)
        assert world.link.held == {"qa": "up"}
        assert "release qa" not in world.link.calls

    run(body)


def test_down_of_all_tries_each_though_one_fails(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        await world.up(PROD)
        world.link.failures["release qa"] = HelperError("It cannot.")
        with pytest.raises(HelperError, match="It cannot"):
            await world.supervisor.down(None, everything=True)
        assert world.states == {"qa": "up"}

    run(body)


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("apply qa", NotTrustedError("It is not trusted.")),
        ("verify", DEAD),
        ("confirm qa", HelperError("The helper went away.")),
        ("verify", ZeroDivisionError("a defect")),
    ],
)
def test_whatever_fails_is_taken_back_and_told(run: Run, where: str, error: Exception) -> None:
    async def body(world: World) -> None:
        if isinstance(error, DevlinkError) and where != "verify":
            world.link.failures[where] = error
        else:
            world.verification.append(error)
        with pytest.raises(type(error)):
            await world.up(QA)
        assert (world.states, world.kept, world.link.held) == ({}, [], {})
        assert world.supervisor.is_idle
        await world.up(QA)
        assert world.states == {"qa": "up"}, "and it can be tried again"

    run(body)


@pytest.mark.parametrize("where", ["apply", "verify"])
def test_a_cancelled_up_is_taken_back_and_the_error_says_so(run: Run, where: str) -> None:
    async def body(world: World) -> None:
        never = asyncio.Event()
        if where == "apply":
            world.link.slow = never
        else:
            world.verification.append(never)
        task = asyncio.get_running_loop().create_task(world.up(QA))
        await world.until(lambda: world.states == {"qa": "connecting"} and (where == "apply" or bool(world.link.held)))
        task.cancel()
        with pytest.raises(NotUpError, match="cancelled, and everything was taken back"):
            await task
        assert (world.states, world.kept, world.link.held) == ({}, [], {})

    run(body)


def test_a_cancelled_up_that_cannot_be_taken_back_does_not_say_that_it_was(run: Run) -> None:
    async def body(world: World) -> None:
        world.verification.append(asyncio.Event())
        task = asyncio.get_running_loop().create_task(world.up(QA))
        await world.until(lambda: bool(world.link.held))
        world.link.failures["release qa"] = HelperError("The helper went away.")
        task.cancel()
        with pytest.raises(NotUpError) as error:
            await task
        assert "taken back" not in error.value.what
        assert "went away" in error.value.why

    run(body)


def test_a_replacement_takes_the_other_down_in_the_same_step(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        await world.up(PROD, replace=True)
        assert world.link.calls[2:] == ["apply prod for qa", "confirm prod"]
        assert (world.states, world.kept) == ({"prod": "up"}, ["prod.json"])

    run(body)


def test_a_replacement_that_fails_brings_the_other_back_in_one_step(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.verification.append(DEAD)
        with pytest.raises(VerificationError):
            await world.up(PROD, replace=True)
        assert world.link.calls[2:] == ["apply prod for qa", "apply qa for prod", "confirm qa"]
        assert (world.states, world.kept, world.link.held) == ({"qa": "up"}, ["qa.json"], {"qa": "up"})

    run(body)


def test_a_replacement_that_fails_and_whose_way_back_fails_leaves_nothing_of_the_new_one_and_no_false_state(
    run: Run,
) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.verification.append(DEAD)
        world.link.failures["apply qa for prod"] = ConflictError("Somebody took it meanwhile.")
        with pytest.raises(VerificationError) as error:
            await world.up(PROD, replace=True)
        assert "no answer" in error.value.why
        assert "Somebody took it meanwhile." in error.value.why
        await world.supervisor.look()
        assert world.states == {"qa": "degraded"}
        (session,) = world.supervisor.status()["sessions"]
        assert session["findings"][0]["title"] == "Somebody took it meanwhile."
        assert session["routes"] == []
        assert world.link.held == {}, "a session that was never up must not stay installed"
        await world.up(QA)
        assert world.states == {"qa": "up"}

    run(body)


def test_a_repair_that_fails_and_whose_way_back_fails_is_no_session_that_is_up(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.verification.append(DEAD)
        apply = world.link.apply

        async def once(desired: Desired, replace: tuple[str, ...] = ()) -> Mapping[str, Any]:
            said = await apply(desired, replace)
            world.link.failures["apply qa"] = HelperError("The link is down.")
            return said

        world.link.apply = once  # type: ignore[method-assign]
        with pytest.raises(VerificationError, match="The link is down"):
            await world.up(QA)
        assert world.link.held == {}, "what was never verified does not stay"
        await world.supervisor.look()
        assert world.states == {"qa": "degraded"}
        world.link.apply = apply  # type: ignore[method-assign]
        world.link.failures.clear()
        await world.up(QA)
        assert world.states == {"qa": "up"}

    run(body)


def test_replace_takes_the_others_down_though_the_profile_itself_is_up(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        await world.up(PROD)
        await world.up(QA, replace=True)
        assert (world.states, world.link.held) == ({"qa": "up"}, {"qa": "up"})

    run(body)


def test_without_replace_sessions_stand_side_by_side(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        await world.up(PROD)
        assert world.states == {"qa": "up", "prod": "up"}
        with pytest.raises(ConflictError, match="qa, prod"):
            await world.supervisor.down(None, everything=False)
        assert await world.supervisor.down("prod", everything=False) == ("prod",)
        await world.up(PROD)
        assert await world.supervisor.down(None, everything=True) == ("qa", "prod")
        assert world.link.held == {}

    run(body)


def test_a_profile_that_grew_and_is_refused_leaves_the_one_that_is_up(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        assert QA.spec.dns is not None
        grown = dataclasses.replace(QA, spec=dataclasses.replace(QA.spec, mtu=1400))
        world.link.failures["apply qa"] = NotTrustedError("It claims more.")
        with pytest.raises(NotTrustedError):
            await world.up(grown)
        assert (world.states, world.link.held) == ({"qa": "up"}, {"qa": "up"})
        kept = json.loads((world.folder / "qa.json").read_text())
        assert kept["profile"]["spec"]["mtu"] == 1480

    run(body)


@pytest.mark.parametrize(("name", "everything"), [(None, False), (None, True), ("qa", False), ("../x", False)])
def test_down_of_what_is_not_up_says_so(run: Run, name: str | None, everything: bool) -> None:
    async def body(world: World) -> None:
        with pytest.raises(NotUpError):
            await world.supervisor.down(name, everything=everything)
        assert world.link.calls == []

    run(body)


def test_down_of_what_the_helper_has_lost_already_is_no_error(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.link.held.clear()
        assert await world.supervisor.down("qa", everything=False) == ("qa",)
        assert world.kept == []

    run(body)


def test_what_a_down_could_not_take_back_stays_and_is_shown(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.link.failures["release qa"] = HelperError("It could not.")
        with pytest.raises(HelperError):
            await world.supervisor.down("qa", everything=False)
        assert world.states == {"qa": "up"}

    run(body)


def test_an_up_beside_a_helper_that_hangs_changes_nothing(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.link.calls.clear()
        world.link.failures["ready"] = HelperError("It hangs.")
        with pytest.raises(HelperError, match="It hangs"):
            await world.up(QA)
        assert (world.states, world.link.calls) == ({"qa": "up"}, [])

    run(body)


@pytest.mark.parametrize("still", [True, False])
@pytest.mark.parametrize("where", ["ready", "release qa"])
def test_down_over_which_the_helper_dies_or_hangs_is_not_undone_by_its_successor(
    run: Run, where: str, still: bool
) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.link.failures[where] = HelperError("It went away, or does not answer.")
        world.link.is_connected = False
        with pytest.raises(HelperError):
            await world.supervisor.down("qa", everything=False)
        world.link.lost(AWAY)
        assert world.states == {"qa": "degraded"}, "nobody knows that it is gone"
        (session,) = world.supervisor.status()["sessions"]
        assert session["findings"][0]["code"] == "DL-STILL-THERE"
        assert world.kept == []
        world.link.is_connected = True
        if not still:
            world.link.held.clear()
        await world.link.returned()
        assert (world.states, world.link.held) == ({}, {})

    run(body)


def test_what_is_to_end_can_be_brought_up_again(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.link.failures["release qa"] = HelperError("It went away.")
        world.link.is_connected = False
        with pytest.raises(HelperError):
            await world.supervisor.down("qa", everything=False)
        world.link.is_connected = True
        await world.up(QA)
        await world.link.returned()
        assert (world.states, world.kept) == ({"qa": "up"}, ["qa.json"])

    run(body)


def test_a_folder_that_cannot_be_written_takes_no_working_session_down(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(world: World) -> None:
        world.folder.write_text("a file where the folder should be")
        await world.up(QA)
        assert (world.states, world.link.held) == ({"qa": "up"}, {"qa": "up"})
        await world.supervisor.down("qa", everything=False)
        assert world.states == {}

    run(body)
    assert "will not know of qa" in caplog.text


def test_what_is_kept_is_for_its_user_alone(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        assert world.folder.stat().st_mode & 0o077 == 0
        assert json.loads((world.folder / "qa.json").read_text()) == encode(Wish(profile=QA))

    run(body)


def test_ups_at_once_come_one_after_the_other(run: Run) -> None:
    async def body(world: World) -> None:
        await asyncio.gather(world.up(QA), world.up(PROD), world.up(QA))
        assert world.link.calls == ["apply qa", "confirm qa", "apply prod", "confirm prod", "apply qa", "confirm qa"]

    run(body)


def with_pods(*pods: str) -> BridgeProfile:
    """Another edition of qa."""
    prefixes = tuple(ipaddress.ip_network(text) for text in pods)
    return dataclasses.replace(QA, spec=dataclasses.replace(QA.spec, pods=prefixes, nodes=None))


def test_a_newer_edition_is_gone_over_to_and_never_shown_as_less_than_up(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.link.slow = asyncio.Event()
        newer = Wish(profile=with_pods("10.20.0.0/16", "10.30.0.0/16"), version="2")
        renewing = asyncio.get_running_loop().create_task(world.supervisor.renew(newer))
        await asyncio.sleep(0.01)
        assert world.states == {"qa": "up"}
        world.link.slow.set()
        await renewing
        assert world.link.calls[-2:] == ["apply qa", "confirm qa"]
        assert any("10.30.0.0/16" in route for route in world.supervisor.status()["sessions"][0]["routes"])
        assert (world.supervisor.wish("qa"), world.states) == (newer, {"qa": "up"})

    run(body)


def test_an_edition_for_a_session_that_is_not_up_is_left_for_later(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.link.lost(AWAY)
        assert not await world.supervisor.renew(Wish(profile=with_pods("10.30.0.0/16")))
        await world.link.returned()
        assert world.states == {"qa": "up"}
        assert await world.supervisor.renew(Wish(profile=with_pods("10.30.0.0/16")))

    run(body)


def test_an_edition_that_changes_nothing_here_touches_nothing(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        calls = list(world.link.calls)
        newer = Wish(profile=dataclasses.replace(QA, metadata=dataclasses.replace(QA.metadata, revision="2")))
        await world.supervisor.renew(newer)
        assert world.link.calls == calls
        assert world.supervisor.status()["sessions"][0]["revision"] == "2"
        kept = KeptWishes(world.folder).read()["qa"]
        assert kept.profile.metadata.revision == "2", "an agent that is started again goes on with this one"

    run(body)


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("apply qa", NotTrustedError("It claims more.")),
        ("apply qa", ConflictError("Another has it.")),
        ("verify", DEAD),
        ("confirm qa", HelperError("It hangs.")),
    ],
)
def test_an_edition_that_fails_leaves_the_one_before_it_up(run: Run, where: str, error: DevlinkError) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        routes = world.link.routes["qa"]
        if where == "verify":
            world.verification.append(error)
        else:
            world.link.failures[where] = error
        with pytest.raises(type(error)):
            await world.supervisor.renew(Wish(profile=with_pods("10.30.0.0/16")))
        assert (world.states, world.link.routes["qa"], world.link.held) == ({"qa": "up"}, routes, {"qa": "up"})
        kept = world.supervisor.wish("qa")
        assert kept is not None
        assert kept.profile == QA
        assert await world.supervisor.down(None, everything=False) == ("qa",), "and it can be taken down"
        assert world.link.held == {}

    run(body)


def test_an_edition_that_fails_and_cannot_be_undone_is_shown(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.verification.append(DEAD)

        calls = 0
        apply = world.link.apply

        async def once(desired: Desired, replace: tuple[str, ...] = ()) -> Mapping[str, Any]:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise HelperError("The link is down.")
            return await apply(desired, replace)

        world.link.apply = once  # type: ignore[method-assign]
        with pytest.raises(VerificationError):
            await world.supervisor.renew(Wish(profile=with_pods("10.30.0.0/16")))
        assert world.states == {"qa": "degraded"}

    run(body)


def test_what_is_said_of_a_profiles_source_is_shown_until_something_else_is(run: Run) -> None:
    async def body(world: World) -> None:
        note = Finding(code="DL-PROFILE-CACHED", severity=Severity.WARNING, title="An old copy.")
        await world.supervisor.up(Wish(profile=QA), replace=False, progress=world.progress, notes=(note,))

        def codes() -> set[str]:
            return {finding["code"] for finding in world.supervisor.status()["sessions"][0]["findings"]}

        assert "DL-PROFILE-CACHED" in codes()
        world.supervisor.note("qa")
        assert "DL-PROFILE-CACHED" not in codes()

    run(body)


def test_another_clusters_profile_of_the_same_name_takes_no_session_over_unasked(run: Run) -> None:
    async def body(world: World) -> None:
        ours = Origin(context="a", server="https://192.0.2.1:6443")
        theirs = Origin(context="b", server="https://192.0.2.2:6443")
        await world.up(QA, origin=ours)
        calls = list(world.link.calls)
        with pytest.raises(ConflictError, match="is another cluster") as caught:
            await world.up(QA, origin=theirs)
        assert "--context b --replace" in caught.value.next_step
        assert (world.link.calls, world.states) == (calls, {"qa": "up"})
        await world.up(QA, origin=ours)
        await world.up(QA, origin=theirs, replace=True)
        wish = world.supervisor.wish("qa")
        assert wish is not None
        assert wish.origin == theirs

    run(body)


def test_a_renewal_that_waited_while_its_user_wished_anew_does_not_take_that_back(run: Run) -> None:
    excluded = ipaddress.ip_network("10.20.9.0/24")
    newer = dataclasses.replace(QA, spec=dataclasses.replace(QA.spec, mtu=1400))

    async def body(world: World) -> None:
        await world.up(QA)
        renewals = list[asyncio.Task[bool]]()

        async def progress(_: str, __: bool) -> None:
            if not renewals:
                renewing = world.supervisor.renew(Wish(profile=newer))
                renewals.append(asyncio.get_running_loop().create_task(renewing))
                await asyncio.sleep(0)

        await world.supervisor.up(Wish(profile=QA, exclude=(excluded,)), replace=False, progress=progress)
        assert not await renewals[0], "it is to be tried again, from what is wished now"
        wish = world.supervisor.wish("qa")
        assert wish is not None
        assert (wish.exclude, wish.profile.spec.mtu) == ((excluded,), QA.spec.mtu)

    run(body)


def test_nobody_switches_a_session_while_a_newer_edition_is_verified_and_somebody_does_afterwards(run: Run) -> None:
    two = decode_profile(SAMPLE.replace('"fd00:16::13"', "172.16.0.16", 1))
    pods = tuple(ipaddress.ip_network(text) for text in ("10.20.0.0/16", "10.30.0.0/16"))
    newer = dataclasses.replace(two, spec=dataclasses.replace(two.spec, pods=pods, nodes=None))

    async def body(world: World) -> None:
        await world.up(two)
        running = world.supervisor._sessions.failovers._running
        before = running["qa"]
        verifying = asyncio.Event()
        world.verification = [verifying]
        renewing = asyncio.get_running_loop().create_task(world.supervisor.renew(Wish(profile=newer)))
        await world.until(lambda: not world.verification)
        assert before.is_closed
        world.supervisor._sessions.tell()
        assert running["qa"].is_closed, "whatever is told meanwhile"
        verifying.set()
        assert await renewing
        assert not running["qa"].is_closed

    run(body)
