"""The profile and what it means here, judged from what was seen."""

from ipaddress import ip_network

import pytest

from devlink.core.findings import Severity
from devlink.core.plan import make_plan
from devlink.core.profile import RoutingMode
from devlink.core.trust import claim_of_profile, record_of
from devlink.doctor.case import Subject
from devlink.doctor.laptop.profile import judge_obstacle, judge_plan_obstacle, judge_trust
from devlink.errors import ClusterError, DevlinkError, HelperError, ProfileError, UsageError, VerificationError
from devlink.helper.policy import TrustPolicy
from tests.core.plans import GATEWAY, GATEWAY6, PROFILE, altered, seen

NETWORK = seen(GATEWAY, GATEWAY6)
PLAN = make_plan(PROFILE, NETWORK)
RECORD = record_of(claim_of_profile(PROFILE), NETWORK)


@pytest.mark.parametrize(
    ("error", "code", "severity"),
    [
        (ProfileError("It is invalid."), "DL-PROFILE-INVALID", Severity.ERROR),
        (UsageError("There is no profile yet."), "DL-PROFILE-NONE", Severity.WARNING),
        (ClusterError("It does not answer."), "DL-PROFILE-AWAY", Severity.WARNING),
        (HelperError("It was not seen."), "DL-PROFILE-AWAY", Severity.WARNING),
    ],
)
def test_only_a_broken_profile_is_an_error_and_not_that_there_is_none(
    error: DevlinkError, code: str, severity: Severity
) -> None:
    (finding,) = judge_obstacle(error).findings
    assert (finding.code, finding.severity) == (code, severity)


def test_the_first_faults_are_shown_and_the_others_counted() -> None:
    (finding,) = judge_obstacle(ProfileError("It is invalid.", faults=("a", "b", "c", "d", "e"))).findings
    assert finding.evidence == "a; b; c; and 2 more"


@pytest.mark.parametrize(
    ("routing", "error", "code"),
    [
        (RoutingMode.GATEWAY, VerificationError("No."), "DL-R1-OFFLINK"),
        (RoutingMode.PER_NODE, VerificationError("No."), "DL-R1-OFFLINK"),
        (RoutingMode.RELAY, VerificationError("No."), "DL-RELAY-NOTHING"),
        (RoutingMode.AUTO, UsageError("No."), "DL-CHOICE-INVALID"),
        (RoutingMode.AUTO, HelperError("The kernel does not say."), None),
    ],
)
def test_why_nothing_can_be_planned_is_told_by_what_the_profile_asks_for(
    routing: RoutingMode, error: DevlinkError, code: str | None
) -> None:
    judged = judge_plan_obstacle(Subject(profile=altered(routing=routing)), error)
    assert [finding.code for finding in judged.findings] == [code] * (code is not None)
    assert judged.skipped == (code is None)


def test_what_a_record_covers_is_trusted_and_what_the_helper_would_refuse_is_not() -> None:
    assert judge_trust(PLAN, [RECORD], TrustPolicy.RECORDS) == ()
    (unknown,) = judge_trust(PLAN, [], TrustPolicy.RECORDS)
    assert unknown.severity is Severity.WARNING
    grown = make_plan(altered(services=(ip_network("10.253.0.0/16"),)), NETWORK)
    (more,) = judge_trust(grown, [RECORD], TrustPolicy.RECORDS)
    assert "10.253.0.0/16" in more.title


def test_where_the_machine_trusts_its_group_no_record_is_missed() -> None:
    assert judge_trust(PLAN, [], TrustPolicy.GROUP) == ()
