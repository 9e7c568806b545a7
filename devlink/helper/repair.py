"""What is missing of what is installed, what can be put back now, and which numbers our nexthop objects have. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from devlink.core.neighbours import Neighbours
from devlink.core.network import (
    FIRST_NEXTHOP_ID,
    Change,
    Holding,
    ObservedNetwork,
    Route,
    RouteDiff,
    RouteKey,
)
from devlink.helper.installed import Installed, Role
from devlink.kernel.ours import Ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """What is missing of what is installed, as the sessions want it."""

    taken: tuple[Route, ...] = ()
    """What could be there: another hand took it, or its link has come back since."""
    waiting: tuple[Route, ...] = ()
    """For a link with a carrier, an address of ours, or the next hop on its link."""
    ours: Ours = field(default_factory=Ours)
    """What the kernel had then of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """What came of putting it back."""

    back: tuple[Route, ...] = ()
    held: tuple[Route, ...] = ()
    """Still missing, as somebody else has its place."""


class Numbers:
    """Which nexthop object each role has."""

    def __init__(self, *, wanted: bool) -> None:
        """`wanted`: whether there shall be nexthop objects at all, where the kernel has them."""
        self._wanted = wanted
        self.known: dict[Role, int] = {}

    def of(self, installed: Installed, ours: Ours) -> dict[Role, int]:
        """The numbers of the roles in `installed`, new ones for those that have none yet.

        A number that somebody else has is never taken. One of ours that somebody has put an object of their own under
        stays ours as long as our routes use it; else it is theirs.
        """
        if not self._wanted or not ours.has_nexthops:
            self.known.clear()
            return {}
        theirs = ours.nexthop_ids - {nexthop.id for nexthop in ours.nexthops} - ours.used_ids
        self.known = {role: number for role, number in self.known.items() if number not in theirs}
        taken = ours.nexthop_ids | set(self.known.values())
        free = (number for number in count(FIRST_NEXTHOP_ID) if number not in taken)
        for role in installed.roles:
            if role not in self.known:
                self.known[role] = next(free)
        return self.known

    def keep(self, roles: Iterable[Role]) -> None:
        """Forget the numbers of all others."""
        kept = set(roles)
        self.known = {role: number for role, number in self.known.items() if role in kept}

    def forget(self) -> None:
        """Nothing is installed any more."""
        self.known = {}


def missing(installed: Installed, numbers: Mapping[Role, int], ours: Ours) -> tuple[Route, ...]:
    """The routes of `installed` that are gone or changed in the kernel, or whose nexthop object or rule is."""
    desired = installed.holding(numbers)
    lost = ours.change_to(desired).gains
    if not lost:
        return ()
    keys = {route.key for route in lost.routes.add + lost.routes.replace}
    objects = {nexthop.id for nexthop in lost.nexthops}
    tables = {(rule.table, rule.version) for rule in lost.rules}
    for route in desired.routes:
        if route.nexthop_id in objects or (route.table, route.destination.version) in tables:
            keys.add(route.key)
    return tuple(route for route in installed.routes if route.key in keys)


def mending(
    desired: Holding, ours: Ours, ways: ObservedNetwork, leave: Collection[RouteKey] = ()
) -> tuple[Change, frozenset[RouteKey]]:
    """What puts back that part of `desired` which can be there now, and the keys of the routes that cannot.

    Not of what waits for its link or for its own address, nor of what is stale: its next hop is not on its link. What
    is stale is deleted. Routes whose keys are in `leave` stay as they are, and so does what they alone need.
    """
    addresses = {address for link in ways.links for address, _ in link.addresses}
    up = {link.name for link in ways.links if link.up}
    waiting = {hop for hop in desired.hops if hop[1] not in up}
    link_to = Neighbours(ways).link_to
    stale = {hop for hop in desired.hops - waiting if hop[0] is not None and link_to(hop[0]) != hop[1]}
    objects = {nexthop.id: (nexthop.next_hop, nexthop.oif) for nexthop in desired.nexthops}
    hop_of = {route.key: objects.get(route.nexthop_id, (route.next_hop, route.oif)) for route in desired.routes}
    out = waiting | stale
    left_out = frozenset(
        route.key
        for route in desired.routes
        if hop_of[route.key] in out or (route.source is not None and route.source not in addresses)
    )
    kept = [route for route in desired.routes if route.key not in leave]
    used = {route.nexthop_id for route in kept}
    asked = {(route.table, route.destination.version) for route in kept}
    standing = replace(
        desired,
        routes=tuple(route for route in kept if route.key not in left_out),
        nexthops=tuple(each for each in desired.nexthops if objects[each.id] not in out and each.id in used),
        rules=tuple(rule for rule in desired.rules if (rule.table, rule.version) in asked),
    )
    change = ours.change_to(standing)
    gone = tuple(r for r in change.routes.delete if hop_of.get(r.key) in stale)
    mended = replace(
        change.gains,
        routes=RouteDiff(add=change.routes.add, replace=change.routes.replace, delete=gone),
        unwanted_nexthops=tuple(n for n in change.unwanted_nexthops if objects.get(n) in stale),
    )
    return mended, left_out
