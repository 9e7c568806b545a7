"""The forwarder's configuration, compiled: whose a name is, what is answered here, which servers are asked."""

from collections.abc import Set
from typing import NamedTuple

from devlink.dns.config import Config, Private, Upstream
from devlink.dns.match import ClaimedDomains, SuffixTable, is_excluded, label_at
from devlink.dns.wire import AAAA, ANY, AXFR, IN, IXFR, A, Ede, Query, Rcode, address_record, offsets_in

MAX_SERVERS = 4
"""Servers asked for one question: more would leave each too little of the time."""
ORDINARY = "."
"""How statistics call all names that are in no zone."""


_IPV4_BEHIND = bytes(10) + b"\xff\xff", bytes(12), bytes.fromhex("0064ff9b") + bytes(8)
"""What an IPv6 address begins with whose last four octets are an IPv4 address: mapped, compatible, NAT64 (RFC 6052)."""
_IPV4_AHEAD = bytes.fromhex("2002")
"""The same, with the IPv4 address right behind (6to4, RFC 3056)."""


class Destination(NamedTuple):
    """The servers for one zone, or for all that is in none."""

    zone: str
    """The zone's suffix as text, or ORDINARY."""
    upstreams: tuple[Upstream, ...]
    namespaces: frozenset[bytes] | None = None
    group: int = 0
    """Number of its set of servers: zones with the same ones live and die together, and share what may be in flight."""

    @property
    def is_cluster(self) -> bool:
        """Whether the servers are replicas of one: near, trusted, and any as good as the other. The ordinary ones are
        in an order that means something (resolv.conf(5)): the first may know names that the next does not."""
        return self.zone != ORDINARY

    @property
    def servers(self) -> str:
        """For people, in the text of an extended error."""
        return ", ".join(upstream.server.host for upstream in self.upstreams)


class Verdict(NamedTuple):
    """What is answered here and now, and why."""

    rcode: Rcode
    records: tuple[bytes, ...] = ()
    ede: Ede | None = None
    text: str = ""
    zone: str = ORDINARY


class Alias(NamedTuple):
    """The name is short for another one (`redis.default`)."""

    octets: bytes
    """The other one."""
    destination: Destination


class Rules:
    """A Config made ready for look-ups. Immutable."""

    def __init__(self, config: Config, own: Set[tuple[str, int]] = frozenset()) -> None:
        """`own`: the forwarder's own sockets; an upstream that is one of them is left out, it would be a loop."""

        def usable(upstreams: tuple[Upstream, ...]) -> tuple[Upstream, ...]:
            different = dict.fromkeys(u for u in upstreams if (u.server.host, u.server.port) not in own)
            return tuple(different)[:MAX_SERVERS]

        groups: dict[tuple[Upstream, ...], int] = {}

        def destination(zone: str, upstreams: tuple[Upstream, ...], allowed: frozenset[bytes] | None) -> Destination:
            asked = usable(upstreams)
            return Destination(zone, asked, allowed, groups.setdefault(asked, len(groups)))

        zones = [(zone, destination(zone.text, zone.servers, zone.namespaces)) for zone in config.zones]
        self.destinations = {each.zone: each for _, each in zones}
        self.zones = SuffixTable((zone.suffix, each) for zone, each in zones)
        self.claimed = ClaimedDomains(zone.suffix for zone in config.zones)
        self.ordinary = self.destinations[ORDINARY] = destination(ORDINARY, config.upstreams, None)
        self.groups = len(groups)
        """How many sets of servers there are, each of which may fail by itself."""
        self._proofs = dict(config.proofs)
        self._search: dict[bytes, bytes] = {}
        """What stands behind NAME.NAMESPACE in the long name, by namespace."""
        for zone in config.zones:
            for namespace in zone.search:
                self._search.setdefault(namespace, b"\3svc" + zone.suffix)
        self._private = config.private

    def decide(self, query: Query) -> Destination | Verdict | Alias:
        """Where a question goes, or what is answered at once."""
        octets, offsets, qtype, qclass, _, _, _ = query
        found = self.zones.find(octets, offsets)
        where, before = found if found is not None else (self.ordinary, len(offsets))
        zone = where.zone
        if qclass != IN:
            return Verdict(Rcode.REFUSED, (), Ede.PROHIBITED, "only class IN is served", zone)
        if qtype in (AXFR, IXFR):
            return Verdict(Rcode.REFUSED, (), Ede.PROHIBITED, "zone transfers are not forwarded", zone)
        packed = self._proofs.get(octets)
        if packed is not None:
            matches = qtype in (A if len(packed) == 4 else AAAA, ANY)
            records = (address_record(packed),) if matches else ()
            return Verdict(Rcode.NOERROR, records, None, "the forwarder's own name", zone)
        if before == 2 and self._search and found is None:
            below = self._search.get(label_at(octets, offsets, 1))
            if below is not None and len(octets) + len(below) <= 256:
                return self._decide_for_alias(query, octets[:-1] + below)
        if self.claimed.stands_before_the_end(octets, offsets, before):
            text = "a cluster's name with a search domain behind it is not forwarded"
            return Verdict(Rcode.NXDOMAIN, (), Ede.PROHIBITED, text, zone)
        if where.namespaces is not None and is_excluded(octets, offsets, before, where.namespaces):
            return Verdict(Rcode.REFUSED, (), Ede.PROHIBITED, "the profile excludes this namespace", zone)
        if not where.upstreams:
            return Verdict(Rcode.SERVFAIL, (), Ede.NO_REACHABLE_AUTHORITY, "no server is known for this name", zone)
        return where

    def _decide_for_alias(self, query: Query, octets: bytes) -> Verdict | Alias:
        """What the long name is answered is answered to the short one."""
        decision = self.decide(query._replace(octets=octets, offsets=offsets_in(octets)))
        if isinstance(decision, Destination):
            return Alias(octets, decision)
        assert isinstance(decision, Verdict), "a name of more than two labels is short for none"
        return decision

    @property
    def has_private(self) -> bool:
        """Whether answers of the ordinary servers are looked at (`is_private`)."""
        return bool(self._private)

    def is_private(self, address: bytes) -> bool:
        """Whether an address (4 or 16 octets) is one of those that no ordinary name may have."""
        meant = [address]
        if len(address) == 16:
            meant += [address[12:]] if address.startswith(_IPV4_BEHIND) else []
            meant += [address[2:6]] if address.startswith(_IPV4_AHEAD) else []
        return any(_holds(prefix, each) for prefix in self._private for each in meant)


def _holds(prefix: Private, address: bytes) -> bool:
    return prefix.size == len(address) and int.from_bytes(address, "big") >> prefix.shift == prefix.network
