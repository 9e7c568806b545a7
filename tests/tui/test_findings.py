"""The panel of the findings and a finding's page, beside a scripted agent."""

import pytest
from textual.pilot import Pilot

from devlink.tui.app import Dashboard
from devlink.tui.screens.finding import FindingPage
from devlink.tui.widgets.findings import FindingsPanel
from tests.tui.conftest import Pilots, text_of, until
from tests.tui.scripted import ScriptedAgent, finding, session, status

pytestmark = pytest.mark.slow


def test_the_gravest_is_on_top_with_its_advice_and_its_page_has_the_reference(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        grave = finding("DL-R1-OFFLINK", "error", title="It is not on this link.", evidence="via wlan0", fix="move")
        await agent.tell("Status", status(session("qa", findings=[finding()]), session("b", findings=[grave])))
        await until(pilot, lambda: "b: It is not on this link." in text_of(app), "the findings are shown")
        panel = app.main.query_one(FindingsPanel)
        text = text_of(app)
        assert 0 < text.index("✗ error   b: It is not") < text.index("! warning qa: Packets go by")
        assert panel.border_title == "Findings (1 error, 1 warning)"
        assert "seen via wlan0" in text_of(app)
        assert panel.copyable() == ""

        await pilot.press("1", "down")
        await until(pilot, lambda: "do   to go back" in text_of(app), "the advice is that of the one under the cursor")
        assert "[DL-FAILED-OVER]" in text_of(app), "what its line has no room for stands below"
        assert panel.copyable() == "devlink failover 172.16.0.13"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, FindingPage), "its page is open")
        await until(pilot, lambda: "Cure" in text_of(app) and "(qa)" in text_of(app), "it has all that is to be said")
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard == "devlink failover 172.16.0.13", "the command is copied")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.main, "the page is closed")

    piloted(body, size=(80, 24))


def test_who_stays_on_top_is_told_what_to_do_about_what_is_gravest_now(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        note = finding("DL-NOTE", "info", title="By the way.", fix="use another")
        grave = finding("DL-GRAVE", "error", title="It is broken.", fix="move")
        await agent.tell("Status", status(session("qa", findings=[note])))
        await until(pilot, lambda: "do   use another" in text_of(app), "the note is shown")
        await agent.tell("Status", status(session("qa", findings=[note, grave])))
        await until(pilot, lambda: "do   move" in text_of(app), "the advice is that of the gravest")
        await pilot.press("1", "down")
        await until(pilot, lambda: "do   use another" in text_of(app), "the cursor is on the note")
        worse = finding("DL-WORSE", "error", title="It is gone.", fix="weep")
        await agent.tell("Status", status(session("qa", findings=[note, worse, grave])))
        await until(pilot, lambda: "It is gone." in text_of(app), "another one is listed")
        assert "do   use another" in text_of(app), "and stays with what its user looks at"

    piloted(body, size=(80, 24))


def test_texts_of_any_length_stay_inside_and_are_no_markup(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await until(pilot, lambda: "Nothing is wrong." in text_of(app), "nothing is wrong")
        odd = finding("DL-[red]", title="[b]\x1b[31m" + "t" * 255, evidence="e" * 2000, fix="`" + "f" * 255 + "\x07")
        await agent.tell("Status", status(session("qa", findings=[odd])))
        await until(pilot, lambda: "[b]?[31mttt" in text_of(app), "it is shown as it was written")
        await pilot.press("1", "enter")
        await until(pilot, lambda: isinstance(app.screen, FindingPage), "its page is open")
        await until(pilot, lambda: "DL-[red]" in text_of(app).replace("\n", ""), "its code too")
        body = app.screen.query_one("VerticalScroll")
        assert body.max_scroll_x == 0
        assert body.max_scroll_y > 0
        await pilot.press("y", "q")
        await until(pilot, lambda: app.screen is app.main, "the page is closed")
        assert app.clipboard == ""

    piloted(body, size=(80, 24))
