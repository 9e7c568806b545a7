"""All checks side by side, each within its limit; and what is to be said once what follows from another is left out."""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from devlink.core.codec import encode
from devlink.core.findings import GRAVITY, Finding, Severity
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import Check, LaptopCheck, LinkCheck, Seen
from devlink.errors import DevlinkError, reason
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A check that was made, in the order of the path."""

    check: str
    """Its name."""
    session: str = ""
    """The profile that it was made for; empty for the laptop's own."""
    seen: Seen
    took: float = 0.0
    """Seconds."""
    follows: str = ""
    """The code of the finding that must be mended before this can be judged; what was seen is then left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What came of it."""

    steps: tuple[Step, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The gravest first, in the order of the path; each once."""
        found = dict.fromkeys(finding for step in self.steps for finding in step.seen.findings)
        return tuple(sorted(found, key=lambda finding: GRAVITY[finding.severity]))

    @property
    def has_errors(self) -> bool:
        return any(finding.severity is Severity.ERROR for finding in self.findings)


def tree(case: Case, examination: Examination) -> Mapping[str, Any]:
    """For programs, as `doctor -o json` and the agent's `Examine` give it: the findings, the gravest first, and each
    check."""
    return {
        "profiles": [{"name": subject.name, "up": subject.is_installed} for subject in case.subjects],
        "findings": [encode(finding) for finding in examination.findings],
        "checks": [
            {
                "check": step.check,
                "session": step.session,
                "outcome": outcome(step),
                "seen": step.seen.text,
                "follows": step.follows,
                "seconds": round(step.took, 3),
                "findings": [finding.code for finding in step.seen.findings],
            }
            for step in examination.steps
        ],
    }


def outcome(step: Step) -> str:
    """`ok`, `info`, `warning`, `error`; `skipped` where it was not looked at, `follows` where it cannot be judged."""
    if step.follows:
        return "follows"
    if step.seen.skipped:
        return "skipped"
    severities = [finding.severity.value for finding in step.seen.findings]
    return next((each for each in ("error", "warning", "info") if each in severities), "ok")


async def examine(case: Case, checks: Sequence[Check]) -> Examination:
    """Look at everything. Takes as long as the slowest check, at most its limit; never raises for what it finds."""
    made = [(check, subject) for check in checks for subject in _subjects(check, case)]
    steps = await asyncio.gather(*(_make(check, case, subject) for check, subject in made))
    return conclude(steps, checks)


def _subjects(check: Check, case: Case) -> Iterator[Subject | None]:
    if isinstance(check, LinkCheck):
        yield from case.subjects
    else:
        yield None


async def _make(check: Check, case: Case, subject: Subject | None) -> Step:
    began = time.monotonic()
    look = spawn(_look(check, case, subject), name=f"check {check.name}")
    try:
        done, _ = await asyncio.wait([look], timeout=check.limit)
    finally:  # also where nobody waits for the examination any more
        look.cancel()  # not waited for: what hangs in a thread ends when it ends
    seen = look.result() if done else Seen(text=f"not seen within {check.limit:g} s", findings=(_late(check),))
    name = subject.name if subject is not None else ""
    return Step(check=check.name, session=name, seen=seen, took=time.monotonic() - began)


async def _look(check: Check, case: Case, subject: Subject | None) -> Seen:
    try:
        if isinstance(check, LaptopCheck):
            return await check.look(case)
        assert isinstance(check, LinkCheck)
        assert subject is not None
        return await check.look(case, subject)
    except DevlinkError as error:
        return Seen(text=reason(error), skipped=True)
    except Exception as error:  # one that fails must not hide what the others see
        log.exception("check %s", check.name)
        return Seen(text="failed", findings=(_failed(check, error),))


def conclude(steps: Iterable[Step], checks: Sequence[Check]) -> Examination:
    """Without what follows from an earlier error, and each finding once. Pure; `steps` are in the order of `checks`."""
    before = {check.name: check.after for check in checks}
    causes: dict[tuple[str, str], str] = {}
    """For each check that found an error, or follows from one, and for whom: its code."""
    said: set[str] = set()
    judged = []
    for step in steps:
        code = _cause(before[step.check], step.session, causes)
        if code:
            causes[step.check, step.session] = code
            is_well = not step.seen.findings and not step.seen.skipped  # in spite of that, so it may be told
            judged.append(step if is_well else replace(step, follows=code, seen=replace(step.seen, findings=())))
            continue
        errors = [finding.code for finding in step.seen.findings if finding.severity is Severity.ERROR]
        if errors:
            causes[step.check, step.session] = errors[0]
        new = tuple(finding for finding in step.seen.findings if (step.session + finding.code) not in said)
        said.update(step.session + finding.code for finding in step.seen.findings)
        judged.append(replace(step, seen=replace(step.seen, findings=new)))
    return Examination(steps=tuple(judged))


def _cause(after: Iterable[str], session: str, causes: Mapping[tuple[str, str], str]) -> str:
    """A laptop's own check follows from what any session shows; a session's from its own and the laptop's."""
    for (check, whose), code in causes.items():
        if check in after and (not whose or not session or whose == session):
            return code
    return ""


def _late(check: Check) -> Finding:
    return Finding(
        code="DL-CHECK-LATE",
        severity=Severity.WARNING,
        title=f"It was not seen in time whether this is well: {check.name}.",
        evidence=f"no result within {check.limit:g} s",
        fix="run devlink doctor again; if it is so again, something that it asks hangs (devlink logs)",
    )


def _failed(check: Check, error: Exception) -> Finding:
    return Finding(
        code="DL-CHECK-FAILED",
        severity=Severity.WARNING,
        title=f"It could not be seen whether this is well: {check.name}.",
        evidence=f"{type(error).__name__}: {error}",
        fix="this is a defect of devlink: report it, with what `devlink report` writes",
    )
