"""A session's routes as a table: what there is of each, whom packets go by now, and who else routes in its networks."""

import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from devlink.agent.helper_link import LOOK_LIMIT, line_beside
from devlink.core.network import METRIC, OVERRIDE_TABLE, RELAY_TABLES, ObservedNetwork, ObservedRoute
from devlink.core.overlaps import others_inside
from devlink.core.plan import Plan
from devlink.kernel.observe import link_kind, observe
from devlink.kernel.owners import owner

MAX_FOREIGN = 5_000
"""Rows of others: somebody who takes a whole routing table from BGP must not push ours out of the message."""
OURS = "devlink"
FOUGHT = "taken away too often; `devlink up` tries again"
OCCUPIED = "comes back when its place is given back"
RELAY = "relay"
RELAYED = "TCP goes through the API server, for you alone; all else is refused"
NOT_THERE = "nothing of the session is installed"
Row = dict[str, str | None]
Kind = Callable[[str], str]
"""The kind of a link (IFLA_INFO_KIND), by its name."""


class Written(NamedTuple):
    """A route of ours, read from how `ip route` writes it."""

    kind: str
    destination: str
    next_hop: str | None
    oif: str
    table: int | None
    """None for the main table."""

    @classmethod
    def read(cls, text: str) -> "Written":
        """The reverse of `str(Route)`: a kind other than unicast, the destination, and pairs of words."""
        words = text.split()
        kind = "unicast" if len(words) % 2 else words.pop(0)
        pairs = dict(zip(words[1::2], words[2::2], strict=True))
        table = pairs.get("table")
        return cls(kind, words[0], pairs.get("via"), pairs.get("dev", ""), int(table) if table else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What the helper has of a session, each route as `ip route` writes it."""

    routes: Sequence[str] = ()
    missing: frozenset[str] = frozenset()
    fought: frozenset[str] = frozenset()
    occupied: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Owners:
    """Who owns routes, in words; each link is asked for once."""

    kind: Kind
    known: dict[str, str] = field(default_factory=dict)

    def of(self, route: ObservedRoute) -> str:
        if route.oif is not None and route.oif not in self.known:
            self.known[route.oif] = self.kind(route.oif)
        return owner(route, self.known.get(route.oif or "", ""))


async def installed(name: str) -> Installed | None:
    """What the helper has of a session of this user; None where that is nothing. Raises HelperError."""
    async with line_beside() as line:
        return in_account(await line.call("io.devlink.Helper.List", limit=LOOK_LIMIT), name, os.geteuid())


def in_account(state: Mapping[str, Any], name: str, uid: int) -> Installed | None:
    """A user's session in the helper's account, `io.devlink.Helper.List`: root is told of everybody's."""
    told = next((each for each in state["sessions"] if (each["name"], each["uid"]) == (name, uid)), None)
    if told is None:
        return None
    fought, occupied = (frozenset((told.get(key) or {}).get("routes", ())) for key in ("fought", "occupied"))
    missing = frozenset(told["missing"])
    return Installed(routes=told["routes"], missing=missing, fought=fought, occupied=occupied)


def look(plan: Plan, there: Installed | None) -> list[Row]:
    """`rows` in the network as it is now. For a thread: with ten thousand routes it takes tenths of a second.

    Raises HelperError where the kernel does not answer.
    """
    return rows(plan, there, observe(), link_kind)


def rows(plan: Plan, there: Installed | None, observed: ObservedNetwork, kind: Kind) -> list[Row]:
    """As `io.devlink.Agent.ListRoutes` gives them, by family and number. Pure, but for `kind`.

    `there`: what the helper has; None where it has nothing of the session.
    """
    owners = _Owners(kind)
    others = others_inside(plan.desired.routes, observed)
    theirs = {
        id(route): (route, note)
        for route, note in (
            *((route, f"inside {around}") for route, around in others.kept),
            *((route, f"wins: metric {route.metric}") for route in others.winning),
        )
    }
    rivals = {str(route.destination): route for route in others.winning}
    if there is not None and (contested := there.fought | there.occupied):
        for route in _in_place(contested, observed):
            rivals.setdefault(str(route.destination), route)
            theirs.setdefault(id(route), (route, "in the place of one of ours"))
    ours = _ours(plan, there, {destination: owners.of(route) for destination, route in rivals.items()})
    foreign = sorted((_foreign(route, note, owners) for route, note in theirs.values()), key=_place)
    if len(foreign) > MAX_FOREIGN:
        last = foreign[MAX_FOREIGN - 1]
        foreign[MAX_FOREIGN - 1 :] = [{**last, "note": f"and {len(foreign) - MAX_FOREIGN} more of others"}]
    return sorted([*ours, *foreign], key=_place)


def _ours(plan: Plan, there: Installed | None, rivals: Mapping[str, str]) -> Iterable[Row]:
    desired = plan.desired
    detours = {str(each.next_hop): each for each in desired.detours}
    hosts = {str(r.destination) for r in desired.routes if r.destination.prefixlen == r.destination.max_prefixlen}
    for text in there.routes if there is not None else map(str, desired.routes):
        route = Written.read(text)
        next_hop, oif, state, who, note = route.next_hop, route.oif, "installed", OURS, None
        is_pin = route.kind == "unicast" and _is_host(route.destination) and route.destination not in hosts
        if not is_pin and next_hop is not None and (detour := detours.get(next_hop)) is not None:
            next_hop, oif, note = str(detour.via), detour.oif, f"instead of {next_hop}"
        if is_pin:
            note = "keeps the way that it had"
        elif route.kind != "unicast":
            state, note = "left", "the other tables have it"
        elif (route.table or 0) >= RELAY_TABLES:
            next_hop, note = RELAY, RELAYED
        elif route.table == OVERRIDE_TABLE:
            note = note or "wins over others, as you asked"
        rival = rivals.get(route.destination) if route.table is None else None
        if there is None:
            state, note = "missing", NOT_THERE
        elif text in there.fought or text in there.occupied:
            state, who = "taken", rival or OURS
            note = FOUGHT if text in there.fought else OCCUPIED
        elif text in there.missing:
            state = "missing"
        elif rival is not None and not is_pin:
            state, who, note = "taken", rival, "another route to the same wins"
        yield {
            "destination": route.destination, "next_hop": next_hop, "oif": oif, "owner": who, "state": state,
            "note": note,
        }  # fmt: skip


def _in_place(contested: Iterable[str], observed: ObservedNetwork) -> Iterable[ObservedRoute]:
    """Routes of others to the destinations of these of ours; first those in their very place."""
    places = {(route.destination, route.table) for route in map(Written.read, contested)}
    found = [
        route
        for route in observed.foreign
        if (str(route.destination), None if route.table != OVERRIDE_TABLE else OVERRIDE_TABLE) in places
    ]
    return sorted(found, key=lambda route: route.metric != METRIC)


def _foreign(route: ObservedRoute, note: str, owners: _Owners) -> Row:
    return {
        "destination": str(route.destination),
        "next_hop": str(route.next_hop) if route.next_hop is not None else None,
        "oif": route.oif or "",
        "owner": owners.of(route),
        "state": "foreign",
        "note": note if route.kind == "unicast" else f"{route.kind}; {note}",
    }


def _is_host(destination: str) -> bool:
    return destination.endswith("/128" if ":" in destination else "/32")


def _place(row: Row) -> tuple[int, bytes, int, bool]:
    """Family, number, length; what is ours before what is others'. By ipaddress it would cost five times as much."""
    address, _, length = str(row["destination"]).partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return int(family), socket.inet_pton(family, address), int(length), row["state"] == "foreign"
