"""What is said of who carries a session's packets."""

from devlink.core.findings import Finding, Severity
from devlink.core.health_records import Way
from devlink.errors import DevlinkError, reason

SURVIVAL = (
    "TCP connections to services (ClusterIPs) that were open then are broken, because the other gateway did not make "
    "them; those to pod addresses go on."
)


def failed_over(way: Way) -> Finding:
    if way.by_hand:
        return Finding(
            code="DL-FAILED-OVER",
            severity=Severity.INFO,
            title=f"Packets go by {way.via} instead of {way.preferred}, as you chose.",
            evidence=SURVIVAL,
            fix=f"to go back: devlink failover {way.preferred}",
        )
    return Finding(
        code="DL-FAILED-OVER",
        severity=Severity.WARNING,
        title=f"Packets go by {way.via} instead of {way.preferred}: {way.reason or 'it was silent'}.",
        evidence=SURVIVAL,
        fix=f"they go back by themselves when {way.preferred} has answered for {way.hold:g} s",
    )


def all_silent(way: Way) -> Finding:
    title = "The cluster's DNS answers by none of the gateways, so nothing tells which of them forward."
    if len(way.candidates) == 1:
        title = f"The cluster's DNS does not answer by way of {way.via}, and nobody could take its place."
    return Finding(
        code="DL-GATEWAYS-SILENT",
        severity=Severity.ERROR,
        title=title,
        evidence=f"asked by way of {', '.join(map(str, way.candidates))}; packets still go by {way.via}",
        fix="look at this laptop's link and at the cluster's DNS; it is tried again while packets are sent",
    )


def slow(why: DevlinkError, poll: float) -> Finding:
    """`poll`: seconds between two questions meanwhile."""
    return Finding(
        code="DL-FAILOVER-SLOW",
        severity=Severity.INFO,
        title=f"A gateway that dies is noticed within {poll:g} s only: it is not told when packets are sent.",
        evidence=reason(why),
        fix=why.next_step,
    )
