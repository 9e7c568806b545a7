"""Look at the machine's network: links, addresses, routes, and the way to given addresses. Needs no privilege."""

import dataclasses
import errno
import ipaddress
import socket
from collections.abc import Iterable

from devlink.core.neighbours import Neighbours
from devlink.core.network import CONNECTED, MAIN_TABLE, Link, ObservedNetwork, ObservedRoute, Path
from devlink.core.prefixes import IPAddress
from devlink.kernel.links import (
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    decode_address,
    decode_link,
    decode_master,
    encode_address_dump,
    encode_link_dump,
    encode_link_lookup,
)
from devlink.kernel.netlink import FAMILIES, NetlinkSocket, unreachable_kernel
from devlink.kernel.nexthops import (
    RTM_GETNEXTHOP,
    RTM_NEWNEXTHOP,
    NexthopMessage,
    decode_nexthop,
    encode_nexthop_dump,
)
from devlink.kernel.rtnetlink import (
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RouteMessage,
    decode_route,
    encode_lookup,
    encode_route_dump,
    read_routes,
    resolve_hop,
    to_observed,
    to_path,
    with_destination,
)
from devlink.kernel.rules import dump_rules

_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL}
"""How the kernel says that no route, or an unreachable, prohibit or blackhole one, leads to an address (fib_props)."""
_FAMILY_MISSING = {errno.EAFNOSUPPORT, errno.EOPNOTSUPP}
_NO_NEXTHOPS = {errno.EOPNOTSUPP, errno.EINVAL}
"""How a kernel without nexthop objects answers who asks for them."""
OF_GUESTS = frozenset(("veth", "tun", "dummy"))
"""Kinds of links that lead to containers and virtual machines of this very machine. One without a kind is a device."""


def observe(addresses: Iterable[IPAddress] = ()) -> ObservedNetwork:
    """The network of the namespace that this process is in, with the way to each of `addresses`.

    Of a route with several hops the first one is told; a route whose link went away meanwhile is left out.
    Raises HelperError if the kernel does not answer.
    """
    try:
        with NetlinkSocket() as netlink:
            # Links last: a route whose link is missing then has gone with it, and is no riddle.
            bodies = [body for family in FAMILIES.values() for body in dump_routes(netlink, family)]
            nexthops = dump_nexthops(netlink) or {}
            ways = {address: _look_up(netlink, address) for address in dict.fromkeys(addresses)}
            rules = dump_rules(netlink)
            links = _dump_links(netlink)
    except OSError as error:
        raise unreachable_kernel(error) from error
    names = {link.index: link.name for link in links}
    routes = read_routes(bodies, lambda message: _observed(message, nexthops, names))
    return ObservedNetwork(
        links=links,
        routes=tuple(with_destination(route, key) for key, route in routes),
        paths=_paths(ways, names),
        rules=rules,
    )


def observe_ways(addresses: Iterable[IPAddress]) -> ObservedNetwork:
    """The links, the way to each of `addresses`, and as much of the rest that `core.neighbours` judges as by `observe`.

    That is the routes alone that say who is on a link by itself. The kernel picks them out: beside 20,000 it is 25
    times faster. Where they do not tell of an address, as beside a VPN that takes all, it is everything.

    Raises HelperError if the kernel does not answer.
    """
    addresses = tuple(dict.fromkeys(addresses))
    try:
        with NetlinkSocket() as netlink:
            bodies = [
                b for family in FAMILIES.values() for each in CONNECTED for b in dump_routes(netlink, family, each)
            ]
            ways = {address: _look_up(netlink, address) for address in addresses}
            links = _dump_links(netlink)
    except OSError as error:
        raise unreachable_kernel(error) from error
    names = {link.index: link.name for link in links}
    routes = read_routes(bodies, lambda message: _observed(message, {}, names) if _is_connected(message) else None)
    observed = ObservedNetwork(
        links=links, routes=tuple(with_destination(route, key) for key, route in routes), paths=_paths(ways, names)
    )
    is_open = Neighbours(observed).is_open
    return observe(addresses) if any(map(is_open, addresses)) else observed


