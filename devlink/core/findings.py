"""Findings: what is worth telling a person, in one shape wherever it comes from."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


GRAVITY = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}
"""The lower, the sooner it is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that devlink noticed, with the evidence and the way out."""

    code: str
    """Stable, for scripts and for the reference: `DL-R1-OFFLINK`."""
    severity: Severity
    title: str
    """One sentence."""
    evidence: str = ""
    """What was seen, as a command would show it."""
    fix: str = ""
    """What a person can do; empty where nothing needs doing."""
