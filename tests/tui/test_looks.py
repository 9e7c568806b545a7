"""The looks: colours that are read by everybody, and a layout that fits from the smallest terminal to the largest."""

import itertools
import math
import re
from functools import partial

import pytest
from textual.color import Color
from textual.pilot import Pilot
from textual.theme import Theme

from devlink.core.codec import decode
from devlink.core.text import MARKS
from devlink.tui.app import Dashboard
from devlink.tui.records import AgentStatus
from devlink.tui.themes import DARK, LIGHT
from devlink.tui.widgets.listing import Listing
from devlink.tui.words.telling import tab_signs
from tests.tui.conftest import Pilots, text_of, until
from tests.tui.scripted import ScriptedAgent, finding, session, status

THEMES = pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: str(theme.name))
TONES = ("ok", "info", "warn", "bad")
READABLE = 4.5
"""The least contrast of text (WCAG 2.2, 1.4.3); of a line that bounds something it is 3 (1.4.11)."""
SEEN_BY = {
    "all": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopes": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopes": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
}
"""What is left of linear red, green and blue (Machado, Oliveira and Fernandes 2009, severity 1)."""


def _linear(colour: Color) -> list[float]:
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized]


def _contrast(one: Color, other: Color) -> float:
    """As WCAG has it: from 1 to 21."""
    lights = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05 for r, g, b in (_linear(one), _linear(other)))
    return lights[1] / lights[0]


def _colours(theme: Theme) -> dict[str, Color]:
    """What the style sheets call them."""
    return {
        name: Color.parse(value)
        for name, value in (theme.to_color_system().generate() | theme.variables).items()
        if re.fullmatch(r"#[0-9A-Fa-f]{6}", value)
    }


