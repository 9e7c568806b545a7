"""How often something is put right that another program undoes: so often, and no further."""

from collections import deque

BURST, BURST_TIME = 10, 60.0
"""At the so-manieth time within so many seconds, what another program did is left alone."""


class Restraint:
    """Counts how often it was put right. Two programs that undo each other's work for ever serve nobody."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=BURST - 1)
        self.has_given_up = False

    def begin_anew(self) -> None:
        """Somebody wants it anew: what was given up is tried, and counted from none."""
        self._times.clear()
        self.has_given_up = False

    def permits(self, now: float) -> bool:
        """Whether it may be put right once more at monotonic time `now`; else it is given up."""
        if len(self._times) == BURST - 1 and now - self._times[0] < BURST_TIME:
            self.has_given_up = True
        return not self.has_given_up

    def note(self, now: float) -> None:
        """It was put right, or that was tried."""
        self._times.append(now)
