"""The one list that there is, in an app of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from devlink.tui import themes
from devlink.tui.themes import DARK, LIGHT
from devlink.tui.widgets.listing import Column, Listing, Row, fitted, widths

COLUMNS = (Column("NAME"), Column("KIND", 6))


class OneList(App[None]):
    """An app with one listing of texts, and what it posted."""

    CSS_PATH = Path(themes.__file__).with_name("looks.tcss")

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(DARK.variables)

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.drawn: list[str] = []
        self.posted: list[tuple[str, object]] = []
        changes = {"columns": COLUMNS, "show": self._show, "empty": "There is nothing.", **changes}
        self.listing: Listing[str] = Listing(changes.pop("columns"), changes.pop("show"), **changes)

    def _show(self, item: str) -> Row:
        self.drawn.append(item)
        return Row((item, "kind"), "error")

    def compose(self) -> ComposeResult:
        yield self.listing

    def on_mount(self) -> None:
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = DARK.name

    def on_listing_moved(self, event: Listing.Moved) -> None:
        self.posted.append(("moved", event.item))

    def on_listing_chosen(self, event: Listing.Chosen) -> None:
        self.posted.append(("chosen", event.item))

    @property
    def lines(self) -> list[str]:
        """What is seen."""
        strips = self.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]


Body = Callable[[OneList, Pilot[None]], Awaitable[None]]


def piloted(body: Body, *, size: tuple[int, int] = (30, 11), **changes: Any) -> None:
    """Ten lines below the titles."""

    async def main() -> None:
        async with asyncio.timeout(30):
            app = OneList(**changes)
            async with app.run_test(size=size) as pilot:
                app.listing.focus()
                await pilot.pause()
                await body(app, pilot)

    asyncio.run(main())


def numbered(*span: int) -> list[str]:
    return [f"item {number}" for number in range(*span)]


@pytest.mark.slow
def test_of_ten_thousand_items_only_those_that_are_seen_are_drawn() -> None:
    async def body(app: OneList, pilot: Pilot[None]) -> None:
        app.listing.fill(numbered(10_000))
        await pilot.pause()
        app.drawn.clear()
        app.listing.fill(numbered(10_000))
        await pilot.pause()
        assert 0 < len(app.drawn) <= 20
        assert "item 0 " in app.lines[1]
        assert "item 9 " in app.lines[10]
        await pilot.press("end")
        await pilot.pause()
        assert "item 9999 " in app.lines[10]
        app.drawn.clear()
        await pilot.press("up")
        await pilot.pause()
        assert set(app.drawn) == {"item 9999", "item 9998"}

    piloted(body)


@pytest.mark.slow
def test_the_cursor_stays_with_its_item_and_the_item_in_its_line() -> None:
    async def body(app: OneList, pilot: Pilot[None]) -> None:
        app.listing.fill(numbered(100, 200))
        await pilot.press(*["down"] * 15)
        await pilot.pause()
        assert app.listing.chosen == "item 115"
        line = next(y for y, text in enumerate(app.lines) if "item 115" in text)
        app.posted.clear()
        app.listing.fill(numbered(90, 200))
        await pilot.pause()
        assert app.listing.chosen == "item 115"
        assert "item 115" in app.lines[line]
        app.listing.fill([item for item in numbered(90, 200) if item != "item 50"])
        await pilot.pause()
        assert app.posted == []
        app.listing.fill([item for item in numbered(90, 200) if item != "item 115"])
        await pilot.pause()
        assert app.posted == [("moved", "item 116")]
        app.listing.fill([])
        await pilot.pause()
        assert app.posted[-1] == ("moved", None)
        assert app.lines[1].strip() == "There is nothing."

    piloted(body)


@pytest.mark.slow
def test_an_item_is_looked_for_around_its_former_place() -> None:
    looked: list[str] = []

    def key(item: str) -> str:
        looked.append(item)
        return item

    async def body(app: OneList, pilot: Pilot[None]) -> None:
        app.listing.fill(numbered(10_000))
        await pilot.press("end", "pageup")
        looked.clear()
        app.listing.fill(numbered(3, 10_000))
        assert len(looked) < 20
        looked.clear()
        app.listing.fill(numbered(5, 10_000), shift=-2)
        assert len(looked) < 20
        assert app.listing.chosen == "item 9990"

    piloted(body, key=key)


@pytest.mark.slow
def test_the_end_is_followed_until_its_user_looks_elsewhere() -> None:
    async def body(app: OneList, pilot: Pilot[None]) -> None:
        app.listing.fill(numbered(50))
        await pilot.pause()
        assert "item 49" in app.lines[10]
        app.listing.fill(numbered(60))
        await pilot.pause()
        assert "item 59" in app.lines[10]
        await pilot.press("up")
        app.listing.fill(numbered(70))
        await pilot.pause()
        assert "item 59" in app.lines[10]
        assert app.listing.chosen == "item 58"
        app.listing.fill(numbered(5, 75), shift=-5)
        await pilot.pause()
        assert "item 59" in app.lines[10]
        assert app.listing.chosen == "item 58"
        await pilot.press("end")
        app.listing.fill(numbered(5, 80))
        await pilot.pause()
        assert "item 79" in app.lines[10]

    piloted(body, follows=True)


@pytest.mark.slow
def test_the_wheel_leaves_the_end_and_finds_it_again() -> None:
    async def body(app: OneList, pilot: Pilot[None]) -> None:
        app.listing.fill(numbered(50))
        await pilot.pause()
        app.listing.scroll_relative(y=-3, animate=False)
        await pilot.pause()
        app.listing.fill(numbered(60))
        await pilot.pause()
        assert "item 46" in app.lines[10]
        app.listing.scroll_to(y=app.listing.max_scroll_y, animate=False)
        await pilot.pause()
        app.listing.fill(numbered(70))
        await pilot.pause()
        assert "item 69" in app.lines[10]

    piloted(body, follows=True)


@pytest.mark.slow
def test_a_log_that_grows_below_its_end_lays_nothing_out_anew() -> None:
    async def body(app: OneList, pilot: Pilot[None]) -> None:
        app.listing.fill(numbered(50))
        await pilot.pause(0.2)  # until the scrollbar is there
        laid_out: list[object] = []
        original = app.screen._refresh_layout
        app.screen._refresh_layout = lambda *words, **more: (laid_out.append(1), original(*words, **more))[1]  # type: ignore[method-assign,func-returns-value]
        for count in range(51, 60):
            app.listing.fill(numbered(count))
            await pilot.pause()
        assert "item 58" in app.lines[10]
        assert laid_out == []

    piloted(body, follows=True)


@pytest.mark.slow
def test_a_click_moves_the_cursor_and_a_second_one_opens() -> None:
    async def body(app: OneList, pilot: Pilot[None]) -> None:
        app.listing.fill(numbered(50))
        app.set_focus(None)
        await pilot.pause()
        await pilot.click(Listing, offset=(3, 1))
        await pilot.pause()
        assert [each for each in app.posted if each[0] == "chosen"] == []
        await asyncio.sleep(app.CLICK_CHAIN_TIME_THRESHOLD * 1.2)
        await pilot.click(Listing, offset=(3, 4))
        await pilot.pause()
        assert app.listing.chosen == "item 3"
        await pilot.click(Listing, offset=(3, 0))
        assert app.listing.chosen == "item 3"
        await asyncio.sleep(app.CLICK_CHAIN_TIME_THRESHOLD * 1.2)
        await pilot.click(Listing, offset=(3, 4))
        await pilot.pause()
        assert app.posted[-1] == ("chosen", "item 3")

    piloted(body)


@pytest.mark.slow
def test_without_titles_the_first_line_is_the_first_item_and_a_resize_keeps_the_cursor_in_view() -> None:
    async def body(app: OneList, pilot: Pilot[None]) -> None:
        app.listing.fill(numbered(50))
        await pilot.press(*["down"] * 10)
        await pilot.pause()
        assert "item 0" in app.lines[0]
        await pilot.resize_terminal(20, 5)
        await pilot.pause()
        assert "item 10" in app.lines[4]

    piloted(body, has_titles=False)


@pytest.mark.slow
def test_the_scrollbar_hides_no_text() -> None:
    async def body(app: OneList, pilot: Pilot[None]) -> None:
        app.listing.fill(numbered(50))
        await pilot.pause()
        await pilot.pause()
        assert app.lines[1].index("kind") + 6 <= 29

    piloted(body)


@pytest.mark.slow
def test_a_reason_why_there_is_nothing_goes_on_in_the_next_line() -> None:
    async def body(app: OneList, pilot: Pilot[None]) -> None:
        app.listing.fill([])
        await pilot.pause()
        assert [line.strip() for line in app.lines[1:3]] == ["No session of yours is up", "with names."]

    piloted(body, empty="No session of yours is up with names.")


@pytest.mark.parametrize(
    ("width", "wanted"),
    [(80, [54, 16, 7]), (40, [14, 16, 7]), (33, [15, 16, 0]), (20, [19, 0, 0]), (5, [4, 0, 0])],
)
def test_where_there_is_no_room_the_last_columns_are_left_out(width: int, wanted: list[int]) -> None:
    assert widths((Column("A", least=10), Column("B", 16), Column("C", 7)), width) == wanted


def test_columns_without_a_width_have_their_least_and_share_the_rest() -> None:
    columns = (Column("A", least=12), Column("B", 5), Column("C", least=4))
    assert widths(columns, 34) == [17, 5, 9]
    assert widths(columns, 20) == [13, 0, 5]


def test_columns_without_a_width_share_what_is_left_to_the_last_cell() -> None:
    assert widths((Column("A"), Column("B", 5), Column("C")), 31) == [12, 5, 11]


@pytest.mark.parametrize(
    "text", ["short", "a text that is far too long", "日本語のテキスト", "e\u0301" * 12, "", "x日本語本語"]
)
@pytest.mark.parametrize("room", [0, 1, 2, 9, 10, 40])
@pytest.mark.parametrize("right", [False, True])
def test_a_cell_takes_exactly_its_room_whatever_is_in_it(text: str, room: int, right: bool) -> None:
    shown = fitted(text, room, right=right)
    assert cell_len(shown) == room
    assert ("…" in shown) == (cell_len(text) > room > 0)
