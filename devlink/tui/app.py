"""The dashboard's app: what it follows of the agent; what its user has it do is in `doing`."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import cached_property

from textual import on, work
from textual.message import Message
from textual.worker import WorkerFailed

from devlink.errors import DevlinkError, ProtocolError, reason
from devlink.tui import messages
from devlink.tui.doing import Doing
from devlink.tui.link import AbsentError, Link
from devlink.tui.messages import Contact
from devlink.tui.screens.doctor import DoctorScreen
from devlink.tui.screens.explain import ExplainScreen
from devlink.tui.screens.finding import FindingPage
from devlink.tui.themes import DARK, LIGHT
from devlink.tui.words.telling import Trouble, trouble

RETRY_FIRST = 0.1
RETRY_LAST = 2.0
"""Seconds until what has ended is followed again: twice as long each time."""
PULSE = 5.0
"""Seconds between two looks at whether an agent that has nothing to tell is still there."""
GREETING_PATIENCE = 3.0
"""Seconds after which an agent that was not heard yet is told as silent; it is waited for all the same."""


class Dashboard(Doing):
    """A client of the agent's socket alone: it draws what it is told, and is never the one who waits for a network."""

    TITLE = "devlink"
    CSS_PATH = "looks.tcss"
    ENABLE_COMMAND_PALETTE = True

    def __init__(self, link: Link | None = None, *, light: bool = False) -> None:
        super().__init__(link or Link())
        self._light = light
        self._wants_routes = False
        self._here = asyncio.Event()
        """Set while the agent is: nothing but its status is asked for before."""
        self._is_told = False
        """Whether the status is being followed."""
        self.defect: BaseException | None = None
        """What nobody foresaw, after which the app has ended."""

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
        self._feel_pulse()

    def _handle_exception(self, error: Exception) -> None:
        self.defect = error.error if isinstance(error, WorkerFailed) else error
        super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """Textual would print a traceback with all values in it; `defect` is told by who runs us."""
        self._close_messages_no_wait()

    # What is followed. A worker touches no widget: it posts what it heard.

    @work(exclusive=True, group="status")
    async def _follow_status(self) -> None:
        tries, pause = 0, RETRY_FIRST
        while True:
            routing: tuple[object, ...] = ()
            patience = asyncio.get_running_loop().call_later(GREETING_PATIENCE, self._note_silence)
            try:
                async for status in self._link.status():
                    patience.cancel()
                    self._is_told = True
                    tries, pause = 0, RETRY_FIRST
                    self._note_contact(Contact.HERE)
                    self.main.post_message(messages.StatusTold(status, time.monotonic()))
                    shown = status.session(self.main.session_name)
                    before, routing = routing, shown.routing if shown is not None else ()
                    if self._wants_routes and routing != before:  # there may be ten thousand of them
                        self._list_routes()
                raise ProtocolError("The agent has ended its answer.", next_step="It is asked again by itself.")
            except (DevlinkError, OSError) as error:
                self._is_told = False
                tries += 1
                self._note_loss(error, tries)
            finally:
                patience.cancel()
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_LAST)

    @on(messages.AgentStarted)
    def _agent_started(self) -> None:
        """Else it would be told as absent until it is looked for again, below the word that its profile is up."""
        self._follow_status()

    def _note_loss(self, error: Exception, tries: int) -> None:
        had = self._contact in (Contact.HERE, Contact.LOST, Contact.SILENT)
        known = self.main.status
        if isinstance(error, TimeoutError):
            self._note_contact(Contact.SILENT, trouble(error))
        elif not isinstance(error, AbsentError | ProtocolError):
            self._note_contact(Contact.OTHER, Trouble(reason(error), "", getattr(error, "next_step", "")))
        elif had and tries < 2:
            pass  # one that is started anew is back before this could be read
        elif had and known is not None and known.sessions:
            self._note_contact(Contact.LOST, trouble(error))
        elif isinstance(error, AbsentError):
            self._note_contact(Contact.ABSENT, trouble(error))
        elif tries > 3:  # at first it may be one that is about to end
            text = "The agent hangs up before it has said anything."
            self._note_contact(Contact.OTHER, Trouble(text, "", "What it says of itself: devlink logs"))

    def _note_silence(self) -> None:
        if self._contact in (Contact.CONNECTING, Contact.HERE, Contact.LOST, Contact.ABSENT):
            self._note_contact(Contact.SILENT, trouble(TimeoutError()))

    def _note_contact(self, contact: Contact, why: Trouble = Trouble("")) -> None:  # noqa: B008 (it is immutable)
        if contact is self._contact and why.what == self._away.what:
            return
        self._contact, self._away = contact, why
        if contact is Contact.HERE:
            self._here.set()
        else:
            self._here.clear()
        self.main.post_message(messages.ContactChanged(contact, why.what, why.next_step))
        self.refresh_bindings()

    @work(exclusive=True, group="pulse")
    async def _feel_pulse(self) -> None:
        """An agent that is stopped in the middle of its streams ends none of them."""
        while True:
            await asyncio.sleep(PULSE)
            if self._contact not in (Contact.HERE, Contact.SILENT) or self.main.status is None:
                continue
            try:
                await self._link.pulse()
            except TimeoutError as error:
                self._note_contact(Contact.SILENT, trouble(error))
            except (DevlinkError, OSError):
                pass  # the stream of its status ends too, and says it
            else:
                if self._contact is Contact.SILENT and self._is_told:
                    self._note_contact(Contact.HERE)

    @work(exclusive=True, group="events")
    async def _follow_events(self) -> None:
        async def once() -> AsyncIterator[Message]:
            is_past = True
            async for events in self._link.events():
                yield messages.EventsTold(events, is_past)
                is_past = False

        await self._keep(once, lambda _: None)

    @work(exclusive=True, group="dns")
    async def _follow_dns_stats(self) -> None:
        async def once() -> AsyncIterator[Message]:
            async for nameserver, stats in self._link.dns_stats():
                yield messages.DnsCounted(nameserver, stats, time.monotonic())

        await self._keep(once, lambda why: messages.DnsCounted("", None, time.monotonic(), why))

    @work(exclusive=True, group="path")
    async def _follow_path(self, session: str) -> None:
        async def once() -> AsyncIterator[Message]:
            async for path in self._link.path(session):
                yield messages.PathSeen(session, path)

        await self._keep(once, lambda why: messages.PathSeen(session, None, why))

    @work(exclusive=True, group="queries")
    async def _follow_queries(self) -> None:
        async def once() -> AsyncIterator[Message]:
            async for seen in self._link.queries():
                yield messages.QueriesSeen(seen)

        await self._keep(once, messages.QueriesUnseen)

    @work(exclusive=True, group="routes")
    async def _list_routes(self) -> None:
        session = self.main.session_name
        if not session:
            return
        try:
            self.main.post_message(messages.RoutesListed(session, await self._link.routes(session)))
        except (DevlinkError, OSError) as error:
            if self._here.is_set():
                self.main.post_message(messages.RoutesListed(session, None, reason(error)))

    async def _keep(self, once: Callable[[], AsyncIterator[Message]], ended: Callable[[str], Message | None]) -> None:
        """Follow it again and again while the agent is here, and have the main screen told.

        `ended` makes what is told when it ends, which is not told when the agent went away: what was seen last stays.
        """
        pause, told = RETRY_FIRST, ""
        while True:
            await self._here.wait()
            why = "It has ended."
            try:
                async for message in once():
                    pause, told = RETRY_FIRST, ""
                    self.main.post_message(message)
            except (AbsentError, ProtocolError):
                why = ""
            except (DevlinkError, OSError) as error:
                why = reason(error)
            if why and why != told and self._here.is_set():
                told = why
                end = ended(why)
                if end is not None:
                    self.main.post_message(end)
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_LAST)

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
