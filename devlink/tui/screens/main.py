"""The main screen: all panels, each given what it shows."""

import time
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static, Tab, Tabs

from devlink.tui import messages
from devlink.tui.messages import Contact
from devlink.tui.records import AgentStatus, DnsStats, Event, Path, SessionStatus
from devlink.tui.widgets.dns import DnsPanel
from devlink.tui.widgets.events import EventsPanel
from devlink.tui.widgets.findings import FindingsPanel
from devlink.tui.widgets.headline import Headline
from devlink.tui.widgets.keys import KeyLine
from devlink.tui.widgets.panel import Beside, Panel
from devlink.tui.widgets.path import PathPanel
from devlink.tui.widgets.queries import QueriesPanel
from devlink.tui.widgets.routes import RoutesPanel
from devlink.tui.widgets.sessions import SessionsPanel
from devlink.tui.words.telling import absence, headline, tab_signs

PANELS = {"findings": "Findings", "routes": "Routes", "dns": "DNS", "queries": "Queries", "events": "Events"}
"""Below the path: one at a time, or, where there is room, all of them."""
SMALL = "The panels need a terminal of 50x14 or more; 80x24 is comfortable."
NOTHING = AgentStatus(version="", helper="", helper_version="", sessions=(), asking=())
"""What is up where no agent runs."""
EVENTS_KEPT = 500
TICK = 1.0
"""Seconds between two looks at the clock, for what says since when."""


class MainScreen(Screen[None]):
    """One look says whether the link is well."""

    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (50, "-narrow"), (120, "-wide")]  # noqa: RUF012 (Textual declares it so)
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (14, "-low"), (40, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(str(number), f"panel('{name}')", title, show=False)
        for number, (name, title) in enumerate(PANELS.items(), 1)
    ]

    def __init__(self) -> None:
        super().__init__()
        self.status: AgentStatus | None = None
        self.told_at = 0.0
        """Monotonic seconds when the status was told; and when anything was heard of the sessions."""
        self._heard_at = 0.0
        self.session_name = ""
        """Whose path and routes are shown; empty where nothing is up."""
        self._contact = messages.ContactChanged(Contact.CONNECTING)
        self._dns: DnsStats | None = None
        self._path: Path | None = None
        self._events: tuple[Event, ...] = ()
        self._events_heard = 0
        """How many there were since the dashboard began; and how many when their panel was seen last."""
        self._events_seen = 0

    def compose(self) -> ComposeResult:
        yield Headline(id="headline", markup=False)
        yield Static(SMALL, id="small", markup=False)
        with Beside(id="upper"):
            yield SessionsPanel(id="sessions")
            yield PathPanel(id="path")
        yield Tabs(
            *(Tab(f"{n} {title}", id=f"tab-{name}") for n, (name, title) in enumerate(PANELS.items(), 1)), id="tabs"
        )
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
        self.query_one(SessionsPanel).take_keys()

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
        if event.contact is Contact.ABSENT and self.status is None:
            self.query_one(SessionsPanel).show(NOTHING, self.now)
            self.query_one(FindingsPanel).show(NOTHING)
        self._tick()

    def _tick(self) -> None:
        """The times go on. Draws nothing that has not changed."""
        if self._contact.contact is Contact.HERE and self.status is not None:
            told = headline(self.status, self.now - self.told_at, self._dns)
            self.query_one(SessionsPanel).tick(self.now)
        else:
            about = self._contact
            told = absence(about.contact, about.why, about.next_step, self.status, self.now - self._heard_at)
        self.query_one(Headline).show(told)

    @on(messages.StatusTold)
    def _told(self, event: messages.StatusTold) -> None:
        self.status, self.told_at, self._heard_at = event.status, event.at, event.at
        names = [session.name for session in event.status.sessions]
        if self.session_name not in names:
            self._choose(names[0] if names else "")
        self.query_one(SessionsPanel).show(event.status, event.at)
        self._tick()
        self.query_one(FindingsPanel).show(event.status)
        self.query_one(PathPanel).show(self.session, self._path)
        self._sign_tabs()

    @on(messages.SessionChosen)
    def _chosen(self, event: messages.SessionChosen) -> None:
        event.stop()  # the app is told only where it is another
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
            self._heard_at = self.now if event.path is not None else self._heard_at
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
        self._events_heard += 0 if event.is_past else len(event.events)
        self._sign_tabs()

    # Which panels are seen

    def action_panel(self, name: str) -> None:
        """Show it, and give it the keys."""
        self._show_panel(name)
        self.query_one(f"#{name}", Panel).take_keys()

    @on(Tabs.TabActivated)
    def _tab(self, event: Tabs.TabActivated) -> None:
        if event.tab.id is not None:
            self._show_panel(event.tab.id.removeprefix("tab-"))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The panel with the keys is the one that stays where there is room for one."""
        for panel in event.widget.ancestors_with_self:
            if panel.id in PANELS and not panel.has_class("-shown"):
                self._show_panel(panel.id)

    def _show_panel(self, name: str) -> None:
        for each in PANELS:
            self.query_one(f"#{each}", Panel).set_class(each == name, "-shown")
        self.query_one(Tabs).active = f"tab-{name}"
        self.call_after_refresh(self._tell_what_is_seen)

    def on_resize(self) -> None:
        self.call_after_refresh(self._tell_what_is_seen)

    def _tell_what_is_seen(self) -> None:
        """What is not seen costs nothing."""
        self.app.post_message(messages.RoutesWanted(self._is_seen("routes")))
        self.app.post_message(messages.QueriesWanted(self._is_seen("queries")))
        self._sign_tabs()

    def _is_seen(self, name: str) -> bool:
        return all(
            widget.display for widget in self.query_one(f"#{name}").ancestors_with_self if widget is not self.app
        )

    def _sign_tabs(self) -> None:
        """Behind each name a sign of what is in there."""
        if self._is_seen("events"):
            self._events_seen = self._events_heard
        told = tab_signs(self.status, self.session, self._events_heard - self._events_seen)
        for number, (name, title) in enumerate(PANELS.items(), 1):
            label = f"{number} {title} {told.get(name, '')}".strip()
            tab = self.query_one(f"#tab-{name}", Tab)
            if tab.label_text != label:
                tab.label = Content(label)

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()
