"""What the helper says of names: where the forwarder serves, and whom it asks for names of no cluster; with what is
found where it does not serve, or programs do not come to it."""

from collections.abc import Mapping
from typing import Any

from devlink.core.codec import decode
from devlink.core.findings import Finding, Severity
from devlink.core.plan import Upstream
from devlink.errors import DevlinkError, reason
from devlink.helper.client import ask

LIMIT = 3.0
"""Seconds for the helper, which has to ask the forwarder first."""
NOT_TOLD = ("", "overwritten")
"""Resolver modes in which nobody is told of the forwarder."""


def served(limit: float = LIMIT) -> Mapping[str, Any]:
    """The reply to `GetDnsStats`, within `limit` seconds. Raises DevlinkError where none serves."""
    return ask("GetDnsStats", limit=limit)


def upstreams_of(told: Mapping[str, Any]) -> tuple[Upstream, ...]:
    """Whom the forwarder asks for ordinary names."""
    upstreams: tuple[Upstream, ...] = decode(tuple[Upstream, ...], told["upstreams"])
    return upstreams


def away(error: DevlinkError) -> Finding:
    """As the agent says it of a session. `error`: what `served` raised."""
    return Finding(
        code="DL-FORWARDER-AWAY",
        severity=Severity.ERROR,
        title="The forwarder does not serve at this moment.",
        evidence=reason(error),
        fix=error.next_step,
    )


def gone(shown: str, why: str = "", fix: str = "") -> Finding:
    """As the agent says it of a session."""
    return Finding(
        code="DL-RESOLVER-GONE",
        severity=Severity.ERROR,
        title="Programs no longer ask devlink for names.",
        evidence=f"{shown}: {why}" if why else shown,
        fix=fix or "stop the program that takes it, then: devlink up, which puts it back",
    )
