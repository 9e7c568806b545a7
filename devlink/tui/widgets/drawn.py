"""Lines that a pure function draws for the width that there is."""

from collections.abc import Callable, Sequence

from textual.content import Content
from textual.widget import Widget

from devlink.tui.words.lines import Line

Draw = Callable[[int, int], Sequence[Line]]
"""What is drawn in so many cells and at most so many lines; 0 lines: as many as it takes."""
FAINT = "$foreground 65%"
STYLES = {
    "ok": "$ok", "info": "$info", "warning": "$warn", "error": "bold $bad", "busy": "$info", "off": FAINT,
    "skipped": FAINT, "follows": FAINT, "strong": "bold", "code": "$primary",
}  # fmt: skip


class Drawn(Widget):
    """Is drawn again only where what is drawn is another."""

    DEFAULT_CSS = """
    Drawn {
        width: 1fr;
        height: auto;
    }
    """

    def __init__(self, draw: Draw | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._draw: Draw = draw or (lambda _width, _height: ())
        self._drawn: dict[tuple[int, int], Sequence[Line]] = {}

    def show(self, draw: Draw) -> None:
        """Draw this from now on."""
        self._draw = draw
        width = self.content_size.width
        before = self._drawn.get((width, 0))
        self._drawn = {}
        after = self._lines(width, 0)
        if before is None or len(after) != len(before):
            self.refresh(layout=True)
        elif after != before:
            self.refresh()

    def _lines(self, width: int, height: int) -> Sequence[Line]:
        if (width, height) not in self._drawn:
            if len(self._drawn) > 4:  # other sizes, of a terminal that was larger or smaller
                self._drawn.clear()
            self._drawn[width, height] = self._draw(width, height)
        return self._drawn[width, height]

    def get_content_width(self, container: object, viewport: object) -> int:
        return self.size.width

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self._lines(width, 0))

    def room(self) -> int:
        """Lines that are seen of it; 0 where that is not known yet."""
        return self.content_size.height

    def render(self) -> Content:
        lines = self._lines(self.content_size.width, self.room())
        parts: list[str | tuple[str, str]] = []
        for line in lines:
            parts += [(span.text, STYLES.get(span.tone, "")) for span in line]
            parts.append("\n")
        return Content.assemble(*parts[:-1])
