"""The live log of questions."""

import time
from collections import deque
from typing import ClassVar, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.timer import Timer
from textual.widgets import Static

from devlink.core.text import MARKS, listed, printable
from devlink.tui.records import Queries, Query
from devlink.tui.widgets.listing import Column, Listing, Row
from devlink.tui.widgets.panel import FilteredPanel
from devlink.tui.words import names
from devlink.tui.words.lines import milliseconds
from devlink.tui.words.names import Filter

KEPT = 5000
"""Questions: a second of the fastest log."""
PAUSE = 0.25
"""Seconds between two drawings, at least; twice that where more than MANY came, which nobody can read anyway."""
MANY = 100
NOBODY = "Nobody asks for a name."
NO_SESSION = "No session of yours is up with names: until one is, there is nothing."


class Note(NamedTuple):
    """What is to be said of the log itself, at its place in it."""

    time: float
    text: str


Item = Query | Note


class QueriesPanel(FilteredPanel):
    """The last ones, the newest at the bottom, with a filter and a pause.

    What comes is put aside as it is, and shown four times a second at most: only the lines that are seen become text.
    """

    NAME = "Queries"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", "Pause"),
        Binding("escape", "back", "Back", show=False),
    ]
    DEFAULT_CSS = """
    QueriesPanel > #query-details {
        display: none; height: auto; max-height: 60%; padding: 0 1; border-top: solid $surface-lighten-3;
    }
    """

    def __init__(self, *, id: str | None = None) -> None:  # Textual's own name
        super().__init__(id=id)
        self._kept: deque[Item] = deque(maxlen=KEPT)
        """What has been shown, or would have been without the filter."""
        self._shown: deque[Item] = self._kept
        """What is shown: with a filter, what it fits of all that came, which reaches further back."""
        self._came: deque[Item] = deque(maxlen=KEPT)
        """What is to be shown next."""
        self._came_count = 0
        self._filter = Filter("")
        self._is_paused = False
        self._drawn = 0.0
        self._timer: Timer | None = None
        self._zones: tuple[str, ...] | None = None
        self._why = ""

    def compose_body(self) -> ComposeResult:
        columns = (
            Column("TIME", 8), Column("ANSWER", 10), Column("NAME", least=14), Column("TYPE", 5),
            Column("TOOK", 8, right=True), Column("BY", 16),
        )  # fmt: skip
        yield Listing[Item](columns, _row, key=id, empty=NOBODY, follows=True)
        yield Static(id="query-details", markup=False)

    # What comes

    def add(self, seen: Queries) -> None:
        """Show these too."""
        self._zones, self._why = seen.zones, ""
        if seen.restarted or seen.lost:
            now = seen.queries[0].time if seen.queries else time.time()
            if seen.restarted:
                self._came.append(Note(now, "The forwarder was started anew: some questions are missing here."))
            if seen.lost:
                self._came.append(Note(now, f"{seen.lost} questions are missing here: there were too many at once."))
        self._came.extend(seen.queries)
        self._came_count += len(seen.queries)
        self._draw_soon()

    def tell(self, why: str) -> None:
        """Nothing is seen for now."""
        if why != self._why:
            self._why = why
            self._came.append(Note(time.time(), why))
            self._draw_soon()

    def _draw_soon(self) -> None:
        if self._timer is None:
            pause = PAUSE if len(self._came) <= MANY else 2 * PAUSE
            wait = self._drawn + pause - time.monotonic()
            self._timer = self.set_timer(max(wait, 0.001), self._draw)

    def _draw(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer, self._drawn = None, time.monotonic()
        if not self._is_paused:
            self._take()
        self._retitle()

    def _take(self) -> None:
        """Show what came."""
        before = len(self._shown)
        fits = (
            [item for item in self._came if isinstance(item, Note) or self._filter.fits(item)] if self._filter else ()
        )
        self._kept.extend(self._came)
        if self._filter:
            self._shown.extend(fits)
        came = len(fits) if self._filter else len(self._came)
        self._came.clear()
        self._came_count = 0
        self._fill(shift=-max(0, before + came - KEPT))

    def _fill(self, shift: int | None = None) -> None:
        listing = self._listing
        if self._why:
            listing.empty = self._why
        elif self._zones == ():
            listing.empty = NO_SESSION
        else:
            listing.empty = f"Nothing yet fits {self.wanted}." if self._filter and self._kept else NOBODY
        listing.fill(self._shown, shift=shift)

    def _retitle(self) -> None:
        about = ""
        if self._is_paused:
            lost = max(0, self._came_count - KEPT)
            about = f"paused, {self._came_count} came meanwhile" + (f", {lost} of them forgotten" if lost else "")
        elif self._filter:
            about = f"{len(self._shown)} fit {self.wanted}"
        below = ""
        if self._zones is not None:
            below = f"only those of {listed(self._zones)}" if self._zones else "no zone of yours"
        about, below = printable(about), printable(below)
        if (about, below) != self._titles:
            self._titles = (about, below)
            self.retitle(about, below)

    _titles = ("", "")

    # What its user does

    @property
    def _listing(self) -> Listing[Item]:
        return self.query_one(Listing)

    def action_pause(self) -> None:
        """Stop, and go on: what came meanwhile is shown then."""
        self._is_paused = not self._is_paused
        self._draw()

    def narrow(self, text: str) -> None:
        """Show what `text` fits, now and from now on; all where it is empty."""
        self._filter = Filter(text)
        if self._filter:
            fits = (item for item in self._kept if isinstance(item, Note) or self._filter.fits(item))
            self._shown = deque(fits, maxlen=KEPT)
        else:
            self._shown = self._kept
        self._fill()
        self._retitle()

    def focus_body(self) -> None:
        self._listing.focus()

    def action_back(self) -> None:
        """Close the details, else show all again."""
        if self._details.display:
            self._details.display = False
        else:
            self.action_unfilter()

    @property
    def _details(self) -> Static:
        return self.query_one("#query-details", Static)

    @on(Listing.Chosen)
    def _chosen(self, event: Listing.Chosen) -> None:
        event.stop()
        self._details.display = not self._details.display
        self._show_details()

    @on(Listing.Moved)
    def _moved(self, event: Listing.Moved) -> None:
        event.stop()
        if self._details.display:
            self._show_details()

    def _show_details(self) -> None:
        item = self._listing.chosen
        if isinstance(item, Query):
            self._details.update("\n".join((*names.details(item, _clock(item.time, 3)), names.command(item))))
        elif item is not None:
            self._details.update(printable(item.text))

    def copyable(self) -> str:
        """What asks the same again; empty where no question has the cursor."""
        item = self._listing.chosen
        return names.command(item) if isinstance(item, Query) else ""


def _row(item: Item) -> Row:
    if isinstance(item, Note):
        return Row((_clock(item.time), f"{MARKS['warning']} note", item.text, "", "", ""), "warning", is_whole=True)
    tone = names.tone_of(item)
    by = item.server if item.source == "upstream" and item.server else item.source
    answer = f"{MARKS[tone]} {names.rcode_name(item.rcode)}"
    took = milliseconds(item.ms)
    return Row((_clock(item.time), answer, item.name, names.qtype_name(item.qtype), took, by), tone, toned=1)


def _clock(seconds: float, digits: int = 0) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(seconds))
    return f"{clock}.{int(seconds * 1000) % 1000:03}" if digits else clock
