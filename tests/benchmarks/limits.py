"""What the figures of a bench are held to: the one that misses its limit is named, and the bench exits with 1."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One figure with the worst that is allowed."""

    what: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def is_kept(self) -> bool:
        """A figure that is no number keeps no limit."""
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    def __str__(self) -> str:
        bounds = [f"at {w} {v:g} {self.unit}" for w, v in (("most", self.most), ("least", self.least)) if v is not None]
        return f"{self.what}: {self.value:.3f} {self.unit}, must be {' and '.join(bounds)}"


def verdict(limits: Sequence[Limit]) -> int:
    """The exit code: 1, after a line for each that is missed."""
    missed = [limit for limit in limits if not limit.is_kept]
    for limit in missed:
        print(f"MISSED: {limit}", flush=True)
    return 1 if missed else 0
