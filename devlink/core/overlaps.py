"""Who else routes where our routes lead: conflicts, what others keep, and the ways that stay as they are."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from devlink.core.findings import Finding, Severity
from devlink.core.network import (
    DROPPING,
    MAIN_TABLE,
    METRIC,
    OVERRIDE_TABLE,
    ObservedNetwork,
    ObservedRoute,
    Route,
)
from devlink.core.policy_routing import WaysOfOthers, options
from devlink.core.prefixes import Cover, IPAddress, IPNetwork, PrefixTable, collapse, host_prefix, key_of, span
from devlink.core.profile import Node
from devlink.core.text import LISTED, listed, shortened


def conflicts(routes: Iterable[Route], observed: ObservedNetwork) -> tuple[tuple[Route, ObservedRoute], ...]:
    """Each of our routes whose place somebody else has already, with theirs.

    In the main table that is its destination; a blackhole and its like count only where they win: of routes to one
    destination the kernel takes the lowest metric. A `throw` is like them, for nothing is asked after that table. The
    table that wins must be ours alone, for each family that we have routes of in it: our rule would have it asked for
    all addresses, and whatever others have in it would win as well.
    """
    routes = tuple(routes)
    ours = [route for route in routes if route.table == MAIN_TABLE]
    mine = PrefixTable((route.destination, number) for number, route in enumerate(ours))
    winning = {r.destination.version: r for r in reversed(routes) if r.table == OVERRIDE_TABLE}
    found: dict[int, ObservedRoute] = {}
    beside: list[tuple[Route, ObservedRoute]] = []
    for theirs in observed.foreign:
        if theirs.table == OVERRIDE_TABLE and theirs.destination.version in winning:
            beside.append((winning[theirs.destination.version], theirs))
        elif theirs.table == MAIN_TABLE and (
            theirs.kind == "unicast" or (theirs.kind in DROPPING and theirs.metric <= METRIC)
        ):
            number = mine.exact(theirs.destination)
            if number is not None and (number not in found or theirs.metric < found[number].metric):
                found[number] = theirs
    return (*((ours[number], found[number]) for number in sorted(found)), *beside)


def pins(routes: Iterable[Route], protected: Iterable[IPAddress], observed: ObservedNetwork) -> tuple[Route, ...]:
    """Host routes that keep the present way of each protected address that `routes` would take over.

    In the table that wins, a `throw` leaves the address to the tables that had it.
    """
    routes = tuple(routes)
    ours = PrefixTable((r.destination, r.destination.prefixlen) for r in routes if r.table == MAIN_TABLE)
    winning = PrefixTable((r.destination, r) for r in routes if r.table == OVERRIDE_TABLE)
    ways = WaysOfOthers(observed)
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
        present = ways.of(address)
        if present is None or present.oif is None or present.kind != "unicast":
            continue  # unreachable anyway, or the laptop's own
        if present.table == MAIN_TABLE and present.destination.prefixlen > length:
            continue  # its own more specific route keeps it
        made.append(Route(destination=host_prefix(address), next_hop=present.next_hop, oif=present.oif))
    return tuple(made)


def seized(routes: Iterable[Route], protected: Iterable[IPAddress]) -> tuple[Route, ...]:
    """Those of our routes that lead to nothing but a protected address: no pin could keep its way beside one."""
    hosts = {host_prefix(address) for address in protected}
    return tuple(route for route in routes if route.kind == "unicast" and route.destination in hosts)


def overlap_findings(
    routes: tuple[Route, ...],
    observed: ObservedNetwork,
    nodes: Sequence[Node] = (),
    dropped: Iterable[IPNetwork] = (),
) -> tuple[tuple[Finding, ...], bool]:
    """Routes of others to the same destinations that win, an error where ours are installed; more specific ones inside
    ours, and wider ones around ours: legal, but worth knowing. And whether there are any that win.

    `nodes` say whose pods are lost with what others keep. `dropped` were to have a route, and have none for what others
    keep around them.
    """
    others = others_inside(routes, observed, dropped)
    ours = PrefixTable((r.destination, r) for r in routes if r.table == MAIN_TABLE)
    found = (
        *_taken_by(others.winning),
        *_kept_by(others.kept, nodes, ours),
        *_overridden(others.overridden),
        *_around(routes, _leading(observed)),
    )
    return found, bool(others.winning)


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """Routes of others inside a session's networks, or in the place of its routes."""

    winning: tuple[ObservedRoute, ...] = ()
    """They win where ours are installed."""
    kept: tuple[tuple[ObservedRoute, IPNetwork], ...] = ()
    """More specific ones, which keep their packets; each with our destination around it."""
    overridden: tuple[ObservedRoute, ...] = ()
    """Ours win over them, as their user asked."""


