"""rtnetlink's messages for routes, as octets and back; no I/O. Numbers and layouts are those of linux/rtnetlink.h."""

import ipaddress
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

from devlink.core.network import DROPPING, PROTOCOL, ObservedRoute, Path, Route
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.kernel.netlink import attribute, attribute_u32, family_of, parse_attributes, u32
from devlink.kernel.nexthops import NO_HOP, Hop, NexthopMessage

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_MULTIPATH = 1, 4, 5, 6, 7, 8, 9
RTA_TABLE, RTA_VIA, RTA_NH_ID = 15, 18, 30
RTAX_MTU = 2
RT_TABLE_COMPAT = 252
"""What the header says for a table that does not fit its octet; RTA_TABLE has the number."""
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255

KINDS = {
    1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable",
    8: "prohibit", 9: "throw", 10: "nat", 11: "xresolve",
}  # fmt: skip
"""`rtm_type` by number."""
TYPES = {kind: number for number, kind in KINDS.items()}

_RTMSG = struct.Struct("=8BI")
_RTNEXTHOP = struct.Struct("=HBBi")
_FAMILY = struct.Struct("=H")
OCTET = tuple(bytes([number]) for number in range(256))
DST_HEADER = {4: struct.pack("=HH", 8, RTA_DST), 6: struct.pack("=HH", 20, RTA_DST)}
"""Before the octets of a destination, by IP version."""
DST_ENDS = {DST_HEADER[4]: 28, DST_HEADER[6]: 40}
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMessage:
    """One route as rtnetlink tells it, addresses still octets: a table of thousands is compared without parsing all."""

    family: int
    destination: bytes
    """The network's octets, 4 or 16."""
    prefix_length: int
    tos: int
    table: int
    protocol: int
    type: int
    metric: int
    hop: Hop
    """Of several, the first."""
    nexthop_id: int | None
    """The nexthop object that the route uses instead of a hop of its own."""
    mtu: int | None
    source: bytes | None


Shape = tuple[object, ...]


shape_of: Callable[[Route], Shape] = attrgetter(
    "next_hop", "oif", "metric", "table", "mtu", "source", "kind", "nexthop_id", "destination.version"
)
"""All of a route but its destination's octets and length: what thousands of one session share."""


Frame = tuple[bytes, bytes, bytes]
"""The octets of a body before its destination's length, those from there to the destination, and those after it."""


def addition_frame(route: Route, oif: int) -> Frame:
    """The frame of what adds or replaces routes of the shape of `route`, out of the interface with index `oif`."""
    # IPv4 wants the narrower scope for a destination on the link itself, else it looks for a gateway.
    on_link = route.next_hop is None and route.kind == "unicast" and not route.nexthop_id
    after = _where(route, oif)
    if route.source is not None:
        after += attribute(RTA_PREFSRC, route.source.packed)
    if route.mtu is not None:
        after += attribute(RTA_METRICS, attribute_u32(RTAX_MTU, route.mtu))
    elif route.nexthop_id:
        # Told of no metrics at all, IPv4 takes those of any other route by the same object (fib_find_info_nh).
        after += attribute(RTA_METRICS, b"")
    return _frame(route, RT_SCOPE_LINK if on_link else RT_SCOPE_UNIVERSE, after)


def deletion_frame(route: Route, oif: int) -> Frame:
    """The frame of what deletes a route and no other: the kernel compares protocol, metric, table, gateway and link,
    or the nexthop object."""
    return _frame(route, RT_SCOPE_NOWHERE, _where(route, oif))


def fill(frame: Frame, route: Route) -> bytes:
    """The body: a frame with the destination of `route`."""
    before, between, after = frame
    destination = route.destination
    return before + OCTET[destination.prefixlen] + between + destination.network_address.packed + after


def encode_route(route: Route, oif: int) -> bytes:
    """The body that adds or replaces `route` out of the interface with index `oif`."""
    return fill(addition_frame(route, oif), route)


def encode_deletion(route: Route, oif: int) -> bytes:
    """The body that deletes `route` and no other."""
    return fill(deletion_frame(route, oif), route)


