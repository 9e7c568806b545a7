"""The live log of questions."""

from functools import partial
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from devlink.errors import HelperError
from devlink.tui.app import Dashboard
from devlink.tui.records import Queries, Query
from devlink.tui.widgets.listing import Listing
from devlink.tui.widgets.queries import KEPT, QueriesPanel
from tests.tui.conftest import Pilots, text_of, until
from tests.tui.scripted import ScriptedAgent, query, session, status

pytestmark = pytest.mark.slow


def log(*names: str, lost: int = 0, restarted: bool = False, **changes: Any) -> dict[str, Any]:
    """A piece of the log."""
    told = {"records": [query(name, **changes) for name in names], "lost": lost, "restarted": restarted}
    return told


def piece(first: int, last: int, **changes: Any) -> Queries:
    """A piece as the panel is given it."""
    return Queries([Query(**query(f"n{number}", **changes)) for number in range(first, last)], 0, False, None)


def panel_of(app: Dashboard) -> QueriesPanel:
    return app.main.query_one(QueriesPanel)


def listing_of(app: Dashboard) -> Listing[Any]:
    return panel_of(app).query_one(Listing)


def names_of(app: Dashboard) -> list[str]:
    return [item.name for item in listing_of(app).items if isinstance(item, Query)]


def chosen_of(app: Dashboard) -> str:
    item = listing_of(app).chosen
    assert isinstance(item, Query)
    return item.name


def test_what_is_asked_is_seen_the_newest_at_the_bottom(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session()))
        await pilot.press("4")
        await until(pilot, lambda: "Nobody asks for a name." in text_of(app), "nobody asks")
        await agent.tell("FollowDnsLog", log("one.example", rcode=3, qtype=28))
        await until(pilot, lambda: "NXDOMAIN" in text_of(app), "it is shown")
        line = next(line for line in text_of(app).splitlines() if "one.example" in line)
        assert line.split()[2:9] == ["·", "NXDOMAIN", "one.example", "AAAA", "0.9", "ms", "10.96.0.10"]
        for number in range(5):
            await agent.tell("FollowDnsLog", log(*(f"n{number}-{each}" for each in range(20))))
            await until(
                pilot, partial(lambda newest: newest in text_of(app), f"n{number}-19"), "the newest is in sight"
            )

    piloted(body, size=(100, 30))


def test_a_pause_stops_the_view_and_forgets_nothing(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], _: ScriptedAgent) -> None:
        await pilot.press("4")
        panel_of(app).add(piece(0, 3))
        await until(pilot, lambda: names_of(app) == ["n0", "n1", "n2"], "it is shown")
        await pilot.press("space")
        panel_of(app).add(piece(3, 1000))
        panel_of(app).add(piece(1000, 1237))
        await until(pilot, lambda: "paused, 1234 came meanwhile" in text_of(app), "the pause is told")
        assert names_of(app) == ["n0", "n1", "n2"]
        await pilot.press("space")
        await until(pilot, lambda: "n1236" in text_of(app), "it goes on")
        assert names_of(app) == [f"n{number}" for number in range(1237)]
        assert "paused" not in text_of(app)

    piloted(body, size=(100, 30))


def test_of_more_than_are_kept_the_last_are_kept(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], _: ScriptedAgent) -> None:
        await pilot.press("4")
        panel_of(app).add(piece(0, KEPT))
        await until(pilot, lambda: len(names_of(app)) == KEPT, "it is shown")
        await pilot.press("up", "up")
        assert chosen_of(app) == f"n{KEPT - 3}"
        line = next(y for y, line in enumerate(text_of(app).splitlines()) if f"n{KEPT - 3} " in line)
        panel_of(app).add(piece(KEPT, KEPT + 250))
        await until(pilot, lambda: names_of(app)[-1] == f"n{KEPT + 249}", "more is shown")
        assert len(names_of(app)) == KEPT
        assert chosen_of(app) == f"n{KEPT - 3}"
        await pilot.pause()
        assert f"n{KEPT - 3} " in text_of(app).splitlines()[line]

    piloted(body, size=(100, 30))


