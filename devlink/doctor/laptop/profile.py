"""The profile: which is meant, whether it holds, where it comes from, what it means here, whether it is trusted."""

import asyncio
from collections.abc import Iterable

from devlink.core.codec import decode
from devlink.core.findings import Finding, Severity
from devlink.core.plan import Plan
from devlink.core.profile import RoutingMode
from devlink.core.text import listed
from devlink.core.trust import TrustRecord
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import Check, LaptopCheck, LinkCheck, Seen, skipped
from devlink.doctor.path.kernel import OF_ROUTES, OF_RULES
from devlink.errors import (
    DevlinkError,
    HelperError,
    NotTrustedError,
    ProfileError,
    UsageError,
    VerificationError,
    reason,
)
from devlink.helper.admission import check_trust
from devlink.helper.client import ask
from devlink.helper.policy import Paths, TrustPolicy, read_policy

HELPER_LIMIT = 2.0
"""Seconds for each answer of the helper."""
ON_LINK_MODES = (RoutingMode.GATEWAY, RoutingMode.PER_NODE)
"""Those by which the laptop itself must have a next hop."""


async def _look_at_profile(case: Case) -> Seen:
    if case.obstacle is not None:
        return judge_obstacle(case.obstacle, asked=case.asked)
    if not case.subjects:
        return skipped("nobody says which one")
    return Seen(text=listed(f"{s.name} is {'up' if s.is_installed else 'valid'}" for s in case.subjects))


def judge_obstacle(error: DevlinkError, *, asked: str = "") -> Seen:
    """Why no profile could be had. A broken one is an error, and one that the user `asked` for and that is not there:
    who has none, or no way to it, is only not ready yet."""
    if isinstance(error, ProfileError):
        invalid = Finding(
            code="DL-PROFILE-INVALID",
            severity=Severity.ERROR,
            title=error.what,
            evidence="; ".join(filter(None, (error.why, *error.faults[:3], _more(error.faults[3:])))),
            fix=error.next_step or "correct it; if it is a cluster's, tell its publisher",
        )
        return Seen(text="it is invalid", findings=(invalid,))
    if isinstance(error, UsageError):
        none = Finding(
            code="DL-PROFILE-NONE",
            severity=Severity.ERROR if asked else Severity.WARNING,
            title=f"There is nothing to bring up: {error.what}",
            evidence=error.why,
            fix=error.next_step,
        )
        return Seen(text="none is known, or it is not clear which one is meant", findings=(none,))
    away = Finding(
        code="DL-PROFILE-AWAY",
        severity=Severity.WARNING,
        title=error.what,
        evidence=error.why,
        fix=error.next_step,
    )
    return Seen(text="the cluster does not give it", findings=(away,))


def _more(faults: tuple[str, ...]) -> str:
    return f"and {len(faults)} more" if faults else ""


async def _look_at_source(_: Case, subject: Subject) -> Seen:
    return Seen(text=subject.origin or "not said", findings=subject.notes if subject.session is None else ())


async def _look_at_plan(_: Case, subject: Subject) -> Seen:
    if subject.session is not None:
        return skipped("it is up, or was")
    if subject.obstacle is not None:
        return judge_plan_obstacle(subject, subject.obstacle)
    assert subject.plan is not None
    # Who else has routes is told with the owners' names by those who look at the kernel.
    found = tuple(each for each in subject.plan.findings if each.code not in OF_ROUTES | OF_RULES)
    return Seen(text=f"{subject.plan.mode.value}: {subject.plan.reason}", findings=found)


def judge_plan_obstacle(subject: Subject, error: DevlinkError) -> Seen:
    """Why `up` could not even begin here."""
    if isinstance(error, VerificationError) and subject.profile.spec.routing in ON_LINK_MODES:
        code, text = "DL-R1-OFFLINK", "no next hop is on this laptop's link"
    elif isinstance(error, VerificationError):
        code, text = "DL-RELAY-NOTHING", "no network of it is left to be relayed"
    elif isinstance(error, UsageError):
        code, text = "DL-CHOICE-INVALID", "what is excluded or overridden does not fit it"
    else:
        return skipped(reason(error))
    finding = Finding(
        code=code, severity=Severity.ERROR, title=error.what, evidence=error.why, fix=error.next_step
    )  # fmt: skip
    return Seen(text=text, findings=(finding,))


async def _look_at_trust(case: Case, subject: Subject) -> Seen:
    if subject.session is not None:
        return Seen(text="it was trusted when it came up")
    if case.helper.told is None:
        return skipped("the helper does not say")
    if subject.plan is None:
        return skipped("it cannot be planned")
    records, policy = await asyncio.to_thread(_records)
    found = judge_trust(subject.plan, records, policy)
    return Seen(text="not trusted" if found else "this machine trusts it", findings=found)


def _records() -> tuple[tuple[TrustRecord, ...], TrustPolicy]:
    """Raises HelperError, or what the helper says against it."""
    records = ask("ListTrust", limit=HELPER_LIMIT)["records"]
    try:
        policy = read_policy(Paths().policy).trust
    except HelperError:  # not for everyone to read; the stricter one is nearly everywhere
        policy = TrustPolicy.RECORDS
    return tuple(decode(TrustRecord, record) for record in records), policy


def judge_trust(plan: Plan, records: Iterable[TrustRecord], policy: TrustPolicy) -> tuple[Finding, ...]:
    """A warning where the helper would refuse this plan: what is claimed beyond what is trusted."""
    desired = plan.desired
    record = next((record for record in records if record.name == desired.session), None)
    try:
        check_trust(desired, record, policy)
    except NotTrustedError as error:
        return (
            Finding(
                code="DL-NOT-TRUSTED", severity=Severity.WARNING, title=error.what, evidence=error.why,
                fix=error.next_step,
            ),
        )  # fmt: skip
    return ()


CHECKS: tuple[Check, ...] = (
    LaptopCheck(name="profile", look=_look_at_profile),
    LinkCheck(name="source", look=_look_at_source, after=("network", "portal")),
    LinkCheck(name="plan", look=_look_at_plan, after=("network",)),
    LinkCheck(name="trust", look=_look_at_trust),
)
