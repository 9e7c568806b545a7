"""What is wrong, and what to do."""

from typing import cast

from textual import on
from textual.app import ComposeResult

from devlink.core.findings import Finding
from devlink.core.text import MARKS
from devlink.tui.messages import FindingOpened
from devlink.tui.records import AgentStatus
from devlink.tui.widgets.drawn import Drawn
from devlink.tui.widgets.listing import Column, Listing, Row
from devlink.tui.widgets.panel import Panel
from devlink.tui.words.closer import advice_lines, counted, gravest_first
from devlink.tui.words.commands import command_of
from devlink.tui.words.lines import Line, Span, cells, wrapped

BEFORE = 11
"""Cells before a title: sign and severity, with their blanks, and its own."""
Item = tuple[str, Finding]
"""A finding, and whose it is; the name is empty where there is one session only."""


class FindingsPanel(Panel):
    """The gravest first; Enter opens what is to be said of one."""

    NAME = "Findings"
    DEFAULT_CSS = """
    FindingsPanel Drawn {
        max-height: 60%;
        padding: 0 1;
    }
    """

    def compose(self) -> ComposeResult:
        columns = (Column("", 1), Column("", 7), Column("FINDING"))
        yield Listing[Item](
            columns, _row, key=lambda item: (item[0], item[1].code, item[1].title), empty="Not known yet.",
            has_titles=False,
        )  # fmt: skip
        yield Drawn()

    def show(self, status: AgentStatus) -> None:
        """Of all sessions; their names only where there are several."""
        found = gravest_first(status)
        items = found if len(status.sessions) > 1 else [("", finding) for _, finding in found]
        listing = self._listing
        listing.empty = "Nothing is wrong." if status.sessions else "Nothing is up, so nothing is known to be wrong."
        if list(listing.items) == items:
            listing.refresh()
            return
        was_on_top = listing.cursor == 0  # who stays on top wants to see what is gravest
        listing.fill(items)
        if was_on_top:
            listing.action_go(0)
        self.retitle(f"({counted(finding for _, finding in items)})" if items else "")
        self._tell(listing.chosen)

    def copyable(self) -> str:
        """The command that the fix of the one under the cursor names."""
        chosen = self._listing.chosen
        return command_of(chosen[1].fix) if chosen is not None else ""

    @property
    def _listing(self) -> Listing[Item]:
        return cast("Listing[Item]", self.query_one(Listing))

    @on(Listing.Moved)
    def _moved(self, event: Listing.Moved) -> None:
        event.stop()
        self._tell(cast("Item | None", event.item))

    @on(Listing.Chosen)
    def _chosen(self, event: Listing.Chosen) -> None:
        event.stop()
        session, finding = cast(Item, event.item)
        self.post_message(FindingOpened(finding, session))

    def _tell(self, item: Item | None) -> None:
        self.query_one(Drawn).show(lambda width, height: _told(item, width, height) if item is not None else [])


def _row(item: Item) -> Row:
    severity = item[1].severity.value
    return Row((MARKS[severity], severity, _title(item)), severity)


def _title(item: Item) -> str:
    session, finding = item
    whose = f"{session}: " if session else ""
    return f"{whose}{finding.title} [{finding.code}]"


def _told(item: Item, width: int, height: int) -> list[Line]:
    """The title where its line is too short for it, what was seen, what to do: the latter first where room is short."""
    title = _title(item)
    whole = wrapped([Span(title, "strong")], width) if cells(title) > width - BEFORE else []
    advice = advice_lines(item[1], width, height)
    return advice if height and len(whole) + len(advice) > height else whole + advice
