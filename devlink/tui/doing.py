"""What the dashboard's user has it do: each deed with a key and a line in the command palette."""

import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from textual import on
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from devlink.errors import DevlinkError, NotUpError
from devlink.tui import messages
from devlink.tui.link import Link
from devlink.tui.messages import Contact
from devlink.tui.records import SessionStatus
from devlink.tui.screens.confirm import Answer, Confirm
from devlink.tui.screens.gateways import GatewayPicker
from devlink.tui.screens.help import Help
from devlink.tui.screens.main import MainScreen
from devlink.tui.screens.profiles import ProfilePicker
from devlink.tui.screens.progress import Ascent, Failure
from devlink.tui.themes import DARK, LIGHT
from devlink.tui.words import telling
from devlink.tui.words.telling import Choice, Progress, Trouble, trouble

STAYS = 8.0
"""Seconds that a word on what was done stays."""
LINK = "link"
"""The group of what changes the link: one at a time."""


class Deed(NamedTuple):
    """A line of the command palette."""

    name: str
    about: str
    action: str


DEEDS = (
    Deed("Up", "Bring a profile up, verified, or nothing at all", "up"),
    Deed("Down", "Take a session down, or all (asks first)", "down"),
    Deed("Switch profile", "Bring another profile up in the place of what is up (asks first)", "switch"),
    Deed("Fail over", "Have another gateway carry the packets (asks first)", "failover"),
    Deed("Start the agent", "Where none runs; nothing is brought up", "start_agent"),
    Deed("Flush DNS", "Forget every answer to a name that is kept", "flush"),
    Deed("Doctor", "Examine everything and say what to do", "doctor"),
    Deed("Explain", "Show the way to a name, an address or a URL, link by link", "explain"),
    Deed("Copy", "Copy the command or the line of the panel that has the keys", "copy"),
    Deed("Save a report", "Write all that a colleague needs into one archive; nothing is sent", "report"),
    Deed("Light or dark", "The other colours", "theme"),
    Deed("Help", "All keys, and what the panels mean", "help"),
    Deed("Quit", "Leave; nothing is taken down", "quit"),
)


