"""What the dashboard follows, and what it makes of an agent that comes and goes."""

import pytest
from textual.pilot import Pilot

from devlink.tui.app import Dashboard
from tests.tui.conftest import Pilots, text_of, until
from tests.tui.scripted import ScriptedAgent, session, status

pytestmark = pytest.mark.slow


def test_it_shows_what_the_agent_tells_and_each_change(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await until(pilot, lambda: "qa is up" in text_of(app), "the session is shown")
        await agent.tell("Status", status(session("qa", state="degraded")))
        await until(pilot, lambda: "qa is degraded" in text_of(app), "its change is shown")

    piloted(body)


def test_without_an_agent_it_says_so_and_finds_one_that_comes(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await until(pilot, lambda: "No agent runs" in text_of(app), "its absence is shown")
        await agent.start()
        await agent.tell("Status", status(session("qa")))
        await until(pilot, lambda: "qa is up" in text_of(app), "the session is shown")

    piloted(body, absent=True)
