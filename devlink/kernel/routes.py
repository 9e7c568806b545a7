"""Change what is ours in the kernel: many in one send, each refusal with its route and the kernel's words."""

import errno
import logging
import socket
from collections.abc import Sequence

from devlink.core.network import MAIN_TABLE, PROTOCOL, Change, Holding, Nexthop, Route, RouteKey
from devlink.errors import ConflictError, DevlinkError, HelperError
from devlink.kernel import rules
from devlink.kernel.netlink import (
    CHUNK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NetlinkSocket,
    Refusal,
    Request,
    family_of,
    unreachable_kernel,
)
from devlink.kernel.nexthops import (
    RTM_DELNEXTHOP,
    RTM_GETNEXTHOP,
    RTM_NEWNEXTHOP,
    decode_nexthop,
    encode_nexthop,
    encode_nexthop_id,
)
from devlink.kernel.observe import dump_routes, observe
from devlink.kernel.ours import Links, observe_ours
from devlink.kernel.owners import as_ip_route, owner_of
from devlink.kernel.rtnetlink import (
    RTM_DELROUTE,
    RTM_NEWROUTE,
    Frame,
    RouteMessage,
    Shape,
    addition_frame,
    deletion_frame,
    fill,
    key_of,
    read_routes,
    shape_of,
)

log = logging.getLogger(__name__)

MANY = 20
"""So many changes of one kind are logged one by one; more are summed up."""
_GONE = {errno.ESRCH, errno.ENODEV, errno.ENOENT}
"""What the deletion of a route answers that is not there, or whose link is not."""


def apply(change: Change) -> None:
    """Bring `change` into the kernel: additions, replacements, then deletions, so that nothing is missing meanwhile.

    Only what is ours is ever replaced or deleted. Raises ConflictError where another owns the place of a route, and
    HelperError for every other refusal. What was done before it stays: observe, compare and apply again to undo.
    """
    if not change:
        return
    try:
        with NetlinkSocket() as netlink:
            links = Links()
            for nexthop in change.nexthops:
                _set_nexthop(netlink, nexthop, links)
            _change(netlink, "add", change.routes.add, links)
            _check_ours(netlink, change.routes.replace)
            _change(netlink, "replace", change.routes.replace, links)
            for rule in change.rules:
                rules.add(rule)
            for rule in change.unwanted_rules:
                rules.delete(rule)
            _change(netlink, "del", change.routes.delete, links)
            for number in change.unwanted_nexthops:
                _delete_nexthop(netlink, number)
    except OSError as error:
        raise HelperError(
            "The machine's routes could not be changed.",
            why=f"The kernel's routing socket said: {error.strerror or error}.",
            next_step="Try again; if it stays, see the helper's log.",
        ) from error


def switch(nexthop: Nexthop) -> bool:
    """Have all routes that use our object take its hop from now on, by one message; whether there is such an object.

    Raises HelperError where the kernel refuses.
    """
    try:
        with NetlinkSocket() as netlink:
            body = netlink.get(RTM_GETNEXTHOP, encode_nexthop_id(nexthop.id)).body
            if decode_nexthop(body).protocol != PROTOCOL:
                return False
            _set_nexthop(netlink, nexthop, Links())
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise HelperError(
            f"The way by {nexthop.next_hop} on {nexthop.oif} could not be taken.",
            why=f"The kernel's routing socket said: {error.strerror or error}.",
            next_step="Try again; if it stays, see the helper's log.",
        ) from error
    return True


def _set_nexthop(netlink: NetlinkSocket, nexthop: Nexthop, links: Links) -> None:
    index = links.index(nexthop.oif)
    if index is None:
        raise _no_link(f"The way by {nexthop.next_hop} could not be installed.", nexthop.oif)
    request = Request(RTM_NEWNEXTHOP, NLM_F_CREATE | NLM_F_REPLACE, encode_nexthop(nexthop, index))
    refusals = netlink.batch([request])
    if refusals:
        raise HelperError(
            f"The way by {nexthop.next_hop} on {nexthop.oif} could not be installed.",
            why=f"The kernel said: {refusals[0].text.rstrip('.')}.",
            next_step=_next_step(refusals[0], nexthop),
        )
    log.info("ip nexthop replace %s", nexthop)


