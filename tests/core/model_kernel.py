"""A kernel's routing as a model: tables, rules, and what becomes of a packet. Written from fib_rules.c and ip-rule(8),
address by address, and not from devlink's own planning, which it judges."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from devlink.core.network import (
    MAIN_TABLE,
    OVERRIDE_PREFERENCE,
    OVERRIDE_TABLE,
    PROTOCOL,
    ObservedNetwork,
    ObservedRoute,
    Path,
    Route,
    RouteDiff,
    Rule,
)
from devlink.core.prefixes import IPAddress, IPNetwork

USUAL = tuple(
    Rule(version=version, priority=priority, table=table)
    for version in (4, 6)
    for priority, table in ((0, 255), (32766, MAIN_TABLE), (32767, 253))
)
Place = tuple[IPNetwork, int, int]


class Kernel:
    """Routes by their place; two at the same place are refused, as the kernel does (EEXIST)."""

    def __init__(self, observed: ObservedNetwork) -> None:
        self.observed = observed
        self.routes: dict[Place, ObservedRoute] = {}
        for route in observed.routes:
            self.routes.setdefault((route.destination, route.metric, route.table), route)
        self._seen: ObservedNetwork | None = None

    def add(self, route: Route) -> None:
        assert route.key not in self.routes, f"EEXIST: {route}"
        self.routes[route.key] = _observed(route)

    def replace(self, route: Route) -> None:
        assert self.routes[route.key].is_ours, f"it is another's: {route}"
        self.routes[route.key] = _observed(route)

    def delete(self, route: Route) -> None:
        assert self.routes[route.key].is_ours, f"it is another's: {route}"
        del self.routes[route.key]

    def change(self, diff: RouteDiff) -> Iterator[None]:
        """One message after the other, in the order in which the helper sends them."""
        for deed, routes in ((self.add, diff.add), (self.replace, diff.replace), (self.delete, diff.delete)):
            for route in routes:
                deed(route)
                self._seen = None
                yield

    def install(self, diff: RouteDiff) -> None:
        for _ in self.change(diff):
            pass

    @property
    def seen(self) -> ObservedNetwork:
        """What an observer sees now."""
        if self._seen is None:
            self._seen = self._look()
        return self._seen

    def _look(self) -> ObservedNetwork:
        routes = tuple(self.routes.values())
        versions = {r.destination.version for r in routes if r.is_ours and r.table == OVERRIDE_TABLE}
        mine = [
            Rule(version=v, priority=OVERRIDE_PREFERENCE, table=OVERRIDE_TABLE, protocol=PROTOCOL) for v in versions
        ]
        foreign = self.observed.rules or USUAL
        rules = sorted([*foreign, *mine], key=lambda rule: rule.priority)
        seen = replace(self.observed, routes=routes, rules=tuple(rules))
        # The ways that others' routes lead are the observed ones; what ours take over is led by them.
        ways = {address: _way(seen, address) for address in seen.paths}
        taken = {
            a: Path(oif=way.oif, next_hop=way.next_hop) for a, way in ways.items() if way is not None and way.is_ours
        }
        return replace(seen, paths={**seen.paths, **taken})

    def way(self, address: IPAddress) -> ObservedRoute | None:
        """The route that decides for a packet of the laptop's own; None where it is dropped."""
        return _way(self.seen, address)


def _way(seen: ObservedNetwork, address: IPAddress) -> ObservedRoute | None:
    jumping_to = None
    for rule in (rule for rule in seen.rules if rule.version == address.version):
        if jumping_to is not None and rule.priority != jumping_to:
            continue
        jumping_to = None
        matches = not (
            rule.mark or rule.source or rule.iif or rule.oif or rule.uids or rule.other_selectors
            or (rule.destination is not None and address not in rule.destination)
        )  # fmt: skip
        if matches == rule.inverted:
            continue
        if rule.action == "goto":
            jumping_to = rule.table
        elif rule.action != "lookup":
            return None
        else:
            found = longest(address, (r for r in seen.routes if r.table == rule.table))
            short = -1 if rule.suppress_prefix_length is None else rule.suppress_prefix_length
            if found is None or found.kind == "throw" or found.destination.prefixlen <= short:
                continue
            return None if found.kind in ("blackhole", "unreachable", "prohibit") else found
    return None


def longest(address: IPAddress, routes: Iterable[ObservedRoute]) -> ObservedRoute | None:
    """The route of one table that decides for an address."""
    inside = [r for r in routes if r.destination.version == address.version and address in r.destination]
    return min(inside, key=lambda r: (-r.destination.prefixlen, r.metric), default=None)


def _observed(route: Route) -> ObservedRoute:
    return ObservedRoute(
        destination=route.destination, next_hop=route.next_hop, oif=route.oif or None, metric=route.metric,
        table=route.table, protocol=PROTOCOL, kind=route.kind, mtu=route.mtu, source=route.source,
    )  # fmt: skip


def ours_of(observed: ObservedNetwork) -> tuple[Route, ...]:
    """The routes that carry our protocol number, of the kinds that we make."""
    return tuple(
        as_route(r)
        for r in observed.routes
        if r.is_ours and ((r.kind == "unicast" and r.oif is not None) or r.kind == "throw")
    )


def as_route(seen: ObservedRoute) -> Route:
    """A route of ours as it was wanted."""
    return Route(
        destination=seen.destination, next_hop=seen.next_hop, oif=seen.oif or "", metric=seen.metric,
        table=seen.table, mtu=seen.mtu, source=seen.source, kind=seen.kind, nexthop_id=seen.nexthop_id,
    )  # fmt: skip


def difference(desired: Iterable[Route], present: Iterable[Route]) -> RouteDiff:
    """What makes the desired ones of those of ours that are present."""
    have, want = ({route.key: route for route in routes} for routes in (present, desired))
    return RouteDiff(
        add=tuple(r for key, r in want.items() if key not in have),
        replace=tuple(r for key, r in want.items() if key in have and not _is_same(have[key], r)),
        delete=tuple(r for key, r in have.items() if key not in want),
    )


def _is_same(a: Route, b: Route) -> bool:
    """Where a nexthop object says the way, the object is compared, not the hop that it has at this moment."""
    if a.nexthop_id and a.nexthop_id == b.nexthop_id:
        return (a.mtu, a.source, a.kind) == (b.mtu, b.source, b.kind)
    return a == b
