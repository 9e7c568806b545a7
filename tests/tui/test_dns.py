"""The panel of the forwarder's health."""

from functools import partial

import pytest
from textual.pilot import Pilot

from devlink.core.codec import decode
from devlink.tui.app import Dashboard
from devlink.tui.records import DnsStats
from devlink.tui.widgets.dns import DnsPanel
from tests.tui.conftest import Pilots, text_of, until
from tests.tui.scripted import ScriptedAgent, dns_stats, session, status

pytestmark = pytest.mark.slow


def test_the_verdict_comes_first_then_zones_and_servers(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session()))
        await pilot.press("3")
        await agent.tell("FollowDnsStats", dns_stats(100))
        await until(pilot, lambda: "192.168.1.1" in text_of(app), "the servers are shown")
        text = text_of(app)
        where = [text.index(part) for part in ("✓ names are well", "cluster.local", "ordinary names", "10.96.0.10")]
        assert where == sorted(where)
        assert "127.0.0.153" in text
        silent = dns_stats(100)
        silent["stats"]["servers"][0] |= {"state": "silent", "reason": "no route to host"}
        await pilot.pause(0.6)
        await agent.tell("FollowDnsStats", silent)
        await until(pilot, lambda: "✗ cluster.local: no server answers" in text_of(app), "the silence is told")
        assert "✗ silent" in text_of(app)

    piloted(body, size=(100, 30))


def test_a_forwarder_that_is_away_leaves_the_history_and_says_why(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], _: ScriptedAgent) -> None:
        await pilot.press("3")
        panel = app.main.query_one(DnsPanel)

        for second in range(10):
            panel.show("127.0.0.153", decode(DnsStats, dns_stats(100 + 10 * second)["stats"]), float(second))
        await until(pilot, lambda: "10/s" in text_of(app), "the rate is shown")
        panel.show("", None, 11.0, "The helper went away.")
        await until(pilot, lambda: "! no names are answered: The helper went away." in text_of(app), "why is told")
        assert "█████████" in text_of(app)
        assert "cluster.local" in text_of(app)

    piloted(body, size=(100, 30))


def fits(app: Dashboard) -> bool:
    lines = text_of(app).splitlines()
    zone = next((line for line in lines if "cluster.local " in line), "")
    return any("names are well" in line for line in lines) and "▁" in zone


def test_it_fits(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], _: ScriptedAgent) -> None:
        await pilot.press("3")
        panel = app.main.query_one(DnsPanel)
        for second in range(3):
            panel.show("127.0.0.153", decode(DnsStats, dns_stats(100)["stats"]), float(second))
        for size in ((50, 20), (80, 24), (200, 60)):
            await pilot.resize_terminal(*size)
            await until(pilot, partial(fits, app), f"all is there at {size}")

    piloted(body)


def test_no_second_lays_the_screen_out_anew(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], _: ScriptedAgent) -> None:
        await pilot.press("3")
        panel = app.main.query_one(DnsPanel)

        def count(second: int) -> None:
            panel.show("127.0.0.153", decode(DnsStats, dns_stats(100 + 10 * second)["stats"]), float(second))

        for second in range(3):
            count(second)
        await until(pilot, lambda: "10/s" in text_of(app), "the rate is shown")
        await pilot.pause(0.2)
        laid_out: list[int] = []
        original = app.screen._refresh_layout
        app.screen._refresh_layout = lambda *words, **more: (laid_out.append(1), original(*words, **more))[1]  # type: ignore[method-assign,func-returns-value]
        for second in range(3, 8):
            count(second)
            await pilot.pause()
        assert laid_out == []

    piloted(body, size=(100, 30))
