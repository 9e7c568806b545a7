"""Explain: the way to a name, an address or a URL, link by link."""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Input

from devlink.doctor.reference import is_code, section_of
from devlink.tui.records import Explained
from devlink.tui.screens.dialog import Inquiry
from devlink.tui.screens.finding import FindingPage
from devlink.tui.widgets.drawn import Drawn
from devlink.tui.words.closer import explained_told, link_lines
from devlink.tui.words.telling import Told

KEPT = 10
"""How many of what was asked for are kept."""


class ExplainScreen(Inquiry):
    """A question and its answer; what is still asked when it closes is given up."""

    DEFAULT_CSS = """
    ExplainScreen > #box {
        width: 94%;
        max-width: 110;
        max-height: 94%;
    }
    ExplainScreen #said {
        margin-top: 1;
    }
    ExplainScreen VerticalScroll {
        height: auto;
        max-height: 100%;
        scrollbar-size-vertical: 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "recall(-1)", "Before", show=False),
        Binding("down", "recall(1)", "After", show=False),
    ]

    @dataclass
    class Answered(Message):
        """The way to what was asked for."""

        explained: Explained

    def __init__(self, explain: Callable[[str], Awaitable[Explained]], asked: deque[str]) -> None:
        """`asked`: what was asked for before, the last one last; it is kept up here."""
        super().__init__("Explain")
        self._explain = explain
        self._asked = asked
        self._at = len(asked)

    def compose_body(self) -> ComposeResult:
        yield Input(placeholder="a name, an address, HOST:PORT, a URL, or a finding's code", compact=True)
        yield Drawn(id="said")
        yield VerticalScroll(Drawn(id="links"), can_focus=False)

    def on_mount(self) -> None:
        self.hint("Enter asks, up and down: asked before, Esc closes")
        self.say(Told("info", "Shows each link of the way there: name, address, route, next hop, data."))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        what = event.value.strip()
        if not what:
            return
        if what in self._asked:
            self._asked.remove(what)
        self._asked.append(what)
        while len(self._asked) > KEPT:
            self._asked.popleft()
        self._at = len(self._asked)
        self.query_one("#links", Drawn).show(lambda _width, _height: ())
        if is_code(what):
            self.workers.cancel_group(self, "explain")
            self._open(what)
            return
        self.say(Told("busy", f"Looking at the way to {what}."))
        self._ask(what)

    def _open(self, code: str) -> None:
        section = section_of(code)
        if section is None:
            self.say(Told("error", f"There is no finding with the code {code.upper()}.", "devlink explain --list"))
            return
        self.say(Told("info", section.first_sentence))
        self.app.push_screen(FindingPage(section.code))

    @work(exclusive=True, group="explain", exit_on_error=False)
    async def _ask(self, what: str) -> None:
        if (explained := await self.answer(self._explain(what))) is not None:
            self.post_message(self.Answered(explained))

    @on(Inquiry.Refused)
    def _refused(self, event: Inquiry.Refused) -> None:
        event.stop()
        self.say(Told("error", event.why, event.next_step))

    @on(Answered)
    def _answered(self, event: Answered) -> None:
        event.stop()
        explained = event.explained
        self.say(explained_told(explained))
        self.query_one("#links", Drawn).show(lambda width, _: link_lines(explained, width))
        self.query_one(VerticalScroll).scroll_home(animate=False)

    def action_recall(self, by: int) -> None:
        """What was asked for before, or after that; behind the last one, nothing."""
        self._at = max(0, min(self._at + by, len(self._asked)))
        field = self.query_one(Input)
        field.value = self._asked[self._at] if self._at < len(self._asked) else ""
        field.cursor_position = len(field.value)
