"""The laptop's network as data: links, addresses, routes, and the way to an address, as the kernel tells them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from devlink.core.prefixes import IPAddress, IPNetwork

PROTOCOL = 231
"""`RTA_PROTOCOL` of every route of ours: what says in the kernel that it is ours (unused in iproute2's rt_protos)."""
MAIN_TABLE, LOCAL_TABLE = 254, 255
"""RT_TABLE_MAIN and RT_TABLE_LOCAL; the latter has the laptop's own addresses."""
OVERRIDE_TABLE = 5230
"""The table of those routes of ours that shall win over other tables and over more specific routes."""
OVERRIDE_PREFERENCE = 5200
"""Of the rule that has `OVERRIDE_TABLE` asked: before Tailscale's (5210 and up), wg-quick's and the main table's."""
RELAY_PREFERENCE = 5201
"""Of the rules that have a user's own relayed prefixes asked, for that user's packets alone: right after overrides."""
RELAY_TABLES = 1 << 31
"""The first of the tables of relayed prefixes, one for each user: its number, and the user's uid."""
CONNECTED = frozenset((2, 9))
"""RTPROT_KERNEL and RTPROT_RA (linux/rtnetlink.h): routes to what is on a link by itself."""
FAILING = frozenset(("blackhole", "unreachable", "prohibit"))
"""Kinds of routes (`rtm_type`), and actions of rules, that drop a packet."""
DROPPING = FAILING | {"throw"}
"""Kinds of routes that lead nowhere by themselves."""
METRIC = 50
"""`RTA_PRIORITY` of our routes: before NetworkManager's (100 and up), behind nothing that matters."""
FIRST_NEXTHOP_ID = 231_000_001
"""`NHA_ID` of our first nexthop object; the next ones follow, and skip what others have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route of ours, as we want it or as we installed it: unicast out of one interface, or a `throw`."""

    destination: IPNetwork
    next_hop: IPAddress | None = None
    """`RTA_GATEWAY`; None where the destination is on the link itself."""
    oif: str
    """The interface's name: what a person reads; the kernel edge turns it into an index. Empty for a `throw`."""
    metric: int = METRIC
    """`RTA_PRIORITY`, from 1; lower wins. Never 0: the kernel reads an IPv6 0 back as 1024, so a plan never settles."""
    table: int = MAIN_TABLE
    """`RTA_TABLE`."""
    mtu: int | None = None
    """`RTAX_MTU` in octets; None leaves it to the link."""
    source: IPAddress | None = None
    """`RTA_PREFSRC`: the laptop's own address to use; None leaves it to the kernel."""
    kind: str = "unicast"
    """`throw`, only in `OVERRIDE_TABLE`, leaves a destination to the other tables."""
    nexthop_id: int = 0
    """`RTA_NH_ID`: the nexthop object that says where packets go meanwhile, shared by all routes of one session that
    prefer the same next hop; 0 for a route with a next hop of its own. A plan never names one: the helper does."""

    @property
    def key(self) -> "RouteKey":
        """What makes two routes the same place in the kernel's table."""
        return (self.destination, self.metric, self.table)

    def __str__(self) -> str:
        """As `ip route` writes it."""
        parts = [str(self.destination)] if self.kind == "unicast" else [self.kind, str(self.destination)]
        if self.nexthop_id:
            parts.append(f"nhid {self.nexthop_id}")
        if self.next_hop is not None:
            parts.append(f"via {self.next_hop}")
        parts.append(f"dev {self.oif} proto {PROTOCOL}" if self.oif else f"proto {PROTOCOL}")
        if self.source is not None:
            parts.append(f"src {self.source}")
        parts.append(f"metric {self.metric}")
        if self.table != MAIN_TABLE:
            parts.append(f"table {self.table}")
        if self.mtu is not None:
            parts.append(f"mtu {self.mtu}")
        return " ".join(parts)


def relay_table(uid: int) -> int:
    """The table of the prefixes that are relayed for one user (`RTA_TABLE`, 32 bits)."""
    return RELAY_TABLES | uid


RouteKey = tuple[IPNetwork, int, int]
Hop = tuple[IPAddress | None, str]
"""A next hop, or None for a destination on the link itself, and the link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nexthop:
    """One nexthop object of the kernel that is no group: where packets go, for all routes that name it."""

    id: int
    """`NHA_ID`."""
    next_hop: IPAddress | None
    """`NHA_GATEWAY`."""
    oif: str

    def __str__(self) -> str:
        """As `ip nexthop` writes it."""
        via = f"via {self.next_hop} " if self.next_hop is not None else ""
        return f"id {self.id} {via}dev {self.oif} proto {PROTOCOL}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One policy rule (`ip rule`), anyone's; a selector that is None selects nothing, so all packets pass it."""

    version: int
    """4 or 6."""
    priority: int
    """`FRA_PRIORITY`: the lowest is asked first."""
    action: str = "lookup"
    """`lookup`, `goto`, `nop`, `blackhole`, `unreachable` or `prohibit` (linux/fib_rules.h)."""
    table: int = 0
    """`FRA_TABLE`, where the action is `lookup`; the rule's target where it is `goto`."""
    inverted: bool = False
    """`not`: it is for the packets that its selectors do not select (FIB_RULE_INVERT)."""
    source: IPNetwork | None = None
    destination: IPNetwork | None = None
    iif: str | None = None
    oif: str | None = None
    mark: int | None = None
    mask: int = 0xFFFFFFFF
    """Which bits of a packet's mark are compared."""
    uids: tuple[int, int] | None = None
    """First and last uid of the sender."""
    other_selectors: bool = False
    """It selects by something else besides: TOS, ports, the transport's protocol, a tunnel."""
    suppress_prefix_length: int | None = None
    """Routes of the table that are this short or shorter count as not found (wg-quick's 0 for the main table)."""
    protocol: int = 0
    """`FRA_PROTOCOL`: 231 for ours."""

    @property
    def is_ours(self) -> bool:
        return self.protocol == PROTOCOL

    def __str__(self) -> str:
        """As `ip rule` writes it in a command, `-6` left out."""
        parts = [f"pref {self.priority}"]
        if self.inverted:
            parts.append("not")
        parts += [f"from {self.source or 'all'}", *([f"to {self.destination}"] if self.destination is not None else [])]
        if self.mark is not None:
            parts.append(f"fwmark {self.mark:#x}" + ("" if self.mask == 0xFFFFFFFF else f"/{self.mask:#x}"))
        parts += [f"{word} {name}" for word, name in (("iif", self.iif), ("oif", self.oif)) if name is not None]
        if self.uids is not None:
            parts.append("uidrange {}-{}".format(*self.uids))
        parts.append(f"{self.action} {self.table}" if self.action in ("lookup", "goto") else self.action)
        if self.suppress_prefix_length is not None:
            parts.append(f"suppress_prefixlength {self.suppress_prefix_length}")
        if self.protocol:
            parts.append(f"protocol {self.protocol}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedRoute:
    """One route as the kernel dumps it, anyone's."""

    destination: IPNetwork
    next_hop: IPAddress | None = None
    oif: str | None = None
    """None for routes without a device: blackhole, unreachable, prohibit, multipath."""
    metric: int = 0
    table: int = MAIN_TABLE
    protocol: int
    """`rtm_protocol`: 2 kernel, 3 boot, 4 static, 16 dhcp, 186 bgp, 231 ours (linux/rtnetlink.h)."""
    kind: str = "unicast"
    """`rtm_type` by name: unicast, local, broadcast, blackhole, unreachable, prohibit, throw, multicast, anycast."""
    mtu: int | None = None
    source: IPAddress | None = None
    nexthop_id: int = 0
    """`RTA_NH_ID`; `next_hop` and `oif` are then those of the object."""

    @property
    def is_ours(self) -> bool:
        return self.protocol == PROTOCOL

    @property
    def is_connected(self) -> bool:
        """Whether it came with a link: for what is on that by itself, or for the laptop's own addresses."""
        return self.protocol in CONNECTED and self.next_hop is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One network interface."""

    index: int
    name: str
    mtu: int
    """In octets."""
    up: bool
    """IFF_UP and carrier (IFF_LOWER_UP)."""
    noarp: bool = False
    """IFF_NOARP: a tunnel or the like, on which nobody has a link address."""
    addresses: tuple[tuple[IPAddress, int], ...] = ()
    """Each address with its prefix length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The way that the kernel would take to one address (`ip route get`)."""

    oif: str | None = None
    """None where there is no route."""
    next_hop: IPAddress | None = None
    """None where the address is on the link itself."""
    source: IPAddress | None = None
    kind: str = "unicast"
    """`local` where the address is the laptop's own."""

    @property
    def is_on_link(self) -> bool:
        """Whether packets for it leave by a link without a router; core.neighbours says who is on that link."""
        return self.oif is not None and self.next_hop is None and self.kind == "unicast"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedNetwork:
    """What the kernel said at one moment."""

    links: tuple[Link, ...] = ()
    routes: tuple[ObservedRoute, ...] = ()
    """Of all tables and both families."""
    paths: Mapping[IPAddress, Path] = field(default_factory=dict)
    """The way to each address that was asked for, with every policy rule taken into account."""
    rules: tuple[Rule, ...] = ()
    """The policy rules of both families, anyone's, in the order in which the kernel asks them."""

    @property
    def foreign(self) -> tuple[ObservedRoute, ...]:
        """The routes of everybody else."""
        return tuple(r for r in self.routes if not r.is_ours)

    @property
    def default_gateways(self) -> tuple[IPAddress, ...]:
        """The next hops of the default routes."""
        hops = (r.next_hop for r in self.routes if r.destination.prefixlen == 0 and r.kind == "unicast")
        return tuple(dict.fromkeys(hop for hop in hops if hop is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDiff:
    """What must change for our routes to be the desired ones. The three share no key."""

    add: tuple[Route, ...] = ()
    replace: tuple[Route, ...] = ()
    """Same key, another next hop, link, MTU, source, kind or nexthop object."""
    delete: tuple[Route, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.replace or self.delete)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What is ours in the kernel, or shall be."""

    routes: tuple[Route, ...] = ()
    nexthops: tuple[Nexthop, ...] = ()
    """Of those that the routes name, each once."""
    rules: tuple[Rule, ...] = ()

    @property
    def hops(self) -> frozenset[Hop]:
        """Where all of it leads."""
        plain = {(route.next_hop, route.oif) for route in self.routes if not route.nexthop_id and route.oif}
        return frozenset(plain | {(nexthop.next_hop, nexthop.oif) for nexthop in self.nexthops})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What must be done for the kernel to hold what it shall, in the order in which nothing is missing meanwhile."""

    nexthops: tuple[Nexthop, ...] = ()
    """To be made, or made anew with another hop."""
    routes: RouteDiff = RouteDiff()
    """Without deletions of those routes that go with their nexthop object."""
    rules: tuple[Rule, ...] = ()
    """To be added."""
    unwanted_rules: tuple[Rule, ...] = ()
    unwanted_nexthops: tuple[int, ...] = ()
    """By their `NHA_ID`. Routes that use one go with it."""

    def __bool__(self) -> bool:
        return bool(self.nexthops or self.routes or self.rules or self.unwanted_rules or self.unwanted_nexthops)

    @property
    def gains(self) -> "Change":
        """The part that takes nothing away."""
        routes = RouteDiff(add=self.routes.add, replace=self.routes.replace)
        return Change(nexthops=self.nexthops, routes=routes, rules=self.rules)

    @property
    def losses(self) -> "Change":
        """The part that only takes away."""
        return Change(
            routes=RouteDiff(delete=self.routes.delete), unwanted_rules=self.unwanted_rules,
            unwanted_nexthops=self.unwanted_nexthops,
        )  # fmt: skip
