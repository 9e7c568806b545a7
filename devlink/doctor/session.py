"""What the agent has found by itself, which `status` shows: told where no check has said it before, or its cause."""

from devlink.core.codec import decode
from devlink.core.diagnosis import EXPLAIN_SILENCE
from devlink.core.findings import Finding, Severity
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import LinkCheck, Seen, skipped
from devlink.doctor.path.shared import exchange

SILENT = "DL-GATEWAYS-SILENT"
ANEW = EXPLAIN_SILENCE | {
    "DL-DNS-ORDINARY",
    "DL-FORWARDER-AWAY",
    "DL-POD-HANGS",
    "DL-POD-SILENT",
    "DL-UDP53-BLOCKED",
    "DL-UNAUTHENTICATED",
}
"""What other checks look for themselves while a session is installed: the agent saw it when that came up, or when it
was asked, and it may be mended since."""


async def _look(case: Case, subject: Subject) -> Seen:
    session = subject.session
    if session is None:
        return skipped("nothing is up")
    found = tuple(decode(Finding, finding) for finding in session["findings"])
    if subject.is_installed:  # a hint, such as that the profile has no CA, is of what is planned, and stays so
        found = tuple(each for each in found if each.code not in ANEW or each.severity is Severity.INFO)
    if any(finding.code == SILENT for finding in found) and await _is_heard(case, subject):
        found = tuple(finding for finding in found if finding.code != SILENT)
    return Seen(text=f"{session['state']}, {len(found) or 'no'} finding{'s' * (len(found) != 1)}", findings=found)


async def _is_heard(case: Case, subject: Subject) -> bool:
    """Who answers us now is not silent: the agent asks by itself only when packets are sent, and over UDP alone where
    that was answered once."""
    return subject.is_installed and any(seen.server.answers for seen in await exchange(case, subject))


AFTER = (
    "links",
    "routes",
    "rules",
    "rp_filter",
    "gateway",
    "identity",
    "services",
    "pods",
    "forwarder",
    "resolver",
    "libc",
)
CHECKS = (LinkCheck(name="session", look=_look, after=AFTER),)
