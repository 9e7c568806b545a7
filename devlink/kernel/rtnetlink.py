"""rtnetlink's messages for links, addresses, neighbours, routes and nexthop objects, as octets and back; no I/O.

Numbers and layouts are those of linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h and nexthop.h.
"""

import ipaddress
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from devlink.core.network import PROTOCOL, Link, ObservedRoute, Path, Route
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.kernel.netlink import attribute, attribute_u32, parse_attributes, u32

RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_GETNEIGH = 30
RTM_GETNEXTHOP = 106

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_MULTIPATH = 1, 4, 5, 6, 7, 8, 9
RTA_TABLE, RTA_VIA, RTA_NH_ID = 15, 18, 30
RTAX_MTU = 2
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_INFO_KIND = 3, 4, 18, 1
IFLA_TXQLEN, IFLA_AF_SPEC, IFLA_INET6_ADDR_GEN_MODE = 13, 26, 8
IN6_ADDR_GEN_MODE_NONE = 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFA_F_NODAD = 0x2
NDA_DST, NDA_LLADDR = 1, 2
NHA_ID, NHA_GROUP, NHA_OIF, NHA_GATEWAY = 1, 2, 5, 6
IFF_UP, IFF_MULTICAST, IFF_LOWER_UP = 0x1, 0x1000, 0x10000
RT_TABLE_COMPAT = 252
"""What the header says for a table that does not fit its octet; RTA_TABLE has the number."""
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RTN_UNICAST = 1

KINDS = {
    1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable",
    8: "prohibit", 9: "throw", 10: "nat", 11: "xresolve",
}  # fmt: skip
"""`rtm_type` by number."""

_RTMSG = struct.Struct("=8BI")
_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=4BI")
_NDMSG = struct.Struct("=B3xiHBB")
_NHMSG = struct.Struct("=4BI")
_RTNEXTHOP = struct.Struct("=HBBi")
_NEXTHOP_GROUP_ENTRY = struct.Struct("=IBBH")
_FAMILY = struct.Struct("=H")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """Where packets go next: one of several in a route or a nexthop object."""

    oif: int | None = None
    """Interface index."""
    gateway: bytes | None = None
    """4 or 16 octets; IPv4 routes may have an IPv6 gateway (RTA_VIA)."""


NO_HOP = Hop()


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

    @property
    def place(self) -> tuple[bytes, int, int, int, int]:
        """What the kernel takes for the same route when it is told EXCL or REPLACE."""
        return (self.destination, self.prefix_length, self.tos, self.metric, self.table)


@dataclass(frozen=True, slots=True, kw_only=True)
class NexthopMessage:
    """One nexthop object."""

    id: int
    hop: Hop
    members: tuple[int, ...]
    """The objects of a group, in order; empty for a single one."""


def family_of(value: IPAddress | IPNetwork) -> int:
    """AF_INET or AF_INET6."""
    return socket.AF_INET if value.version == 4 else socket.AF_INET6


def place_of(route: Route) -> tuple[bytes, int, int, int, int]:
    """`RouteMessage.place` of a route of ours."""
    destination = route.destination
    return (destination.network_address.packed, destination.prefixlen, 0, route.metric, route.table)


def encode_route(route: Route, oif: int) -> bytes:
    """The body that adds or replaces `route` out of the interface with index `oif`."""
    # IPv4 wants the narrower scope for a destination on the link itself, else it looks for a gateway.
    body = _header(route, RT_SCOPE_UNIVERSE if route.next_hop is not None else RT_SCOPE_LINK) + _where(route, oif)
    if route.source is not None:
        body += attribute(RTA_PREFSRC, route.source.packed)
    if route.mtu is not None:
        body += attribute(RTA_METRICS, attribute_u32(RTAX_MTU, route.mtu))
    return body


def encode_deletion(route: Route, oif: int) -> bytes:
    """The body that deletes `route` and no other: the kernel compares protocol, metric, table, gateway and link."""
    return _header(route, RT_SCOPE_NOWHERE) + _where(route, oif)


def encode_lookup(address: IPAddress, oif: int | None = None) -> bytes:
    """The body that asks for the way to one address, out of the interface with index `oif` if that is given."""
    header = _RTMSG.pack(family_of(address), address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body = header + attribute(RTA_DST, address.packed)
    return body if oif is None else body + attribute_u32(RTA_OIF, oif)


def encode_route_dump(family: int) -> bytes:
    """The body that asks for all routes of a family, in every table."""
    return _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)


def encode_link_dump() -> bytes:
    """The body that asks for all links."""
    return _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)


def encode_link_lookup(name: str) -> bytes:
    """The body that asks for the link of that name."""
    return encode_link_dump() + attribute(IFLA_IFNAME, name.encode() + b"\0")


def encode_link_flags(index: int, flags: int, mask: int) -> bytes:
    """The body that gives the link those of its IFF_ flags that are in `mask`."""
    return _IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, flags, mask)


def encode_queue_length(index: int, packets: int) -> bytes:
    """The body that sets how many packets may wait to be sent."""
    return encode_link_flags(index, 0, 0) + attribute_u32(IFLA_TXQLEN, packets)


