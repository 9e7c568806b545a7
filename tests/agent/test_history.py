"""What the agent has noticed of its sessions since its start."""

import asyncio
from contextlib import aclosing
from typing import Any

from devlink.core.findings import Finding, Severity
from devlink.rpc.tasks import spawn
from tests.agent.fakes import AWAY, DEAD, PROD, QA, Run, World


def texts(world: World) -> list[str]:
    return [str(each["text"]) for each in world.supervisor.history.kept]


def test_the_past_has_what_came_up_went_wrong_and_went_down(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        found = [text for text in texts(world) if "qa is" in text]
        assert found == ["qa is being brought up", "qa is up"]
        world.link.is_connected = False
        world.link.lost(AWAY)
        assert texts(world)[-2:] == ["the helper is away: routes and names may be too", "qa is degraded"]
        world.link.is_connected = True
        world.link.held.clear()
        await world.link.returned()
        await world.until(lambda: world.states == {"qa": "up"})
        assert texts(world)[-1] == "qa is up"
        assert "the helper is back" in texts(world)
        await world.supervisor.down(None, everything=True)
        assert texts(world)[-1] == "qa is down"

    run(body)


def test_what_did_not_come_up_is_told_as_that(run: Run) -> None:
    async def body(world: World) -> None:
        world.verification = [DEAD, DEAD, DEAD, DEAD]
        try:
            await world.up(QA)
        except type(DEAD):
            pass
        assert texts(world)[-1] == "qa did not come up"

    run(body)


def test_what_a_look_finds_is_told_though_nobody_has_changed_anything(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        world.link.missing = [world.link.routes["qa"][0]] if world.link.routes["qa"] else []
        world.link.forwarder = "restarting"
        await world.supervisor.look()
        assert any("forwarder does not serve" in text for text in texts(world))
        assert "qa is degraded" in texts(world)

    run(body)


def test_who_follows_gets_the_past_at_once_and_then_what_is_new(run: Run) -> None:
    async def body(world: World) -> None:
        pieces: list[list[Any]] = []
        reading = asyncio.Event()

        async def follow() -> None:
            async with aclosing(world.supervisor.history.follow()) as followed:
                async for events in followed:
                    pieces.append(events)
                    reading.set()

        following = spawn(follow(), name="follow")
        await reading.wait()
        assert pieces == [[]], "that there is nothing is an answer as well"
        await world.up(QA)
        await world.until(lambda: any(each["text"] == "qa is up" for piece in pieces for each in piece))
        told = [each for piece in pieces for each in piece]
        assert told == world.supervisor.history.kept
        world.supervisor.note("qa", Finding(code="DL-X", severity=Severity.WARNING, title="A newer one waits."))
        await world.until(lambda: pieces[-1][-1]["text"] == "A newer one waits.")
        assert (pieces[-1][-1]["code"], pieces[-1][-1]["severity"], pieces[-1][-1]["session"]) == (
            "DL-X", "warning", "qa",
        )  # fmt: skip
        following.cancel()

    run(body)


def test_two_sessions_have_their_own_events(run: Run) -> None:
    async def body(world: World) -> None:
        await world.up(QA)
        await world.up(PROD)
        ups = [(each["session"], each["text"]) for each in world.supervisor.history.kept if "is up" in each["text"]]
        assert ups == [("qa", "qa is up"), ("prod", "prod is up")]

    run(body)