def test_a_filter_is_of_what_was_and_of_what_comes(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], _: ScriptedAgent) -> None:
        await pilot.press("4")
        panel_of(app).add(piece(0, 30))
        await until(pilot, lambda: len(names_of(app)) == 30, "it is shown")
        await pilot.press("slash", *"n7")
        await until(pilot, lambda: names_of(app) == ["n7"], "it is narrowed")
        panel_of(app).add(piece(60, 80))
        await until(
            pilot, lambda: names_of(app)[1:] == [f"n{number}" for number in range(70, 80)], "what comes is, too"
        )
        assert "11 fit n7" in text_of(app)
        await pilot.press("enter", "escape")
        await until(pilot, lambda: len(names_of(app)) == 50, "all are back")

    piloted(body, size=(100, 30))


def test_with_a_filter_what_it_fits_is_kept_longer_than_the_rest(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], _: ScriptedAgent) -> None:
        await pilot.press("4", "slash", *"rare")
        panel_of(app).add(Queries([Query(**query("rare"))], 0, False, None))
        for start in range(0, 3 * KEPT, KEPT):
            panel_of(app).add(piece(start, start + 2000))
            await pilot.pause(0.6)
        assert names_of(app) == ["rare"]

    piloted(body, size=(100, 30))


def test_what_is_missing_is_said_at_its_place(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session()))
        await pilot.press("4")
        await agent.tell("FollowDnsLog", log("one.example"))
        await until(pilot, lambda: "one.example" in text_of(app), "the first is shown")
        await agent.tell("FollowDnsLog", log("two.example", lost=17, restarted=True))
        await until(pilot, lambda: "two.example" in text_of(app), "the next is shown")
        where = [text_of(app).index(text) for text in ("one.example", "started anew", "17 questions", "two.example")]
        assert where == sorted(where)

    piloted(body, size=(140, 30))


def test_whose_names_are_shown_is_said_where_it_is_not_everybodys(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session()))
        await pilot.press("4")
        await agent.tell("FollowDnsLog", {**log(), "zones": []})
        await until(pilot, lambda: "No session of yours is up with names" in text_of(app), "why it is empty")
        await agent.tell("FollowDnsLog", {**log(), "zones": ["cluster.local"]})
        await until(pilot, lambda: "only those of cluster.local" in text_of(app), "whose they are")
        await agent.tell("FollowDnsLog", log("one.example"))
        await until(pilot, lambda: "only those" not in text_of(app), "it is everybody's")

    piloted(body, size=(100, 30))


def test_enter_shows_all_of_a_question_and_its_command_can_be_copied(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], _: ScriptedAgent) -> None:
        await pilot.press("4")
        assert panel_of(app).copyable() == ""
        seen = query("it's; bad\x1b", rcode=2, reason="no server answers")
        panel_of(app).add(Queries([Query(**query("web.example")), Query(**seen)], 0, False, None))
        await until(pilot, lambda: "SERVFAIL" in text_of(app), "it is shown")
        assert panel_of(app).copyable() == """devlink dns query 'it'"'"'s; bad?' A"""
        await pilot.press("enter")
        await until(pilot, lambda: "no server answers" in text_of(app), "the reason is shown")
        await pilot.press("up")
        await until(pilot, lambda: "devlink dns query web.example A" in text_of(app), "the details go with the cursor")
        await pilot.press("escape")
        await pilot.pause()
        assert not panel_of(app).query_one("#query-details", Static).display

    piloted(body, size=(100, 40))


def test_it_is_drawn_four_times_a_second_however_often_something_comes(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], _: ScriptedAgent) -> None:
        await pilot.press("4")
        filled = []
        original = listing_of(app).fill
        listing_of(app).fill = lambda *words, **more: (filled.append(1), original(*words, **more))[1]  # type: ignore[method-assign,func-returns-value]
        for number in range(30):
            panel_of(app).add(piece(number, number + 1))
            await pilot.pause(0.001)
        await until(pilot, lambda: len(names_of(app)) == 30, "all are shown")
        assert len(filled) < 10

    piloted(body, size=(100, 30))


def test_why_nothing_is_seen_is_said(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["FollowDnsLog"] = HelperError("The devlink helper is away.", next_step="Start it.")
        await agent.tell("Status", status(session()))
        await pilot.press("4")
        await until(pilot, lambda: "helper is away." in text_of(app).split("Queries", 2)[-1], "the reason is shown")

    piloted(body, size=(100, 30))
