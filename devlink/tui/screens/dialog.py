"""What is asked or told above the main screen: a box with a title, a text, and the keys that it takes."""

from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

T = TypeVar("T")


class Dialog(ModalScreen[T]):
    """Escape and Ctrl-C leave it, which changes nothing."""

    DEFAULT_CSS = """
    Dialog {
        align: center middle;
        background: $background 60%;
    }
    Dialog > #box {
        width: 76;
        max-width: 100%;
        height: auto;
        max-height: 100%;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        border: round $primary;
        border-title-style: bold;
        border-subtitle-color: $text-muted;
        background: $surface;
        padding: 0 1;
    }
    Dialog Static {
        height: auto;
    }
    Dialog .keys {
        color: $text-muted;
        margin-top: 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c", "leave", "Leave", show=False)]

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = self._title
            yield from self.compose_body()

    def compose_body(self) -> ComposeResult:
        """What is in the box."""
        yield Static()

    def hint(self, text: str) -> None:
        """Say in the lower border which keys it takes."""
        self.query_one("#box").border_subtitle = text

    def action_leave(self) -> None:
        """Nothing was chosen."""
        self.dismiss(None)
