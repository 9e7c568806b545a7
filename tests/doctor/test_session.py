"""What the agent has found: told as it says it, but for what doctor looks at itself."""

import asyncio
from dataclasses import replace

from devlink.core.findings import Finding, Severity
from devlink.doctor.case import Case
from devlink.doctor.examination import examine
from devlink.doctor.session import CHECKS
from tests.doctor.subjects import UP, session


def told(state: str, *findings: Finding) -> list[str]:
    subject = replace(UP, session=session(state, *findings))
    examination = asyncio.run(examine(Case(subjects=(subject,)), CHECKS))
    return [finding.code for finding in examination.findings]


def finding(code: str, severity: Severity = Severity.WARNING) -> Finding:
    return Finding(code=code, severity=severity, title="It was so.")


def test_what_other_checks_look_at_now_is_not_told_as_it_was_when_the_session_came_up() -> None:
    earlier = (finding("DL-UDP53-BLOCKED"), finding("DL-DNS-ORDINARY"), finding("DL-FORWARDER-AWAY", Severity.ERROR))
    assert told("up", *earlier, finding("DL-FAILED-OVER")) == ["DL-FAILED-OVER"]
    assert told("suspended", finding("DL-R1-OFFLINK")) == ["DL-R1-OFFLINK"], "nobody looks while it is suspended"


def test_that_a_profile_has_no_ca_stays_so() -> None:
    assert told("up", finding("DL-UNAUTHENTICATED", Severity.INFO)) == ["DL-UNAUTHENTICATED"]
    assert told("up", finding("DL-UNAUTHENTICATED")) == []
