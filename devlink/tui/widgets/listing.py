"""A list of any length with a cursor, of which only the lines that are seen are ever drawn.

Textual's DataTable takes 1.3 s and 13 MB for the 10,000 rows that it is to show here, which this draws as they are.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from rich.cells import set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from devlink.core.text import printable

T = TypeVar("T")


class Column(NamedTuple):
    """A column of a listing."""

    title: str
    width: int = 0
    """Cells; of those with 0 the rest of the width is shared."""
    right: bool = False
    """Numbers."""


class Row(NamedTuple):
    """How one item is shown."""

    cells: tuple[str, ...]
    tone: str = ""
    """A component class of the listing's, of the first cell: ok, info, warning, error, faint."""
    is_whole: bool = False
    """The tone is of all cells."""


class Listing(ScrollView, Generic[T], can_focus=True):
    """Items as lines. The cursor stays with its item when others come or go."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "listing--title", "listing--cursor", "listing--ok", "listing--info", "listing--warning", "listing--error",
        "listing--faint",
    }  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "go(0)", "First", show=False),
        Binding("end,G", "go(-1)", "Last", show=False),
        Binding("enter", "choose", "Open", show=False),
    ]
    cursor: reactive[int] = reactive(0, repaint=False)

    @dataclass
    class Chosen(Message):
        """Enter, or a click on the line that has the cursor."""

        listing: "Listing[Any]"
        item: object

        @property
        def control(self) -> "Listing[Any]":
            return self.listing

    @dataclass
    class Moved(Message):
        """The cursor is on another item; None where there is none."""

        listing: "Listing[Any]"
        item: object

        @property
        def control(self) -> "Listing[Any]":
            return self.listing

    def __init__(
        self,
        columns: Sequence[Column],
        show: Callable[[T], Row],
        *,
        key: Callable[[T], Hashable] | None = None,
        empty: str = "",
        has_titles: bool = True,
        id: str | None = None,  # Textual's own name
    ) -> None:
        """`show` draws an item when it is seen; `key` tells items apart, None where they are their own keys; `empty` is
        shown where there is no item."""
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._show = show
        self._key = key or (lambda item: item)
        self.empty = empty
        self._head = 1 if has_titles else 0
        self._items: Sequence[T] = ()

    # What it has

    @property
    def items(self) -> Sequence[T]:
        return self._items

    @property
    def chosen(self) -> T | None:
        """The item under the cursor."""
        return self._items[self.cursor] if 0 <= self.cursor < len(self._items) else None

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Show these from now on; `show` must give a cell for each."""
        if tuple(columns) != self._columns:
            self._columns = tuple(columns)
            self.refresh()

    def fill(self, items: Sequence[T]) -> None:
        """Show these. Is quick for any number of them: none is drawn that is not seen."""
        before = self.chosen
        self._items = items
        self.virtual_size = Size(0, len(items) + self._head)
        cursor = min(self.cursor, max(0, len(items) - 1))
        if before is not None and items:
            wanted = self._key(before)
            if not (cursor < len(items) and self._key(items[cursor]) == wanted):
                cursor = next((index for index, item in enumerate(items) if self._key(item) == wanted), cursor)
        self.cursor = cursor
        if (self.chosen is None) != (before is None) or (before is not None and self._differs(before)):
            self.post_message(self.Moved(self, self.chosen))
        self.refresh()

    def _differs(self, before: T) -> bool:
        return self.chosen is None or self._key(self.chosen) != self._key(before)

    # How it is drawn

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y < self._head:
            return self._line(tuple(column.title for column in self._columns), width, self._style("title"), None)
        index = y - self._head + round(self.scroll_offset.y)
        if index >= len(self._items):
            text = self.empty if not self._items and index == 0 else ""
            return Strip([Segment(set_cell_size(f" {text}", width), self._style("faint"))], width)
        row = self._show(self._items[index])
        base = self.get_component_rich_style("listing--cursor") if self._has_cursor(index) else self.rich_style
        tone = base + self._style(row.tone, partial=True) if row.tone else base
        return self._line(row.cells, width, tone if row.is_whole else base, tone)

    def _has_cursor(self, index: int) -> bool:
        return index == self.cursor and self.has_focus

    def _style(self, name: str, *, partial: bool = False) -> Style:
        return self.get_component_rich_style(f"listing--{name}", partial=partial)

    def _line(self, cells: tuple[str, ...], width: int, base: Style, first: Style | None) -> Strip:
        segments = []
        for number, (text, column, room) in enumerate(zip(cells, self._columns, self._widths(width), strict=True)):
            if not room:
                continue
            text = printable(text)
            if column.right:
                text = text.rjust(room)
            segments.append(Segment(set_cell_size(f" {text}", room + 1), first if number == 0 and first else base))
        return Strip(segments).adjust_cell_length(width, base)

    def _widths(self, width: int) -> list[int]:
        """Each column's, without the blank before it. The last ones go first where there is no room."""
        left = width - sum(column.width + 1 for column in self._columns)
        rests = [column for column in self._columns if not column.width]
        share = max(left // len(rests), 0) if rests else 0
        widths: list[int] = []
        for column in self._columns:
            room = min(column.width or share, max(width - sum(widths) - len(widths) - 1, 0))
            widths.append(room)
        return widths

    # What its user does

    def watch_cursor(self, before: int, after: int) -> None:
        if self.is_mounted:
            self._bring_into_view(after)
            self.refresh()

    def watch_has_focus(self, _: bool) -> None:
        self.refresh()

    def _bring_into_view(self, index: int) -> None:
        height = max(1, self.size.height - self._head)
        top = round(self.scroll_offset.y)
        if index < top:
            self.scroll_to(y=index, animate=False, force=True)
        elif index >= top + height:
            self.scroll_to(y=index - height + 1, animate=False, force=True)

    def action_move(self, by: int) -> None:
        self._go(self.cursor + by)

    def action_page(self, by: int) -> None:
        self._go(self.cursor + by * max(1, self.size.height - self._head - 1))

    def action_go(self, index: int) -> None:
        self._go(index if index >= 0 else len(self._items) + index)

    def action_choose(self) -> None:
        if self.chosen is not None:
            self.post_message(self.Chosen(self, self.chosen))

    def on_click(self, event: events.Click) -> None:
        index = event.y - self._head + round(self.scroll_offset.y)
        if event.y >= self._head and 0 <= index < len(self._items):
            was_there = index == self.cursor and self.has_focus
            self._go(index)
            if was_there or event.chain > 1:
                self.action_choose()

    def _go(self, index: int) -> None:
        index = max(0, min(index, len(self._items) - 1))
        if self._items and index != self.cursor:
            self.cursor = index
            self.post_message(self.Moved(self, self.chosen))

    def refresh_lines(self, y_start: int, line_count: int = 1) -> None:
        self.refresh(Region(0, y_start, self.size.width, line_count))