@THEMES
def test_text_stands_out_from_what_is_behind_it(theme: Theme) -> None:
    colours = _colours(theme)
    grounds = ("background", "surface", "panel", "block-cursor-background")
    pairs = [*itertools.product(("foreground", "text-muted", *TONES), grounds)]
    pairs += [("background", "primary"), ("accent", "panel"), ("block-cursor-foreground", "block-cursor-background")]
    weak = {pair: _contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert not {pair: contrast for pair, contrast in weak.items() if contrast < READABLE}


@pytest.mark.slow
def test_what_is_as_of_a_while_ago_can_still_be_read_and_is_seen_to_be_so_without_colours(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await until(pilot, lambda: "qa is up" in text_of(app), "it is here")
        await until(pilot, agent.is_followed, "all is followed")
        here = text_of(app)
        await agent.end()
        await until(pilot, lambda: app.main.has_class("-away"), "it is away")
        await pilot.pause()
        assert "╍" in text_of(app)
        assert "╍" not in here
        for part, theme in itertools.product(("#upper", "#lower"), (DARK, LIGHT)):
            opacity = app.main.query_one(part).styles.opacity
            ground, colours = _colours(theme)["background"], _colours(theme)
            for tone in ("foreground", "text-muted", *TONES):
                assert _contrast(ground.blend(colours[tone], opacity), ground) >= READABLE, (tone, theme.name)

    piloted(body, size=(120, 40))


@THEMES
def test_borders_stand_out(theme: Theme) -> None:
    colours = _colours(theme)
    assert _contrast(colours["edge"], colours["background"]) >= 3
    assert _contrast(colours["primary"], colours["background"]) >= 3


@THEMES
@pytest.mark.parametrize("eyes", SEEN_BY)
def test_well_and_wrong_are_told_apart_by_any_eyes(theme: Theme, eyes: str) -> None:
    """By hue or by brightness: the distance in CIELAB, of which 2.3 is just seen, at least 10."""
    colours = _colours(theme)
    for one, other in (("ok", "bad"), ("ok", "warn"), ("info", "bad"), ("info", "warn")):
        assert _distance(colours[one], colours[other], eyes) > 10, (one, other)


def _distance(one: Color, other: Color, eyes: str) -> float:
    labs = []
    for colour in (one, other):
        r, g, b = (
            max(0.0, sum(part * light for part, light in zip(row, _linear(colour), strict=True)))
            for row in SEEN_BY[eyes]
        )
        x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
        y = 0.2126 * r + 0.7152 * g + 0.0722 * b
        z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
        fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
        labs.append((116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)))
    return math.dist(*labs)


def test_no_two_tones_that_differ_in_meaning_share_a_sign() -> None:
    tones = ("ok", "info", "warning", "error", "busy", "off", "skipped")
    assert len({MARKS[tone] for tone in tones}) == len(tones)


def test_a_tab_says_what_is_in_a_panel_that_is_not_seen() -> None:
    told = status(session(findings=[finding(), finding("DL-X", "error"), finding("DL-Y")], route_count=12))
    here = decode(AgentStatus, told["status"])
    assert tab_signs(here, here.sessions[0], 3) == {"findings": "✗1 !2", "routes": "12", "events": "+3"}
    assert tab_signs(None, None, 0) == {}


SHOWN: dict[tuple[int, int], set[str]] = {
    (40, 10): set(),
    (60, 16): {"sessions", "path", "findings"},
    (80, 24): {"sessions", "path", "findings"},
    (120, 30): {"sessions", "path", "findings"},
    (120, 40): {"sessions", "path", "findings", "routes", "dns", "queries", "events"},
    (240, 60): {"sessions", "path", "findings", "routes", "dns", "queries", "events"},
}


@pytest.mark.slow
def test_each_size_has_its_panels_and_a_resize_changes_them(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await until(pilot, lambda: "qa" in text_of(app), "the session is shown")
        for size, wanted in [*SHOWN.items(), ((40, 10), SHOWN[40, 10]), ((80, 24), SHOWN[80, 24])]:
            await pilot.resize_terminal(*size)
            await until(pilot, partial(_shows, app, wanted), f"{wanted} are shown at {size}")
            text = text_of(app)
            assert all(key in text.splitlines()[-1] for key in ("? Help", "q Quit")), size
            assert ("50x14" in text) == (not wanted), size
            await until(pilot, lambda: _holes(app) == 0, f"nothing is empty at {size}")
            assert all(app.screen.region.contains_region(each.region) for each in app.screen.query("Panel")), size

    piloted(body, size=(80, 24))


@pytest.mark.slow
@pytest.mark.parametrize("light", [False, True])
def test_the_line_with_the_cursor_can_be_read_in_any_tone(piloted: Pilots, light: bool) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await until(pilot, lambda: "qa" in text_of(app), "the session is shown")
        listing = app.screen.query_one("#sessions Listing", Listing)
        cursor = listing.get_component_rich_style("listing--cursor")
        for tone in ("ok", "info", "warning", "error"):
            style = cursor + listing.get_component_rich_style(f"listing--{tone}", partial=True)
            for each in (cursor, style):
                assert each.color is not None
                assert each.bgcolor is not None
                pair = Color.from_rich_color(each.color), Color.from_rich_color(each.bgcolor)
                assert _contrast(*pair) >= READABLE, tone

    piloted(body, light=light)


def _shows(app: Dashboard, panels: set[str]) -> bool:
    return _shown(app) == panels


def _has_keys(app: Dashboard, panel: str) -> bool:
    return _with_keys(app) == panel


def _shown(app: Dashboard) -> set[str | None]:
    """The panels of which a part is on the screen."""
    return {panel.id for panel in app.screen.query("Panel") if panel.region.area}


def _holes(app: Dashboard) -> int:
    """Cells between the first panel and the keys that belong to no panel, to no tab and to no edge."""
    panels = [panel.region for panel in app.screen.query("Panel") if panel.region.area]
    if not panels:
        return 0
    top, tabs = min(region.y for region in panels), app.screen.query_one("#tabs").region
    return app.size.width * (app.size.height - 1 - top) - tabs.area - sum(region.area for region in panels)


@pytest.mark.slow
def test_tab_goes_through_what_is_seen_and_a_number_shows_its_panel(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await until(pilot, lambda: "qa" in text_of(app), "the session is shown")
        for number, panel in enumerate(("findings", "routes", "dns", "queries", "events"), 1):
            await pilot.press(str(number))
            await until(pilot, partial(_shows, app, {"sessions", "path", panel}), f"{panel} is shown")
            await until(pilot, partial(_has_keys, app, panel), f"{panel} has the keys")
        await pilot.press("shift+tab")
        await until(pilot, lambda: _with_keys(app) in {"sessions", "path"}, "the keys go back")
        await pilot.press("2")
        await pilot.resize_terminal(240, 60)
        await until(pilot, lambda: _shown(app) == SHOWN[240, 60], "all are shown")
        seen = []
        for _ in SHOWN[240, 60]:
            seen.append(_with_keys(app))
            await pilot.press("tab")
        order = [
            name for name in ("sessions", "path", "findings", "routes", "dns", "queries", "events") if name in seen
        ]
        start = order.index("routes")
        assert seen[: len(order)] == order[start:] + order[:start]
        while _with_keys(app) != "queries":
            await pilot.press("tab")
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: _shown(app) == {"sessions", "path", "queries"}, "the one with the keys stays")

    piloted(body, size=(80, 24))


def _with_keys(app: Dashboard) -> str | None:
    """The panel that has the keys; it is seen at the line around it."""
    panel = next((each for each in app.screen.query("Panel") if each.has_pseudo_class("focus-within")), app.focused)
    if panel is None or panel.styles.border.top[0] != "heavy":
        return None
    return panel.id


@pytest.mark.slow
def test_what_is_not_seen_is_not_asked_for(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await until(pilot, lambda: "qa" in text_of(app), "the session is shown")
        assert not agent.asked("FollowDnsLog")
        assert not agent.asked("ListRoutes")
        await pilot.press("4")
        await until(pilot, lambda: agent.asked("FollowDnsLog"), "the queries are followed")
        await pilot.resize_terminal(90, 24)
        await pilot.press("2")
        await until(pilot, lambda: agent.asked("ListRoutes"), "the routes are asked for")
        assert len(agent.asked("FollowDnsLog")) == 1, "another size is no reason to begin anew"
        await until(pilot, lambda: not any(w.group == "queries" for w in app.workers), "the queries are not followed")

    piloted(body, size=(80, 24))
