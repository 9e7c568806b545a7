"""What is asked or told above the main screen: a box with a title, a text, and the keys that it takes."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from devlink.errors import DevlinkError, reason
from devlink.tui.widgets.drawn import Drawn
from devlink.tui.words.closer import told_lines
from devlink.tui.words.telling import Told

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


class Inquiry(Dialog[None]):
    """Asks the agent something that takes a while: how that stands is said above, in `said`; the answer scrolls."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
    ]

    @dataclass
    class Refused(Message):
        """Why there is no answer, as sentences."""

        why: str
        next_step: str

    async def answer(self, asking: Awaitable[T]) -> T | None:
        """What is answered; None where it is refused, which is posted."""
        try:
            return await asking
        except (DevlinkError, OSError) as error:
            next_step = error.next_step if isinstance(error, DevlinkError) else ""
            self.post_message(self.Refused(reason(error), next_step))
            return None

    def say(self, told: Told) -> None:
        """How it stands."""
        self.query_one("#said", Drawn).show(lambda width, _: told_lines(told, width))

    def action_page(self, by: int) -> None:
        """So many pages further down."""
        body = self.query_one(VerticalScroll)
        body.scroll_relative(y=by * max(1, body.size.height - 1), animate=False)
