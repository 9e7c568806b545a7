"""A list of any length with a cursor, of which only the lines that are seen are ever drawn.

Textual's DataTable takes 1.3 s and 13 MB for the 10,000 rows that it is to show here, which this draws as they are.
"""

import textwrap
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from rich.cells import cell_len, set_cell_size
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
    """Cells; those with 0 get their least, and share the rest."""
    right: bool = False
    """Numbers."""
    least: int = 8
    """Cells, of one with the width 0: where there would be fewer, the last of the others are left out."""


class Row(NamedTuple):
    """How one item is shown."""

    cells: tuple[str, ...]
    tone: str = ""
    """A component class of the listing's, of one cell: ok, info, warning, error, busy, off."""
    is_whole: bool = False
    """The tone is of all cells."""
    toned: int = 0
    """Which cell has the tone."""


class Listing(ScrollView, Generic[T], can_focus=True):
    """Items as lines. The cursor stays with its item when others come or go, and what is seen stays where it is."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "listing--title", "listing--cursor", "listing--choice", "listing--ok", "listing--info", "listing--warning",
        "listing--error", "listing--busy", "listing--off",
    }  # fmt: skip
    DEFAULT_CSS = """
    Listing { overflow-x: hidden; }
    Listing > .listing--choice { background: $surface-lighten-2; text-style: bold; }
    """
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
        follows: bool = False,
        marks_choice: bool = False,
        id: str | None = None,  # Textual's own name
    ) -> None:
        """`show` draws an item when it is seen; `key` tells items apart, None where they are their own keys; `empty` is
        shown where there is no item; `follows`: the newest are at the end, and seen until its user looks elsewhere;
        `marks_choice`: the cursor's line is seen also where the keys go elsewhere."""
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._show = show
        self._key = key or (lambda item: item)
        self.empty = empty
        self._head = 1 if has_titles else 0
        self._marks_choice = marks_choice
        self._follows = follows
        self._is_following = follows
        self._fitted: tuple[int, list[int]] = (-1, [])
        """A width, and the columns' in it."""
        self._items: Sequence[T] = ()
        self._chosen: T | None = None
        self._is_click_new = False
        """A click has only given it the keys so far."""

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
            self._columns, self._fitted = tuple(columns), (-1, [])
            self.refresh()

    @property
    def is_following(self) -> bool:
        """The end is seen, and stays so when more comes."""
        return self._is_following

    def fill(self, items: Sequence[T], *, shift: int | None = None) -> None:
        """Show these. Is quick for any number of them: none is drawn that is not seen.

        `shift`: by how many places the former items have moved, negative where some of the first are gone; they are
        looked for where it is None. With 0 the cursor stays where it is, whatever is there then.
        """
        before, top, was = self._chosen, round(self.scroll_offset.y), self.cursor
        self._items = items
        self._resize(Size(0, len(items) + self._head))
        if self._is_following:
            cursor = len(items) - 1
        elif shift is not None:
            cursor = was + shift
        else:
            cursor = self._find(before, was)
        cursor = max(0, min(cursor, len(items) - 1))
        moved = cursor - was if shift is None else shift
        self._chosen = items[cursor] if items else None
        self.set_reactive(Listing.cursor, cursor)
        if self._is_following:
            self._see_end()
        elif top > 0 and moved:
            self.scroll_to(y=max(0, top + moved), animate=False, force=True)
        if (self._chosen is None) != (before is None) or (before is not None and self._differs(before)):
            self.post_message(self.Moved(self, self._chosen))
        self.refresh()

    def follow(self) -> None:
        """See the end, and go on seeing it."""
        self._is_following = self._follows
        self._go(len(self._items) - 1)
        self._see_end()

    def _resize(self, size: Size) -> None:
        """Have room for so many lines. The layout of the whole screen is worked out anew only where it may differ: it
        takes longer than all else, and a log grows four times a second."""
        window = self.container_size.height
        if 0 < window < min(size.height, self.virtual_size.height):
            self.set_reactive(Listing.virtual_size, size)
            self._scroll_update(size)
        else:
            self.virtual_size = size

    def _find(self, wanted: T | None, near: int) -> int:
        """Where an item is now; where it was if it is gone. Looks around its former place first."""
        if wanted is None or not self._items:
            return near
        key, count = self._key(wanted), len(self._items)
        outward = chain.from_iterable((near - step, near + step) for step in range(max(near, count - near) + 1))
        return next((index for index in outward if 0 <= index < count and self._key(self._items[index]) == key), near)

    def _differs(self, before: T) -> bool:
        return self._chosen is None or self._key(self._chosen) != self._key(before)

    # How it is drawn

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if y < self._head:
            title = self._style("title")
            return self._line(tuple(column.title for column in self._columns), width, title, title, 0)
        index = y - self._head + round(self.scroll_offset.y)
        if not self._items:
            lines = textwrap.wrap(printable(self.empty), max(1, width - 2))
            text = lines[index] if index < len(lines) else ""
            return Strip([Segment(set_cell_size(f" {text}", width), self._style("off"))], width)
        if index >= len(self._items):
            return Strip.blank(width, self.rich_style)
        row = self._show(self._items[index])
        if index == self.cursor and self.has_focus:
            base = tone = self._style("cursor")  # no tone is readable on its background; the sign and the word are
        else:
            base = self.rich_style
            if index == self.cursor and self._marks_choice:
                base += self._style("choice", partial=True)
            tone = base + self._style(row.tone, partial=True) if row.tone else base
        return self._line(row.cells, width, tone if row.is_whole else base, tone, row.toned)

    def _style(self, name: str, *, partial: bool = False) -> Style:
        return self.get_component_rich_style(f"listing--{name}", partial=partial)

    def _line(self, cells: tuple[str, ...], width: int, base: Style, tone: Style, toned: int) -> Strip:
        segments = []
        for number, (text, column, room) in enumerate(zip(cells, self._columns, self._widths(width), strict=True)):
            if not room:
                continue
            text = fitted(printable(text), room, right=column.right)
            segments.append(Segment(f" {text}", tone if number == toned else base))
        return Strip(segments).adjust_cell_length(width, base)

    def room(self, number: int) -> int:
        """Cells of a column now; 0 for one that is left out."""
        return self._widths(self.scrollable_content_region.width)[number]

    def _widths(self, width: int) -> list[int]:
        """Each column's, without the blank before it; 0 for one that is left out."""
        if width != self._fitted[0]:
            self._fitted = (width, widths(self._columns, width))
        return self._fitted[1]

    # What its user does

    def watch_cursor(self, before: int, after: int) -> None:
        self._chosen = self.chosen
        if self.is_mounted:
            self._bring_into_view(after)
            for index in (before, after):
                self.refresh(Region(0, index - round(self.scroll_offset.y) + self._head, self.size.width, 1))

    def watch_has_focus(self, has_focus: bool) -> None:
        self._is_click_new = has_focus
        if has_focus:
            self._bring_into_view(self.cursor)
        self.refresh()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._is_following = self._follows and new_value >= self.max_scroll_y

    def on_resize(self) -> None:
        if self._is_following:
            self._see_end()
        elif self.has_focus:
            self._bring_into_view(self.cursor)

    def _see_end(self) -> None:
        self.scroll_to(y=self.max_scroll_y, animate=False, force=True)

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
            was_there = index == self.cursor and not self._is_click_new
            self._go(index)
            if was_there or event.chain > 1:
                self.action_choose()
        self._is_click_new = False

    def _go(self, index: int) -> None:
        index = max(0, min(index, len(self._items) - 1))
        self._is_click_new = False
        if not self._items:
            return
        if index != self.cursor:
            self.cursor = index
            self.post_message(self.Moved(self, self.chosen))
        self._is_following = self._follows and index == len(self._items) - 1


def widths(columns: Sequence[Column], width: int) -> list[int]:
    """Each column's in so many cells, without the blank before it; 0 for one that is left out, the last ones first."""
    rests = [column for column in columns if not column.width]
    there = list(columns)

    def needed() -> int:
        return sum((column.width or column.least) + 1 for column in there)

    while needed() > width and (fixed := [column for column in there if column.width]):
        there.remove(fixed[-1])
    left = max(0, width - sum(column.width + 1 for column in there))
    least = sum(column.least for column in rests)
    share, more = divmod(max(left - least, 0) if left >= least else left, max(1, len(rests)))
    found = []
    for column in columns:
        if column.width:
            found.append(column.width if column in there else 0)
        else:
            found.append((column.least if left >= least else 0) + share + (more > 0))
            more -= 1
    return found


def fitted(text: str, room: int, *, right: bool = False) -> str:
    """Exactly `room` cells of it; what is cut ends with `…`."""
    length = cell_len(text)
    if length > room:
        return set_cell_size(text, room - 1) + "…" if room > 0 else ""
    return " " * (room - length) + text if right else text + " " * (room - length)
