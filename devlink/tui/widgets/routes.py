"""The routes: ours, and those of others inside the cluster's networks."""

from collections.abc import Sequence
from typing import cast

from textual import on
from textual.app import ComposeResult

from devlink.core.text import MARKS
from devlink.tui.records import RouteRow
from devlink.tui.widgets.drawn import Drawn
from devlink.tui.widgets.listing import Column, Listing, Row
from devlink.tui.widgets.panel import FilteredPanel
from devlink.tui.words.lines import Line, Span, hanging
from devlink.tui.words.sifting import Sieve, command_for

WIDE = 70
"""Cells from which the interface is shown beside the next hop."""
LEAST = 8
"""Cells that are left to the owner, and to the next hop where the destinations are long."""
TONES = {"installed": "ok", "left": "skipped", "foreign": "info"}


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
        self._widest = (0, 0)
        """Cells of the longest destination and of the longest next hop."""
        self._has_oif = True

    def compose_body(self) -> ComposeResult:
        yield Listing[RouteRow](
            self._columns(80), self._row, key=lambda row: (row.destination, row.owner, row.oif), empty="Not listed yet."
        )
        yield Drawn()

    def show(self, rows: Sequence[RouteRow], why: str = "") -> None:
        """`why`: there are none to show."""
        if rows == self._rows and why == self._why and self._sieve.rows:
            return
        self._rows, self._why = rows, why
        self._sieve = Sieve(rows)
        self._widest = (
            max((len(row.destination) for row in rows), default=0),
            max((len(row.next_hop or "") for row in rows), default=0),
        )
        self._fit()
        self.narrow(self.wanted)

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """The columns for the width that there is: a destination is never cut for what matters less."""
        width = self.content_size.width
        if width:
            self._has_oif = width >= WIDE
            self._listing.set_columns(self._columns(width))

    def _columns(self, width: int) -> list[Column]:
        oif = [Column("OIF", 10)] if self._has_oif else []
        fixed = 2 + 10 + (11 if oif else 0)
        left = width - fixed - LEAST - 3
        destination = min(max(self._widest[0], 14), max(left - LEAST, 14))
        next_hop = min(max(self._widest[1], 11), max(left - destination, 11))
        return [
            Column("", 1), Column("DESTINATION", destination), Column("NEXT HOP", next_hop), *oif,
            Column("OWNER", least=6), Column("STATE", 9),
        ]  # fmt: skip

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

    def _row(self, row: RouteRow) -> Row:
        oif = (row.oif,) if self._has_oif else ()
        tone = TONES.get(row.state, "error")
        cells = (MARKS[tone], row.destination, row.next_hop or "", *oif, row.owner, row.state)
        return Row(cells, "off" if tone == "skipped" else tone)

    def _tell(self, row: RouteRow | None) -> None:
        """The whole of the row under the cursor, whose cells may be cut."""
        self.query_one(Drawn).show(lambda width, _: _told(row, width))


def _told(row: RouteRow | None, width: int) -> list[Line]:
    if row is None:
        return []
    via = f" via {row.next_hop}" if row.next_hop else ""
    dev = f" dev {row.oif}" if row.oif else ""
    return hanging((Span(" "),), f"{row.destination}{via}{dev}" + (f": {row.note}" if row.note else ""), width)
