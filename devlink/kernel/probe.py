"""Sockets whose packets go by one gateway, whatever the routes say; and whether a neighbour is on the link.

A packet with a probe's mark is led by a rule to a table of that gateway's own, and by a second rule to nowhere if the
table has no way for it: what answers has answered by way of that gateway. The mark outlives the passing of the socket
to another process, which cannot change it (socket(7), SO_MARK; measured).
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Literal

from devlink.core.network import PROTOCOL, Route, Rule
from devlink.core.prefixes import IPAddress, host_prefix
from devlink.errors import HelperError
from devlink.kernel.links import NDA_DST, RTM_GETLINK, RTM_GETNEIGH, encode_link_lookup, encode_neighbour_lookup
from devlink.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    NetlinkSocket,
    Request,
    attribute,
    family_of,
    parse_attributes,
    parse_messages,
)
from devlink.kernel.rtnetlink import RTM_DELROUTE, RTM_NEWROUTE, encode_deletion, encode_route

MARK, MARK_MASK = PROTOCOL << 16, 0xFFFF0000
"""The upper half of a probe's SO_MARK says that it is one; the lower half, from 1 on, says by which gateway."""
FIRST_TABLE = 5231
"""The table of the gateway with number 1."""
PREFERENCE, DEAD_END_PREFERENCE = 5190, 5191
"""Of the rules: before those of the routes, and of any VPN that we know."""
MAX_WAYS = 512
IFI_FLAGS, IFF_NOARP = 8, 0x80
"""Where `struct ifinfomsg` has the flags of a link, and that of one without link addresses."""
RTM_NEWNEIGH = 28
RTMGRP_NEIGH = 0x4
NUD_REACHABLE, NUD_PROBE, NUD_FAILED, NUD_NOARP, NUD_PERMANENT = 0x02, 0x10, 0x20, 0x40, 0x80
NTF_USE = 0x01
NEIGHBOUR_LIMIT = 4.0
"""Seconds; the kernel gives up after three questions, one a second."""
_NDMSG = struct.Struct("=B3xiHBB")


def mark_of(number: int) -> int:
    """The whole mark of probes by the gateway with that number."""
    return MARK | number


def rules_of(number: int, version: int) -> tuple[Rule, ...]:
    """What leads a gateway's probes to its table, and what stops them there."""
    return (
        Rule(
            version=version, priority=PREFERENCE, table=table_of(number), mark=mark_of(number), protocol=PROTOCOL
        ),
        dead_end(version),
    )  # fmt: skip


def dead_end(version: int) -> Rule:
    """The rule that keeps every probe whose table has no way from going by the ordinary routes."""
    return Rule(
        version=version, priority=DEAD_END_PREFERENCE, action="unreachable", mark=MARK, mask=MARK_MASK,
        protocol=PROTOCOL,
    )  # fmt: skip


def table_of(number: int) -> int:
    """The number of a gateway's table."""
    return FIRST_TABLE + number - 1


def way_to(target: IPAddress, via: IPAddress, oif: str, number: int) -> Route:
    """The one route that a target needs in the table of the gateway `via`."""
    return Route(destination=host_prefix(target), next_hop=via, oif=oif, table=table_of(number))


