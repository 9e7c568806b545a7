"""What is told of the link in words. PURE, and without Textual."""

import shlex
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from devlink.core.findings import GRAVITY, Finding, Severity
from devlink.core.relay_words import streams
from devlink.core.text import MARKS, duration, listed
from devlink.errors import DevlinkError, ProfileError, reason
from devlink.tui.records import AgentStatus, DnsStats, Gateway, KnownProfile, Profiles, SessionStatus, Waiting
from devlink.tui.words.commands import command_of
from devlink.tui.words.lines import milliseconds

STATES = {"up": "ok", "degraded": "error", "connecting": "busy", "suspended": "off"}
"""The tone of each state of a session."""


class Told(NamedTuple):
    """One line with its tone: ok, info, warning, error, off, busy."""

    tone: str
    text: str
    next_step: str = ""


class Choice(NamedTuple):
    """What `up` can be asked for."""

    text: str
    about: str
    profile: str = ""
    context: str = ""
    obstacle: str = ""
    """Why it cannot be chosen; empty where it can."""


class Trouble(NamedTuple):
    """What went wrong, in sentences."""

    what: str
    why: str = ""
    next_step: str = ""


class Progress(NamedTuple):
    """A profile on its way up."""

    name: str
    stage: str = "working"
    """working, cancelling, cancelled, failed."""
    done: tuple[str, ...] = ()
    current: str = ""
    trouble: Trouble | None = None
    """What the agent said at the end."""

    def stepped(self, step: str, is_done: bool) -> "Progress":
        """A step has begun, or ended: then it may have another text than at its beginning."""
        if is_done:
            return self._replace(done=(*self.done, step), current="")
        return self._replace(current=step)


# The headline


def headline(status: AgentStatus, elapsed: float = 0.0, dns: DnsStats | None = None) -> Told:
    """Am I connected, to what, by whom, are names well, what is wrong and what do I do: of an agent that is here.

    `elapsed`: seconds since it told its status; `dns`: the forwarder's counts, where it serves.
    """
    asking = " and ".join(wanted or "the default profile" for wanted in status.asking)
    there = [session.name for session in status.sessions if session.state != "connecting"]
    if status.helper != "connected" and there:
        text = f"The helper is away: routes and names of {listed(there)} may be too."
        return Told("error", text, "They are put back when it is. See: devlink helper status")
    if not status.sessions:
        if asking:
            return Told("busy", f"Asking for {asking}.", "Esc in its dialog, or d, gives it up.")
        if status.waiting:
            first = status.waiting[0]
            also = f" · {waiting(status.waiting[1:])} too" if status.waiting[1:] else ""
            since = duration(first.since + elapsed)
            return Told("busy", f"{waiting((first,))} since {since}: {first.why}{also}", first.next_step)
        return Told("off", "Nothing is up.", "Press u to bring a profile up.")
    worst = min(status.sessions, key=_rank)
    others = [session for session in status.sessions if session is not worst]
    told = _of_one(worst, elapsed, dns)
    if not others:
        more = ""
    elif all(session.state == "up" for session in others):
        more = f" · {listed(session.name for session in others)} {'is' if len(others) == 1 else 'are'} up too"
    else:
        more = f" · {listed(f'{session.name} {session.state}' for session in others)}"
    if asking:
        more += f" · asking for {asking}"
    if status.waiting:
        more += f" · {waiting(status.waiting)}"
    return told._replace(text=f"{told.text}{more}")


def waiting(those: Iterable[Waiting]) -> str:
    """Who is not up yet, and comes up by itself."""
    names = [each.profile or "the default profile" for each in those]
    return f"{listed(names)} {'waits' if len(names) == 1 else 'wait'}"


def _rank(session: SessionStatus) -> tuple[int, int]:
    """The lower, the sooner it is told."""
    order = ("degraded", "connecting", "suspended", "up")
    state = order.index(session.state) if session.state in order else 0
    finding = gravest(session)
    return state, GRAVITY[finding.severity] if finding is not None else len(GRAVITY)


def _of_one(session: SessionStatus, elapsed: float, dns: DnsStats | None) -> Told:
    name, since = session.name, duration(session.since + elapsed)
    finding = gravest(session)
    wrong = finding.title if finding is not None and finding.severity is not Severity.INFO else ""
    fix = _sentence(finding.fix) if finding is not None and wrong else ""
    if session.state == "connecting":
        return Told("busy", f"{name} is coming up since {since}.")
    if session.state == "suspended":
        text = f"{name} is suspended since {since}: it comes back by itself where its network is."
        return Told("off", f"{text} {wrong}".strip(), fix)
    silent = silent_names(session, dns)
    if session.state == "degraded":
        why = wrong or silent or "it does not carry everything."
        return Told("error", f"{name} is degraded since {since}: {why}", fix)
    text = f"{name} is up{_by(session)} since {since} · {_names(session)}"
    if wrong:
        tone = "error" if finding is not None and finding.severity is Severity.ERROR else "warning"
        return Told(tone, f"{text} · {wrong}", fix)
    if silent:
        return Told("warning", f"{text} · {silent}", "What it says of itself: 3 (DNS); o examines all.")
    return Told("ok", text)


def _by(session: SessionStatus) -> str:
    carrying = [gateway for gateway in session.gateways if gateway.carries]
    if session.mode == "relay":
        open_now = f", {streams(session.relay.streams)} open," if session.relay is not None else ""
        return f" through its API server{open_now}"
    if len(carrying) == 1:
        return f" by {carrying[0].address}{round_trip(carrying[0])}"
    return f" by {len(carrying)} nodes" if carrying else ""


