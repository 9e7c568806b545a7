"""What the checks of the way to the cluster are given: a profile with a plan, up or not."""

from typing import Any

from devlink.core.codec import encode
from devlink.core.findings import Finding
from devlink.core.plan import make_plan
from devlink.doctor.case import Subject
from tests.core.plans import GATEWAY, GATEWAY6, PROFILE, seen

OBSERVED = seen(GATEWAY, GATEWAY6)
PLAN = make_plan(PROFILE, OBSERVED)


def session(state: str = "up", *findings: Finding, **more: Any) -> dict[str, Any]:
    """As the agent shows it, as far as the checks look."""
    shown = {"state": state, "findings": [encode(each) for each in findings], "exclude": [], "override": []}
    return {**shown, **more}


UP = Subject(profile=PROFILE, plan=PLAN, session=session())
DOWN = Subject(profile=PROFILE, plan=PLAN)
