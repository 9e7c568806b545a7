"""What happens, in types: what was heard of the agent goes up to the main screen, what its user wants to the app."""

from dataclasses import dataclass
from enum import StrEnum

from textual.message import Message

from devlink.core.findings import Finding
from devlink.tui.records import AgentStatus, DnsStats, Event, Path, Queries, RouteRow
from devlink.tui.words.telling import Progress


class Contact(StrEnum):
    """How it stands with the agent."""

    CONNECTING = "connecting"
    """It was not heard yet."""
    HERE = "here"
    ABSENT = "absent"
    """None runs; one can be started."""
    LOST = "lost"
    """It was there and went away; it is tried again by itself."""
    SILENT = "silent"
    """It is there and does not answer."""
    OTHER = "other"
    """It is of another version, or another user's."""


# What was heard


@dataclass
class ContactChanged(Message):
    """The agent came or went. `why` and `next_step` are sentences for a person."""

    contact: Contact
    why: str = ""
    next_step: str = ""


@dataclass
class StatusTold(Message):
    """The agent told its status, at `at` monotonic seconds."""

    status: AgentStatus
    at: float


@dataclass
class PathSeen(Message):
    """The path of a session was looked at; None with the reason where it could not be."""

    session: str
    path: Path | None
    why: str = ""


@dataclass
class RoutesListed(Message):
    """The table of a session's routes; None with the reason where there is none."""

    session: str
    routes: list[RouteRow] | None
    why: str = ""


@dataclass
class DnsCounted(Message):
    """The forwarder's counts at `at` monotonic seconds; None with the reason where it does not serve."""

    nameserver: str
    stats: DnsStats | None
    at: float
    why: str = ""


@dataclass
class QueriesSeen(Message):
    """Names that were asked for."""

    queries: Queries


@dataclass
class QueriesUnseen(Message):
    """Why nothing is seen of them for now."""

    why: str


@dataclass
class EventsTold(Message):
    """What happened, oldest first. `is_past`: all that is kept, in the place of what was told before."""

    events: tuple[Event, ...]
    is_past: bool


@dataclass
class ProgressTold(Message):
    """How far a profile is on its way up."""

    progress: Progress


# What its user wants


@dataclass
class SessionChosen(Message):
    """That session is to be shown."""

    name: str


@dataclass
class FindingOpened(Message):
    """More is to be said of a finding."""

    finding: Finding
    session: str = ""


@dataclass
class CommandCopied(Message):
    """A text is to be on the clipboard."""

    text: str


class AgentStarted(Message):
    """One was started from here: it is there now."""


class GivenUp(Message):
    """What is on its way up is to be taken back."""


@dataclass
class QueriesWanted(Message):
    """Whether the log of questions is looked at: it costs something only then."""

    wanted: bool


@dataclass
class RoutesWanted(Message):
    """Whether the table of routes is looked at."""

    wanted: bool
