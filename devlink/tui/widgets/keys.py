"""The last line: which keys do what, here and now.

Textual's Footer builds a widget for each key anew whenever another panel gets the keys, which takes 100 ms and half a
megabyte each time.
"""

from collections.abc import Iterator
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

Key = tuple[str, str, str, bool]
"""The key, how it is written, what it does, and whether it does it now."""


LAST = ("help", "quit")
"""The actions that are seen at any width: who has these needs no other."""


class KeyLine(Widget):
    """As many as fit, in the order in which they are bound: those of the panel that has the keys come first."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"keyline--key", "keyline--off"}
    DEFAULT_CSS = """
    KeyLine { dock: bottom; height: 1; background: $panel; color: $text; }
    KeyLine > .keyline--key { color: $accent; text-style: bold; }
    KeyLine > .keyline--off { color: $text-disabled; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # Textual's own name
        super().__init__(id=id)
        self._keys: tuple[Key, ...] = ()
        self._last = 0
        """How many of them, at the end, are seen at any width."""
        self._ends: list[tuple[int, Key]] = []
        """Where each key that is seen ends, for a click."""

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._renew)
        self._renew(self.screen)

    def _renew(self, screen: Screen[object]) -> None:
        if not screen.is_attached:
            return
        seen: dict[str, Key] = {}
        for _, binding, is_enabled, _ in screen.active_bindings.values():
            if binding.show and binding.action not in seen:
                shown = self.app.get_key_display(binding)
                seen[binding.action] = (binding.key, shown, binding.description, is_enabled)
        last = [seen.pop(action) for action in list(seen) if action.rpartition(".")[2] in LAST]
        self._last = len(last)
        keys = (*seen.values(), *last)
        if keys != self._keys:
            self._keys = keys
            self.refresh()

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self.rich_style
        segments, at = [], 0
        self._ends = []
        for key in self._fitting(width) if y == 0 else ():
            _, shown, does, is_enabled = key
            off = None if is_enabled else self.get_component_rich_style("keyline--off")
            segments += [
                Segment(f" {shown}", off or self.get_component_rich_style("keyline--key")),
                Segment(f" {does} ", off or base),
            ]
            at += _length(key)
            self._ends.append((at, key))
        return Strip(segments).adjust_cell_length(width, base)

    def _fitting(self, width: int) -> Iterator[Key]:
        first, last = self._keys[: len(self._keys) - self._last], self._keys[len(self._keys) - self._last :]
        room = width - sum(map(_length, last))
        for key in first:
            room -= _length(key)
            if room < 0:
                break
            yield key
        yield from last

    def on_click(self, event: events.Click) -> None:
        """As if the key had been pressed."""
        for end, (key, _, _, is_enabled) in self._ends:
            if event.x < end:
                if is_enabled:
                    self.app.simulate_key(key)
                return


def _length(key: Key) -> int:
    """Cells, with the blanks around it."""
    return cell_len(key[1]) + cell_len(key[2]) + 3