def observe_paths(addresses: Iterable[IPAddress]) -> ObservedNetwork:
    """The links and the way to each of `addresses`, without any route: what is asked each second has to be cheap.

    Raises HelperError if the kernel does not answer.
    """
    try:
        with NetlinkSocket() as netlink:
            ways = {address: _look_up(netlink, address) for address in dict.fromkeys(addresses)}
            links = _dump_links(netlink)
    except OSError as error:
        raise unreachable_kernel(error) from error
    return ObservedNetwork(links=links, paths=_paths(ways, {link.index: link.name for link in links}))


def _is_connected(message: RouteMessage) -> bool:
    return message.table == MAIN_TABLE and message.protocol in CONNECTED


def _paths(ways: dict[IPAddress, RouteMessage | None], names: dict[int, str]) -> dict[IPAddress, Path]:
    return {a: to_path(way, names) if way is not None else Path() for a, way in ways.items()}


def dump_routes(netlink: NetlinkSocket, family: int, protocol: int = 0) -> list[bytes]:
    """The routes of a family, in every table; of one protocol alone, if that is given. Raises OSError.

    Nothing where the kernel lacks the family; those of every protocol where it cannot tell them apart (before 4.20).
    """
    try:
        bodies = netlink.dump(RTM_GETROUTE, encode_route_dump(family, protocol), RTM_NEWROUTE)
    except OSError as error:
        if error.errno in _FAMILY_MISSING:
            return []
        raise
    # A kernel without IPv6 answers a dump of it with what every family has.
    return [body for body in bodies if body[0] == family]


def dump_nexthops(netlink: NetlinkSocket) -> dict[int, NexthopMessage] | None:
    """All nexthop objects, by number; None where the kernel has no such thing (before 5.3). Raises OSError."""
    try:
        bodies = netlink.dump(RTM_GETNEXTHOP, encode_nexthop_dump(), RTM_NEWNEXTHOP)
    except OSError as error:
        if error.errno in _NO_NEXTHOPS:
            return None
        raise
    return {found.id: found for found in map(decode_nexthop, bodies)}


def link_kind(name: str) -> str:
    """The kind of a link: `bridge`, `wireguard`, `tun`; nothing where it has none or is not there."""
    try:
        with NetlinkSocket() as netlink:
            return decode_link(netlink.get(RTM_GETLINK, encode_link_lookup(name)).body)[1]
    except OSError:
        return ""


def ways_off(bridge: str) -> tuple[str, ...]:
    """The ports of a bridge by which other machines may be on it: all but those of containers and virtual machines."""
    try:
        with NetlinkSocket() as netlink:
            index = decode_link(netlink.get(RTM_GETLINK, encode_link_lookup(bridge)).body)[0].index
            bodies = netlink.dump(RTM_GETLINK, encode_link_dump(), RTM_NEWLINK)
    except OSError:
        return ()
    ports = (decode_link(body) for body in bodies if decode_master(body) == index)
    return tuple(link.name for link, kind in ports if kind not in OF_GUESTS)


def _observed(
    message: RouteMessage, nexthops: dict[int, NexthopMessage], names: dict[int, str]
) -> ObservedRoute | None:
    hop = resolve_hop(message, nexthops)
    if hop.oif is not None and hop.oif not in names:
        return None
    return to_observed(message, hop, names)


def _dump_links(netlink: NetlinkSocket) -> tuple[Link, ...]:
    addresses: dict[int, list[tuple[IPAddress, int]]] = {}
    for body in netlink.dump(RTM_GETADDR, encode_address_dump(), RTM_NEWADDR):
        found = decode_address(body)
        if found is not None:
            index, address, length = found
            addresses.setdefault(index, []).append((address, length))
    bodies = netlink.dump(RTM_GETLINK, encode_link_dump(), RTM_NEWLINK)
    links = (decode_link(body)[0] for body in bodies)
    return tuple(dataclasses.replace(link, addresses=tuple(addresses.get(link.index, ()))) for link in links)


def _look_up(netlink: NetlinkSocket, address: IPAddress) -> RouteMessage | None:
    zone = address.scope_id if isinstance(address, ipaddress.IPv6Address) else None
    try:
        oif = socket.if_nametoindex(zone) if zone is not None else None
    except (OSError, ValueError):  # ValueError: it holds what no name of a link can
        return None
    try:
        message = netlink.get(RTM_GETROUTE, encode_lookup(address, oif))
    except OSError as error:
        if error.errno in _NO_WAY or error.errno in _FAMILY_MISSING:
            return None
        raise
    return decode_route(message.body)
