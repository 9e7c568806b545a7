"""The forwarder's health: questions a second, times, hit rate, zones and servers."""

from textual.app import ComposeResult
from textual.widgets import Static

from devlink.core.text import printable
from devlink.tui.records import DnsStats
from devlink.tui.widgets.panel import Panel


class DnsPanel(Panel):
    """Counts as sparklines."""

    NAME = "DNS"

    def compose(self) -> ComposeResult:
        yield Static(id="counts", markup=False)

    def show(self, nameserver: str, stats: DnsStats | None, at: float, why: str = "") -> None:
        """`at`: monotonic seconds of the counts; `why`: there are none."""
        text = f"{nameserver}  {stats.queries} questions" if stats is not None else why
        self.query_one("#counts", Static).update(printable(text))