def probe_socket(version: int, kind: Literal["udp", "tcp"], number: int) -> socket.socket:
    """A socket with the gateway's mark, neither bound nor connected. Needs CAP_NET_ADMIN. Raises OSError."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    sock = socket.socket(family, {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}[kind] | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark_of(number))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def put_way(route: Route) -> None:
    """Have a `way_to` in its table, which nobody else uses; also where it is there already. Raises HelperError."""
    try:
        body = encode_route(route, socket.if_nametoindex(route.oif))
        with NetlinkSocket() as netlink:
            refusals = netlink.batch([Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body)])
    except OSError as error:
        raise _cannot(route, error.strerror or str(error)) from error
    if refusals:
        raise _cannot(route, refusals[0].text)


def delete_ways(routes: Iterable[Route]) -> None:
    """Have these, at most CHUNK, no more; one that went with its link is fine. Raises HelperError."""
    there: list[Route] = []
    requests: list[Request] = []
    for route in routes:
        with suppress(OSError):  # there is no such link any more
            requests.append(Request(RTM_DELROUTE, 0, encode_deletion(route, socket.if_nametoindex(route.oif))))
            there.append(route)
    if not requests:
        return
    try:
        with NetlinkSocket() as netlink:
            refusals = netlink.batch(requests)
    except OSError as error:
        raise _cannot(there[0], error.strerror or str(error)) from error
    for place, refusal in refusals.items():
        if refusal.errno not in (errno.ESRCH, errno.ENODEV):
            raise _cannot(there[place], refusal.text)


def _cannot(route: Route, why: str) -> HelperError:
    return HelperError(
        f"The way for probes {route} could not be changed.",
        why=f"The kernel said: {why.rstrip('.')}.",
        next_step=f"See whether {route.next_hop} is on the link {route.oif}: `ip route get {route.next_hop}`.",
    )


async def neighbour_answers(address: IPAddress, oif: str) -> bool:
    """Ask for a neighbour's link address anew (ARP, neighbour discovery): whether it answers.

    2 ms where it does, 3 s where it does not. Needs CAP_NET_ADMIN. Raises OSError; HelperError where the kernel asks
    nobody, as the entry is static or the link has no link addresses: then it stays as it is.
    """
    index = socket.if_nametoindex(oif)
    loop = asyncio.get_running_loop()
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    ) as news:
        news.bind((0, RTMGRP_NEIGH))
        _check_asked(address, oif, index)
        _solicit(address, index)
        try:
            async with asyncio.timeout(NEIGHBOUR_LIMIT):
                while True:
                    for state in _states(await loop.sock_recv(news, 1 << 16), address, index):
                        if state & (NUD_REACHABLE | NUD_FAILED):
                            return bool(state & NUD_REACHABLE)
        except TimeoutError:
            return False


def _check_asked(address: IPAddress, oif: str, index: int) -> None:
    """Raise HelperError where the kernel never asks for that neighbour. To be asked to do so nevertheless, it would
    throw away what somebody has written down."""
    state = 0
    with NetlinkSocket() as netlink:
        (flags,) = struct.unpack_from("=I", netlink.get(RTM_GETLINK, encode_link_lookup(oif)).body, IFI_FLAGS)
        try:
            found = netlink.get(RTM_GETNEIGH, encode_neighbour_lookup(address, index)).body
            state = _NDMSG.unpack_from(found)[2]
        except OSError as error:
            if error.errno != errno.ENOENT:  # nobody has asked for it yet
                raise
    if flags & IFF_NOARP or state & (NUD_PERMANENT | NUD_NOARP):
        raise HelperError(
            f"Whether {address} is on its link cannot be told.",
            why="Its link address is not asked for: it is set by hand, or the link has none.",
            next_step=f"See: ip neighbour show {address}",
        )


def _solicit(address: IPAddress, index: int) -> None:
    """Have the kernel ask: for what it knows already, by NUD_PROBE; else as though a packet were sent there."""
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    where = attribute(NDA_DST, address.packed)
    with NetlinkSocket() as netlink:
        for state, use in ((NUD_PROBE, 0), (0, NTF_USE)):
            header = _NDMSG.pack(family_of(address), index, state, use, 0)
            refusals = netlink.batch([Request(RTM_NEWNEIGH, flags, header + where)])
            if not refusals:
                return
        raise OSError(*refusals[0])


def _states(data: bytes, address: IPAddress, index: int) -> list[int]:
    """What a datagram says of that neighbour."""
    states = []
    for message in parse_messages(data):
        if message.type == RTM_NEWNEIGH and len(message.body) >= _NDMSG.size:
            _, oif, state, _, _ = _NDMSG.unpack_from(message.body)
            if oif == index and parse_attributes(message.body, _NDMSG.size).get(NDA_DST) == address.packed:
                states.append(state)
    return states
