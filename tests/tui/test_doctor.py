"""Doctor in the dashboard, beside a scripted agent."""

import pytest
from textual.pilot import Pilot

from devlink.errors import HelperError
from devlink.tui.app import Dashboard
from devlink.tui.screens.doctor import DoctorScreen, FindingBox
from devlink.tui.screens.finding import FindingPage
from tests.tui.conftest import Pilots, text_of, until
from tests.tui.scripted import ScriptedAgent, check, examined, finding, session, status

pytestmark = pytest.mark.slow


def test_doctor_tells_what_it_found_the_gravest_first_and_opens_its_page(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["Examine"] = examined()
        await agent.tell("Status", status(session("qa")))
        await pilot.press("o")
        await until(pilot, lambda: "✗ 1 error, 1 warning." in text_of(app), "the conclusion is told")
        await until(pilot, lambda: "not judged: routes comes first" in text_of(app), "the checks are told")
        text = text_of(app)
        assert text.index("172.16.0.13 is not on this link.") < text.index("Packets go by") < text.index("This laptop")
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard == "devlink up qa", "what cures the gravest is copied")
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, FindingPage), "the page of the second is open")
        await until(pilot, lambda: "DL-FAILED-OVER] (b)" in text_of(app), "with whose it is")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, DoctorScreen), "doctor is there again")

        agent.answers["Examine"] = examined(findings=[])
        await pilot.press("o")
        await until(pilot, lambda: "✓ Nothing is wrong that could be seen." in text_of(app), "it has looked again")
        assert not app.screen.query(FindingBox)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.main, "it is closed")

    piloted(body, size=(120, 40))


def test_doctor_says_that_it_looks_stays_usable_and_gives_up_when_it_is_closed(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await pilot.press("o")
        await until(pilot, lambda: "Looking at everything, for 1 s." in text_of(app), "it tells the seconds")
        await pilot.press("o")
        assert [name for name, _ in agent.calls].count("Examine") == 1, "it looks once at a time"
        assert any(worker.group == "doctor" for worker in app.workers)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.main, "it is closed")
        await until(pilot, lambda: all(w.group != "doctor" or w.is_finished for w in app.workers), "nothing is asked")
        await until(pilot, lambda: "Examine" in agent.given_up, "the agent knows that nobody waits")

    piloted(body)


def test_doctor_tells_an_error_with_what_to_do_and_can_be_asked_again(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["Examine"] = HelperError("It [cannot] look.", why="It is ill.", next_step="Try: devlink logs")
        await agent.tell("Status", status(session("qa")))
        await pilot.press("o")
        await until(pilot, lambda: "✗ It [cannot] look. It is ill." in text_of(app), "the error is told")
        assert "Try: devlink logs" in text_of(app)
        odd = finding(title="\x1b[31m" + "t" * 255, evidence="e" * 1000, fix="f" * 500)
        checks = [check("c" * 255, "[b]" + "s" * 255, seen="\x07" + "v" * 60)]
        agent.answers["Examine"] = examined(findings=[odd], checks=checks)
        await pilot.press("o")
        await until(pilot, lambda: "! 1 warning." in text_of(app), "it has looked again")
        body = app.screen.query_one("#found")
        await until(pilot, lambda: body.max_scroll_y > 0, "there is more than fits")
        assert body.max_scroll_x == 0
        await pilot.press("pagedown", "pagedown", "pagedown")
        await until(pilot, lambda: "[b]sss" in text_of(app) and "?vvv" in text_of(app), "the rest is reached")

    piloted(body, size=(80, 24))
