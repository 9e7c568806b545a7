"""Who else routes where our routes lead: conflicts, what others keep, and the ways that stay as they are."""

from collections.abc import Iterable

from devlink.core.findings import Finding, Severity
from devlink.core.network import MAIN_TABLE, ObservedNetwork, ObservedRoute, Route, forwarding_table
from devlink.core.prefixes import IPAddress, IPNetwork, PrefixTable, collapse, host_prefix
from devlink.core.text import listed


def conflicts(routes: Iterable[Route], observed: ObservedNetwork) -> tuple[tuple[Route, ObservedRoute], ...]:
    """Each of our routes whose destination somebody else routes already, with theirs. Blackholes do not count."""
    foreign = {r.destination: r for r in observed.foreign if r.table == MAIN_TABLE and r.kind == "unicast"}
    return tuple((route, foreign[route.destination]) for route in routes if route.destination in foreign)


def pins(routes: Iterable[Route], protected: Iterable[IPAddress], observed: ObservedNetwork) -> tuple[Route, ...]:
    """Host routes that keep the present way of each protected address that `routes` would take over."""
    ours = PrefixTable((route.destination, route.destination.prefixlen) for route in routes)
    theirs = forwarding_table(observed.foreign)
    made: dict[IPAddress, Route] = {}
    for address in dict.fromkeys(protected):
        length = ours.longest(address)
        if length is None or length == address.max_prefixlen:
            continue
        present = theirs.longest(address)
        if present is None or present.oif is None or present.destination.prefixlen > length:
            continue  # unreachable anyway, or its own more specific route keeps it
        made[address] = Route(destination=host_prefix(address), next_hop=present.next_hop, oif=present.oif)
    return tuple(made.values())


def overlap_findings(routes: tuple[Route, ...], observed: ObservedNetwork) -> Iterable[Finding]:
    """More specific routes of others inside ours, and wider ones around ours: legal, but worth knowing."""
    others = [r for r in observed.foreign if r.table == MAIN_TABLE and r.kind == "unicast" and r.destination.prefixlen]
    ours = PrefixTable((route.destination, route.destination) for route in routes)
    kept = []
    for other in others:
        around = next((d for d in ours.around(other.destination) if d != other.destination), None)
        if around is not None:
            kept.append(f"{other.destination} dev {other.oif} in {around}")
    if kept:
        yield Finding(
            code="DL-ROUTE-KEPT",
            severity=Severity.WARNING,
            title="A part of the cluster's networks does not reach the cluster.",
            evidence=f"more specific, and kept: {listed(kept)}",
            fix="remove these routes if their addresses should be the cluster's",
        )
    table = PrefixTable((r.destination, r) for r in others)
    inside: dict[str, list[IPNetwork]] = {}
    for route in routes:
        wider = next((r for r in table.around(route.destination) if r.destination != route.destination), None)
        if wider is not None:
            inside.setdefault(f"{wider.destination} dev {wider.oif}", []).append(route.destination)
    if inside:
        yield Finding(
            code="DL-ROUTE-INSIDE",
            severity=Severity.INFO,
            title="Networks of the cluster are taken out of wider ones.",
            evidence=listed(f"{wider} is around {listed(collapse(taken))}" for wider, taken in inside.items()),
        )