def encode_lookup(address: IPAddress, oif: int | None = None) -> bytes:
    """The body that asks for the way to one address, out of the interface with index `oif` if that is given."""
    header = _RTMSG.pack(family_of(address), address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body = header + attribute(RTA_DST, address.packed)
    return body if oif is None else body + attribute_u32(RTA_OIF, oif)


def encode_route_dump(family: int, protocol: int = 0) -> bytes:
    """The body that asks for all routes of a family, in every table; of one protocol alone, if that is given."""
    return _RTMSG.pack(family, 0, 0, 0, 0, protocol, 0, 0, 0)


def _frame(route: Route, scope: int, after: bytes) -> Frame:
    table = route.table if route.table < 256 else RT_TABLE_COMPAT
    header = _RTMSG.pack(family_of(route.destination), 0, 0, 0, table, PROTOCOL, scope, TYPES[route.kind], 0)
    return header[:1], header[2:] + DST_HEADER[route.destination.version], after


def _where(route: Route, oif: int) -> bytes:
    numbers = attribute_u32(RTA_PRIORITY, route.metric) + attribute_u32(RTA_TABLE, route.table)
    if route.nexthop_id:
        return attribute_u32(RTA_NH_ID, route.nexthop_id) + numbers
    if route.kind != "unicast":
        return numbers
    hop = b""
    if route.next_hop is not None:
        if route.next_hop.version == route.destination.version:
            hop = attribute(RTA_GATEWAY, route.next_hop.packed)
        else:
            hop = attribute(RTA_VIA, _FAMILY.pack(family_of(route.next_hop)) + route.next_hop.packed)
    return hop + attribute_u32(RTA_OIF, oif) + numbers


def decode_route(body: bytes) -> RouteMessage:
    """The route of an RTM_NEWROUTE."""
    family, length, _, tos, table, protocol, _, kind, _ = _RTMSG.unpack_from(body)
    found = parse_attributes(body, _RTMSG.size)
    hop = _hop(found)
    if RTA_MULTIPATH in found:
        hop = _first_of_multipath(found[RTA_MULTIPATH])
    metrics = parse_attributes(found[RTA_METRICS]) if RTA_METRICS in found else {}
    octets = 4 if family == socket.AF_INET else 16
    return RouteMessage(
        family=family,
        destination=found.get(RTA_DST, bytes(octets)),
        prefix_length=length,
        tos=tos,
        table=u32(found[RTA_TABLE]) if RTA_TABLE in found else table,
        protocol=protocol,
        type=kind,
        metric=u32(found[RTA_PRIORITY]) if RTA_PRIORITY in found else 0,
        hop=hop,
        nexthop_id=u32(found[RTA_NH_ID]) if RTA_NH_ID in found else None,
        mtu=u32(metrics[RTAX_MTU]) if RTAX_MTU in metrics else None,
        source=found.get(RTA_PREFSRC),
    )


def read_routes(bodies: Iterable[bytes], of: Callable[[RouteMessage], T | None]) -> Iterator[tuple[bytes, T]]:
    """The destination of each RTM_NEWROUTE of one dump, its length's octet before its own, and what `of` makes of it.

    `of` is asked once for all routes that differ in nothing but the destination, and may leave them out by None. The
    kernel writes a route's table first and its destination next (fib_dump_info, rt6_fill_node).
    """
    known: dict[bytes, T | None] = {}
    for body in bodies:
        end = DST_ENDS.get(body[20:24], 0)
        if not end:  # the default route has no destination
            message = decode_route(body)
            made = of(message)
            key = OCTET[message.prefix_length] + message.destination
        else:
            rest = body[:1] + body[2:20] + body[end:]
            if rest in known:
                made = known[rest]
            else:
                made = known[rest] = of(decode_route(body))
            key = body[1:2] + body[24:end]
        if made is not None:
            yield key, made


def _hop(found: Mapping[int, bytes]) -> Hop:
    gateway = found.get(RTA_GATEWAY)
    if gateway is None and RTA_VIA in found:
        gateway = found[RTA_VIA][_FAMILY.size :]
        if len(gateway) not in (4, 16):  # a link address, as for MPLS: nothing that a next hop of ours can be
            gateway = None
    return Hop(oif=u32(found[RTA_OIF]) if RTA_OIF in found else None, gateway=gateway)


def _first_of_multipath(data: bytes) -> Hop:
    if len(data) < _RTNEXTHOP.size:
        return NO_HOP
    length, _, _, oif = _RTNEXTHOP.unpack_from(data)
    gateway = _hop(parse_attributes(data[:length], _RTNEXTHOP.size)).gateway
    return Hop(oif=oif, gateway=gateway)


def resolve_hop(route: RouteMessage, nexthops: Mapping[int, NexthopMessage]) -> Hop:
    """The route's first hop, from the nexthop object where it uses one; an empty hop if the object is gone."""
    if route.nexthop_id is None or route.hop.oif is not None:
        return route.hop
    found = nexthops.get(route.nexthop_id)
    if found is not None and found.members:  # the kernel allows no group in a group
        found = nexthops.get(found.members[0])
    return found.hop if found is not None else NO_HOP


def to_observed(route: RouteMessage, hop: Hop, names: Mapping[int, str]) -> ObservedRoute:
    """The route with addresses and link names as people know them."""
    return ObservedRoute(
        destination=to_network(OCTET[route.prefix_length] + route.destination),
        next_hop=ipaddress.ip_address(hop.gateway) if hop.gateway is not None else None,
        # An IPv6 route that throws is told with `lo`.
        oif=names.get(hop.oif) if hop.oif is not None and route.type != TYPES["throw"] else None,
        metric=route.metric,
        table=route.table,
        protocol=route.protocol,
        kind=KINDS.get(route.type, f"type {route.type}"),
        mtu=route.mtu,
        source=ipaddress.ip_address(route.source) if route.source is not None else None,
        nexthop_id=route.nexthop_id or 0,
    )


def with_destination(route: ObservedRoute, key: bytes) -> ObservedRoute:
    """The same with another destination, as `read_routes` tells it. By `dataclasses.replace` it costs three times as
    much, and there may be ten thousand."""
    return ObservedRoute(
        destination=to_network(key), next_hop=route.next_hop, oif=route.oif, metric=route.metric, table=route.table,
        protocol=route.protocol, kind=route.kind, mtu=route.mtu, source=route.source, nexthop_id=route.nexthop_id,
    )  # fmt: skip


def to_network(key: bytes) -> IPNetwork:
    """The destination that `read_routes` tells."""
    network = ipaddress.IPv4Network if len(key) == 5 else ipaddress.IPv6Network
    return network((key[1:], key[0]))


def key_of(network: IPNetwork) -> bytes:
    """`to_network` back."""
    return OCTET[network.prefixlen] + network.network_address.packed


def to_path(route: RouteMessage, names: Mapping[int, str]) -> Path:
    """The way that an answer to `encode_lookup` describes; no way for the types that drop packets."""
    kind = KINDS.get(route.type, f"type {route.type}")
    name = names.get(route.hop.oif) if route.hop.oif is not None else None
    if kind in DROPPING or name is None:
        return Path()
    return Path(
        oif=name,
        next_hop=ipaddress.ip_address(route.hop.gateway) if route.hop.gateway is not None else None,
        source=ipaddress.ip_address(route.source) if route.source is not None else None,
        kind=kind,
    )
