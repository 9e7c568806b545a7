"""Look at the machine's network: links, addresses, routes, and the way to given addresses. Needs no privilege."""

import dataclasses
import errno
import ipaddress
import socket
from collections.abc import Iterable

from devlink.core.network import Link, ObservedNetwork, ObservedRoute, Path
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.kernel import rtnetlink
from devlink.kernel.netlink import NetlinkSocket
from devlink.kernel.rtnetlink import NexthopMessage, RouteMessage

FAMILIES = (socket.AF_INET, socket.AF_INET6)
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL}
"""How the kernel says that no route, or an unreachable, prohibit or blackhole one, leads to an address (fib_props)."""
_FAMILY_MISSING = {errno.EAFNOSUPPORT, errno.EOPNOTSUPP}


def observe(addresses: Iterable[IPAddress] = ()) -> ObservedNetwork:
    """The network of the namespace that this process is in, with the way to each of `addresses`.

    Of a route with several hops the first one is told; a route whose link went away meanwhile is left out.
    Raises HelperError if the kernel does not answer.
    """
    try:
        with NetlinkSocket() as netlink:
            # Links last: a route whose link is missing then has gone with it, and is no riddle.
            messages = [route for family in FAMILIES for route in dump_routes(netlink, family)]
            nexthops = _dump_nexthops(netlink) if any(m.nexthop_id is not None for m in messages) else {}
            ways = {address: _look_up(netlink, address) for address in dict.fromkeys(addresses)}
            links = _dump_links(netlink)
    except OSError as error:
        raise HelperError(
            "The machine's network could not be read.",
            why=f"The kernel's routing socket said: {error.strerror or error}.",
            next_step="Try again; if it stays, `ip route` shows whether the kernel answers others.",
        ) from error
    names = {link.index: link.name for link in links}
    routes = (_observed(message, nexthops, names) for message in messages)
    return ObservedNetwork(
        links=links,
        routes=tuple(route for route in routes if route is not None),
        paths={a: rtnetlink.to_path(way, names) if way is not None else Path() for a, way in ways.items()},
    )


def dump_routes(netlink: NetlinkSocket, family: int) -> list[RouteMessage]:
    """All routes of a family, in every table; none where the kernel lacks the family. Raises OSError."""
    try:
        messages = netlink.dump(rtnetlink.RTM_GETROUTE, rtnetlink.encode_route_dump(family))
    except OSError as error:
        if error.errno in _FAMILY_MISSING:
            return []
        raise
    routes = [rtnetlink.decode_route(m.body) for m in messages if m.type == rtnetlink.RTM_NEWROUTE]
    # A kernel without IPv6 answers a dump of it with what every family has.
    return [route for route in routes if route.family == family]


def link_address(address: IPAddress, oif: str) -> str:
    """The link address (MAC) of a neighbour on link `oif`, as hex; empty where the kernel does not know it."""
    try:
        with NetlinkSocket() as netlink:
            body = rtnetlink.encode_neighbour_lookup(address, socket.if_nametoindex(oif))
            return rtnetlink.decode_neighbour(netlink.get(rtnetlink.RTM_GETNEIGH, body).body).hex(":")
    except OSError:  # ENOENT: nobody has asked for it yet
        return ""


def link_kind(name: str) -> str:
    """The kind of a link: `bridge`, `wireguard`, `tun`; nothing where it has none or is not there."""
    try:
        with NetlinkSocket() as netlink:
            return rtnetlink.decode_link(netlink.get(rtnetlink.RTM_GETLINK, rtnetlink.encode_link_lookup(name)).body)[1]
    except OSError:
        return ""


def _observed(
    message: RouteMessage, nexthops: dict[int, NexthopMessage], names: dict[int, str]
) -> ObservedRoute | None:
    hop = rtnetlink.resolve_hop(message, nexthops)
    if hop.oif is not None and hop.oif not in names:
        return None
    return rtnetlink.to_observed(message, hop, names)


def _dump_nexthops(netlink: NetlinkSocket) -> dict[int, NexthopMessage]:
    messages = netlink.dump(rtnetlink.RTM_GETNEXTHOP, rtnetlink.encode_nexthop_dump())
    return {found.id: found for found in (rtnetlink.decode_nexthop(m.body) for m in messages)}


def _dump_links(netlink: NetlinkSocket) -> tuple[Link, ...]:
    addresses: dict[int, list[tuple[IPAddress, int]]] = {}
    for message in netlink.dump(rtnetlink.RTM_GETADDR, rtnetlink.encode_address_dump()):
        found = rtnetlink.decode_address(message.body)
        if found is not None:
            index, address, length = found
            addresses.setdefault(index, []).append((address, length))
    messages = netlink.dump(rtnetlink.RTM_GETLINK, rtnetlink.encode_link_dump())
    links = (rtnetlink.decode_link(message.body)[0] for message in messages)
    return tuple(dataclasses.replace(link, addresses=tuple(addresses.get(link.index, ()))) for link in links)


def _look_up(netlink: NetlinkSocket, address: IPAddress) -> RouteMessage | None:
    zone = address.scope_id if isinstance(address, ipaddress.IPv6Address) else None
    try:
        oif = socket.if_nametoindex(zone) if zone is not None else None
    except OSError:
        return None
    try:
        message = netlink.get(rtnetlink.RTM_GETROUTE, rtnetlink.encode_lookup(address, oif))
    except OSError as error:
        if error.errno in _NO_WAY or error.errno in _FAMILY_MISSING:
            return None
        raise
    return rtnetlink.decode_route(message.body)