class Doing(App[int]):
    """The keys, and what they do. A deed asks what it must, calls the agent, and tells what came of it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "start_agent", "Start agent"),
        Binding("u", "up", "Up"),
        Binding("d", "down", "Down"),
        Binding("p", "switch", "Switch"),
        Binding("f", "failover", "Fail over"),
        Binding("o", "doctor", "Doctor"),
        Binding("e", "explain", "Explain"),
        Binding("question_mark,f1", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit", tooltip="Nothing is taken down."),
        Binding("y", "copy", "Copy"),
        Binding("n", "flush", "Flush DNS"),
        Binding("r", "report", "Report"),
        Binding("t", "theme", "Light/dark", show=False),
        Binding("ctrl+c", "quit", "Quit", show=False),
    ]

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        self.main = MainScreen()
        self._contact = Contact.CONNECTING
        self._away = Trouble("")
        """What is said of an agent that is not here."""
        self._deeds: dict[str, str] = {}
        """What is being done, by its group."""
        self._progress: Progress | None = None
        """Of what is on its way up."""
        self._ascent: Ascent | None = None
        """Its dialog, where it is seen."""
        self._give_up: Callable[[], None] | None = None

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        for deed in DEEDS:
            if self.check_action(deed.action, ()):
                yield SystemCommand(deed.name, deed.about, partial(self.run_action, deed.action))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """An agent can be started only where none runs."""
        return self._contact in (Contact.ABSENT, Contact.LOST) if action == "start_agent" else True

    # One at a time

    def _undertake(self, name: str, deed: Callable[[], Awaitable[None]], group: str = LINK) -> None:
        """Do it beside the screen. What fails is told in a dialog; another of its group is refused meanwhile."""
        if group in self._deeds:
            hint = " Press u to see it." if self._progress is not None else ""
            self._tell(f"{self._deeds[group]} goes on: one thing at a time.{hint}", is_refusal=True)
            return
        self._deeds[group] = name

        async def work() -> None:
            failure: Exception | None = None
            try:
                await deed()
            except (DevlinkError, OSError) as error:
                failure = error
            finally:
                del self._deeds[group]
            if failure is not None:
                self.push_screen(Failure(f"{name}: it did not work", trouble(failure)))

        self.run_worker(work(), group=group)

    def _tell(self, text: str, *, title: str = "", is_refusal: bool = False) -> None:
        severity: Literal["warning", "information"] = "warning" if is_refusal else "information"
        self.notify(text, title=title, severity=severity, markup=False, timeout=STAYS)

    @property
    def _is_here(self) -> bool:
        """Whether the agent is; says why nothing can be done where it is not."""
        if self._contact is Contact.HERE:
            return True
        told = self._absence
        self._tell(f"{told.text} {told.next_step}".strip(), is_refusal=True)
        return False

    @property
    def _absence(self) -> telling.Told:
        """What is said of an agent that is not here."""
        return telling.absence(self._contact, self._away.what, self._away.next_step, None, 0)

    @property
    def _session(self) -> SessionStatus | None:
        """The one under the cursor."""
        if self.main.session is None:
            self._tell("Nothing is up. Press u to bring a profile up.", is_refusal=True)
        return self.main.session

    # Up

    def action_up(self) -> None:
        """Bring a profile up: at once where only one can be meant."""
        if self._progress is not None:
            self._show_ascent()
        else:
            self._undertake("Bringing a profile up", self._choose_and_bring_up)

    def action_switch(self) -> None:
        """Bring another profile up in the place of what is up."""
        if self._progress is not None:
            self._show_ascent()
        else:
            self._undertake("Switching", self._choose_and_switch)

    async def _choose_and_bring_up(self) -> None:
        found = await self._choices()
        nothing_is_up = self._contact is not Contact.HERE or not (self.main.status and self.main.status.sessions)
        chosen = telling.only(found) if nothing_is_up else None
        if chosen is None:
            chosen = await self.push_screen_wait(ProfilePicker("Bring up", found))
        if chosen is not None:
            await self._bring_up(chosen)

    async def _choose_and_switch(self) -> None:
        found = await self._choices()
        chosen = await self.push_screen_wait(ProfilePicker("Switch to", found))
        if chosen is None:
            return
        present = self.main.status.sessions if self.main.status is not None else ()
        if present:
            names = " and ".join(session.name for session in present)
            about = f"{names} goes down in the same step, and open connections through it break."
            answers = (Answer("y", "Switch", "yes"),)
            if not await self.push_screen_wait(Confirm(f"Switch to {chosen.text}?", about, answers)):
                return
        await self._bring_up(chosen, replace=bool(present))

    async def _choices(self) -> list[Choice]:
        """What can be brought up, by an agent that is started where none runs. Raises DevlinkError."""
        if self._contact in (Contact.ABSENT, Contact.LOST):
            await self._start_agent()
        elif self._contact in (Contact.SILENT, Contact.OTHER):
            told = self._absence
            raise NotUpError(told.text, next_step=told.next_step)
        profiles = await self._link.profiles()
        # What an agent before this one had up hinders nobody: this one takes it over, or it is gone.
        found = telling.choices(profiles, self.main.status if self._contact is Contact.HERE else None)
        if not found:
            raise NotUpError(
                "No profile is known.",
                why="There is no file, no kubeconfig context and no login.",
                next_step="Sign in to a cluster that publishes one: devlink login",
            )
        return found

    async def _bring_up(self, choice: Choice, *, replace: bool = False) -> None:
        began = time.monotonic()
        bringing = self._link.up(choice.profile, choice.context, replace=replace)
        self._give_up = bringing.give_up
        self._deeds[LINK] = f"Bringing {choice.text} up"
        self._note(Progress(choice.text))
        self._show_ascent()
        failure: Exception | None = None
        try:
            async for step, is_done in bringing.steps():
                if self._progress is not None:
                    self._note(self._progress.stepped(step, is_done))
            if bringing.is_given_up:  # it was up before the agent heard of it
                await self._link.down(bringing.session)
                raise NotUpError("It was up already, and was taken down again.", next_step="Try again: devlink up")
        except (DevlinkError, OSError) as error:
            failure = error
        finally:
            ended, seen = self._progress, self._ascent
            self._progress = self._ascent = self._give_up = None
        if failure is None:
            self._tell(f"{bringing.session or choice.text} is up ({time.monotonic() - began:.1f} s).")
            if seen is not None and seen.is_attached:
                seen.dismiss(None)
            return
        told = trouble(failure)
        told = told._replace(next_step=telling.trusting(told.next_step, choice.profile))
        assert ended is not None
        ended = ended._replace(stage="cancelled" if bringing.is_given_up else "failed", trouble=told)
        if seen is not None:
            seen.post_message(messages.ProgressTold(ended))
        else:
            self.push_screen(Ascent(ended))

    def _note(self, progress: Progress) -> None:
        self._progress = progress
        if self._ascent is not None:
            self._ascent.post_message(messages.ProgressTold(progress))

    def _show_ascent(self) -> None:
        if self._progress is None or self._ascent is not None:
            return
        ascent = self._ascent = Ascent(self._progress)

        def hidden(_: None) -> None:
            if self._ascent is ascent:
                self._ascent = None
                self._tell(f"{ascent.name_of_it} goes on; u shows it again.")

        self.push_screen(ascent, hidden)

    @on(messages.GivenUp)
    def _given_up(self) -> None:
        if self._progress is not None and self._give_up is not None:
            self._note(self._progress._replace(stage="cancelling"))
            self._give_up()

    # Down, and other ways

    def action_down(self) -> None:
        """Take one session down, or all."""
        if self._is_here:
            self._undertake("Taking down", self._take_down)

    async def _take_down(self) -> None:
        status = self.main.status
        session = self.main.session
        if session is None and status is not None and (status.asking or status.waiting):
            about = "What still asks for its profile, or waits to come up, is given up."
            if await self.push_screen_wait(Confirm("Give it up?", about, [Answer("y", "Give it up", "all")])):
                self._told_down(await self._link.down())
            return
        session = session or self._session
        if session is None or status is None:
            return
        answers = [Answer("y", f"Take {session.name} down", "one")]
        if len(status.sessions) > 1:
            answers.append(Answer("a", f"All {len(status.sessions)}", "all"))
        about = (
            f"The pods and services of {session.name} cannot be reached any more, and open connections to them break. "
            "Everything else is as it was before."
        )
        answer = await self.push_screen_wait(Confirm(f"Take {session.name} down?", about, answers))
        if answer:
            self._told_down(await self._link.down(session.name if answer == "one" else ""))

    def _told_down(self, names: tuple[str, ...]) -> None:
        self._tell(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} down.")

    def action_failover(self) -> None:
        """Have another gateway carry the packets of the session under the cursor."""
        if self._is_here:
            self._undertake("Failing over", self._fail_over)

    async def _fail_over(self) -> None:
        session = self._session
        if session is None:
            return
        found = telling.gateways(session)
        if not found:
            self._tell(f"{session.name} has no other gateway.", is_refusal=True)
            return
        chosen = await self.push_screen_wait(GatewayPicker(f"Send the packets of {session.name} by", found))
        if chosen is None:
            return
        about = (
            "TCP connections to services (ClusterIPs) that are open break; those to pod addresses go on. It stays so "
            "until that gateway dies, or until the preferred one is chosen again."
        )
        title = f"Send {session.name} by {chosen.address}?"
        if not await self.push_screen_wait(Confirm(title, about, (Answer("y", "Send it there", "yes"),))):
            return
        before, now = await self._link.failover(session.name, str(chosen.address))
        by = f"{session.name} goes by {now}"
        self._tell(f"{by} already." if before == now else f"{by} now, and no more by {before}.")

    def action_flush(self) -> None:
        """Forget every answer that the forwarder keeps."""
        if self._is_here:
            self._undertake("Flushing DNS", self._forget_names)

    async def _forget_names(self) -> None:
        count = await self._link.flush_dns()
        self._tell(f"{count} answer{'' if count == 1 else 's'} to names forgotten.")

    def action_start_agent(self) -> None:
        """Start one where none runs."""
        self._undertake("Starting the agent", self._start_agent)

    async def _start_agent(self) -> None:
        await self._link.start_agent()
        self.post_message(messages.AgentStarted())

    # Around it

    def action_report(self) -> None:
        """Write a report into the present folder."""
        self._undertake("Saving a report", self._save_report, group="report")

    async def _save_report(self) -> None:
        folder = Path.cwd()
        about = (
            f"All that a colleague needs goes into one archive in {folder}; nothing is sent. Tokens, keys and "
            "passwords are masked in it. Addresses and names are readable unless it is anonymized."
        )
        answers = (Answer("r", "Save", "plain"), Answer("a", "Anonymized", "anonymized"))
        answer = await self.push_screen_wait(Confirm("Save a report?", about, answers))
        if answer:
            self._tell("Looking at everything, which takes some seconds.")
            path = await self._link.report(folder, anonymize=answer == "anonymized")
            self._tell(str(path), title="The report is saved")

    def action_copy(self) -> None:
        """What the panel that has the keys offers, else the command of the gravest finding."""
        for node in self.focused.ancestors_with_self if self.focused is not None else ():
            copyable = getattr(node, "copyable", None)
            if callable(copyable) and (text := str(copyable())):
                break
        else:
            text = telling.remedy(self.main.session) if self.main.session is not None else ""
        if text:
            self.post_message(messages.CommandCopied(text))
        else:
            self._tell("There is nothing to copy here.", is_refusal=True)

    @on(messages.CommandCopied)
    def _copied(self, event: messages.CommandCopied) -> None:
        self.copy_to_clipboard(event.text)
        self._tell(event.text, title="Copied, where the terminal lets us")

    def action_theme(self) -> None:
        """The other one of light and dark."""
        self.theme = LIGHT.name if self.theme == DARK.name else DARK.name

    def action_help(self) -> None:
        """All keys."""
        if not isinstance(self.screen, Help):
            self.push_screen(Help())

    async def action_quit(self) -> None:
        """Leave. Nothing is taken down; what is on its way up would be taken back, so that is asked."""
        if self._progress is None:
            self.exit(0)
            return
        about = "It is still on its way up. Without the dashboard it is taken back."
        answers = (Answer("y", "Quit", "yes"),)

        def leave(answer: str | None) -> None:
            if answer:
                self.exit(0)

        self.push_screen(Confirm(f"Quit, and leave {self._progress.name}?", about, answers), leave)
