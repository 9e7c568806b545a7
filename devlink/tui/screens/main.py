"""The main screen: all panels, each given what it shows."""

import time
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.screen import Screen
from textual.widgets import Tab, Tabs

from devlink.tui import messages
from devlink.tui.messages import Contact
from devlink.tui.records import AgentStatus, DnsStats, Event, Path, SessionStatus
from devlink.tui.telling import absence, headline
from devlink.tui.widgets.dns import DnsPanel
from devlink.tui.widgets.events import EventsPanel
from devlink.tui.widgets.findings import FindingsPanel
from devlink.tui.widgets.headline import Headline
from devlink.tui.widgets.keys import KeyLine
from devlink.tui.widgets.listing import Listing
from devlink.tui.widgets.panel import Panel
from devlink.tui.widgets.path import PathPanel
from devlink.tui.widgets.queries import QueriesPanel
from devlink.tui.widgets.routes import RoutesPanel
from devlink.tui.widgets.sessions import SessionsPanel

PANELS = ("findings", "routes", "dns", "queries", "events")
"""Below the path: one at a time, or, where there is room, all of them."""
EVENTS_KEPT = 500
TICK = 1.0
"""Seconds between two looks at the clock, for what says since when."""


class MainScreen(Screen[None]):
    """One look says whether the link is well."""

    DEFAULT_CSS = """
    MainScreen.-away #upper, MainScreen.-away #lower {
        opacity: 50%;
    }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012 (Textual declares it so)
    VERTICAL_BREAKPOINTS = [(0, "-low"), (40, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(str(number), f"panel('{name}')", name.capitalize(), show=False) for number, name in enumerate(PANELS, 1)
    ]

    def __init__(self) -> None:
        super().__init__()
        self.status: AgentStatus | None = None
        self.told_at = 0.0
        """Monotonic seconds when the status was told."""
        self.session_name = ""
        """Whose path and routes are shown; empty where nothing is up."""
        self._contact = messages.ContactChanged(Contact.CONNECTING)
        self._dns: DnsStats | None = None
        self._path: Path | None = None
        self._events: tuple[Event, ...] = ()

    def compose(self) -> ComposeResult:
        yield Headline(id="headline", markup=False)
        with Horizontal(id="upper"):
            yield SessionsPanel(id="sessions")
            yield PathPanel(id="path")
        yield Tabs(*(Tab(f"{n} {name.capitalize()}", id=f"tab-{name}") for n, name in enumerate(PANELS, 1)), id="tabs")
        with Container(id="lower"):
            yield FindingsPanel(id="findings")
            yield RoutesPanel(id="routes")
            yield DnsPanel(id="dns")
            yield QueriesPanel(id="queries")
            yield EventsPanel(id="events")
        yield KeyLine()

    def on_mount(self) -> None:
        self._tick()
        self.set_interval(TICK, self._tick)
        self.query_one(Tabs).can_focus = False
        self._show_panel("findings")
        self.query_one("#sessions Listing").focus()

    # What it is about

    @property
    def session(self) -> SessionStatus | None:
        """The one under the cursor."""
        return self.status.session(self.session_name) if self.status is not None else None

    # What was heard

    @on(messages.ContactChanged)
    def _contact_changed(self, event: messages.ContactChanged) -> None:
        self._contact = event
        # What was true when the agent was heard last is not shown as though it were true now.
        self.set_class(event.contact is not Contact.HERE and self.status is not None, "-away")
        self._tick()

    def _tick(self) -> None:
        """The times go on. Draws nothing that has not changed."""
        elapsed = self.now - self.told_at
        if self._contact.contact is Contact.HERE and self.status is not None:
            told = headline(self.status, elapsed, self._dns)
            self.query_one(SessionsPanel).tick(self.now)
        else:
            about = self._contact
            told = absence(about.contact, about.why, about.next_step, self.status, elapsed)
        self.query_one(Headline).show(told)

    @on(messages.StatusTold)
    def _told(self, event: messages.StatusTold) -> None:
        self.status, self.told_at = event.status, event.at
        names = [session.name for session in event.status.sessions]
        if self.session_name not in names:
            self._choose(names[0] if names else "")
        self.query_one(SessionsPanel).show(event.status, event.at)
        self._tick()
        self.query_one(FindingsPanel).show(event.status)
        self.query_one(PathPanel).show(self.session, self._path)

    @on(messages.SessionChosen)
    def _chosen(self, event: messages.SessionChosen) -> None:
        if event.name != self.session_name:
            self._choose(event.name)

    def _choose(self, name: str) -> None:
        self.session_name, self._path = name, None
        self.query_one(PathPanel).show(self.session, None)
        self.query_one(RoutesPanel).show((), "Not listed yet." if name else "Nothing is up.")
        self.app.post_message(messages.SessionChosen(name))

    @on(messages.PathSeen)
    def _path_seen(self, event: messages.PathSeen) -> None:
        if event.session == self.session_name:
            self._path = event.path
            self.query_one(PathPanel).show(self.session, event.path, event.why)

    @on(messages.RoutesListed)
    def _routes_listed(self, event: messages.RoutesListed) -> None:
        if event.session == self.session_name:
            self.query_one(RoutesPanel).show(event.routes or (), event.why)

    @on(messages.DnsCounted)
    def _counted(self, event: messages.DnsCounted) -> None:
        self._dns = event.stats
        self.query_one(DnsPanel).show(event.nameserver, event.stats, event.at, event.why)

    @on(messages.QueriesSeen)
    def _queries_seen(self, event: messages.QueriesSeen) -> None:
        self.query_one(QueriesPanel).add(event.queries)

    @on(messages.QueriesUnseen)
    def _queries_unseen(self, event: messages.QueriesUnseen) -> None:
        self.query_one(QueriesPanel).tell(event.why)

    @on(messages.EventsTold)
    def _events_told(self, event: messages.EventsTold) -> None:
        self._events = (event.events if event.is_past else (*self._events, *event.events))[-EVENTS_KEPT:]
        self.query_one(EventsPanel).show(self._events)

    # Which panels are seen

    def action_panel(self, name: str) -> None:
        """Show it, and give it the keys."""
        self._show_panel(name)
        listings = self.query(f"#{name} Listing")
        if listings:
            listings.first(Listing).focus()

    @on(Tabs.TabActivated)
    def _tab(self, event: Tabs.TabActivated) -> None:
        if event.tab.id is not None:
            self._show_panel(event.tab.id.removeprefix("tab-"))

    def _show_panel(self, name: str) -> None:
        for each in PANELS:
            self.query_one(f"#{each}", Panel).set_class(each == name, "-shown")
        self.query_one(Tabs).active = f"tab-{name}"
        self.call_after_refresh(self._tell_what_is_seen)

    def on_resize(self) -> None:
        self.call_after_refresh(self._tell_what_is_seen)

    def _tell_what_is_seen(self) -> None:
        """What is not seen costs nothing."""
        self.app.post_message(messages.RoutesWanted(self.query_one(RoutesPanel).display))
        self.app.post_message(messages.QueriesWanted(self.query_one(QueriesPanel).display))

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()
