"""What is ours in the kernel, and how it differs from what shall be. By octets: ten thousand routes must be cheap."""

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from devlink.core.network import (
    MAIN_TABLE,
    OVERRIDE_TABLE,
    PROTOCOL,
    RELAY_TABLES,
    Change,
    Holding,
    Nexthop,
    Route,
    RouteDiff,
    Rule,
)
from devlink.kernel.netlink import FAMILIES, NetlinkSocket, unreachable_kernel
from devlink.kernel.nexthops import to_nexthop
from devlink.kernel.observe import dump_nexthops, dump_routes
from devlink.kernel.rtnetlink import (
    KINDS,
    TYPES,
    RouteMessage,
    Shape,
    key_of,
    read_routes,
    shape_of,
    to_network,
)
from devlink.kernel.rules import dump_rules

Table = tuple[int, int, int]
"""IP version, table and metric."""
EVERY_KIND = frozenset({"unicast", "throw"})
"""The kinds that we make."""


def is_of_sessions(table: int) -> bool:
    """Whether sessions have their routes in it; those in other tables are for probes."""
    return table in (MAIN_TABLE, OVERRIDE_TABLE) or table >= RELAY_TABLES


class Way(NamedTuple):
    """Where a route leads, still as the kernel has it."""

    kind: str
    nexthop_id: int = 0
    oif: int = 0
    """Interface index; 0 where the nexthop object says it."""
    gateway: bytes | None = None
    mtu: int | None = None
    source: bytes | None = None


