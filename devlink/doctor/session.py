"""What the agent has found by itself, which `status` shows: told where no check has said it before, or its cause."""

from devlink.core.codec import decode
from devlink.core.findings import Finding
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import LinkCheck, Seen, skipped

async def _look(_: Case, subject: Subject) -> Seen:
    session = subject.session
    if session is None:
        return skipped("nothing is up")
    found = tuple(decode(Finding, finding) for finding in session["findings"])
    return Seen(text=f"{session['state']}, {len(found) or 'no'} finding{'s' * (len(found) != 1)}", findings=found)


CHECKS = (LinkCheck(name="session", look=_look, after=()),)
