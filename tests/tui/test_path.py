"""The panel of the path, beside a scripted agent."""

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from devlink.tui.app import Dashboard
from devlink.tui.widgets.path import PathPanel
from tests.tui.conftest import Pilots, text_of, until
from tests.tui.scripted import ScriptedAgent, finding, gateway, path, session, status

pytestmark = pytest.mark.slow


def panel_of(app: Dashboard) -> list[str]:
    """What is inside its border, line by line."""
    region = app.main.query_one(PathPanel).region
    lines = text_of(app).split("\n")[region.y : region.bottom]
    assert {line[region.right - 1] for line in lines[1:-1]} <= {"│"}, "nothing stands beyond the border"
    return [line[region.x + 1 : region.right - 1] for line in lines[1:-1]]


def says(app: Dashboard, text: str) -> Callable[[], bool]:
    return lambda: any(text in line for line in panel_of(app))


def silent(at: int) -> dict[str, Any]:
    told = path(gateways=[gateway(state="silent"), *(gateway(f"172.16.0.{n}", carries=False) for n in range(14, 19))])
    told["legs"][at].update(state="silent", text="no answer for 6 s", rtt_ms=None)
    return told


def test_where_the_path_breaks_is_seen_in_the_smallest_terminal(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await agent.tell("FollowPath", path())
        await until(pilot, says(app, "laptop ─✓── next hop ─✓─ gateway ─✓─ cluster"), "the whole path is drawn")
        assert app.main.query_one(PathPanel).copyable() == "ping 172.16.0.13"
        await agent.tell("FollowPath", silent(2))
        await until(pilot, says(app, "─✗  gateway"), "it is cut before the gateway")
        assert any("no answer for 6 s" in line for line in panel_of(app))
        assert "4 more gateways: 4 healthy" in panel_of(app)[-1]

    piloted(body, size=(80, 24))


def test_without_a_path_the_reason_is_said_and_stays_while_the_agent_tells_its_status(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status())
        await until(pilot, says(app, "Nothing is up."), "nothing is up")
        grave = finding(title="Elsewhere than at [home]\x1b[31m " + "x" * 255)
        await agent.tell("Status", status(session("qa", state="suspended", findings=[grave])))
        await until(pilot, says(app, "Elsewhere than at [home]?[31m"), "it is said why, as it was written")
        app.main.query_one(PathPanel).show(app.main.session, None, "It has ended.")
        await agent.tell("Status", status(session("qa", state="up")))
        await until(pilot, says(app, "! It has ended."), "the reason is said")

    piloted(body, size=(80, 24))


def test_the_trend_of_one_session_is_not_that_of_another(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        for time in (1.0, 4.0):
            told = path()
            told["legs"][3]["rtt_ms"] = time
            await agent.tell("FollowPath", told)
            await until(pilot, says(app, f"{time:.2f} ms"), "the time is shown")
        await until(pilot, says(app, "cluster ▂█ 1.00-4.00 ms"), "the trend is drawn, of one answer each")
        await agent.tell("Status", status(session("other")))
        await until(pilot, lambda: not says(app, "1.00-4.00")(), "the trend has gone")

    piloted(body, size=(120, 50))
