"""A word on what is in a panel that is not seen. PURE, and without Textual."""

from collections import Counter

from devlink.core.findings import Severity
from devlink.tui.records import AgentStatus, SessionStatus

GRAVEST_FIRST = ((Severity.ERROR, "✗"), (Severity.WARNING, "!"), (Severity.INFO, "·"))


def signs(status: AgentStatus | None, session: SessionStatus | None, new_events: int) -> dict[str, str]:
    """By panel: how many findings of each severity, how many routes of the session that is shown, how much is new."""
    told = {"events": f"+{new_events}"} if new_events else {}
    if status is not None:
        count = Counter(finding.severity for each in status.sessions for finding in each.findings)
        told["findings"] = " ".join(f"{sign}{count[severity]}" for severity, sign in GRAVEST_FIRST if count[severity])
    if session is not None:
        told["routes"] = str(session.route_count)
    return told
