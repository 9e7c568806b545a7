"""What happened."""

from textual.app import ComposeResult

from devlink.tui.records import Event
from devlink.tui.widgets.listing import Column, Listing, Row
from devlink.tui.widgets.panel import Panel


class EventsPanel(Panel):
    """The last ones, the newest on top."""

    NAME = "Events"

    def compose(self) -> ComposeResult:
        yield Listing[Event]((Column("", 1), Column("EVENT")), _row, empty="Nothing has happened.", has_titles=False)

    def show(self, events: tuple[Event, ...]) -> None:
        """All that is kept, oldest first."""
        self.query_one(Listing).fill(tuple(reversed(events)))


def _row(event: Event) -> Row:
    mark = {"error": "✗", "warning": "!", "info": "·"}[event.severity.value]
    return Row((mark, event.text), event.severity.value)
