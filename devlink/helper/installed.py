"""What shall be there of all sessions together: the routes, the zones, and where the sessions' own routes lead."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from devlink.core.network import (
    MAIN_TABLE,
    OVERRIDE_PREFERENCE,
    OVERRIDE_TABLE,
    PROTOCOL,
    RELAY_PREFERENCE,
    RELAY_TABLES,
    Holding,
    Nexthop,
    Route,
    Rule,
)
from devlink.core.plan import Detour, Zone
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.kernel.redirect import Relayed

Role = tuple[str, IPAddress, str]
"""A session, a next hop that its routes prefer, and the link of that: what shares one nexthop object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRoutes:
    """The routes of one session, each with the next hop that it prefers."""

    session: str
    routes: tuple[Route, ...] = ()
    roles: tuple[Role, ...] = field(init=False)
    """Each once, in the order of the routes. Kept, so that a switch need not look at ten thousand of them."""

    def __post_init__(self) -> None:
        hops: dict[tuple[IPAddress, str], None] = {}
        before: tuple[IPAddress | None, str] | None = None
        for route in self.routes:
            if (hop := (route.next_hop, route.oif)) != before and route.next_hop is not None:
                hops[route.next_hop, route.oif] = None
            before = hop
        object.__setattr__(self, "roles", tuple((self.session, *hop) for hop in hops))


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """All that shall be there, of all sessions together."""

    pins: tuple[Route, ...] = ()
    """Host routes that keep an address on the way that it has, each with a next hop of its own."""
    sessions: tuple[SessionRoutes, ...] = ()
    detours: Mapping[str, tuple[Detour, ...]] = field(default_factory=dict)
    """By session: by whom the packets of its routes go meanwhile."""
    zones: tuple[Zone, ...] = ()
    networks: tuple[IPNetwork, ...] = ()
    """Where the sessions' own routes lead; those that only keep an address on its way are not among them."""
    relayed: tuple[Relayed, ...] = ()
    """What is redirected of the sessions whose routes lead to our own link, or did: those that drain are among them."""

    @property
    def routes(self) -> tuple[Route, ...]:
        """All of them, each with the next hop that it prefers."""
        return (*(route for session in self.sessions for route in session.routes), *self.pins)

    @property
    def roles(self) -> tuple[Role, ...]:
        return tuple(role for session in self.sessions for role in session.roles)

    def of(self, session: str) -> "Installed":
        """What one session wants of the routes."""
        return Installed(
            sessions=tuple(each for each in self.sessions if each.session == session),
            detours={session: self.detours.get(session, ())},
        )

    def detoured(self, session: str, next_hop: IPAddress, to: Detour | None) -> "Installed":
        """The same, with the packets that routes of `session` would send to `next_hop` going by `to`; by `next_hop`
        itself where that is None."""

        others = tuple(each for each in self.detours.get(session, ()) if each.next_hop != next_hop)
        return replace(self, detours={**self.detours, session: others if to is None else (*others, to)})

    def hop_of(self, role: Role) -> tuple[IPAddress, str]:
        """By whom, and out of which link, a role's packets go now."""
        session, next_hop, oif = role
        for detour in self.detours.get(session, ()):
            if detour.next_hop == next_hop:
                return detour.via, detour.oif
        return next_hop, oif

    def only(self, keep: Callable[[Route], bool]) -> "Installed":
        """The same with some of the routes."""
        sessions = (replace(each, routes=tuple(filter(keep, each.routes))) for each in self.sessions)
        return replace(self, sessions=tuple(sessions), pins=tuple(filter(keep, self.pins)))

    def nexthops(self, numbers: Mapping[Role, int]) -> tuple[Nexthop, ...]:
        """The nexthop objects of those roles that have a number."""
        hops = ((role, self.hop_of(role)) for session in self.sessions for role in session.roles if role in numbers)
        return tuple(Nexthop(id=numbers[role], next_hop=via, oif=oif) for role, (via, oif) in hops)

    def holding(self, numbers: Mapping[Role, int]) -> Holding:
        """What the kernel shall hold for it: routes by the nexthop objects with these numbers, one for each role, and
        plain ones for roles without a number."""
        routes = [*self.pins]
        for session in self.sessions:
            routes += _by_roles(session, {role: self.hop_of(role) for role in session.roles}, numbers)
        asked = sorted({(r.table, r.destination.version) for r in routes if r.table != MAIN_TABLE})
        return Holding(
            routes=tuple(routes),
            nexthops=self.nexthops(numbers),
            rules=tuple(rule_of(table, version) for table, version in asked),
        )


def rule_of(table: int, version: int) -> Rule:
    """The rule that has one of our tables asked, for one family."""
    return override_rule(version) if table == OVERRIDE_TABLE else relay_rule(table - RELAY_TABLES, version)


def relay_rule(uid: int, version: int) -> Rule:
    """The rule that has a user's relayed prefixes asked first, for what that user's programs send from this machine.

    Not for what is passed on for others, containers above all: the kernel takes it for root's (sock_net_uid).
    """
    return Rule(
        version=version, priority=RELAY_PREFERENCE, table=RELAY_TABLES + uid, uids=(uid, uid), iif="lo",
        protocol=PROTOCOL,
    )  # fmt: skip


def override_rule(version: int) -> Rule:
    """The rule that has the table of overrides asked first, for one family."""
    return Rule(version=version, priority=OVERRIDE_PREFERENCE, table=OVERRIDE_TABLE, protocol=PROTOCOL)


def _by_roles(
    session: SessionRoutes, hops: Mapping[Role, tuple[IPAddress, str]], numbers: Mapping[Role, int]
) -> Iterator[Route]:
    before: tuple[IPAddress | None, str] | None = None
    for route in session.routes:
        if route.next_hop is None:
            yield route
            continue
        if (preferred := (route.next_hop, route.oif)) != before:  # thousands in a row have the same
            before = preferred
            role = (session.session, *preferred)
            (via, oif), number = hops[role], numbers.get(role, 0)
            is_plain = not number and (via, oif) == preferred
        if is_plain:
            yield route
            continue
        # By `dataclasses.replace` it costs three times as much.
        yield Route(
            destination=route.destination, next_hop=via, oif=oif, metric=route.metric, table=route.table,
            mtu=route.mtu, source=route.source, kind=route.kind, nexthop_id=number,
        )  # fmt: skip
