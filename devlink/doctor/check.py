"""One thing to look at: what it is called, how long it may take, and what must be well for it to say anything."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from devlink.core.findings import Finding
from devlink.doctor.case import Case, Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look showed."""

    text: str
    """One line for a person, also where all is well: `172.16.0.13 answers on eth0`."""
    findings: tuple[Finding, ...] = ()
    """The gravest first."""
    skipped: bool = False
    """It was not looked at; `text` says why: `nothing is up`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A look that changes nothing. It may raise DevlinkError where it cannot see what it is to look at."""

    name: str
    """One or two words, unique: `forwarder`."""
    limit: float = 5.0
    """Seconds, after which it is given up; they all run side by side."""
    after: tuple[str, ...] = ()
    """Names of earlier checks: where one of them, or of those that it comes after, finds an error, what this one sees
    follows from that, and is not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaptopCheck(Check):
    """Looked at once."""

    look: Callable[[Case], Awaitable[Seen]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCheck(Check):
    """Looked at for each profile; not at all where there is none."""

    look: Callable[[Case, Subject], Awaitable[Seen]]


def skipped(why: str) -> Seen:
    """Nothing was looked at."""
    return Seen(text=why, skipped=True)
