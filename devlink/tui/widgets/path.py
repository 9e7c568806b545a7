"""The path: laptop, next hop, gateway, cluster, and who could take over."""

from textual.app import ComposeResult
from textual.widgets import Static

from devlink.core.text import printable
from devlink.tui.records import Path, SessionStatus
from devlink.tui.widgets.panel import Panel


class PathPanel(Panel):
    """Each leg with its state and round-trip time."""

    NAME = "Path"

    def compose(self) -> ComposeResult:
        yield Static(id="legs", markup=False)

    def show(self, session: SessionStatus | None, path: Path | None, why: str = "") -> None:
        """`why`: there is no path."""
        if session is None or path is None:
            self.query_one("#legs", Static).update(printable(why))
            return
        self.query_one("#legs", Static).update(
            "\n".join(printable(f"{leg.name} {leg.about} {leg.state} {leg.text}") for leg in path.legs)
        )
