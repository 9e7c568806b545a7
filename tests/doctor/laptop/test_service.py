"""What doctor says of the user's service."""

import pytest

from devlink.doctor.case import Part
from devlink.doctor.laptop.service import judge_service, judge_waiting
from devlink.service.user import Seen


@pytest.mark.parametrize(("active", "enabled", "title"), [
    ("active", True, None), ("activating", True, None),
    ("active", False, "next login"), ("inactive", True, "does not run"), ("failed", False, "does not run"),
])  # fmt: skip
def test_one_that_is_installed_runs_and_starts_at_login(active: str, enabled: bool, title: str | None) -> None:
    found = judge_service(Seen(file="/f", installed=True, active=active, enabled=enabled))
    assert bool(found) is (title is not None)
    assert all(title in finding.title for finding in found if title)


def test_what_waits_is_a_finding_with_what_keeps_it_and_what_mends_it() -> None:
    waiting = {"profile": "", "why": "It is away.", "next_step": "Start it.", "since": 130.0}
    one, other = judge_waiting(Part(told={"waiting": [waiting, {**waiting, "profile": "qa", "next_step": ""}]}))
    assert (one.title[:19], one.evidence, one.fix) == ("The default profile", "It is away.", "Start it.")
    assert "(2 min)" in one.title
    assert (other.title[:2], other.fix) == ("qa", "devlink up shows at once what keeps it")


def test_where_nothing_waits_nothing_is_found() -> None:
    assert judge_waiting(Part()) == judge_waiting(Part(told={"waiting": []})) == ()
