"""The path: laptop, next hop, gateway, cluster, and who could take over; or through whom it is relayed."""

from collections import deque

from textual.app import ComposeResult

from devlink.tui.records import Path, SessionStatus
from devlink.tui.widgets.drawn import Drawn
from devlink.tui.widgets.panel import Panel
from devlink.tui.words.drawing import TREND, draw_no_path, draw_path


class PathPanel(Panel):
    """Each leg with its state and round-trip time."""

    NAME = "Path"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._session = ""
        self._path: Path | None = None
        self._why = ""
        self._trend: deque[float | None] = deque(maxlen=TREND)

    def compose(self) -> ComposeResult:
        yield _Picture()

    def show(self, session: SessionStatus | None, path: Path | None, why: str = "") -> None:
        """`why`: there is no path."""
        name = session.name if session is not None else ""
        if name != self._session:
            self._session, self._why = name, ""
            self._trend.clear()
        if path is not None and path is not self._path:
            self._trend.append(path.legs[-1].rtt_ms if path.legs else None)
        self._path = path
        self._why = "" if path is not None else why or self._why
        drawn = self.query_one(_Picture)
        if session is None or path is None:
            reason = self._why
            drawn.show(lambda width, _: draw_no_path(session, reason, width))
        else:
            trend, relay = tuple(self._trend), session.relay
            drawn.show(lambda width, height: draw_path(path, trend, width, height, relay))

    def copyable(self) -> str:
        """What asks who carries by hand."""
        if self._path is None:
            return ""
        carrying = next((str(each.address) for each in self._path.gateways if each.carries), "")
        return f"ping {carrying}" if carrying else ""


class _Picture(Drawn):
    """As high as the panel may be."""

    def room(self) -> int:
        panel = self.parent
        return panel.content_size.height if isinstance(panel, PathPanel) else 0
