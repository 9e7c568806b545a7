"""The line of keys."""

import pytest
from textual.pilot import Pilot

from devlink.tui.app import Dashboard
from devlink.tui.widgets.keys import KeyLine
from tests.tui.conftest import Pilots, text_of, until
from tests.tui.scripted import ScriptedAgent

pytestmark = pytest.mark.slow


def last_line(app: Dashboard) -> str:
    return text_of(app).splitlines()[-1]


def test_the_panel_that_has_the_keys_says_its_own(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], _: ScriptedAgent) -> None:
        await until(pilot, lambda: "q Quit" in last_line(app), "the keys are shown")
        assert "Pause" not in last_line(app)
        widgets = len(app.screen.query("*"))
        await pilot.press("4")
        await until(pilot, lambda: "space Pause" in last_line(app), "those of the log are shown")
        assert len(app.screen.query("*")) == widgets

    piloted(body, size=(160, 30))


def test_a_key_that_does_not_fit_is_left_out_whole_and_a_click_presses_one(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], _: ScriptedAgent) -> None:
        await until(pilot, lambda: "u Up" in last_line(app), "the keys are shown")
        assert last_line(app).rstrip().endswith("Explain  ? Help  q Quit")
        await pilot.press("4")
        await until(pilot, lambda: "space Pause" in last_line(app), "those of the log are shown")
        await pilot.click(KeyLine, offset=(last_line(app).index("Pause"), 0))
        await until(pilot, lambda: "paused" in text_of(app), "the click did it")

    piloted(body, size=(80, 24))
