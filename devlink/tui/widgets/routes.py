"""The routes: ours, and those of others inside the cluster's networks."""

from collections.abc import Sequence

from textual.app import ComposeResult

from devlink.tui.records import RouteRow
from devlink.tui.widgets.listing import Column, Listing, Row
from devlink.tui.widgets.panel import FilteredPanel


class RoutesPanel(FilteredPanel):
    """A table of any length with a filter."""

    NAME = "Routes"

    def compose_body(self) -> ComposeResult:
        columns = (Column("DESTINATION", 20), Column("NEXT HOP", 16), Column("OWNER"), Column("STATE", 9))
        yield Listing[RouteRow](columns, _row, key=lambda row: (row.destination, row.owner), empty="No routes.")

    def show(self, rows: Sequence[RouteRow], why: str = "") -> None:
        """`why`: there are none to show."""
        self.query_one(Listing).fill(rows)
        self.retitle(f"{len(rows)}" if rows else "")


def _row(row: RouteRow) -> Row:
    tone = {"installed": "ok", "left": "faint", "foreign": "info"}.get(row.state, "error")
    return Row((row.destination, row.next_hop or row.oif, row.owner, row.state), tone)
