"""rtnetlink's messages for nexthop objects, as octets and back; no I/O. Numbers and layouts are linux/nexthop.h's."""

import ipaddress
import socket
import struct
from dataclasses import dataclass

from devlink.core.network import PROTOCOL, Nexthop
from devlink.kernel.netlink import attribute, attribute_u32, family_of, parse_attributes, u32

RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106
NHA_ID, NHA_GROUP, NHA_OIF, NHA_GATEWAY = 1, 2, 5, 6
RTNLGRP_NEXTHOP = 32

_NHMSG = struct.Struct("=4BI")
_NEXTHOP_GROUP_ENTRY = struct.Struct("=IBBH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """Where packets go next: one of several in a route or a nexthop object."""

    oif: int | None = None
    """Interface index."""
    gateway: bytes | None = None
    """4 or 16 octets; IPv4 routes may have an IPv6 gateway (RTA_VIA)."""


NO_HOP = Hop()


@dataclass(frozen=True, slots=True, kw_only=True)
class NexthopMessage:
    """One nexthop object."""

    id: int
    hop: Hop
    members: tuple[int, ...]
    """The objects of a group, in order; empty for a single one."""
    protocol: int = 0
    """`nh_protocol`: 231 for ours."""


def encode_nexthop(nexthop: Nexthop, oif: int) -> bytes:
    """The body that makes `nexthop`, or makes it anew, out of the interface with index `oif`."""
    family = family_of(nexthop.next_hop) if nexthop.next_hop is not None else socket.AF_INET
    body = _NHMSG.pack(family, 0, PROTOCOL, 0, 0) + attribute_u32(NHA_ID, nexthop.id) + attribute_u32(NHA_OIF, oif)
    return body if nexthop.next_hop is None else body + attribute(NHA_GATEWAY, nexthop.next_hop.packed)


def encode_nexthop_id(number: int) -> bytes:
    """The body that asks for the object with that number, or deletes it, with all routes that use it."""
    return _NHMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attribute_u32(NHA_ID, number)


def encode_nexthop_dump() -> bytes:
    """The body that asks for all nexthop objects. Asked for those of one protocol, the kernel tells none."""
    return _NHMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)


def decode_nexthop(body: bytes) -> NexthopMessage:
    """The object of an RTM_NEWNEXTHOP."""
    _, _, protocol, _, _ = _NHMSG.unpack_from(body)
    found = parse_attributes(body, _NHMSG.size)
    group = found.get(NHA_GROUP, b"")
    return NexthopMessage(
        id=u32(found[NHA_ID]),
        hop=Hop(oif=u32(found[NHA_OIF]) if NHA_OIF in found else None, gateway=found.get(NHA_GATEWAY)),
        members=tuple(entry[0] for entry in _NEXTHOP_GROUP_ENTRY.iter_unpack(group)),
        protocol=protocol,
    )


def to_nexthop(message: NexthopMessage, oif: str) -> Nexthop:
    """The object with its address and its link as people know them."""
    gateway = message.hop.gateway
    return Nexthop(id=message.id, next_hop=ipaddress.ip_address(gateway) if gateway is not None else None, oif=oif)
