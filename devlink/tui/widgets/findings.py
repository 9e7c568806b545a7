"""What is wrong, and what to do."""

from typing import cast

from textual import on
from textual.app import ComposeResult

from devlink.core.findings import Finding
from devlink.tui.messages import FindingOpened
from devlink.tui.records import AgentStatus
from devlink.tui.widgets.listing import Column, Listing, Row
from devlink.tui.widgets.panel import Panel


class FindingsPanel(Panel):
    """The gravest first; Enter opens what is to be said of one."""

    NAME = "Findings"

    def compose(self) -> ComposeResult:
        columns = (Column("", 1), Column("FINDING"))
        yield Listing[tuple[str, Finding]](columns, _row, empty="Nothing is wrong.", has_titles=False)

    def show(self, status: AgentStatus) -> None:
        self.query_one(Listing).fill([(each.name, finding) for each in status.sessions for finding in each.findings])

    @on(Listing.Chosen)
    def _chosen(self, event: Listing.Chosen) -> None:
        event.stop()
        session, finding = cast(tuple[str, Finding], event.item)
        self.post_message(FindingOpened(finding, session))


def _row(item: tuple[str, Finding]) -> Row:
    mark = {"error": "✗", "warning": "!", "info": "·"}[item[1].severity.value]
    return Row((mark, f"{item[1].title} [{item[1].code}]"), item[1].severity.value)
