"""Who is to carry a session's packets instead of who does now."""

from typing import ClassVar

from devlink.tui.records import Gateway
from devlink.tui.screens.picker import Picker
from devlink.tui.themes import MARKS
from devlink.tui.widgets.listing import Column, Row

TONES = {"healthy": "ok", "suspect": "warning", "returning": "warning", "silent": "error"}


class GatewayPicker(Picker[Gateway]):
    """The one that answers best is on top. A silent one may be chosen: its user may know more than we do."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("", 1),
        Column("GATEWAY"),
        Column("ROLE", 16),
        Column("STATE", 10),
        Column("TIME", 9, right=True),
    )

    def row(self, item: Gateway) -> Row:
        tone = TONES.get(item.state, "info")
        time = f"{item.rtt_ms:.1f} ms" if item.rtt_ms is not None else "-"
        return Row((MARKS[tone], str(item.address), item.role, item.state, time), tone)