def _delete_nexthop(netlink: NetlinkSocket, number: int) -> None:
    refusals = netlink.batch([Request(RTM_DELNEXTHOP, 0, encode_nexthop_id(number))])
    if refusals and refusals[0].errno not in _GONE:
        raise HelperError(
            f"The nexthop object {number} could not be deleted.",
            why=f"The kernel said: {refusals[0].text.rstrip('.')}.",
            next_step=_next_step(refusals[0], None),
        )
    if not refusals:
        log.info("ip nexthop del id %d", number)


def _no_link(what: str, oif: str) -> HelperError:
    return HelperError(
        what, why=f"There is no interface {oif} any more.", next_step="Try again once the network is back."
    )


def _check_ours(netlink: NetlinkSocket, routes: Sequence[Route]) -> None:
    """Raise unless each place that shall be replaced holds one route, and that is ours.

    REPLACE does not compare the protocol: it takes the first route in the place. Looking just before, in one place
    where only ours is, is as safe as it gets, and there is no moment without a route as with delete and add.
    """
    for route, protocols in _protocols_at(netlink, routes):
        if not protocols:
            raise HelperError(
                f"The route {route} could not be changed.",
                why="The route that it shall replace went away meanwhile.",
                next_step="Try again.",
            )
        if protocols != [PROTOCOL]:
            raise _conflict(route)


def held_by_others(routes: Sequence[Route]) -> frozenset[RouteKey]:
    """The places of those of our routes where somebody else has one. Raises HelperError."""
    try:
        with NetlinkSocket() as netlink:
            found = _protocols_at(netlink, routes)
    except OSError as error:
        raise unreachable_kernel(error) from error
    return frozenset(route.key for route, protocols in found if any(each != PROTOCOL for each in protocols))


def _protocols_at(netlink: NetlinkSocket, routes: Sequence[Route]) -> list[tuple[Route, list[int]]]:
    """Each route, with the protocols of those that are in its place."""
    # By destination within IP version, table and metric.
    places: dict[tuple[int, int, int], dict[bytes, list[int]]] = {}
    checked: list[tuple[Route, list[int]]] = []
    for route in routes:
        protocols: list[int] = []
        places.setdefault((route.destination.version, route.table, route.metric), {})[key_of(route.destination)] = (
            protocols
        )
        checked.append((route, protocols))

    def place_of(message: RouteMessage) -> tuple[dict[bytes, list[int]], int] | None:
        version = 4 if message.family == socket.AF_INET else 6
        place = places.get((version, message.table, message.metric))
        return (place, message.protocol) if place is not None and not message.tos else None

    for family in {family_of(route.destination) for route in routes}:
        for key, (place, protocol) in read_routes(dump_routes(netlink, family), place_of):
            if key in place:
                place[key].append(protocol)
    return checked


_DONE = {"add": "added", "replace": "replaced", "del": "deleted"}
_HOW = {
    "add": (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL),
    "replace": (RTM_NEWROUTE, NLM_F_REPLACE),
    "del": (RTM_DELROUTE, 0),
}


def _change(netlink: NetlinkSocket, verb: str, routes: Sequence[Route], links: Links) -> None:
    """Do it to each route, a chunk at a time; stop after the first chunk with a refusal."""
    for start in range(0, len(routes), CHUNK):
        chunk, requests = _requests(verb, routes[start : start + CHUNK], links)
        if not requests:
            continue
        refusals = _send(netlink, requests)
        failures = [
            (chunk[place], refusal)
            for place, refusal in sorted(refusals.items())
            if verb != "del" or not _is_gone(chunk[place], refusal)
        ]
        if len(routes) <= MANY:
            for place, route in enumerate(chunk):
                if place not in refusals:
                    log.info("ip route %s %s", verb, route)
        if failures:
            _settle(verb, failures)
    if len(routes) > MANY:
        log.info("ip route %s %s, and so %d more", verb, routes[0], len(routes) - 1)


def _is_gone(route: Route, refusal: Refusal) -> bool:
    # A nexthop object that is not there any more, and so neither are its routes, is EINVAL.
    return refusal.errno in _GONE or (route.nexthop_id != 0 and refusal.errno == errno.EINVAL)


