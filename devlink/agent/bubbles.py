"""When a desktop is told of a session, and what: not of a blink, nor of what its user does. PURE."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from devlink.agent.events import Sight, View
from devlink.core.findings import GRAVITY, Severity
from devlink.core.text import printable

SETTLE = 5.0
"""Seconds that a change must last until it is told. Twice as many for each time that one was told within RECENT."""
RECENT = 1800.0
"""Seconds."""
MOST_DOUBLINGS = 5
"""A Wi-Fi that comes and goes all day is told of each three minutes at most."""
WELL = "up"
WRONG = "wrong"
"""It is up, and something found is an error."""


class Bubble(NamedTuple):
    """One notification."""

    session: str
    """Whose it is: it takes the place of the one before."""
    summary: str
    """One line of plain text."""
    body: str
    """Plain text."""
    is_trouble: bool


@dataclass(slots=True, kw_only=True)
class _Known:
    """One session, as its user knows it."""

    told: str
    """How it is as far as its user knows: WELL, WRONG, degraded or suspended."""
    sight: Sight
    differs_since: float | None = None
    """Monotonic seconds since it has been otherwise; None while it is as was told."""
    times: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_DOUBLINGS))
    """When it was told."""

    @property
    def due(self) -> float | None:
        if self.differs_since is None:
            return None
        recently = sum(self.differs_since - time < RECENT for time in self.times)
        return self.differs_since + SETTLE * 2.0**recently


class Bubbles:
    """What is to be told, of all sessions."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    @property
    def due(self) -> float | None:
        """Monotonic seconds at which `take` has something if nothing changes until then."""
        return min((due for known in self._known.values() if (due := known.due) is not None), default=None)

    def look(self, view: View, now: float) -> None:
        """See how all is at monotonic time `now`."""
        self._known = {name: known for name, known in self._known.items() if name in view.sessions}  # else: taken down
        for name, sight in view.sessions.items():
            if not (how := _how(sight)):
                continue
            known = self._known.get(name)
            if known is None:  # its user brought it up, and was told then
                self._known[name] = _Known(told=how, sight=sight)
                continue
            known.sight = sight
            if how == known.told:
                known.differs_since = None
            elif known.differs_since is None:
                known.differs_since = now

    def take(self, now: float) -> tuple[Bubble, ...]:
        """What is to be told at monotonic time `now`, once."""
        ready = {name: known for name, known in self._known.items() if known.due is not None and known.due <= now}
        for known in ready.values():
            known.told, known.differs_since = _how(known.sight), None
            known.times.append(now)
        return tuple(_bubble(name, known.sight) for name, known in ready.items())


def _how(sight: Sight) -> str:
    """In one word; empty while it is on its way."""
    if sight.state in ("", "connecting"):
        return ""
    if sight.state == WELL and any(each.severity is Severity.ERROR for each in sight.findings):
        return WRONG
    return sight.state


def _bubble(name: str, sight: Sight) -> Bubble:
    how = _how(sight)
    if how == WELL:
        return Bubble(name, printable(f"{name} is back"), "Its pods and services can be reached again.", False)
    worst = min(sight.findings, key=lambda each: GRAVITY[each.severity], default=None)
    title, fix = (worst.title, worst.fix) if worst is not None else ("", "")
    body = "\n".join(printable(line) for line in (title, fix or "See: devlink status") if line)
    return Bubble(name, printable(f"{name} is {'up, and something is wrong' if how == WRONG else how}"), body, True)
