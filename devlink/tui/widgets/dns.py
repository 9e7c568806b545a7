"""The forwarder's health: whether names are well, questions a second, zones and servers."""

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.events import Resize
from textual.widgets import Static

from devlink.core.text import MARKS, printable
from devlink.tui.records import DnsStats
from devlink.tui.widgets.listing import Column, Listing, Row, fitted
from devlink.tui.widgets.panel import Panel
from devlink.tui.words import names
from devlink.tui.words.names import DnsRow
from devlink.tui.words.rates import DnsRates

BARS = 3
"""Which column has a row's sparkline."""
ROOMY = 10
"""Lines of the panel, from which on all questions together have a sparkline of their own."""


class DnsPanel(Panel):
    """The verdict first, then what it is made of."""

    NAME = "DNS"
    DEFAULT_CSS = """
    DnsPanel > Static { height: 1; }
    DnsPanel > #names-rate { color: $info; display: none; }
    DnsPanel > #names-verdict.-ok { color: $ok; }
    DnsPanel > #names-verdict.-warning { color: $warn; }
    DnsPanel > #names-verdict.-error { color: $bad; }
    DnsPanel > #names-verdict.-off { color: $text-muted; }
    DnsPanel.-slim > #names-verdict { height: 2; }
    DnsPanel.-roomy > #names-rate { display: block; height: 2; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # Textual's own name
        super().__init__(id=id)
        self._rates = DnsRates()
        self._stats: DnsStats | None = None
        self._nameserver = ""
        self._why = ""

    def compose(self) -> ComposeResult:
        yield Static(id="names-verdict", markup=False)
        yield Static(id="names-rate", markup=False)
        columns = (
            Column("STATE", 8), Column("FOR", least=13), Column("ASKED", 7, right=True), Column("", least=7),
            Column("KEPT", 5, right=True), Column("P50", 7, right=True), Column("P99", 7, right=True),
        )  # fmt: skip
        yield Listing[DnsRow](columns, self._row, key=lambda row: row.name, empty="No zone and no server is known yet.")

    def show(self, nameserver: str, stats: DnsStats | None, at: float, why: str = "") -> None:
        """`at`: monotonic seconds of the counts; `why`: there are none."""
        if stats is not None:
            self._rates.add(at, stats)
        self._nameserver, self._stats, self._why = nameserver, stats, why
        if self.size:
            self._draw()

    def on_show(self) -> None:
        self._draw()

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.height + 2 >= ROOMY, "-roomy")
        self.remove_class("-slim")
        self._draw()

    def _draw(self) -> None:
        """Sizes stay, so that the screen's layout is not worked out anew each second."""
        told = names.verdict(self._rates, self._stats, self._why)
        verdict = self.query_one("#names-verdict", Static)
        if not verdict.has_class(f"-{told.tone}"):
            verdict.set_classes(f"-{told.tone}")
        text = printable(f"{MARKS.get(told.tone, '!')} {told.text}")
        if cell_len(text) > self.size.width:
            self.add_class("-slim")  # until the size is another: a number of two digits must not move all that is below
        verdict.update(text, layout=False)
        listing = self.query_one(Listing)
        if self._stats is not None:
            listing.fill(names.rows(self._rates, self._stats))
            self.retitle(printable(self._nameserver))
        elif self._why:
            self.retitle("no counts")
        if self.has_class("-roomy"):
            width = max(0, self.size.width - 9)
            above, below = names.sparkline(self._rates.total.history, width, 2)
            rate = fitted(names.rate(self._rates.total.per_second), 8, right=True)
            self.query_one("#names-rate", Static).update(f"{above}\n{below} {rate}", layout=False)

    def copyable(self) -> str:
        """What shows the same in plain text."""
        return "devlink dns stats"

    def _row(self, row: DnsRow) -> Row:
        name, bars, rate, kept, p50, p99 = names.cells(row, self.query_one(Listing).room(BARS))
        return Row((f"{MARKS[row.tone]} {row.word}", name, rate, bars, kept, p50, p99), row.tone)
