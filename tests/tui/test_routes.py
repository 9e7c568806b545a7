"""The panel of the routes, beside a scripted agent."""

from functools import partial

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from devlink.tui.app import Dashboard
from devlink.tui.messages import RoutesListed
from devlink.tui.records import RouteRow
from devlink.tui.widgets.listing import Listing
from devlink.tui.widgets.routes import RoutesPanel
from tests.tui.conftest import Pilots, sees, text_of, until
from tests.tui.scripted import ScriptedAgent, gateway, route, session, status

pytestmark = pytest.mark.slow

MANY = [route(f"10.20.{n // 4}.{n % 4 * 64}/26") for n in range(600)]
ODD = [
    route("10.20.9.0/24", "foreign", owner="[b]\x1b[31m" + "o" * 255, next_hop=None, note="its packets stay"),
    route("10.254.0.0/16", "missing", note="another program deleted it"),
]


def shown(app: Dashboard) -> list[str]:
    return [row.destination for row in app.main.query_one(RoutesPanel).query_one(Listing).items]


def test_routes_are_counted_what_is_missing_is_on_top_and_an_address_finds_its_route(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["ListRoutes"] = {"routes": [*MANY, *ODD]}
        await agent.tell("Status", status(session("qa")))
        await pilot.press("2")
        panel = app.main.query_one(RoutesPanel)
        await until(pilot, lambda: shown(app), "they are listed")
        assert panel.border_title == "Routes 600 ours, 1 of others, 1 missing"
        assert shown(app)[0] == "10.254.0.0/16"
        await until(pilot, lambda: "another program deleted it" in text_of(app), "the note under the cursor is told")
        assert panel.copyable() == "10.254.0.0/16"

        await pilot.press("slash", *"10.20.9.70")
        await until(pilot, lambda: shown(app) == ["10.20.9.64/26", "10.20.9.0/24"], "its routes are found")
        await pilot.press("enter", "down")
        await until(pilot, lambda: "its packets stay" in text_of(app), "the keys are the table's")
        assert "[b]?[31mooo" in text_of(app)
        assert panel.copyable() == "ip route get 10.20.9.70"
        assert panel.border_subtitle == "2 of 602 shown"

        agent.answers["ListRoutes"] = {"routes": MANY}
        await agent.tell("Status", status(session("qa", route_count=9)))
        await until(pilot, lambda: shown(app) == ["10.20.9.64/26"], "the filter holds for what is listed anew")
        await pilot.press("escape")
        await until(pilot, lambda: len(shown(app)) == 600, "all are shown again")

    piloted(body, size=(80, 24))


def test_they_are_asked_for_again_only_where_something_of_them_changed(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["ListRoutes"] = {"routes": [route()]}
        await agent.tell("Status", status(session("qa")))
        await pilot.press("2")
        await until(pilot, lambda: shown(app), "they are listed")
        await agent.tell("Status", status(session("qa", route_count=4)))
        await until(pilot, lambda: len(agent.asked("ListRoutes")) == 2, "they are asked for again")
        suspect = [gateway(), gateway("172.16.0.14", carries=False, state="suspect")]
        others = session("qa", route_count=4, resolver="hosts", gateways=suspect), session("b", route_count=9)
        await agent.tell("Status", status(*others))
        await sees(app, pilot, "names by hosts")
        assert len(agent.asked("ListRoutes")) == 2, "neither names nor another session are of these routes"
        fewer = session("qa", route_count=3, resolver="hosts", gateways=suspect)
        await agent.tell("Status", status(fewer, others[1]))
        await until(pilot, lambda: len(agent.asked("ListRoutes")) == 3, "they are asked for again")

    piloted(body, size=(80, 24))


def test_no_routes_are_told_with_the_reason(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await pilot.press("2")
        await agent.tell("Status", status(session("qa")))
        await until(pilot, lambda: "Not listed yet." in text_of(app), "they were not listed yet")
        panel = app.main.query_one(RoutesPanel)
        app.main.post_message(RoutesListed("qa", None, "The table cannot be read."))
        await until(pilot, lambda: "The table cannot be read." in text_of(app), "it is said why")
        app.main.post_message(RoutesListed("other", [RouteRow(**route())]))
        await pilot.pause()
        assert not shown(app), "those of another session come too late"
        panel.show(())
        await until(pilot, lambda: "No routes." in text_of(app), "there are none")
        assert panel.copyable() == ""
        panel.query_one(Input).value = "nonsense"
        await pilot.press("x")
        assert "No route is so." not in text_of(app), "a filter is not to blame where there are none"

    piloted(body)


def has_columns(app: Dashboard, *, with_oif: bool) -> bool:
    return "OWNER" in text_of(app) and ("OIF" in text_of(app)) == with_oif


def test_a_destination_is_whole_whatever_the_width(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        long = route("fd00:1234:5678:9abc::/64", next_hop="fd00::13", oif="wlp0s20f3")
        agent.answers["ListRoutes"] = {"routes": [long, route("100.100.100.128/26", "missing")]}
        await agent.tell("Status", status(session("qa")))
        await pilot.press("2")
        for size, has_oif in (((60, 30), False), ((80, 24), True), ((200, 60), True)):
            await pilot.resize_terminal(*size)
            await until(pilot, partial(has_columns, app, with_oif=has_oif), "the columns fit")
            lines = text_of(app).split("\n")
            assert any("✗ 100.100.100.128/26 " in line and " missing " in line for line in lines)
            assert any("✓ fd00:1234:5678:9abc::/64 fd00::13 " in line and " installed" in line for line in lines)

    piloted(body, size=(80, 24))
