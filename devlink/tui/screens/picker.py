"""One of many is chosen: by the arrows, by a text that narrows them, or by a double click."""

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Static

from devlink.core.text import printable
from devlink.tui.screens.dialog import Dialog
from devlink.tui.widgets.listing import Column, Listing, Row

T = TypeVar("T")
SEEN = 12
"""Lines, at most."""


class Choices(Listing[Any], can_focus=False):
    """The keys go to the filter."""


class Picker(Dialog[T | None], Generic[T]):
    """Gives the chosen item, None for none. What cannot be chosen says why."""

    DEFAULT_CSS = """
    Picker Choices {
        margin-top: 1;
    }
    Picker Choices > .listing--choice {
        color: $block-cursor-foreground;
        background: $block-cursor-background;
    }
    """
    COLUMNS: ClassVar[tuple[Column, ...]] = ()
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
    ]

    def __init__(self, title: str, items: Sequence[T]) -> None:
        super().__init__(title)
        self._items = items

    def row(self, item: T) -> Row:
        """How an item is shown."""
        raise NotImplementedError

    def obstacle(self, item: T) -> str:
        """Why it cannot be chosen; empty where it can."""
        return ""

    def compose_body(self) -> ComposeResult:
        yield Input(placeholder="type to narrow", compact=True)
        choices = Choices(self.COLUMNS, self.row, empty="Nothing fits that.", has_titles=False, marks_choice=True)
        choices.styles.height = max(1, min(len(self._items), SEEN))
        yield choices
        yield Static(id="about", markup=False)
        yield Static("Enter chooses · Esc leaves", classes="keys", markup=False)

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self.query_one(Choices).fill(self._items)
        self._tell()

    @on(Input.Changed)
    def _narrow(self, event: Input.Changed) -> None:
        event.stop()
        words = event.value.casefold().split()
        self.query_one(Choices).fill(
            [item for item in self._items if all(word in " ".join(self.row(item).cells).casefold() for word in words)]
        )
        self._tell()

    @on(Input.Submitted)
    @on(Listing.Chosen)
    def _choose(self, event: Input.Submitted | Listing.Chosen) -> None:
        event.stop()
        item = self.query_one(Choices).chosen
        if item is not None and not self.obstacle(cast(T, item)):
            self.dismiss(cast(T, item))
        elif item is not None:
            self.app.bell()

    @on(Listing.Moved)
    def _moved(self, event: Listing.Moved) -> None:
        event.stop()
        self._tell()

    def _tell(self) -> None:
        item = self.query_one(Choices).chosen
        why = self.obstacle(cast(T, item)) if item is not None else ""
        self.query_one("#about", Static).update(printable(f"✗ It cannot be chosen: {why}") if why else "")

    def action_move(self, by: int) -> None:
        self.query_one(Choices).action_move(by)

    def action_page(self, by: int) -> None:
        self.query_one(Choices).action_page(by)
