"""What the helper says of the forwarder that serves: where, and whom it asks for the names that are no cluster's."""

from collections.abc import Mapping
from typing import Any

from devlink.core.codec import decode
from devlink.core.findings import Finding, Severity
from devlink.core.plan import Upstream
from devlink.errors import DevlinkError, HelperError, reason
from devlink.helper.client import connect
from devlink.hints import restart_helper

LIMIT = 3.0
"""Seconds for the helper, which has to ask the forwarder first."""


def served(limit: float = LIMIT) -> Mapping[str, Any]:
    """The reply to `GetDnsStats`, within `limit` seconds. Raises DevlinkError where none serves."""
    with connect(timeout=limit) as helper:
        try:
            return helper.call("io.devlink.Helper.GetDnsStats")
        except TimeoutError as error:
            raise HelperError("The devlink helper runs, but does not answer.", next_step=restart_helper()) from error


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
