"""Checks side by side: each within its limit, none hides what another sees, and only causes are told."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from devlink.core.findings import Finding, Severity
from devlink.core.profile_document import decode_profile
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import LaptopCheck, LinkCheck, Seen, skipped
from devlink.doctor.checks import CHECKS
from devlink.doctor.examination import Examination, Step, conclude, examine, tree
from devlink.errors import HelperError
from tests.core.profiles import SAMPLE

LIMIT = 0.05


def finding(code: str, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(code=code, severity=severity, title="It is so.")


def says(*codes: str, severity: Severity = Severity.ERROR) -> Callable[..., Awaitable[Seen]]:
    async def look(*_: object) -> Seen:
        return Seen(text="seen", findings=tuple(finding(code, severity) for code in codes))

    return look


def subject(name: str) -> Subject:
    return Subject(profile=decode_profile(SAMPLE.replace("name: qa", f"name: {name}")))


def run(case: Case, *checks: LaptopCheck | LinkCheck) -> Examination:
    return asyncio.run(examine(case, checks))


def codes(examination: Examination) -> list[str]:
    return [each.code for each in examination.findings]


def test_what_follows_from_an_error_is_not_told_also_at_second_hand() -> None:
    seen = run(
        Case(),
        LaptopCheck(name="link", look=says("DL-A")),
        LaptopCheck(name="gateway", look=says(), after=("link",)),
        LaptopCheck(name="pods", look=says("DL-B"), after=("gateway",)),
        LaptopCheck(name="clock", look=says("DL-C")),
    )
    assert codes(seen) == ["DL-A", "DL-C"]
    assert [step.follows for step in seen.steps] == ["", "", "DL-A", ""], "what is well in spite of it is told"


def test_why_something_was_not_looked_at_is_not_told_where_an_error_comes_before_it() -> None:
    async def look(_: Case) -> Seen:
        return skipped("nothing is up")

    checks = (LaptopCheck(name="agent", look=says("DL-A")), LaptopCheck(name="pods", look=look, after=("agent",)))
    assert [step.follows for step in run(Case(), *checks).steps] == ["", "DL-A"]


def test_a_warning_is_no_reason_to_hold_back_what_comes_after_it() -> None:
    seen = run(
        Case(),
        LaptopCheck(name="link", look=says("DL-A", severity=Severity.WARNING)),
        LaptopCheck(name="pods", look=says("DL-B"), after=("link",)),
    )
    assert codes(seen) == ["DL-B", "DL-A"]


def test_one_sessions_error_does_not_excuse_anothers() -> None:
    async def only_qa(_: Case, whose: Subject) -> Seen:
        return Seen(text="", findings=(finding("DL-A"),) if whose.name == "qa" else ())

    seen = run(
        Case(subjects=(subject("qa"), subject("prod"))),
        LinkCheck(name="gateway", look=only_qa),
        LinkCheck(name="pods", look=says("DL-B"), after=("gateway",)),
    )
    assert [(step.session, step.follows) for step in seen.steps if step.check == "pods"] == [
        ("qa", "DL-A"),
        ("prod", ""),
    ]


def test_a_finding_that_two_checks_see_is_told_once() -> None:
    seen = run(Case(), LaptopCheck(name="a", look=says("DL-A", "DL-A2")), LaptopCheck(name="b", look=says("DL-A")))
    assert codes(seen) == ["DL-A", "DL-A2"]


def test_a_check_that_hangs_is_given_up_and_the_others_are_told() -> None:
    async def hang(_: Case) -> Seen:
        await asyncio.Event().wait()
        raise AssertionError

    seen = run(Case(), LaptopCheck(name="hangs", look=hang, limit=LIMIT), LaptopCheck(name="b", look=says("DL-B")))
    assert codes(seen) == ["DL-B", "DL-CHECK-LATE"]


def test_a_check_that_fails_hides_nothing_that_others_see(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: Case) -> Seen:
        raise RuntimeError("unforeseen")

    async def cannot(_: Case) -> Seen:
        raise HelperError("The kernel does not say.")

    seen = run(
        Case(),
        LaptopCheck(name="fails", look=fail),
        LaptopCheck(name="cannot", look=cannot),
        LaptopCheck(name="b", look=says("DL-B")),
    )
    assert codes(seen) == ["DL-B", "DL-CHECK-FAILED"]
    assert seen.steps[1].seen == skipped("The kernel does not say.")


def test_checks_come_after_earlier_ones_only_and_none_may_take_ten_seconds() -> None:
    earlier: set[str] = set()
    for check in CHECKS:
        assert check.name not in earlier, "two of the same name"
        assert set(check.after) <= earlier, f"{check.name} comes before what it comes after"
        assert check.limit <= 6.0, "gathering takes some seconds as well, and the whole must end within ten"
        earlier.add(check.name)


@pytest.mark.parametrize(
    ("cause", "follow"),
    [
        ("links", ("routes", "rules", "rp_filter", "gateway", "services", "pods", "forwarder", "upstreams", "session")),
        ("gateway", ("identity", "services", "pods", "mtu", "forwarder", "session")),
        ("identity", ("services", "pods", "mtu", "session")),
        ("services", ("mtu", "forwarder", "session")),
        ("forwarder", ("upstreams", "resolver", "libc", "bypass", "session")),
        ("resolver", ("libc", "bypass", "session")),
        ("libc", ("session",)),
        ("portal", ("clock", "upstreams")),
        ("clock", ("identity",)),
    ],
)
def test_a_cause_is_told_and_nothing_of_what_it_brings_about(cause: str, follow: tuple[str, ...]) -> None:
    steps = [
        Step(check=name, seen=Seen(text="", findings=(finding(f"DL-{name}"),)))
        for check in CHECKS
        if (name := check.name) in (cause, *follow)
    ]
    assert len(steps) == 1 + len(follow)
    assert codes(conclude(steps, CHECKS)) == [f"DL-{cause}"]


def test_programs_get_the_findings_and_each_check_with_its_outcome() -> None:
    sick = Examination(
        steps=(
            Step(check="helper", seen=Seen(text="answers")),
            Step(check="profile", session="qa", seen=skipped("none is known")),
            Step(check="gateway", session="qa", seen=Seen(text="silent", findings=(finding("DL-A"),)), took=0.12345),
            Step(check="pods", session="qa", seen=Seen(text="silent"), follows="DL-A"),
            Step(check="upstreams", seen=Seen(text="1 of 2", findings=(finding("DL-B", Severity.WARNING),))),
        )
    )
    told = tree(Case(subjects=(subject("qa"),)), sick)
    assert [each["code"] for each in told["findings"]] == ["DL-A", "DL-B"]
    assert [check["outcome"] for check in told["checks"]] == ["ok", "skipped", "error", "follows", "warning"]
    assert (told["checks"][2]["findings"], told["checks"][2]["seconds"]) == (["DL-A"], 0.123)
    assert told["checks"][3]["follows"] == "DL-A"
    assert told["profiles"] == [{"name": "qa", "up": False}]


def test_nothing_is_looked_at_any_more_for_who_gives_up() -> None:
    ends: list[str] = []

    async def hang(_: Case) -> Seen:
        try:
            await asyncio.sleep(60)
        finally:
            ends.append("look")
        return Seen(text="seen")

    async def main() -> None:
        checks = (LaptopCheck(name="slow", look=hang, limit=60),)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(examine(Case(), checks), LIMIT)
        await asyncio.sleep(0)
        assert ends == ["look"]

    asyncio.run(main())