def encode_no_link_local(index: int) -> bytes:
    """The body by which the kernel makes no IPv6 address for the link by itself (addrgenmode none)."""
    mode = attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE]))
    return encode_link_flags(index, 0, 0) + attribute(IFLA_AF_SPEC, attribute(socket.AF_INET6, mode))


def encode_address(address: IPAddress, index: int) -> bytes:
    """The body that adds or deletes `address`, alone in its prefix, of global scope, on the link with that index."""
    flags = IFA_F_NODAD if address.version == 6 else 0
    header = _IFADDRMSG.pack(family_of(address), address.max_prefixlen, flags, RT_SCOPE_UNIVERSE, index)
    return header + attribute(IFA_LOCAL, address.packed) + attribute(IFA_ADDRESS, address.packed)


def encode_address_dump() -> bytes:
    """The body that asks for all addresses of both families."""
    return _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)


def encode_neighbour_lookup(address: IPAddress, oif: int) -> bytes:
    """The body that asks for the link address of a neighbour out of the interface with index `oif`."""
    return _NDMSG.pack(family_of(address), oif, 0, 0, 0) + attribute(NDA_DST, address.packed)


def decode_neighbour(body: bytes) -> bytes:
    """The link address of an RTM_NEWNEIGH; empty where the kernel has not learnt it."""
    return parse_attributes(body, _NDMSG.size).get(NDA_LLADDR, b"")


def encode_nexthop_dump() -> bytes:
    """The body that asks for all nexthop objects."""
    return _NHMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)


def _header(route: Route, scope: int) -> bytes:
    table = route.table if route.table < 256 else RT_TABLE_COMPAT
    destination = route.destination
    family = family_of(destination)
    return _RTMSG.pack(family, destination.prefixlen, 0, 0, table, PROTOCOL, scope, RTN_UNICAST, 0)


def _where(route: Route, oif: int) -> bytes:
    body = attribute(RTA_DST, route.destination.network_address.packed)
    if route.next_hop is not None:
        if route.next_hop.version == route.destination.version:
            body += attribute(RTA_GATEWAY, route.next_hop.packed)
        else:
            body += attribute(RTA_VIA, _FAMILY.pack(family_of(route.next_hop)) + route.next_hop.packed)
    return (
        body
        + attribute_u32(RTA_OIF, oif)
        + attribute_u32(RTA_PRIORITY, route.metric)
        + attribute_u32(RTA_TABLE, route.table)
    )


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


def decode_nexthop(body: bytes) -> NexthopMessage:
    """The object of an RTM_NEWNEXTHOP."""
    found = parse_attributes(body, _NHMSG.size)
    group = found.get(NHA_GROUP, b"")
    return NexthopMessage(
        id=u32(found[NHA_ID]),
        hop=Hop(oif=u32(found[NHA_OIF]) if NHA_OIF in found else None, gateway=found.get(NHA_GATEWAY)),
        members=tuple(entry[0] for entry in _NEXTHOP_GROUP_ENTRY.iter_unpack(group)),
    )


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
    network = ipaddress.IPv4Network if route.family == socket.AF_INET else ipaddress.IPv6Network
    return ObservedRoute(
        destination=network((route.destination, route.prefix_length)),
        next_hop=ipaddress.ip_address(hop.gateway) if hop.gateway is not None else None,
        oif=names.get(hop.oif) if hop.oif is not None else None,
        metric=route.metric,
        table=route.table,
        protocol=route.protocol,
        kind=KINDS.get(route.type, f"type {route.type}"),
        mtu=route.mtu,
        source=ipaddress.ip_address(route.source) if route.source is not None else None,
    )


def to_path(route: RouteMessage, names: Mapping[int, str]) -> Path:
    """The way that an answer to `encode_lookup` describes; no way for the types that drop packets."""
    kind = KINDS.get(route.type, f"type {route.type}")
    name = names.get(route.hop.oif) if route.hop.oif is not None else None
    if kind in ("blackhole", "unreachable", "prohibit", "throw") or name is None:
        return Path()
    return Path(
        oif=name,
        next_hop=ipaddress.ip_address(route.hop.gateway) if route.hop.gateway is not None else None,
        source=ipaddress.ip_address(route.source) if route.source is not None else None,
        kind=kind,
    )


def decode_link(body: bytes) -> tuple[Link, str]:
    """The link of an RTM_NEWLINK, without addresses, and its kind (`bridge`, `wireguard`, `tun`, ...; or nothing)."""
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(body)
    found = parse_attributes(body, _IFINFOMSG.size)
    name = found[IFLA_IFNAME].rstrip(b"\0").decode(errors="surrogateescape")
    information = parse_attributes(found.get(IFLA_LINKINFO, b""))
    kind = information.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode(errors="surrogateescape")
    up = bool(flags & IFF_UP and flags & IFF_LOWER_UP)
    return Link(index=index, name=name, mtu=u32(found[IFLA_MTU]), up=up), kind


def decode_address(body: bytes) -> tuple[int, IPAddress, int] | None:
    """Link index, address and prefix length of an RTM_NEWADDR; None for other families."""
    family, length, _, _, index = _IFADDRMSG.unpack_from(body)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    found = parse_attributes(body, _IFADDRMSG.size)
    # On a point-to-point link IFA_ADDRESS is the peer's and IFA_LOCAL is ours.
    octets = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS)
    return (index, ipaddress.ip_address(octets), length) if octets else None