def _requests(verb: str, routes: Sequence[Route], links: Links) -> tuple[Sequence[Route], list[tuple[int, int, bytes]]]:
    """The routes for which there is something to do, and what."""
    kind, flags = _HOW[verb]
    left: list[Route] = []
    requests: list[tuple[int, int, bytes]] = []
    shape: Shape | None = None
    frame: Frame | None = None
    for route in routes:
        if (this := shape_of(route)) != shape:
            shape, frame = this, _frame(verb, route, links)
        if frame is not None:
            left.append(route)
            requests.append((kind, flags, fill(frame, route)))  # thousands of them: a `Request` each costs a tenth more
    return left, requests


def _frame(verb: str, route: Route, links: Links) -> Frame | None:
    index = links.index(route.oif) if route.oif and not route.nexthop_id else 0
    if verb == "del":
        # With its link the kernel has removed the route.
        return deletion_frame(route, index) if index is not None else None
    if index is None:
        raise _no_link(f"The route {route} could not be installed.", route.oif)
    return addition_frame(route, index)


def _send(netlink: NetlinkSocket, requests: Sequence[tuple[int, int, bytes]]) -> dict[int, Refusal]:
    try:
        return netlink.batch(requests)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
    # Answers were lost. Asked one by one they cannot be; what was done already answers EEXIST or ESRCH, which the
    # callers settle.
    refusals = {}
    for place, request in enumerate(requests):
        answer = netlink.batch([request])
        if answer:
            refusals[place] = answer[0]
    return refusals


def _settle(verb: str, failures: Sequence[tuple[Route, Refusal]]) -> None:
    """Raise for the first failure that is one; a route that is there already, exactly as wanted, is none."""
    there = [route for route, refusal in failures if refusal.errno == errno.EEXIST]
    if verb == "add" and there:
        diff = observe_ours().change_to(Holding(routes=tuple(there))).routes
        different = {route.key for route in diff.add + diff.replace}
        failures = [
            (route, refusal) for route, refusal in failures if refusal.errno != errno.EEXIST or route.key in different
        ]
    if failures:
        raise _error(verb, *failures[0], others=len(failures) - 1)


def _error(verb: str, route: Route, refusal: Refusal, *, others: int) -> DevlinkError:
    if verb == "add" and refusal.errno == errno.EEXIST:
        return _conflict(route)
    why = f"The kernel said: {refusal.text.rstrip('.')}."
    if others:
        why += f" So it did for {others} more."
    hop = Nexthop(id=0, next_hop=route.next_hop, oif=route.oif)
    return HelperError(f"The route {route} could not be {_DONE[verb]}.", why=why, next_step=_next_step(refusal, hop))


def _next_step(refusal: Refusal, hop: Nexthop | None) -> str:
    if refusal.errno == errno.EPERM:
        return "Run the helper with CAP_NET_ADMIN; the unit of the package does."
    if hop is not None and refusal.errno == errno.ENETDOWN:
        return f"Bring the link {hop.oif} up, then try again."
    off_link = refusal.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL)
    if hop is not None and hop.next_hop is not None and off_link:
        return f"See whether {hop.next_hop} is on the link {hop.oif}: `ip route get {hop.next_hop}`."
    return "Try again; if it stays, see the helper's log."


def _conflict(route: Route) -> DevlinkError:
    holders = [r for r in observe().routes if (r.destination, r.metric, r.table) == route.key]
    foreign = [r for r in holders if not r.is_ours]
    if holders and not foreign:
        return HelperError(
            f"The route {route} could not be installed.",
            why=f"devlink itself has another one there meanwhile: {as_ip_route(holders[0])}.",
            next_step="Try again.",
        )
    why = "Another program holds its place in the kernel's table."
    if foreign:
        why = f"Its place is taken by {as_ip_route(foreign[0])}, which belongs to {owner_of(foreign[0])}."
    table = "" if route.table == MAIN_TABLE else f" table {route.table}"
    show = f"ip {'-6 ' if route.destination.version == 6 else ''}route show {route.destination}{table}"
    return ConflictError(
        f"The route {route} could not be installed.",
        why=why,
        next_step=f"See `{show}`; remove that route, or leave it this prefix.",
    )
