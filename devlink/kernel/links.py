"""rtnetlink's messages for links, addresses and neighbours, as octets and back; no I/O.

Numbers and layouts are those of linux/rtnetlink.h, if_link.h, if_addr.h and neighbour.h.
"""

import ipaddress
import socket
import struct
from typing import NamedTuple

from devlink.core.network import Link
from devlink.core.prefixes import IPAddress
from devlink.kernel.netlink import attribute, attribute_u32, family_of, parse_attributes, u32

RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30

IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_INFO_KIND = 3, 4, 18, 1
IFLA_MASTER = 10
IFLA_TXQLEN, IFLA_AF_SPEC, IFLA_INET6_ADDR_GEN_MODE = 13, 26, 8
IN6_ADDR_GEN_MODE_NONE = 1
IFA_ADDRESS, IFA_LOCAL, IFA_CACHEINFO = 1, 2, 6
IFA_F_NODAD = 0x2
NDA_DST, NDA_LLADDR = 1, 2
IFF_UP, IFF_NOARP, IFF_MULTICAST, IFF_LOWER_UP = 0x1, 0x80, 0x1000, 0x10000
RT_SCOPE_UNIVERSE = 0

_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=4BI")
_NDMSG = struct.Struct("=B3xiHBB")


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


class Neighbour(NamedTuple):
    """What the kernel tells of a neighbour."""

    oif: int
    """The index of the link that it is on."""
    address: bytes
    """Its 4 or 16 octets."""
    state: int
    """NUD_."""
    link_address: bytes
    """Empty where the kernel has not learnt it."""


def encode_neighbour(address: IPAddress, oif: int, state: int = 0, flags: int = 0) -> bytes:
    """The body that asks for a neighbour on the link with index `oif`, or gives it a state (NUD_) and flags (NTF_)."""
    return _NDMSG.pack(family_of(address), oif, state, flags, 0) + attribute(NDA_DST, address.packed)


def decode_neighbour(body: bytes) -> Neighbour:
    """The neighbour of an RTM_NEWNEIGH."""
    _, oif, state, _, _ = _NDMSG.unpack_from(body)
    found = parse_attributes(body, _NDMSG.size)
    return Neighbour(oif, found.get(NDA_DST, b""), state, found.get(NDA_LLADDR, b""))


def decode_link(body: bytes) -> tuple[Link, str]:
    """The link of an RTM_NEWLINK, without addresses, and its kind (`bridge`, `wireguard`, `tun`, ...; or nothing)."""
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(body)
    found = parse_attributes(body, _IFINFOMSG.size)
    name = found[IFLA_IFNAME].rstrip(b"\0").decode(errors="surrogateescape")
    information = parse_attributes(found.get(IFLA_LINKINFO, b""))
    kind = information.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode(errors="surrogateescape")
    up, noarp = bool(flags & IFF_UP and flags & IFF_LOWER_UP), bool(flags & IFF_NOARP)
    return Link(index=index, name=name, mtu=u32(found[IFLA_MTU]), up=up, noarp=noarp), kind


def decode_master(body: bytes) -> int:
    """The index of the bridge, or the like, that the link of an RTM_NEWLINK is a port of; 0 where it is of none."""
    octets = parse_attributes(body, _IFINFOMSG.size).get(IFLA_MASTER)
    return u32(octets) if octets else 0


def decode_address(body: bytes) -> tuple[int, IPAddress, int] | None:
    """Link index, address and prefix length of an RTM_NEWADDR; None for other families."""
    family, length, _, _, index = _IFADDRMSG.unpack_from(body)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    found = parse_attributes(body, _IFADDRMSG.size)
    # On a point-to-point link IFA_ADDRESS is the peer's and IFA_LOCAL is ours.
    octets = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS)
    return (index, ipaddress.ip_address(octets), length) if octets else None
