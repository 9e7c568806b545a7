"""Doctor: a look at everything, and what came of it."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message

from devlink.core.findings import Finding
from devlink.tui.messages import CommandCopied, FindingOpened
from devlink.tui.records import Examined
from devlink.tui.screens.dialog import Inquiry
from devlink.tui.widgets.drawn import Drawn
from devlink.tui.words.closer import check_lines, examined_told, finding_lines, found_lines
from devlink.tui.words.commands import command_of
from devlink.tui.words.lines import Line, Span
from devlink.tui.words.telling import Told

TICK = 1.0
"""Seconds between two times that it says how long it takes."""


class DoctorScreen(Inquiry):
    """Looks when it opens; what is still asked when it closes is given up."""

    DEFAULT_CSS = """
    DoctorScreen > #box {
        width: 94%;
        max-width: 120;
        height: 94%;
    }
    DoctorScreen VerticalScroll {
        height: 1fr;
        margin-top: 1;
        scrollbar-size-vertical: 1;
    }
    DoctorScreen FindingBox {
        border: round $surface-lighten-3;
        padding: 0 1;
    }
    DoctorScreen FindingBox.-error {
        border: round $bad;
    }
    DoctorScreen FindingBox.-warning {
        border: round $warn;
    }
    DoctorScreen FindingBox:focus {
        border: heavy $primary;
    }
    DoctorScreen #checks {
        margin-top: 1;
        padding: 0 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "leave", "Close"),
        Binding("o", "look", "Again"),
        Binding("y", "copy", "Copy"),
        Binding("down,j", "go(1)", "Down", show=False),
        Binding("up,k", "go(-1)", "Up", show=False),
        Binding("space", "page(1)", "Page down", show=False),
    ]

    @dataclass
    class Answered(Message):
        """What was found."""

        examined: Examined

    def __init__(self, examine: Callable[[], Awaitable[Examined]]) -> None:
        super().__init__("Doctor")
        self._examine = examine
        self._since = 0.0
        self._told = Told("busy", "")
        self._is_looking = False

    def compose_body(self) -> ComposeResult:
        yield Drawn(id="said")
        yield VerticalScroll(id="found", can_focus=False)

    def on_mount(self) -> None:
        self.set_interval(TICK, self._tick)
        self.action_look()

    def action_look(self) -> None:
        """Look, unless it looks already."""
        if self._is_looking:
            return
        self._is_looking, self._since = True, time.monotonic()
        self._tick()
        self.hint("Esc gives up")
        self._look()

    @work(exclusive=True, group="doctor", exit_on_error=False)
    async def _look(self) -> None:
        if (examined := await self.answer(self._examine())) is not None:
            self.post_message(self.Answered(examined))

    def _tick(self) -> None:
        if self._is_looking:
            seconds = int(time.monotonic() - self._since)
            self.say(Told("busy", f"Looking at everything, for {seconds} s. It changes nothing."))

    @on(Inquiry.Refused)
    def _refused(self, event: Inquiry.Refused) -> None:
        event.stop()
        self._is_looking = False
        self.say(Told("error", event.why, event.next_step))
        self.hint("o looks again, Esc closes")

    @on(Answered)
    async def _answered(self, event: Answered) -> None:
        event.stop()
        self._is_looking = False
        examined = event.examined
        self.say(examined_told(examined))
        body = self.query_one("#found", VerticalScroll)
        boxes = [FindingBox(finding, whose) for finding, whose in found_lines(examined)]
        async with self.batch():
            await body.remove_children()
            await body.mount(*boxes, Drawn(lambda width, _: _checks(examined, width), id="checks"))
        body.scroll_home(animate=False)
        if boxes:
            boxes[0].focus()
        self.hint("Enter opens, y copies, o looks again, Esc closes" if boxes else "o looks again, Esc closes")

    def action_copy(self) -> None:
        """The command of the finding that has the keys."""
        command = next((box.copyable() for box in self.query(FindingBox) if box.has_focus), "")
        if command:
            self.post_message(CommandCopied(command))

    def action_go(self, by: int) -> None:
        """The next finding; where there is none, further down."""
        boxes = list(self.query(FindingBox))
        here = next((index for index, box in enumerate(boxes) if box.has_focus), -1)
        if 0 <= here + by < len(boxes):
            boxes[here + by].focus()
        else:
            self.query_one("#found", VerticalScroll).scroll_relative(y=by, animate=False)


class FindingBox(Drawn, can_focus=True):
    """A finding with what was seen and what to do; Enter, or a double click, opens its page."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Open", show=False)]

    def __init__(self, finding: Finding, whose: tuple[str, ...]) -> None:
        super().__init__(lambda width, _: finding_lines(finding, whose, width), classes=f"-{finding.severity.value}")
        self._finding = finding
        self._whose = whose

    def copyable(self) -> str:
        """The command that the fix names."""
        return command_of(self._finding.fix)

    def action_open(self) -> None:
        self.post_message(FindingOpened(self._finding, ", ".join(self._whose)))

    def on_click(self, event: events.Click) -> None:
        if event.chain > 1:
            self.action_open()


def _checks(examined: Examined, width: int) -> list[Line]:
    return check_lines(examined.checks, width) if examined.checks else [(Span("Nothing was looked at.", "off"),)]
