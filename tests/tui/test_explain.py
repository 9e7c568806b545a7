"""Explain in the dashboard, beside a scripted agent."""

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from devlink.errors import UsageError
from devlink.tui.app import Dashboard
from devlink.tui.screens.explain import KEPT, ExplainScreen
from devlink.tui.screens.finding import FindingPage
from tests.tui.conftest import Pilots, text_of, until
from tests.tui.scripted import ScriptedAgent, explained, link, session, status

pytestmark = pytest.mark.slow


def test_a_way_is_told_link_by_link_and_marked_where_it_is_broken(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["Explain"] = explained()
        await agent.tell("Status", status(session("qa")))
        await pilot.press("e", *"web.default", "enter")
        await until(pilot, lambda: "✗ The way is broken at: route." in text_of(app), "the conclusion is told")
        await until(pilot, lambda: " 2 ✓ 10.254.3.7" in text_of(app), "an address has its own link")
        lines = text_of(app).split("\n")
        broken = next(index for index, line in enumerate(lines) if "3 ✗ route" in line)
        assert "broken here" in lines[broken + 1]
        assert dict(agent.calls)["Explain"]["what"] == "web.default"

        odd = [link("name", about="[b]" + "a" * 255, seen="\x1b[31m" + "t" * 5000)]
        agent.answers["Explain"] = explained(whole=True, links=odd, findings=[])
        await pilot.press("enter")
        await until(pilot, lambda: "✓ The way is whole." in text_of(app), "the next answer takes its place")
        assert "?[31mttt" in text_of(app)
        assert "10.254.3.7" not in text_of(app)
        scroll = app.screen.query_one("VerticalScroll")
        await until(pilot, lambda: scroll.max_scroll_y > 0, "there is more than fits")
        await pilot.press("pagedown")
        await until(pilot, lambda: scroll.scroll_y > 0, "which is reached")

    piloted(body, size=(80, 24))


def test_what_is_no_name_is_refused_beneath_the_input_and_a_code_opens_its_page(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["Explain"] = UsageError("That is [no] name.", next_step="Such as web.default.")
        await agent.tell("Status", status(session("qa")))
        await pilot.press("e", "enter")
        assert "Explain" not in dict(agent.calls), "an empty question is not asked"
        await pilot.press(*"a b", "enter")
        await until(pilot, lambda: "✗ That is [no] name." in text_of(app), "the error is told")
        assert "Such as web.default." in text_of(app)
        asked = len(agent.calls)
        field = app.screen.query_one(Input)
        field.value = "DL-NONE-SUCH"
        await pilot.press("enter")
        await until(pilot, lambda: "There is no finding with the code DL-NONE-SUCH." in text_of(app), "it is refused")
        field.value = "dl-cdn.example"
        await pilot.press("enter")
        await until(pilot, lambda: agent.asked("Explain")[-1]["what"] == "dl-cdn.example", "a host is no code")
        asked = len(agent.calls)
        field.value = "dl-failed-over"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, FindingPage) and "Cure" in text_of(app), "the page is open")
        assert [name for name, _ in agent.calls[asked:]].count("Explain") == 0
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ExplainScreen), "the question is there again")

    piloted(body, size=(80, 24))


def test_what_was_asked_before_comes_back_and_closing_gives_a_question_up(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await pilot.press("e")
        app._asked.extend(f"name{number}" for number in range(KEPT + 1))
        app.screen.query_one(Input).value = f"name{KEPT + 1}"
        await pilot.press("enter")
        await until(pilot, lambda: f"… Looking at the way to name{KEPT + 1}." in text_of(app), "it says that it looks")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.main, "it is closed")
        await until(pilot, lambda: "Explain" in agent.given_up, "the agent knows that nobody waits")
        await until(pilot, lambda: all(w.group != "explain" or w.is_finished for w in app.workers), "nothing is asked")

        await pilot.press("e", "up", "up")
        field = app.screen.query_one(Input)
        assert field.value == f"name{KEPT}"
        await pilot.press("down")
        assert field.value == f"name{KEPT + 1}"
        await pilot.press("down")
        assert field.value == ""
        assert list(app._asked) == [f"name{number}" for number in range(2, KEPT + 2)], "the last ones are kept"

    piloted(body)