def _names(session: SessionStatus) -> str:
    return f"names by {session.resolver}" if session.zones else "routes only, no names"


def silent_names(session: SessionStatus, dns: DnsStats | None) -> str:
    """What is wrong with who answers the session's names; empty where one of them answers, or nothing is known."""
    ours = [server for server in dns.servers if set(server.zones) & set(session.zones)] if dns is not None else []
    if not ours or not all(server.state == "silent" for server in ours):
        return ""
    return f"no answer to names from {listed(server.server for server in ours)}."


def absence(contact: str, why: str, next_step: str, known: AgentStatus | None, ago: float) -> Told:
    """How it stands with an agent that is not here; `known` is what it told `ago` seconds ago, None for nothing yet."""
    as_of = f" All below is as of {duration(ago)} ago." if known is not None else ""
    if contact == "connecting":
        return Told("busy", "Looking for the agent.")
    if contact == "absent":
        return Told("off", "No agent runs: nothing is up.", "a starts one, u brings a profile up.")
    if contact == "lost":
        had = [session.name for session in known.sessions] if known is not None else []
        back = f" {listed(had)} {'is' if len(had) == 1 else 'are'} taken back soon after." if had else ""
        return Told("error", f"The agent went away.{back}{as_of}", "It is looked for by itself; a or u starts one now.")
    if contact == "silent":
        hint = "It is found again when it goes on. If it does not: devlink logs"
        return Told("error", f"The agent is there and does not answer.{as_of}", hint)
    return Told("error", f"{why or 'The agent cannot be used.'}{as_of}", next_step)


def gravest(session: SessionStatus) -> Finding | None:
    """The first of the worst."""
    return min(session.findings, key=lambda finding: GRAVITY[finding.severity], default=None)


def remedy(session: SessionStatus) -> str:
    """The command that mends the worst of what is wrong; empty where nothing is, or no command does."""
    finding = gravest(session)
    return command_of(finding.fix) if finding is not None and finding.severity is not Severity.INFO else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def round_trip(gateway: Gateway) -> str:
    """` (0.8 ms)`; empty where it is not known."""
    return f" ({milliseconds(gateway.rtt_ms)})" if gateway.rtt_ms is not None else ""


# What is in a panel that is not seen


def tab_signs(status: AgentStatus | None, session: SessionStatus | None, new_events: int) -> dict[str, str]:
    """By panel: how many findings of each severity, how many routes of the session that is shown, how much is new."""
    told = {"events": f"+{new_events}"} if new_events else {}
    if status is not None:
        count = Counter(finding.severity for each in status.sessions for finding in each.findings)
        told["findings"] = " ".join(f"{MARKS[severity]}{count[severity]}" for severity in GRAVITY if count[severity])
    if session is not None:
        told["routes"] = str(session.route_count)
    return told


# Sessions


def profile(session: SessionStatus, elapsed: float = 0.0) -> str:
    """Where its profile is from, which edition, and how old."""
    if not session.context:
        return "file"
    revision = f" {session.revision}" if session.revision else ""
    return f"{session.context}{revision}, {duration(session.age + elapsed)} old"


# What can be chosen


def choices(profiles: Profiles, status: AgentStatus | None) -> list[Choice]:
    """What can be brought up, the default first; what is up already, and what cannot be used, last, with the reason."""
    names = [known.name for known in profiles.profiles]
    is_up = {session.name for session in status.sessions} if status is not None else set()
    found = [_choice(known, names.count(known.name) > 1, is_up, profiles.default) for known in profiles.profiles]
    given = {known.context for known in profiles.profiles if not known.error} - {""}
    found += [
        Choice(context, "what this cluster publishes", context=context)
        for context in profiles.contexts
        if context not in given
    ]
    return sorted(found, key=lambda choice: (bool(choice.obstacle), choice.profile != (profiles.default or None)))


def _choice(known: KnownProfile, is_ambiguous: bool, is_up: set[str], default: str) -> Choice:
    source = f"of {known.context}, {duration(known.age)} old" if known.context else "file"
    about = f"{source}{', the default' if known.name == default else ''}"
    obstacle = known.error or ("it is up already" if known.name in is_up else "")
    if is_ambiguous and known.context:
        return Choice(known.name, about, context=known.context, obstacle=obstacle)
    return Choice(known.name, about, profile=known.name, obstacle=obstacle)


def only(found: list[Choice]) -> Choice | None:
    """The one that is meant where nothing else can be."""
    usable = [choice for choice in found if not choice.obstacle]
    return usable[0] if len(usable) == 1 else None


def gateways(session: SessionStatus) -> tuple[Gateway, ...]:
    """Who could carry the session's packets instead of who does; who answers comes first."""
    found = [gateway for gateway in session.gateways if not gateway.carries]
    return tuple(sorted(found, key=lambda gateway: (gateway.state != "healthy", gateway.rtt_ms or 1e9)))


# Trouble


def trouble(error: BaseException) -> Trouble:
    """What a failure says."""
    if isinstance(error, ProfileError):
        return Trouble(error.what, " ".join((*error.faults, error.why)).strip(), error.next_step)
    if isinstance(error, DevlinkError):
        return Trouble(error.what, error.why, error.next_step)
    if isinstance(error, TimeoutError):
        return Trouble("The agent does not answer.", "It is stopped, or hangs.", "What it said last: devlink logs")
    return Trouble(reason(error))


def trusting(next_step: str, name: str) -> str:
    """A next step that names the profile which its reader would have to name."""
    return next_step.replace("devlink trust PROFILE", f"devlink trust {shlex.quote(name) if name else ''}".strip())
