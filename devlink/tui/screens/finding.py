"""All that is to be said of one finding: what was seen, what to do, and what the reference has of its code."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from devlink.core.findings import Finding
from devlink.doctor.reference import section_of
from devlink.tui.closer import page_lines
from devlink.tui.commands import command_of
from devlink.tui.lines import Line
from devlink.tui.messages import CommandCopied
from devlink.tui.widgets.drawn import Drawn


class FindingPage(ModalScreen[None]):
    """One page, which scrolls."""

    DEFAULT_CSS = """
    FindingPage {
        align: center middle;
    }
    FindingPage > VerticalScroll {
        width: 90%;
        max-width: 100;
        height: auto;
        max-height: 90%;
        padding: 0 1;
        border: round $primary;
        border-subtitle-color: $text-muted;
        background: $surface;
        scrollbar-size-vertical: 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "Close"),
        Binding("y", "copy", "Copy"),
    ]

    def __init__(self, code: str, finding: Finding | None = None, session: str = "") -> None:
        """`finding`: what was found; None for what its code means."""
        super().__init__()
        self._code = code
        self._finding = finding
        self._session = session

    def compose(self) -> ComposeResult:
        body = VerticalScroll(Drawn(self._draw))
        section = section_of(self._code)
        body.border_title = f"{section.code}, {section.chapter}" if section is not None else "Finding"
        body.border_subtitle = "y copies, Esc closes" if self.copyable() else "Esc closes"
        yield body

    def copyable(self) -> str:
        """The command that the fix names."""
        return command_of(self._finding.fix) if self._finding is not None else ""

    def action_copy(self) -> None:
        command = self.copyable()
        if command:
            self.post_message(CommandCopied(command))

    def action_close(self) -> None:
        self.dismiss()

    def _draw(self, width: int, _: int) -> list[Line]:
        section = section_of(self._code)
        reference = section.text if section is not None else ""
        return page_lines(self._finding, self._session, reference, self.copyable(), width)
