"""Sockets whose packets go by one gateway, whatever the routes say.

A packet with a probe's mark is led by a rule to a table of that gateway's own, and by a second rule to nowhere if the
table has no way for it: what answers has answered by way of that gateway. The mark outlives the passing of the socket
to another process, which cannot change it (socket(7), SO_MARK; measured).
"""

import errno
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Literal

from devlink.core.network import PROTOCOL, Route, Rule
from devlink.core.prefixes import IPAddress, host_prefix
from devlink.errors import HelperError
from devlink.kernel.netlink import NLM_F_CREATE, NLM_F_REPLACE, NetlinkSocket, Request
from devlink.kernel.rtnetlink import RTM_DELROUTE, RTM_NEWROUTE, encode_deletion, encode_route

MARK, MARK_MASK = PROTOCOL << 16, 0xFFFF0000
"""The upper half of a probe's SO_MARK says that it is one; the lower half, from 1 on, says by which gateway."""
FIRST_TABLE = 5231
"""The table of the gateway with number 1."""
PREFERENCE, DEAD_END_PREFERENCE = 5190, 5191
"""Of the rules: before those of the routes, and of any VPN that we know."""
MAX_WAYS = 512


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
