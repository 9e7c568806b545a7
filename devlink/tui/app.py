"""The dashboard's app: what it follows of the agent, and what its user has it do."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cached_property
from typing import ClassVar

from textual import on, work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.message import Message

from devlink.errors import DevlinkError, NotUpError, reason
from devlink.tui import messages
from devlink.tui.link import Link, OtherVersionError
from devlink.tui.messages import Contact
from devlink.tui.screens.doctor import DoctorScreen
from devlink.tui.screens.explain import ExplainScreen
from devlink.tui.screens.finding import FindingPage
from devlink.tui.screens.main import MainScreen
from devlink.tui.themes import DARK, LIGHT

RETRY = 1.0
"""Seconds until what has ended is followed again."""
ROUTES_PAUSE = 2.0
"""Seconds between two looks at the table of routes, at least."""


class Dashboard(App[int]):
    """A client of the agent's socket alone: it draws what it is told, and is never the one who waits for a network."""

    TITLE = "devlink"
    CSS_PATH = "looks.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("u", "up", "Up"),
        Binding("d", "down", "Down"),
        Binding("p", "switch", "Profile"),
        Binding("f", "failover", "Fail over"),
        Binding("n", "flush", "Flush names"),
        Binding("o", "doctor", "Doctor"),
        Binding("e", "explain", "Explain"),
        Binding("y", "copy", "Copy"),
        Binding("r", "report", "Report"),
        Binding("t", "theme", "Light/dark", show=False),
        Binding("question_mark,f1", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, link: Link | None = None, *, light: bool = False) -> None:
        super().__init__()
        self._link = link or Link()
        self._light = light
        self.main = MainScreen()
        self._contact: Contact | None = None
        self._wants_routes = False

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(DARK.variables)

    def on_mount(self) -> None:
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = LIGHT.name if self._light else DARK.name
        self.animation_level = "none"  # the line below the tabs would be drawn thirty times for each change
        self.push_screen(self.main)
        self._follow_status()
        self._follow_events()
        self._follow_dns_stats()

    # What is followed. A worker touches no widget: it posts what it heard.

    @work(exclusive=True, group="status", exit_on_error=False)
    async def _follow_status(self) -> None:
        while True:
            try:
                async for status in self._link.status():
                    self._note_contact(Contact.HERE)
                    self.main.post_message(messages.StatusTold(status, time.monotonic()))
                    if self._wants_routes:
                        self._list_routes()
                raise NotUpError("The agent has ended.", next_step="Bring a profile up, which starts one.")
            except (DevlinkError, OSError) as error:
                self._note_loss(error)
            await asyncio.sleep(RETRY)

    def _note_loss(self, error: Exception) -> None:
        had = self._contact
        if isinstance(error, OtherVersionError):
            self._note_contact(Contact.OTHER, error)
        elif isinstance(error, TimeoutError):
            self._note_contact(Contact.SILENT, error)
        elif isinstance(error, NotUpError) and had is not Contact.LOST and had is not Contact.HERE:
            self._note_contact(Contact.ABSENT, error)
        else:
            self._note_contact(Contact.LOST, error)

    def _note_contact(self, contact: Contact, error: Exception | None = None) -> None:
        if contact is self._contact:
            return
        self._contact = contact
        why = reason(error) if error is not None else ""
        next_step = error.next_step if isinstance(error, DevlinkError) else ""
        self.main.post_message(messages.ContactChanged(contact, why, next_step))

    @work(exclusive=True, group="events", exit_on_error=False)
    async def _follow_events(self) -> None:
        async def once() -> AsyncIterator[Message]:
            is_past = True
            async for events in self._link.events():
                yield messages.EventsTold(events, is_past)
                is_past = False

        await self._keep(once, lambda _: None)

    @work(exclusive=True, group="dns", exit_on_error=False)
    async def _follow_dns_stats(self) -> None:
        async def once() -> AsyncIterator[Message]:
            async for nameserver, stats in self._link.dns_stats():
                yield messages.DnsCounted(nameserver, stats, time.monotonic())

        await self._keep(once, lambda why: messages.DnsCounted("", None, time.monotonic(), why))

    @work(exclusive=True, group="path", exit_on_error=False)
    async def _follow_path(self, session: str) -> None:
        async def once() -> AsyncIterator[Message]:
            async for path in self._link.path(session):
                yield messages.PathSeen(session, path)

        await self._keep(once, lambda why: messages.PathSeen(session, None, why))

    @work(exclusive=True, group="queries", exit_on_error=False)
    async def _follow_queries(self) -> None:
        async def once() -> AsyncIterator[Message]:
            async for seen in self._link.queries():
                yield messages.QueriesSeen(seen)

        await self._keep(once, messages.QueriesUnseen)

    @work(exclusive=True, group="routes", exit_on_error=False)
    async def _list_routes(self) -> None:
        session = self.main.session_name
        if not session:
            return
        try:
            self.main.post_message(messages.RoutesListed(session, await self._link.routes(session)))
        except (DevlinkError, OSError) as error:
            self.main.post_message(messages.RoutesListed(session, None, reason(error)))

    async def _keep(self, once: Callable[[], AsyncIterator[Message]], ended: Callable[[str], Message | None]) -> None:
        """Follow it again and again, and have the main screen told; `ended` makes what it is told when it ends."""
        while True:
            why = "It has ended."
            try:
                async for message in once():
                    self.main.post_message(message)
            except (DevlinkError, OSError) as error:
                why = reason(error)
            end = ended(why)
            if end is not None:
                self.main.post_message(end)
            await asyncio.sleep(RETRY)

    @on(messages.SessionChosen)
    def _session_chosen(self, event: messages.SessionChosen) -> None:
        if event.name:
            self._follow_path(event.name)
        else:
            self.workers.cancel_group(self, "path")
        if self._wants_routes:
            self._list_routes()

    @on(messages.RoutesWanted)
    def _routes_wanted(self, event: messages.RoutesWanted) -> None:
        if event.wanted and not self._wants_routes:
            self._list_routes()
        self._wants_routes = event.wanted

    @on(messages.QueriesWanted)
    def _queries_wanted(self, event: messages.QueriesWanted) -> None:
        is_followed = any(worker.group == "queries" and worker.is_running for worker in self.workers)
        if event.wanted and not is_followed:
            self._follow_queries()
        elif not event.wanted:
            self.workers.cancel_group(self, "queries")

    # What its user wants

    def action_theme(self) -> None:
        """The other one of light and dark."""
        self.theme = LIGHT.name if self.theme == DARK.name else DARK.name

    @on(messages.CommandCopied)
    def _copied(self, event: messages.CommandCopied) -> None:
        self.copy_to_clipboard(event.text)
        self.notify(event.text, title="Copied", markup=False)

    @work(group="flush", exclusive=True, exit_on_error=False)
    async def action_flush(self) -> None:
        """Forget every answer that the forwarder keeps."""
        await self._do(self._link.flush_dns, lambda count: f"{count} answers forgotten.")

    async def _do(self, deed: Callable[[], Awaitable[object]], said: Callable[[object], str]) -> None:
        """Do it, and tell what came of it."""
        try:
            done = await deed()
        except (DevlinkError, OSError) as error:
            next_step = error.next_step if isinstance(error, DevlinkError) else ""
            self.notify(f"{reason(error)} {next_step}".strip(), severity="error", markup=False, timeout=10)
            return
        self.notify(said(done), markup=False)

    # Looking closer

    @cached_property
    def _asked(self) -> deque[str]:
        """What was asked to be explained."""
        return deque()

    def action_doctor(self) -> None:
        """Look at everything."""
        self.push_screen(DoctorScreen(self._link.examine))

    def action_explain(self) -> None:
        """Ask for the way to a name."""
        self.push_screen(ExplainScreen(self._link.explain, self._asked))

    @on(messages.FindingOpened)
    def _finding_opened(self, event: messages.FindingOpened) -> None:
        self.push_screen(FindingPage(event.finding.code, event.finding, event.session))
