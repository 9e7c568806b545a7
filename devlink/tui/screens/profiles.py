"""Which profile is to be brought up."""

from typing import ClassVar

from devlink.tui.screens.picker import Picker
from devlink.tui.widgets.listing import Column, Row
from devlink.tui.words.telling import Choice


class ProfilePicker(Picker[Choice]):
    """The default is on top; what is up already, and what is broken, is below and cannot be chosen."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (Column("", 1), Column("PROFILE"), Column("FROM"))

    def row(self, item: Choice) -> Row:
        if item.obstacle:
            return Row(("✗", item.text, item.obstacle), "off", is_whole=True)
        return Row(("·", item.text, item.about), "info")

    def obstacle(self, item: Choice) -> str:
        return item.obstacle
