"""Change the kernel's routes: ours only, many in one send, each refusal with its route and the kernel's words."""

import errno
import logging
import socket
from collections.abc import Callable, Sequence

from devlink.core.network import MAIN_TABLE, PROTOCOL, Route, RouteDiff
from devlink.errors import ConflictError, DevlinkError, HelperError
from devlink.kernel import rtnetlink
from devlink.kernel.netlink import (
    CHUNK,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NetlinkSocket,
    Refusal,
    Request,
)
from devlink.kernel.observe import dump_routes, observe
from devlink.kernel.owners import as_ip_route, owner_of

log = logging.getLogger(__name__)

_GONE = {errno.ESRCH, errno.ENODEV, errno.ENOENT}
"""What the deletion of a route answers that is not there, or whose link is not."""


def apply(diff: RouteDiff) -> None:
    """Bring `diff` into the kernel: additions, replacements, then deletions, so that nothing is missing meanwhile.

    Only routes of ours are ever replaced or deleted. Raises ConflictError where another owns the place of a route,
    and HelperError for every other refusal. What was done before it stays: observe, diff and apply again to undo.
    """
    if not diff:
        return
    try:
        with NetlinkSocket() as netlink:
            links = _Links()
            _change(netlink, "added", diff.add, lambda route: _addition(route, links))
            _check_ours(netlink, diff.replace)
            _change(netlink, "replaced", diff.replace, lambda route: _replacement(route, links))
            _change(netlink, "deleted", diff.delete, lambda route: _deletion(route, links))
    except OSError as error:
        raise HelperError(
            "The machine's routes could not be changed.",
            why=f"The kernel's routing socket said: {error.strerror or error}.",
            next_step="Try again; if it stays, see the helper's log.",
        ) from error


class _Links:
    """Interface indexes by name, each asked for once."""

    def __init__(self) -> None:
        self._found: dict[str, int | None] = {}

    def index(self, name: str) -> int | None:
        if name not in self._found:
            try:
                self._found[name] = socket.if_nametoindex(name)
            except OSError:
                self._found[name] = None
        return self._found[name]

    def need(self, route: Route) -> int:
        index = self.index(route.oif)
        if index is None:
            raise HelperError(
                f"The route {route} could not be installed.",
                why=f"There is no interface {route.oif} any more.",
                next_step="Try again once the network is back.",
            )
        return index


def _addition(route: Route, links: _Links) -> Request:
    body = rtnetlink.encode_route(route, links.need(route))
    return Request(rtnetlink.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body)


def _replacement(route: Route, links: _Links) -> Request:
    return Request(rtnetlink.RTM_NEWROUTE, NLM_F_REPLACE, rtnetlink.encode_route(route, links.need(route)))


def _deletion(route: Route, links: _Links) -> Request | None:
    index = links.index(route.oif)
    if index is None:  # the kernel removed the route with its link
        return None
    return Request(rtnetlink.RTM_DELROUTE, 0, rtnetlink.encode_deletion(route, index))


def _check_ours(netlink: NetlinkSocket, routes: Sequence[Route]) -> None:
    """Raise unless each place that shall be replaced holds one route, and that is ours.

    REPLACE does not compare the protocol: it takes the first route in the place. Looking just before, in one place
    where only ours is, is as safe as it gets, and there is no moment without a route as with delete and add.
    """
    wanted = {rtnetlink.place_of(route): route for route in routes}
    holders: dict[tuple[bytes, int, int, int, int], list[int]] = {place: [] for place in wanted}
    for family in {rtnetlink.family_of(route.destination) for route in routes}:
        for found in dump_routes(netlink, family):
            if found.place in holders:
                holders[found.place].append(found.protocol)
    for place, protocols in holders.items():
        if not protocols:
            raise HelperError(
                f"The route {wanted[place]} could not be changed.",
                why="The route that it shall replace went away meanwhile.",
                next_step="Try again.",
            )
        if protocols != [PROTOCOL]:
            raise _conflict(wanted[place])


_IN_IPROUTE2 = {"added": "add", "replaced": "replace", "deleted": "del"}


def _change(
    netlink: NetlinkSocket, verb: str, routes: Sequence[Route], encode: Callable[[Route], Request | None]
) -> None:
    """Send the request that `encode` makes of each route, a chunk at a time; stop after the first with a refusal."""
    requests = [(route, request) for route in routes if (request := encode(route)) is not None]
    for start in range(0, len(requests), CHUNK):
        chunk = requests[start : start + CHUNK]
        refusals = _send(netlink, [request for _, request in chunk])
        failures = []
        for place, (route, _) in enumerate(chunk):
            refusal = refusals.get(place)
            if refusal is None:
                log.info("ip route %s %s", _IN_IPROUTE2[verb], route)
            elif verb != "deleted" or refusal.errno not in _GONE:
                failures.append((route, refusal))
        if failures:
            _settle(verb, failures)


def _send(netlink: NetlinkSocket, requests: Sequence[Request]) -> dict[int, Refusal]:
    try:
        return netlink.batch(requests)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
    # Answers were lost. Asked one by one they cannot be; what was done already answers EEXIST or ESRCH, which the
    # callers settle.
    refusals = {}
    for place, request in enumerate(requests):
        answer = netlink.batch([Request(request.type, request.flags | NLM_F_ACK, request.body)])
        if answer:
            refusals[place] = answer[0]
    return refusals


def _settle(verb: str, failures: Sequence[tuple[Route, Refusal]]) -> None:
    """Raise for the first failure that is one; a route that is there already, exactly as wanted, is none."""
    if verb == "added" and any(refusal.errno == errno.EEXIST for _, refusal in failures):
        present = set(observe().ours)
        failures = [
            (route, refusal) for route, refusal in failures if refusal.errno != errno.EEXIST or route not in present
        ]
    if failures:
        raise _error(verb, *failures[0], others=len(failures) - 1)


def _error(verb: str, route: Route, refusal: Refusal, *, others: int) -> DevlinkError:
    if verb == "added" and refusal.errno == errno.EEXIST:
        return _conflict(route)
    why = f"The kernel said: {refusal.text.rstrip('.')}."
    if others:
        why += f" So it did for {others} more."
    next_step = "Try again; if it stays, see the helper's log."
    if refusal.errno == errno.EPERM:
        next_step = "Run the helper with CAP_NET_ADMIN; the unit of the package does."
    elif refusal.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL) and route.next_hop is not None:
        next_step = f"See whether {route.next_hop} is on the link {route.oif}: `ip route get {route.next_hop}`."
    elif refusal.errno == errno.ENETDOWN:
        next_step = f"Bring the link {route.oif} up, then try again."
    return HelperError(f"The route {route} could not be {verb}.", why=why, next_step=next_step)


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
