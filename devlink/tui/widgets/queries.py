"""The live log of questions."""

from textual.app import ComposeResult

from devlink.tui.records import Queries, Query
from devlink.tui.widgets.listing import Column, Listing, Row
from devlink.tui.widgets.panel import FilteredPanel


class QueriesPanel(FilteredPanel):
    """The last ones, with a filter and a pause."""

    NAME = "Queries"

    def compose_body(self) -> ComposeResult:
        yield Listing[Query]((Column("NAME"), Column("SOURCE", 9), Column("TIME", 9, right=True)), _row)

    def add(self, seen: Queries) -> None:
        """Show these too."""

    def tell(self, why: str) -> None:
        """Nothing is seen for now."""


def _row(query: Query) -> Row:
    return Row((query.name, query.source, f"{query.ms:.1f} ms"))
