"""The sessions: what is up, how, and since when."""

from textual import events, on
from textual.app import ComposeResult

from devlink.core.text import MARKS, duration, printable
from devlink.tui.messages import SessionChosen
from devlink.tui.records import AgentStatus, SessionStatus
from devlink.tui.widgets.listing import Column, Listing, Row
from devlink.tui.widgets.panel import Panel
from devlink.tui.words.telling import STATES, profile, remedy

SLIM = (Column("", 1), Column("SESSION", least=6), Column("STATE", 10))
NARROW = (*SLIM, Column("SINCE", 9, right=True))
WIDE = (*NARROW, Column("MODE", 10), Column("PROFILE"))
LAYOUTS = ((0, SLIM), (42, NARROW), (70, WIDE))
"""Columns by the cells from which on there is room. The lower border says the rest of the one under the cursor."""


class SessionsPanel(Panel):
    """One line for each; the one under the cursor is what path and routes are of."""

    NAME = "Sessions"

    def __init__(self, *, id: str | None = None) -> None:  # Textual's own name
        super().__init__(id=id)
        self._elapsed = 0.0
        """Seconds since the times that were told."""
        self._told_at = 0.0
        self._columns: tuple[Column, ...] = SLIM
        self._drawn: tuple[str, ...] = ()
        """The times as they were drawn last."""

    def compose(self) -> ComposeResult:
        yield Listing[SessionStatus](
            SLIM, self._row, key=lambda session: session.name, empty="Not known yet.", marks_choice=True
        )

    def on_resize(self, event: events.Resize) -> None:
        self._columns = [columns for width, columns in LAYOUTS if event.size.width >= width][-1]
        self.query_one(Listing).set_columns(self._columns)
        self._retitle()

    def show(self, status: AgentStatus, at: float) -> None:
        """`at`: monotonic seconds when it was told."""
        self._told_at, self._elapsed = at, 0.0
        self._drawn = self._times(status.sessions)
        listing = self.query_one(Listing)
        listing.empty = "Nothing is up."
        listing.fill(status.sessions)
        self._retitle()

    def tick(self, now: float) -> None:
        """The times at `now`, monotonic seconds: drawn where one of them reads otherwise than before."""
        self._elapsed = max(0.0, now - self._told_at)
        times = self._times(self.query_one(Listing).items)
        if times != self._drawn:
            self._drawn = times
            self.query_one(Listing).refresh()
            self._retitle()

    def _times(self, sessions: object) -> tuple[str, ...]:
        assert isinstance(sessions, tuple | list)
        return tuple(
            f"{duration(each.since + self._elapsed)} {duration(each.age + self._elapsed)}" for each in sessions
        )

    def copyable(self) -> str:
        """What mends the session under the cursor, else its name, for a command line."""
        chosen = self.query_one(Listing).chosen
        return printable(remedy(chosen) or chosen.name) if isinstance(chosen, SessionStatus) else ""

    @on(Listing.Moved)
    def _moved(self, event: Listing.Moved) -> None:
        event.stop()
        self._retitle()
        if isinstance(event.item, SessionStatus):
            self.post_message(SessionChosen(event.item.name))

    def _retitle(self) -> None:
        listing = self.query_one(Listing)
        chosen = listing.chosen
        below = ""
        if isinstance(chosen, SessionStatus) and self._columns is not WIDE:
            since = f"since {duration(chosen.since + self._elapsed)}, " if self._columns is SLIM else ""
            below = printable(f"{since}{chosen.mode}, {profile(chosen, self._elapsed)}")
        self.retitle(str(len(listing.items)) if len(listing.items) > 1 else "", below)

    def _row(self, session: SessionStatus) -> Row:
        tone = STATES.get(session.state, "warning")
        since, origin = duration(session.since + self._elapsed), profile(session, self._elapsed)
        cells = (MARKS[tone], session.name, session.state, since, session.mode, origin)
        return Row(cells[: len(self._columns)], tone)
