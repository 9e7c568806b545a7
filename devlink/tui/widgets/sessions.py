"""The sessions: what is up, how, and since when."""

from textual import on
from textual.app import ComposeResult

from devlink.tui.messages import SessionChosen
from devlink.tui.records import AgentStatus, SessionStatus
from devlink.tui.widgets.listing import Column, Listing, Row
from devlink.tui.widgets.panel import Panel


class SessionsPanel(Panel):
    """One line for each; the one under the cursor is what path and routes are of."""

    NAME = "Sessions"

    def compose(self) -> ComposeResult:
        columns = (Column("SESSION"), Column("STATE", 11))
        yield Listing[SessionStatus](columns, _row, key=lambda session: session.name, empty="Nothing is up.")

    def show(self, status: AgentStatus, at: float) -> None:
        """`at`: monotonic seconds when it was told."""
        self.query_one(Listing).fill(status.sessions)

    @on(Listing.Moved)
    def _moved(self, event: Listing.Moved) -> None:
        event.stop()
        if isinstance(event.item, SessionStatus):
            self.post_message(SessionChosen(event.item.name))


def _row(session: SessionStatus) -> Row:
    tone = {"up": "ok", "degraded": "error"}.get(session.state, "warning")
    return Row((session.name, session.state), tone)
