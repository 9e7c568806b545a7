"""The panel of sessions: what is up, how, and since when."""

from typing import Any

import pytest
from textual.pilot import Pilot

from devlink.tui.app import Dashboard
from devlink.tui.widgets.headline import Headline
from devlink.tui.widgets.listing import Listing
from devlink.tui.widgets.sessions import SessionsPanel
from tests.tui.conftest import Pilots, sees, text_of, until
from tests.tui.scripted import ScriptedAgent, session, status

pytestmark = pytest.mark.slow


def rows(app: Dashboard) -> list[str]:
    """The lines of the panel."""
    region = app.main.query_one(SessionsPanel).region
    lines = text_of(app).splitlines()[region.y : region.bottom]
    return [" ".join(line[region.x + 1 : region.right - 1].split()) for line in lines]


def test_each_state_has_its_sign_and_its_word(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        states = ("up", "degraded", "connecting", "suspended")
        await agent.tell("Status", status(*(session(f"s-{state}", state=state) for state in states)))
        wanted = [f"{mark} s-{state} {state}" for mark, state in zip("✓✗…○", states, strict=True)]
        await until(
            pilot, lambda: all(any(row.startswith(each) for row in rows(app)) for each in wanted), "each is shown"
        )

    piloted(body)


def test_on_80_columns_the_name_is_whole_and_the_rest_is_in_the_border(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("staging-eu", since=61.0, context="", mode="gateway")))
        await sees(app, pilot, "staging-eu up")
        await sees(app, pilot, "since 1 min, gateway, file")

    piloted(body, size=(80, 24))


def test_on_60_columns_the_state_is_a_word_still(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("staging-eu", state="suspended")))
        await until(pilot, lambda: any("suspended" in row for row in rows(app)), "its state is in its row")

    piloted(body, size=(60, 20))


def test_where_there_is_room_mode_and_profile_have_columns(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa", since=61.0, age=120, context="lab")))
        await sees(app, pilot, "✓ qa up 1 min gateway lab a1b2c3d4, 2 min old")

    piloted(body, size=(240, 60))


def test_times_go_on_while_the_agent_is_quiet_and_draw_only_what_reads_otherwise(
    piloted: Pilots, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa", since=59.0)))
        await sees(app, pilot, "qa is up by 172.16.0.13 (0.8 ms) since")
        drawn: list[str] = []
        head, panel = app.main.query_one(Headline), app.main.query_one(SessionsPanel)
        update = head.update

        def updated(text: Any = "", **more: Any) -> None:
            drawn.append(str(text))
            update(text, **more)

        monkeypatch.setattr(head, "update", updated)
        app.main.told_at -= 60
        panel._told_at -= 60
        app.main._tick()
        app.main._tick()
        assert len(drawn) == 1
        assert "since 1 min" in drawn[0] or "since 2 min" in drawn[0]

    piloted(body)


def test_the_cursor_stays_with_its_session_among_twenty_that_come_and_go(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        twenty = [session(f"s{n:02}") for n in range(20)]
        await agent.tell("Status", status(*twenty))
        await sees(app, pilot, "Sessions 20")
        await pilot.press(*["down"] * 12)
        await until(pilot, lambda: app.main.session_name == "s12", "it is chosen")
        assert any("s12" in row for row in rows(app)), "it is brought into view"
        await agent.tell("Status", status(*twenty[5:]))
        await sees(app, pilot, "Sessions 15")
        assert app.main.session_name == "s12"
        assert getattr(app.main.query_one("#sessions Listing", Listing).chosen, "name", "") == "s12"

    piloted(body, size=(80, 24))


def test_the_one_whose_path_is_shown_is_seen_while_the_keys_go_elsewhere(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("a"), session("b")))
        await sees(app, pilot, "b up")
        await pilot.press("down", "1")
        listing = app.main.query_one("#sessions Listing", Listing)
        await until(pilot, lambda: not listing.has_focus, "the keys go to the findings")
        grounds = [{segment.style.bgcolor for segment in listing.render_line(y) if segment.style} for y in (1, 2)]
        assert grounds[0] != grounds[1]

    piloted(body)


def test_a_name_that_another_wrote_does_nothing_to_the_terminal(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("[red]x\x1b[2J", context="[b]\x07")))
        await sees(app, pilot, "[red]x?[2J")
        assert "\x1b" not in text_of(app)
        assert "\x07" not in text_of(app)

    piloted(body)