def others_inside(
    routes: Collection[Route], observed: ObservedNetwork, dropped: Iterable[IPNetwork] = ()
) -> Others:  # fmt: skip
    """Who else routes where `routes` lead; `dropped` as of `overlap_findings`."""
    ours = PrefixTable((r.destination, r) for r in routes if r.table == MAIN_TABLE)
    overriding = [r for r in routes if r.table == OVERRIDE_TABLE]
    winning = PrefixTable((r.destination, r) for r in overriding)
    lost: dict[object, ObservedRoute] = {}
    kept: dict[object, tuple[ObservedRoute, IPNetwork]] = {}
    taken: dict[object, ObservedRoute] = {}
    gone = Cover(dropped)
    for other in _leading(observed):
        winner = winning.holding(other.destination) if overriding else None
        if winner is not None and winner.kind == "unicast":
            taken[key_of(other.destination), other.oif] = other
            continue
        outside = ours.holding(other.destination)
        if outside is not None and outside.destination.prefixlen == other.destination.prefixlen:
            if other.metric < METRIC:  # who has the same has replaced ours, and the helper misses that
                lost[key_of(other.destination), other.oif] = other
            continue
        if winner is not None and outside is None:  # it is thrown out of a route in the table that wins
            outside = next((r for r in winning.around(other.destination) if r.kind == "unicast"), None)
        if outside is not None:
            kept[key_of(other.destination), other.oif] = (other, outside.destination)
        elif (all_of := gone.find(other.destination)) is not None:
            kept[key_of(other.destination), other.oif] = (other, all_of)
    lost |= {
        (key_of(other.destination), other.oif): other
        for other in (observed.foreign if overriding else ())
        if other.table == OVERRIDE_TABLE
        and (winner := winning.holding(other.destination)) is not None
        and winner.kind == "unicast"
        and (winner.destination != other.destination or other.metric < METRIC)
    }
    return Others(winning=tuple(lost.values()), kept=tuple(kept.values()), overridden=tuple(taken.values()))


def _leading(observed: ObservedNetwork) -> list[ObservedRoute]:
    """Routes of others in the main table, the default one left out, which say where packets go, or that they do not."""
    return [
        r
        for r in observed.foreign
        if r.table == MAIN_TABLE and r.destination.prefixlen and (r.kind == "unicast" or r.kind in DROPPING)
    ]


def _taken_by(lost: Collection[ObservedRoute]) -> Iterable[Finding]:
    if lost:
        destinations = [other.destination for other in lost]
        yield Finding(
            code="DL-ROUTE-TAKEN",
            severity=Severity.ERROR,
            title="Another program has routes to networks of the cluster, and its routes win.",
            evidence=shortened([_in_full(other) for other in list(lost)[:LISTED]], len(lost)),
            fix="remove these routes, or disconnect what made them. To win over them: devlink up "
            f"{options('--override', destinations)}; to do without: devlink up {options('--exclude', destinations)}",
        )


def _kept_by(
    kept: Collection[tuple[ObservedRoute, IPNetwork]], nodes: Sequence[Node], ours: PrefixTable[Route]
) -> Iterable[Finding]:
    if kept:
        first = list(kept)[:LISTED]
        owners = _owners([other.destination for other, _ in first], nodes, ours)
        shown = [
            f"{_named(other)} in {outside}"
            + (f" (with pods of node {listed(owners[number])})" if owners[number] else "")
            for number, (other, outside) in enumerate(first)
        ]
        yield Finding(
            code="DL-ROUTE-KEPT",
            severity=Severity.WARNING,
            title="A part of the cluster's networks does not reach the cluster.",
            evidence=f"kept by others: {shortened(shown, len(kept))}",
            fix="if their addresses should be the cluster's: remove these routes, or: devlink up "
            + options("--override", [other.destination for other, _ in kept]),
        )


def _overridden(taken: Collection[ObservedRoute]) -> Iterable[Finding]:
    if taken:
        yield Finding(
            code="DL-ROUTE-OVERRIDDEN",
            severity=Severity.INFO,
            title="Routes of others are overridden, as you asked.",
            evidence=shortened([_named(other) for other in list(taken)[:LISTED]], len(taken)),
        )


def _around(routes: Iterable[Route], others: Iterable[ObservedRoute]) -> Iterable[Finding]:
    table = PrefixTable((r.destination, r) for r in others if r.kind == "unicast")
    inside: dict[object, tuple[ObservedRoute, list[IPNetwork]]] = {}
    for route in routes:
        wider = table.holding(route.destination, strictly=True)
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


def _in_full(route: ObservedRoute) -> str:
    table = f" table {route.table}" if route.table != MAIN_TABLE else ""
    return f"{_named(route)} metric {route.metric}{table}"


def _owners(lost: Sequence[IPNetwork], nodes: Sequence[Node], ours: PrefixTable[Route]) -> list[list[IPAddress]]:
    """Of each prefix that others keep, whose pods are in it; a block with a narrower route of its own is not lost."""
    spans = [span(prefix) for prefix in lost]
    low, high = min(spans), max((version, last) for version, _, last in spans)
    owners: list[list[IPAddress]] = [[] for _ in lost]
    for node in nodes:
        for block in node.pods:
            version, first, last = span(block)
            if (version, last) < low[:2] or (version, first) > high:
                continue
            for number, (its_version, its_first, its_last) in enumerate(spans):
                if version != its_version or first > its_last or last < its_first:
                    continue
                route = ours.holding(block)
                is_lost = route is None or route.destination.prefixlen <= lost[number].prefixlen
                if is_lost and node.address not in owners[number]:
                    owners[number].append(node.address)
    return owners