class Links:
    """Interface indexes by name and back, each asked for once."""

    def __init__(self) -> None:
        self._indexes: dict[str, int | None] = {}
        self._names: dict[int, str] = {}

    def index(self, name: str) -> int | None:
        """None where there is no such link."""
        if name not in self._indexes:
            try:
                self._indexes[name] = socket.if_nametoindex(name)
            except OSError:
                self._indexes[name] = None
        return self._indexes[name]

    def name(self, index: int) -> str:
        """Empty where there is no such link any more."""
        if index not in self._names:
            try:
                self._names[index] = socket.if_indextoname(index)
            except OSError:
                self._names[index] = ""
        return self._names[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """What carries our protocol number, at one moment."""

    found: dict[Table, dict[bytes, Way]] = field(default_factory=dict)
    """The routes, by destination: its length's octet, then its own."""
    nexthops: tuple[Nexthop, ...] = ()
    """The objects that are no groups."""
    nexthop_ids: frozenset[int] = frozenset()
    """The numbers of all objects, anyone's."""
    has_nexthops: bool = True
    """Whether this kernel has nexthop objects."""
    rules: tuple[Rule, ...] = ()
    links: Links = field(default_factory=Links)

    @property
    def routes(self) -> tuple[Route, ...]:
        """All of them; those by a nexthop object without their next hop and link."""
        return tuple(self._routes(self.found))

    @property
    def used_ids(self) -> frozenset[int]:
        """The numbers of the objects that our routes use."""
        ways = {id(way): way for ways in self.found.values() for way in ways.values()}
        return frozenset(way.nexthop_id for way in ways.values())

    def change_to(self, desired: Holding, *, thorough: bool = False) -> Change:
        """What makes this the desired one. What belongs to probes, which is what lies in other tables than the
        sessions' and rules for marked packets, stays, unless it is to be `thorough`.
        """
        unwanted = {nexthop.id for nexthop in self.nexthops} - {nexthop.id for nexthop in desired.nexthops}
        rules = tuple(rule for rule in self.rules if thorough or rule.mark is None)
        return Change(
            nexthops=tuple(nexthop for nexthop in desired.nexthops if nexthop not in self.nexthops),
            routes=self._diff(desired.routes, unwanted, thorough=thorough),
            rules=tuple(rule for rule in desired.rules if rule not in rules),
            unwanted_rules=tuple(rule for rule in rules if rule not in desired.rules),
            unwanted_nexthops=tuple(sorted(unwanted)),
        )

    def _diff(self, desired: Iterable[Route], unwanted_ids: set[int], *, thorough: bool) -> RouteDiff:
        """What must change. A route by a nexthop object is compared by that object, wherever it leads meanwhile."""
        add, replace = [], []
        wanted: dict[Table, set[bytes]] = {}
        shape: Shape | None = None
        for route in desired:
            if (this := shape_of(route)) != shape:
                shape = this
                way = self._way(route)
                table = (route.destination.version, route.table, route.metric)
                present = self.found.get(table, {})
                keys = wanted.setdefault(table, set())
            key = key_of(route.destination)
            keys.add(key)
            there = present.get(key)
            if there is None:
                add.append(route)
            elif there is not way and there != way:
                replace.append(route)
        left = {
            table: {key: way for key, way in ways.items() if key not in wanted.get(table, ())}
            for table, ways in self.found.items()
            if thorough or is_of_sessions(table[1])
        }
        delete = tuple(self._routes(left, but=unwanted_ids))
        return RouteDiff(add=tuple(add), replace=tuple(replace), delete=delete)

    def _way(self, route: Route) -> Way:
        mtu, source = route.mtu, route.source.packed if route.source is not None else None
        if route.nexthop_id:
            return Way(route.kind, route.nexthop_id, 0, None, mtu, source)
        if route.kind != "unicast":
            return Way(route.kind, 0, 0, None, mtu, source)
        gateway = route.next_hop.packed if route.next_hop is not None else None
        return Way(route.kind, 0, self.links.index(route.oif) or -1, gateway, mtu, source)

    def _routes(self, found: dict[Table, dict[bytes, Way]], but: Iterable[int] = ()) -> Iterator[Route]:
        for (_, table, metric), ways in found.items():
            for key, way in ways.items():
                if way.nexthop_id not in but:
                    yield Route(
                        destination=to_network(key),
                        next_hop=ipaddress.ip_address(way.gateway) if way.gateway is not None else None,
                        oif=self.links.name(way.oif) if way.oif else "",
                        metric=metric, table=table, mtu=way.mtu,
                        source=ipaddress.ip_address(way.source) if way.source is not None else None,
                        kind=way.kind, nexthop_id=way.nexthop_id,
                    )  # fmt: skip


def observe_ours() -> Ours:
    """What is ours in the network of the namespace that this process is in. Raises HelperError."""
    found: dict[Table, dict[bytes, Way]] = {}
    try:
        with NetlinkSocket() as netlink:
            for family in FAMILIES.values():
                place = partial(_place, family=family, found=found)
                for key, (ways, way) in read_routes(dump_routes(netlink, family, PROTOCOL), place):
                    ways[key] = way
            rules = tuple(rule for rule in dump_rules(netlink) if rule.is_ours)
            objects = dump_nexthops(netlink)
    except OSError as error:
        raise unreachable_kernel(error) from error
    links = Links()
    ours = (each for each in (objects or {}).values() if each.protocol == PROTOCOL and not each.members)
    return Ours(
        found=found,
        nexthops=tuple(to_nexthop(each, links.name(each.hop.oif or 0)) for each in ours),
        nexthop_ids=frozenset(objects or ()),
        has_nexthops=objects is not None,
        rules=rules,
        links=links,
    )


def _place(
    message: RouteMessage, family: int, found: dict[Table, dict[bytes, Way]]
) -> tuple[dict[bytes, Way], Way] | None:
    """Where a route belongs, and its way; None for one that is not ours."""
    kind = KINDS.get(message.type, "")
    # A kernel before 4.20 tells the routes of every protocol, and one without IPv6 those of every family.
    if message.protocol != PROTOCOL or message.family != family or kind not in EVERY_KIND or message.tos:
        return None
    hop = message.hop
    if message.nexthop_id is not None or message.type == TYPES["throw"]:
        way = Way(kind, message.nexthop_id or 0, 0, None, message.mtu, message.source)
    else:
        way = Way(kind, 0, hop.oif or -1, hop.gateway, message.mtu, message.source)
    return found.setdefault((4 if family == socket.AF_INET else 6, message.table, message.metric), {}), way
