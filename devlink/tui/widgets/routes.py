"""The routes: ours, and those of others inside the cluster's networks."""

from collections.abc import Sequence
from typing import cast

from textual import on
from textual.app import ComposeResult

from devlink.tui.lines import Line, Span, hanging
from devlink.tui.records import RouteRow
from devlink.tui.sifting import Sieve, command_for
from devlink.tui.themes import MARKS
from devlink.tui.widgets.drawn import Drawn
from devlink.tui.widgets.listing import Column, Listing, Row
from devlink.tui.widgets.panel import FilteredPanel

TONES = {"installed": "ok", "left": "faint", "foreign": "info"}
SIGNS = {"installed": MARKS["ok"], "left": MARKS["skipped"], "foreign": MARKS["info"]}


class RoutesPanel(FilteredPanel):
    """A table of any length with a filter."""

    NAME = "Routes"
    DEFAULT_CSS = """
    RoutesPanel Drawn {
        max-height: 3;
        color: $text-muted;
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: Sequence[RouteRow] = ()
        self._sieve = Sieve()
        self._why = ""

    def compose_body(self) -> ComposeResult:
        columns = (
            Column("", 1), Column("DESTINATION"), Column("NEXT HOP", 15), Column("OIF", 8), Column("OWNER"),
            Column("STATE", 9),
        )  # fmt: skip
        yield Listing[RouteRow](
            columns, _row, key=lambda row: (row.destination, row.owner, row.oif), empty="Not listed yet."
        )
        yield Drawn()

    def show(self, rows: Sequence[RouteRow], why: str = "") -> None:
        """`why`: there are none to show."""
        if rows == self._rows and why == self._why and self._sieve.rows:
            return
        self._rows, self._why = rows, why
        self._sieve = Sieve(rows)
        self.narrow(self.wanted)

    def narrow(self, text: str) -> None:
        """Show the routes that `text` means: by their words, or, of an address or prefix, those that share one."""
        listing = self._listing
        found = self._sieve.sift(text)
        listing.empty = self._why or ("No route is so." if text and self._sieve.rows else "No routes.")
        listing.fill(found)
        about = self._sieve.count()
        self.retitle(about, f"{len(found):,} of {len(self._sieve.rows):,} shown" if text else "")
        self._tell(listing.chosen)

    def focus_body(self) -> None:
        self._listing.focus()

    def copyable(self) -> str:
        """How the kernel is asked for the address that is looked for; else the destination under the cursor."""
        return command_for(self._listing.chosen, self.wanted)

    @property
    def _listing(self) -> Listing[RouteRow]:
        return cast("Listing[RouteRow]", self.query_one(Listing))

    @on(Listing.Moved)
    def _moved(self, event: Listing.Moved) -> None:
        event.stop()
        self._tell(cast("RouteRow | None", event.item))

    @on(Listing.Chosen)
    def _chosen(self, event: Listing.Chosen) -> None:
        event.stop()

    def _tell(self, row: RouteRow | None) -> None:
        """The whole of the row under the cursor, whose cells may be cut."""
        self.query_one(Drawn).show(lambda width, _: _told(row, width))


def _row(row: RouteRow) -> Row:
    cells = (SIGNS.get(row.state, MARKS["error"]), row.destination, row.next_hop or "", row.oif, row.owner, row.state)
    return Row(cells, TONES.get(row.state, "error"))


def _told(row: RouteRow | None, width: int) -> list[Line]:
    if row is None:
        return []
    via = f" via {row.next_hop}" if row.next_hop else ""
    dev = f" dev {row.oif}" if row.oif else ""
    return hanging((Span(" "),), f"{row.destination}{via}{dev}" + (f": {row.note}" if row.note else ""), width)
