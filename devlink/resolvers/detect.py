"""Which way of telling the operating system fits this machine: the decision, from facts alone. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from devlink.resolvers.facts import Facts
from devlink.resolvers.mode import ResolverMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way, and why."""

    mode: type[ResolverMode]
    reason: str
    """For people: `libc asks systemd-resolved (nsswitch.conf)`."""


def detect(facts: Facts, modes: Iterable[type[ResolverMode]]) -> tuple[Choice, ...]:
    """All that fit, the best one first; the others are for when it does not prove itself. Each mode comes once."""
    fitting = [
        (row.rank, Choice(mode=mode, reason=reason))
        for mode in modes
        for row in mode.rows
        if (reason := row.reason(facts))
    ]
    chosen: dict[str, Choice] = {}
    for _, choice in sorted(fitting, key=lambda each: each[0]):
        chosen.setdefault(choice.mode.name, choice)
    return tuple(chosen.values())
