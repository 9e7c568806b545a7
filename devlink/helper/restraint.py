"""How often something is put right that another program undoes: so often, and no further."""

BURST, BURST_TIME = 10, 60.0
"""At the so-manieth time within so many seconds, what another program did is left alone."""


class Restraint:
    """Counts how often it was put right. Two programs that undo each other's work for ever serve nobody.

    Small, as there may be one for each of 20,000 routes.
    """

    __slots__ = ("_times", "has_given_up")

    def __init__(self) -> None:
        self._times: tuple[float, ...] = ()
        self.has_given_up = False

    def begin_anew(self) -> None:
        """Somebody wants it anew: what was given up is tried, and counted from none."""
        self._times = ()
        self.has_given_up = False

    def permits(self, now: float) -> bool:
        """Whether it may be put right once more at monotonic time `now`; else it is given up."""
        if len(self._times) == BURST - 1 and now - self._times[0] < BURST_TIME:
            self.has_given_up = True
        return not self.has_given_up

    def note(self, now: float) -> None:
        """It was put right, or that was tried."""
        self._times = (*self._times, now)[1 - BURST :]

    def is_over(self, now: float) -> bool:
        """Whether nothing of it counts any more, so that it may be forgotten."""
        return not self.has_given_up and (not self._times or now - self._times[-1] >= BURST_TIME)
