"""A profile on its way up, step by step; and what it says where something does not work."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from devlink.core.text import printable, printable_lines
from devlink.tui import messages
from devlink.tui.screens.dialog import Dialog
from devlink.tui.words.commands import command_of
from devlink.tui.words.telling import Progress, Trouble

KEYS = {
    "working": "Esc cancels, and takes everything back · h hides this and goes on",
    "cancelling": "Taking everything back · h hides this",
}
STEPS_SEEN = 12


class Failure(Dialog[None]):
    """What, why, and what to do next."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "close", "Close", show=False),
        Binding("y", "copy", "Copy", show=False),
        Binding("up,k,pageup", "scroll(-1)", "Up", show=False),
        Binding("down,j,pagedown,space", "scroll(1)", "Down", show=False),
    ]

    def __init__(self, title: str, trouble: Trouble | None) -> None:
        super().__init__(title)
        self._trouble = trouble

    def compose_body(self) -> ComposeResult:
        yield Static(text_of(self._trouble), markup=False)
        yield Static(keys_of(self._trouble), classes="keys", markup=False)

    def action_close(self) -> None:
        """It was read."""
        self.dismiss(None)

    def action_scroll(self, by: int) -> None:
        """Half of what is seen up or down, where the terminal is too low for all."""
        box = self.query_one("#box")
        box.scroll_relative(y=by * max(1, box.size.height // 2), animate=False)

    def action_copy(self) -> None:
        """The command of the next step."""
        text = command_of(self._trouble.next_step) if self._trouble is not None else ""
        if text:
            self.app.post_message(messages.CommandCopied(text))


class Ascent(Failure):
    """The steps as they come. Escape gives it up; when it has ended, it closes."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("h", "hide", "Hide", show=False)]

    def __init__(self, progress: Progress) -> None:
        super().__init__(f"Bringing {progress.name} up", progress.trouble)
        self._progress = progress

    def compose_body(self) -> ComposeResult:
        yield Static(id="steps", markup=False)
        yield Static(classes="keys", markup=False)

    @property
    def name_of_it(self) -> str:
        """What is brought up."""
        return self._progress.name

    def on_mount(self) -> None:
        self._draw()

    @on(messages.ProgressTold)
    def _told(self, event: messages.ProgressTold) -> None:
        event.stop()
        self._progress, self._trouble = event.progress, event.progress.trouble
        self._draw()

    def _draw(self) -> None:
        progress = self._progress
        lines = [f"✓ {printable(step)}" for step in progress.done[-STEPS_SEEN:]]
        if progress.stage in KEYS:
            lines.append(f"… {printable(progress.current or 'wait for the agent')}")
        else:
            lines += [f"✗ {printable(progress.current)}"] if progress.current else []
            lines += ["", *(["Cancelled."] if progress.stage == "cancelled" else []), text_of(progress.trouble)]
        self.query_one("#steps", Static).update("\n".join(lines).strip())
        self.query_one(".keys", Static).update(KEYS.get(progress.stage) or keys_of(progress.trouble))

    def action_leave(self) -> None:
        if self._progress.stage == "working":
            self.app.post_message(messages.GivenUp())
        else:
            self.action_close()

    def action_close(self) -> None:
        """Only what has ended: an Enter that was meant for what was there before gives nothing up."""
        if self._progress.stage not in KEYS:
            self.dismiss(None)

    def action_hide(self) -> None:
        """It goes on without being seen."""
        self.dismiss(None)


def text_of(trouble: Trouble | None) -> str:
    """As the command line shows an error."""
    if trouble is None:
        return ""
    parts = (("", trouble.what), ("Why:  ", trouble.why), ("Next: ", trouble.next_step))
    return "\n".join(f"{label}{printable_lines(text)}" for label, text in parts if text)


def keys_of(trouble: Trouble | None) -> str:
    """What can be done with it."""
    copied = command_of(trouble.next_step) if trouble is not None else ""
    return f"y copies: {printable(copied)}\nEsc closes" if copied else "Esc closes"
