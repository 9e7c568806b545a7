"""What all panels share: a border with a title that says what is in it, and a filter where there is much."""

from textual import on
from textual.app import ComposeResult
from textual.containers import Grid, Vertical
from textual.layout import Layout
from textual.layouts.grid import GridLayout
from textual.widgets import Input


class Panel(Vertical):
    """A part of the main screen."""

    NAME = ""
    """One or two words, in its border."""

    def on_mount(self) -> None:
        self.retitle()

    def retitle(self, about: str = "", below: str = "") -> None:
        """`about` stands behind the name, `below` in the lower border."""
        self.border_title = f"{self.NAME} {about}".strip()
        self.border_subtitle = below or None

    def take_keys(self) -> None:
        """Give the keys to the first part that takes them, else to the panel itself: it is seen where they go."""
        part = next((part for part in self.query("*") if part.focusable and not part.has_class("filter")), None)
        if part is None:
            self.can_focus = True
        (part or self).focus()


class Beside(Grid):
    """Panels side by side, as low as the highest of them needs, and all of one height."""

    def pre_layout(self, layout: Layout) -> None:
        if isinstance(layout, GridLayout):
            layout.stretch_height = True


class FilteredPanel(Panel):
    """A panel whose lines can be narrowed by a text."""

    BINDINGS = [("slash", "filter", "Filter"), ("escape", "unfilter", "All")]  # noqa: RUF012

    def compose(self) -> ComposeResult:
        wanted = Input(placeholder="filter", compact=True, classes="filter")
        wanted.display = False
        yield wanted
        yield from self.compose_body()

    def compose_body(self) -> ComposeResult:
        """What is below the filter."""
        yield from ()

    def narrow(self, text: str) -> None:
        """Show what `text` fits; all where it is empty."""

    @property
    def wanted(self) -> str:
        """The filter's text."""
        return self.query_one(".filter", Input).value.strip()

    def action_filter(self) -> None:
        field = self.query_one(".filter", Input)
        field.display = True
        field.focus()

    def action_unfilter(self) -> None:
        field = self.query_one(".filter", Input)
        had_focus = field.has_focus
        field.value = ""
        field.display = False
        if had_focus:
            self.focus_body()

    def focus_body(self) -> None:
        """Give the keys back to the lines."""

    @on(Input.Changed, ".filter")
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.narrow(event.value.strip())

    @on(Input.Submitted, ".filter")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.focus_body()
