"""The panel of the events, beside a scripted agent."""

import time

import pytest
from textual.pilot import Pilot

from devlink.tui.app import Dashboard
from devlink.tui.screens.finding import FindingPage
from devlink.tui.widgets.events import EventsPanel, clock
from devlink.tui.widgets.listing import Listing
from tests.tui.conftest import Pilots, text_of, until
from tests.tui.scripted import ScriptedAgent, event, session, status

DAY = 86_400.0


def test_an_event_of_today_has_its_time_and_one_of_another_day_its_date() -> None:
    noon = time.mktime((2026, 11, 22, 12, 0, 5, 0, 0, -1))
    assert clock(noon, noon + 60) == "12:00:05"
    assert clock(noon - DAY, noon) == "21 Nov"


@pytest.mark.slow
def test_the_newest_is_on_top_stays_there_and_opens_the_finding_that_it_is(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await pilot.press("5")
        await until(pilot, lambda: "Nothing has happened." in text_of(app), "nothing has happened")
        await agent.tell("FollowEvents", {"events": [event("first"), event("second")]})
        await until(pilot, lambda: "second" in text_of(app), "they are shown")
        assert text_of(app).index("second") < text_of(app).index("first")
        assert "qa: second" not in text_of(app)
        long = "[b]\x1b[31m" + "w " * 100 + "end"
        news = event(long, "warning", code="DL-FAILED-OVER", session="b")
        await agent.tell("FollowEvents", {"events": [news]})
        await until(pilot, lambda: "! " in text_of(app) and "b: [b]?[31mw w" in text_of(app), "the new one is shown")
        panel = app.main.query_one(EventsPanel)
        assert panel.query_one(Listing).cursor == 0
        await until(pilot, lambda: "[DL-FAILED-OVER]" in text_of(app), "the whole text stands below")
        assert "qa: second" in text_of(app)
        assert panel.copyable() == "devlink explain DL-FAILED-OVER"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, FindingPage) and "Cure" in text_of(app), "its page is open")
        await pilot.press("escape", "down", "enter")
        await until(pilot, lambda: panel.copyable() == "second", "the next one is under the cursor")
        assert app.screen is app.main
        await agent.tell("FollowEvents", {"events": [event("third")]})
        await until(pilot, lambda: "third" in text_of(app), "the new one is shown")
        assert panel.copyable() == "second", "who reads an older one is not taken away from it"
        await pilot.press("1")
        await agent.tell("FollowEvents", {"events": [event("fourth")]})
        await until(pilot, lambda: "5 Events +1 " in text_of(app), "the tab says how much is new, of what was not seen")

    piloted(body, size=(80, 24))
