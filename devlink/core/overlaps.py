"""Who else routes where our routes lead: conflicts, what others keep, and the ways that stay as they are."""

from collections.abc import Iterable, Sequence

from devlink.core.findings import Finding, Severity
from devlink.core.network import (
    MAIN_TABLE,
    METRIC,
    OVERRIDE_TABLE,
    ObservedNetwork,
    ObservedRoute,
    Route,
    forwarding_table,
)
from devlink.core.prefixes import IPAddress, IPNetwork, PrefixTable, collapse, host_prefix, is_within, key_of
from devlink.core.profile import Node
from devlink.core.text import LISTED, listed, shortened

DROPPING = ("blackhole", "unreachable", "prohibit", "throw")
"""Kinds of routes (`rtm_type`) that lead nowhere; in the main table a `throw` too, for nothing is asked after it."""


def conflicts(routes: Iterable[Route], observed: ObservedNetwork) -> tuple[tuple[Route, ObservedRoute], ...]:
    """Each of our routes in the main table whose destination somebody else routes already, with theirs.

    A blackhole and its like count only where they win: of routes to one destination the kernel takes the lowest metric.
    """
    ours = [route for route in routes if route.table == MAIN_TABLE]
    mine = PrefixTable((route.destination, number) for number, route in enumerate(ours))
    found: dict[int, ObservedRoute] = {}
    for theirs in observed.foreign:
        if theirs.table == MAIN_TABLE and (
            theirs.kind == "unicast" or (theirs.kind in DROPPING and theirs.metric <= METRIC)
        ):
            number = mine.exact(theirs.destination)
            if number is not None and (number not in found or theirs.metric < found[number].metric):
                found[number] = theirs
    return tuple((ours[number], found[number]) for number in sorted(found))


def pins(routes: Iterable[Route], protected: Iterable[IPAddress], observed: ObservedNetwork) -> tuple[Route, ...]:
    """Host routes that keep the present way of each protected address that `routes` would take over.

    In the table that wins, a `throw` leaves the address to the tables that had it.
    """
    routes = tuple(routes)
    ours = PrefixTable((r.destination, r.destination.prefixlen) for r in routes if r.table == MAIN_TABLE)
    winning = PrefixTable((r.destination, r) for r in routes if r.table == OVERRIDE_TABLE)
    theirs = forwarding_table(observed.foreign)
    made: list[Route] = []
    for address in dict.fromkeys(protected):
        won = winning.longest(address)
        if won is not None and won.kind == "unicast":
            if won.destination.prefixlen == address.max_prefixlen:
                continue
            made.append(Route(destination=host_prefix(address), oif="", table=OVERRIDE_TABLE, kind="throw"))
        length = ours.longest(address)
        if length is None or length == address.max_prefixlen:
            continue
        present = theirs.longest(address)
        if present is None or present.oif is None or present.destination.prefixlen > length:
            continue  # unreachable anyway, or its own more specific route keeps it
        made.append(Route(destination=host_prefix(address), next_hop=present.next_hop, oif=present.oif))
    return tuple(made)


def overlap_findings(
    routes: tuple[Route, ...], observed: ObservedNetwork, nodes: Sequence[Node] = ()
) -> Iterable[Finding]:
    """More specific routes of others inside ours, and wider ones around ours: legal, but worth knowing.

    `nodes` say whose pods are lost with what others keep.
    """
    others = [
        r
        for r in observed.foreign
        if r.table == MAIN_TABLE and r.destination.prefixlen and (r.kind == "unicast" or r.kind in DROPPING)
    ]
    ours = PrefixTable((r.destination, r) for r in routes if r.table == MAIN_TABLE)
    winning = PrefixTable((r.destination, r) for r in routes if r.table == OVERRIDE_TABLE)
    kept: dict[object, tuple[ObservedRoute, Route]] = {}
    taken: dict[object, ObservedRoute] = {}
    for other in others:
        around = list(winning.around(other.destination))
        if around and around[0].kind == "unicast":
            taken[key_of(other.destination), other.oif] = other
            continue
        length = other.destination.prefixlen
        around += (r for r in ours.around(other.destination) if r.destination.prefixlen < length)
        outside = next((r for r in around if r.kind == "unicast"), None)
        if outside is not None:
            kept[key_of(other.destination), other.oif] = (other, outside)
    if kept:
        shown = [
            f"{_named(other)} in {outside.destination}{_whose(other.destination, nodes, ours)}"
            for other, outside in list(kept.values())[:LISTED]
        ]
        yield Finding(
            code="DL-ROUTE-KEPT",
            severity=Severity.WARNING,
            title="A part of the cluster's networks does not reach the cluster.",
            evidence=f"more specific, and kept: {shortened(shown, len(kept))}",
            fix="if their addresses should be the cluster's: remove these routes, or: devlink up --override PREFIX",
        )
    if taken:
        yield Finding(
            code="DL-ROUTE-OVERRIDDEN",
            severity=Severity.INFO,
            title="Routes of others are overridden, as you asked.",
            evidence=shortened([_named(other) for other in list(taken.values())[:LISTED]], len(taken)),
        )
    table = PrefixTable((r.destination, r) for r in others if r.kind == "unicast")
    inside: dict[object, tuple[ObservedRoute, list[IPNetwork]]] = {}
    for route in routes:
        length = route.destination.prefixlen
        wider = next((r for r in table.around(route.destination) if r.destination.prefixlen < length), None)
        if wider is not None and route.kind == "unicast":
            inside.setdefault(id(wider), (wider, []))[1].append(route.destination)
    if inside:
        yield Finding(
            code="DL-ROUTE-INSIDE",
            severity=Severity.INFO,
            title="Networks of the cluster are taken out of wider ones.",
            evidence=listed(f"{_named(wider)} is around {listed(collapse(parts))}" for wider, parts in inside.values()),
        )


def _named(route: ObservedRoute) -> str:
    where = f" dev {route.oif}" if route.oif is not None else ""
    return f"{'' if route.kind == 'unicast' else f'{route.kind} '}{route.destination}{where}"


def _whose(lost: IPNetwork, nodes: Sequence[Node], ours: PrefixTable[Route]) -> str:
    """Whose pods are in what others keep; a block with a narrower route of its own is not lost."""
    owners = []
    for node in nodes:
        for block in node.pods:
            if is_within(lost, block) or (is_within(block, lost) and not _is_routed(block, lost, ours)):
                owners.append(node.address)
                break
    return f" (with pods of node {listed(owners)})" if owners else ""


def _is_routed(block: IPNetwork, within: IPNetwork, ours: PrefixTable[Route]) -> bool:
    route = next(ours.around(block), None)
    return route is not None and route.destination.prefixlen > within.prefixlen
