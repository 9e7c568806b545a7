"""What happened."""

import time
from typing import cast

from textual import on
from textual.app import ComposeResult

from devlink.core.findings import Finding
from devlink.core.text import MARKS
from devlink.tui.messages import FindingOpened
from devlink.tui.records import Event
from devlink.tui.widgets.drawn import Drawn
from devlink.tui.widgets.listing import Column, Listing, Row
from devlink.tui.widgets.panel import Panel
from devlink.tui.words.lines import Line, Span, cells, hanging

BEFORE = 13
"""Cells before an event's text: sign and clock, with their blanks, and the one before the text."""


class EventsPanel(Panel):
    """The last ones, the newest on top; Enter opens the finding that one is."""

    NAME = "Events"
    DEFAULT_CSS = """
    EventsPanel Drawn {
        max-height: 4;
        color: $text-muted;
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._several = False

    def compose(self) -> ComposeResult:
        yield Listing[Event](
            (Column("", 1), Column("", 8), Column("EVENT")), self._row, empty="Nothing has happened.", has_titles=False
        )
        yield Drawn()

    def show(self, events: tuple[Event, ...]) -> None:
        """All that is kept, oldest first."""
        self._several = len({event.session for event in events if event.session}) > 1
        listing = self._listing
        was_on_top = listing.cursor == 0  # who stays on top wants to see what is new
        listing.fill(tuple(reversed(events)))
        if was_on_top:
            listing.action_go(0)
        self.retitle(f"{len(events)}" if events else "")
        self._tell(listing.chosen)

    def copyable(self) -> str:
        """What says more of the one under the cursor, else its text."""
        event = self._listing.chosen
        if event is None:
            return ""
        return f"devlink explain {event.code}" if event.code else event.text

    @property
    def _listing(self) -> Listing[Event]:
        return cast("Listing[Event]", self.query_one(Listing))

    @on(Listing.Moved)
    def _moved(self, event: Listing.Moved) -> None:
        event.stop()
        self._tell(cast("Event | None", event.item))

    @on(Listing.Chosen)
    def _chosen(self, event: Listing.Chosen) -> None:
        event.stop()
        chosen = cast(Event, event.item)
        if chosen.code:
            finding = Finding(code=chosen.code, severity=chosen.severity, title=chosen.text)
            self.post_message(FindingOpened(finding, chosen.session))

    def _tell(self, event: Event | None) -> None:
        """The whole text of the one under the cursor, where its line is too short for it."""
        text = self._text(event) if event is not None else ""
        self.query_one(Drawn).show(lambda width, _: _whole(text, width))

    def _text(self, event: Event) -> str:
        whose = f"{event.session}: " if self._several and event.session else ""
        code = f" [{event.code}]" if event.code else ""
        return f"{whose}{event.text}{code}"

    def _row(self, event: Event) -> Row:
        severity = event.severity.value
        return Row((MARKS[severity], clock(event.time, time.time()), self._text(event)), severity)


def clock(at: float, now: float) -> str:
    """The time of the day, or of another day its date. Both are Unix seconds; local time."""
    then, today = time.localtime(at), time.localtime(now)
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%d %b", then)


def _whole(text: str, width: int) -> list[Line]:
    return hanging((Span(" "),), text, width) if cells(text) > width - BEFORE else []
