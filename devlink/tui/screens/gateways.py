"""Who is to carry a session's packets instead of who does now."""

from typing import ClassVar

from devlink.tui.records import Gateway
from devlink.tui.screens.picker import Picker
from devlink.tui.widgets.listing import Column, Row
from devlink.tui.words.drawing import GATEWAY_TONES, SIGNS
from devlink.tui.words.lines import milliseconds


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
        tone = GATEWAY_TONES.get(item.state, "off")
        return Row((SIGNS[tone], str(item.address), item.role, item.state, milliseconds(item.rtt_ms)), tone)
