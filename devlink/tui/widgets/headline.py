"""The first line: am I connected, to what, and what do I do."""

from textual.widgets import Static

from devlink.core.text import MARKS, printable
from devlink.tui.words.telling import Told


class Headline(Static):
    """One sentence with its sign, and a next step where there is one."""

    _told: Told | None = None

    def show(self, told: Told) -> None:
        """Draws only what is new: it may be asked each second."""
        if told == self._told:
            return
        self._told = told
        below = f"\n  {printable(told.next_step)}" if told.next_step else ""
        self.set_classes(f"-{told.tone}")
        self.update(f"{MARKS.get(told.tone, '!')} {printable(told.text)}{below}")
