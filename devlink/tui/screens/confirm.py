"""Before connectivity is cut: what would end, and whether that is meant."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Button, Static

from devlink.core.text import printable_lines
from devlink.tui.screens.dialog import Dialog


class Answer(NamedTuple):
    """One of the answers, by its key or its button."""

    key: str
    label: str
    value: str


class Confirm(Dialog[str | None]):
    """Gives the chosen answer's value, None for no. At first the button that changes nothing has the focus."""

    DEFAULT_CSS = """
    Confirm Horizontal {
        height: auto;
        margin-top: 1;
    }
    Confirm Button {
        margin-right: 2;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "leave", "No", show=False),
        Binding("left", "app.focus_previous", "Previous", show=False),
        Binding("right", "app.focus_next", "Next", show=False),
    ]

    def __init__(self, title: str, about: str, answers: Sequence[Answer]) -> None:
        super().__init__(title)
        self._about = about
        self._answers = tuple(answers)

    def compose_body(self) -> ComposeResult:
        yield Static(printable_lines(self._about), markup=False)
        with Horizontal():
            for answer in self._answers:
                yield Button(f"{answer.label} ({answer.key})", id=f"answer-{answer.key}", compact=True)
            yield Button("No (Esc)", id="no", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    def on_key(self, event: events.Key) -> None:
        for answer in self._answers:
            if event.key == answer.key:
                event.stop()
                self.dismiss(answer.value)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        values = {f"answer-{answer.key}": answer.value for answer in self._answers}
        self.dismiss(values.get(event.button.id or ""))
