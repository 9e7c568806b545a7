"""All that is to be said of one finding: what was seen, what to do, and what the reference has of its code."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from devlink.core.findings import Finding
from devlink.doctor.reference import section_of
from devlink.tui.messages import CommandCopied
from devlink.tui.screens.dialog import Dialog
from devlink.tui.widgets.drawn import Drawn
from devlink.tui.words.closer import page_lines
from devlink.tui.words.commands import command_of
from devlink.tui.words.lines import Line


class FindingPage(Dialog[None]):
    """One page, which scrolls."""

    DEFAULT_CSS = """
    FindingPage > #box {
        width: 90%;
        max-width: 100;
        max-height: 90%;
    }
    FindingPage VerticalScroll {
        height: auto;
        max-height: 100%;
        scrollbar-size-vertical: 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "leave", "Close"),
        Binding("y", "copy", "Copy"),
    ]

    def __init__(self, code: str, finding: Finding | None = None, session: str = "") -> None:
        """`finding`: what was found; None for what its code means."""
        section = section_of(code)
        super().__init__(f"{section.code}, {section.chapter}" if section is not None else "Finding")
        self._reference = section.text if section is not None else ""
        self._finding = finding
        self._session = session

    def compose_body(self) -> ComposeResult:
        yield VerticalScroll(Drawn(self._draw))

    def on_mount(self) -> None:
        self.hint("y copies, Esc closes" if self.copyable() else "Esc closes")

    def copyable(self) -> str:
        """The command that the fix names."""
        return command_of(self._finding.fix) if self._finding is not None else ""

    def action_copy(self) -> None:
        command = self.copyable()
        if command:
            self.post_message(CommandCopied(command))

    def _draw(self, width: int, _: int) -> list[Line]:
        return page_lines(self._finding, self._session, self._reference, self.copyable(), width)
