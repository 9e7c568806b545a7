"""What happened, in words for a person: what is shown now is held against what was. PURE."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from devlink.core.findings import Finding, Severity
from devlink.core.text import listed, printable

KEPT = 200
"""Events of the past."""
REPEATS = 3
"""So often one thing is told within REPEAT_TIME: a gateway that comes and goes must not push out all else."""
REPEAT_TIME = 60.0
"""Seconds."""
TOLD_BY_STATE = frozenset(("DL-NOT-INSTALLED", "DL-SUSPENDED", "DL-STILL-THERE", "DL-UNVERIFIED"))
"""Their end is told by the session's state."""
TOLD_BY_CARRIER = "DL-FAILED-OVER"
"""Told by who carries the packets."""
RESTING = ("", "suspended")
"""States in which nothing of a session is there: what was found of it is neither so nor over."""


class Happening(NamedTuple):
    """Something that was noticed."""

    session: str
    """Empty for what is of all."""
    severity: Severity
    text: str
    code: str | None = None
    """The finding's, where it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One session, as far as a change of it is an event. Without its routes: it is made at each change of anything."""

    state: str = ""
    """Empty where there is none."""
    revision: str = ""
    """Of its profile."""
    resolver: str = ""
    carriers: Mapping[str, str] = field(default_factory=dict)
    """By next hop: who has its place."""
    by_hand: frozenset[tuple[str, str]] = frozenset()
    """Next hops, and who has their place, that their user chose."""
    gateways: Mapping[str, str] = field(default_factory=dict)
    """The state of each one that is asked."""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that is there at one moment."""

    helper: bool | None = None
    """Whether there is a line to it; None where none was ever wanted."""
    sessions: Mapping[str, Sight] = field(default_factory=dict)


def changes(before: View, after: View) -> tuple[Happening, ...]:
    """What happened between the two, in the order in which one follows from the other."""
    return tuple(_changes(before, after))


def _changes(before: View, after: View) -> Iterator[Happening]:
    if before.helper and after.helper is False:
        yield Happening("", Severity.ERROR, "the helper is away: routes and names may be too")
    elif before.helper is False and after.helper:
        yield Happening("", Severity.INFO, "the helper is back")
    for name in {**before.sessions, **after.sessions}:
        was, now = before.sessions.get(name, Sight()), after.sessions.get(name, Sight())
        if was == now:
            continue
        yield from _gateways(name, was, now)
        yield from _carriers(name, was, now)
        yield from _state(name, was.state, now.state)
        if was.resolver and now.resolver and was.resolver != now.resolver:
            told = f"names are asked by way of {now.resolver} now, instead of {was.resolver}"
            yield _happening(name, Severity.INFO, told)
        if was.state and now.state and was.revision != now.revision and now.revision:
            yield _happening(name, Severity.INFO, f"{name} has edition {now.revision} of its profile now")
        yield from _findings(name, was, now, helper_went=bool(before.helper) and after.helper is False)


def _happening(session: str, severity: Severity, text: str, code: str | None = None) -> Happening:
    return Happening(session, severity, printable(text), code)


def _state(name: str, was: str, now: str) -> Iterator[Happening]:
    if was == now:
        return
    if not now:
        is_new = was == "connecting"
        text = f"{name} did not come up" if is_new else f"{name} is down"
        yield _happening(name, Severity.WARNING if is_new else Severity.INFO, text)
        return
    text = f"{name} is being brought up" if now == "connecting" else f"{name} is {now}"
    yield _happening(name, Severity.WARNING if now in ("degraded", "suspended") else Severity.INFO, text)


def _gateways(name: str, was: Sight, now: Sight) -> Iterator[Happening]:
    """Those of one kind in one line: a link that breaks silences all at once."""
    if not now.state:
        return
    silent, returning, well = [], [], []
    for address, state in now.gateways.items():
        old = was.gateways.get(address, "")
        if state == old:
            continue
        if state == "silent":
            silent.append(address)
        elif state == "returning" and old:
            returning.append(address)
        elif state == "healthy" and old in ("silent", "returning"):
            well.append(address)
    if silent:
        yield _happening(name, Severity.WARNING, f"{listed(silent)} {_is(silent)} silent")
    if returning:
        yield _happening(name, Severity.INFO, f"{listed(returning)} {_one(returning, 'answers', 'answer')} again")
    if well:
        yield _happening(name, Severity.INFO, f"{listed(well)} {_is(well)} healthy again")


def _carriers(name: str, was: Sight, now: Sight) -> Iterator[Happening]:
    if was.state in RESTING or now.state in RESTING:
        return
    over: dict[tuple[str, bool], list[str]] = {}
    for hop, via in now.carriers.items():
        if was.carriers.get(hop) != via:
            over.setdefault((via, (hop, via) in now.by_hand), []).append(hop)
    for (via, by_hand), hops in over.items():
        how, severity = (", as you chose", Severity.INFO) if by_hand else ("", Severity.WARNING)
        yield _happening(name, severity, f"{name} goes by {via} now, instead of {listed(hops)}{how}", TOLD_BY_CARRIER)
    if back := [hop for hop in was.carriers if hop not in now.carriers]:
        yield _happening(name, Severity.INFO, f"{name} goes by {listed(back)} again")


def _findings(name: str, was: Sight, now: Sight, *, helper_went: bool) -> Iterator[Happening]:
    untold = {TOLD_BY_CARRIER, *(("DL-NOT-INSTALLED",) if helper_went else ())}
    old = {(each.code, each.title) for each in was.findings}
    new = {(each.code, each.title): each for each in now.findings}
    appeared = {code for code, _ in new.keys() - old}
    for key, each in new.items():
        if key not in old and each.code not in untold:
            yield _happening(name, each.severity, each.title, each.code)
    if now.state in RESTING:
        return
    gone = {(each.code, each.title): each for each in was.findings if (each.code, each.title) not in new}
    for each in gone.values():
        # One whose title says a number is another one when that changes, and is not over.
        if each.code not in appeared | TOLD_BY_STATE | {TOLD_BY_CARRIER}:
            yield _happening(name, Severity.INFO, f"over: {each.title}", each.code)


def _is(those: list[str]) -> str:
    return _one(those, "is", "are")


def _one(those: list[str], one: str, several: str) -> str:
    return one if len(those) == 1 else several


class Ring:
    """The last events, each with its number since the start."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Happening, Mapping[str, Any]]] = deque(maxlen=KEPT)
        self.count = 0
        """Of all events up to now."""

    def add(self, happenings: Iterable[Happening], now: float) -> bool:
        """Note what was noticed at Unix time `now`; whether any of it is told. What comes and goes is told REPEATS
        times a minute, the last time with a word that it is so."""
        before = self.count
        for each in happenings:
            times = sum(each == other and abs(now - told["time"]) < REPEAT_TIME for other, told in self._kept)
            if times >= REPEATS:
                continue
            text = (
                f"{each.text}; it comes and goes, and is left out for a minute" if times == REPEATS - 1 else each.text
            )
            told = {"time": now, "session": each.session, "severity": each.severity.value, "text": text}
            self._kept.append((each, {**told, "code": each.code} if each.code else told))
            self.count += 1
        return self.count > before

    def since(self, number: int) -> list[Mapping[str, Any]]:
        """Those that are kept of the ones after the first `number`, as `io.devlink.Agent.Event`, the oldest first."""
        wanted = min(self.count - number, len(self._kept))
        return [told for _, told in list(self._kept)[len(self._kept) - wanted :]]
