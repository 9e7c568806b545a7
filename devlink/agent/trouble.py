"""What is wrong with a session, as findings: not installed, still there, or not as it was installed."""

from collections.abc import Mapping, Sequence
from typing import Any

from devlink.agent.session import Session
from devlink.core.findings import Finding, Severity
from devlink.errors import DevlinkError, IdentityError

STOP_FIGHTING = "stop that program, then: devlink up {0}"
GIVE_BACK = (
    "stop that program, or remove its routes: ours come back then by themselves. "
    "To leave it the place, or to win: devlink up {0} --exclude PREFIX, or --override PREFIX"
)
"""`devlink up` alone would end with a conflict."""


def not_installed(error: DevlinkError, besides: str = "") -> Finding:
    """What kept it from being installed, or from being known to be; `besides` the fix, what is done by itself."""
    return Finding(
        code="DL-NOT-INSTALLED",
        severity=Severity.ERROR,
        title=error.what,
        evidence=error.why,
        fix=" ".join(part for part in (error.next_step, besides) if part),
    )


def suspended(name: str, error: DevlinkError) -> Finding:
    """Why it cannot be up where the laptop is now, and what would bring it back."""
    if isinstance(error, IdentityError):  # nothing shall be led there unattended
        fix = f"In another network it comes back by itself, in this one only by: devlink up {name}. {error.next_step}"
    else:
        fix = f"It comes back by itself where its cluster is reached. To try it now: devlink up {name}"
    return Finding(
        code="DL-SUSPENDED",
        severity=Severity.WARNING,
        title=f"{error.what} Nothing of it is installed meanwhile.",
        evidence=error.why,
        fix=fix,
    )


def doubtful(error: DevlinkError, again: str = "It is looked at again by itself.") -> Finding:
    """It is installed, and could not be verified when the network had changed; `again`: when that is tried anew."""
    return Finding(
        code="DL-UNVERIFIED",
        severity=Severity.ERROR,
        title=f"The network has changed, and since then: {error.what}",
        evidence=error.why,
        fix=f"{error.next_step} {again}".strip(),
    )


def still_there(error: DevlinkError) -> Finding:
    """It was taken down while the helper could not say so."""
    return Finding(
        code="DL-STILL-THERE",
        severity=Severity.ERROR,
        title="It was taken down, but the helper has not said that it is gone. It goes when the helper is back.",
        evidence=error.what,
        fix=error.next_step,
    )


def differences(session: Session, theirs: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[Finding, ...]:
    """What the helper says of a session, and of what all share, that is not as it was installed."""
    again = f"`devlink up` with {session.name} puts it back"
    found = []
    contested: set[str] = set()
    for key, code, title, fix in (
        ("fought", "DL-ROUTES-FOUGHT", "Another program keeps routes of this session away.", STOP_FIGHTING),
        ("occupied", "DL-ROUTES-HELD", "Another program has the place of routes of this session.", GIVE_BACK),
    ):
        if contest := theirs.get(key):
            contested.update(contest["routes"])
            found.append((code, title, f"{_first(contest['routes'])}: {contest['why']}", fix.format(session.name)))
    # The helper misses what the kernel has dropped; we miss also what the helper no longer wants.
    missing = [*theirs["missing"], *(route for route in session.installed if route not in theirs["routes"])]
    if gone := [route for route in missing if route not in contested]:
        found.append(("DL-ROUTES-GONE", "Routes of this session are no longer in the kernel.", _first(gone), again))
    if session.plan.desired.zones and state["resolver"] in ("", "overwritten"):
        shown = f"the resolver mode was {session.resolver}, and is {state['resolver'] or 'none'}"
        if state["resolver_reason"]:
            shown += f": {state['resolver_reason']}"
        found.append(("DL-RESOLVER-GONE", "Programs no longer ask devlink for names.", shown, again))
    if session.plan.desired.zones and state["forwarder"] != "serving":
        shown = f"it is {state['forwarder']}"
        found.append(("DL-FORWARDER-AWAY", "The forwarder does not serve at this moment.", shown, again))
    return tuple(
        Finding(code=code, severity=Severity.ERROR, title=title, evidence=shown, fix=fix)
        for code, title, shown, fix in found
    )


def _first(routes: Sequence[str]) -> str:
    return "; ".join(routes[:3]) + (f" and {len(routes) - 3} more" if len(routes) > 3 else "")
