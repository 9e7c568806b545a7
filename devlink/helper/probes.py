"""The ways by which agents ask gateways whether they forward: rules and tables, for as long as their holders live."""

import asyncio
import socket
from collections.abc import AsyncIterator, Hashable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from devlink.core.network import Holding, Route
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError, NotUpError, UsageError, reason
from devlink.kernel import rules
from devlink.kernel.probe import MAX_WAYS, dead_end, delete_ways, probe_socket, put_way, rules_of, way_to
from devlink.rpc.tasks import spawn

MAX_WAYS_OF_ONE = 64
"""Gateways that one user asks at once: each has a rule, which the kernel looks at for every packet of the machine."""
MAX_TARGETS = 16
"""Addresses asked by way of one gateway, such as the cluster's DNS; the one that was asked longest ago makes room."""


@dataclass(slots=True, eq=False)
class _Way:
    number: int
    uid: int
    via: IPAddress
    oif: str
    routes: dict[Route, None] = field(default_factory=dict)
    """That which was asked for longest ago comes first."""
    holders: set[Hashable] = field(default_factory=set)


class Probes:
    """All of them. A way is shared by the sessions of one user that probe by the same gateway, and goes with the last
    of them; no user can take another's ways or their places.

    Whoever keeps the sessions' routes leaves tables and rules of probes alone, but for an undoing of everything.
    """

    def __init__(self) -> None:
        self._ways: dict[tuple[int, IPAddress, str], _Way] = {}
        self._changing = asyncio.Lock()
        self._undoings = 0

    async def open(
        self, holder: Hashable, uid: int, via: IPAddress, oif: str, target: IPAddress, kind: Literal["udp", "tcp"]
    ) -> socket.socket:
        """A socket that reaches `target` by `via` on link `oif`, and nothing else, for user `uid`.

        Raises HelperError; UsageError where the user has too many ways; NotUpError where all is undone meanwhile.
        """
        # To its end, even when the caller goes away meanwhile: what is half made could not be taken back.
        making = spawn(self._have_way(holder, uid, via, oif, target, self._undoings), name=f"a way by {via}")
        number = await asyncio.shield(making)
        try:
            return probe_socket(via.version, kind, number)
        except OSError as error:
            raise HelperError(
                "No socket for a probe could be made.", why=reason(error), next_step="See the helper's log."
            ) from error

    async def _have_way(
        self, holder: Hashable, uid: int, via: IPAddress, oif: str, target: IPAddress, undoings: int
    ) -> int:
        """The number of the gateway's way, which leads to `target`; asked for after so many undoings."""
        async with self._changing:
            if undoings != self._undoings:
                raise NotUpError("Everything was taken back meanwhile.", next_step="See: devlink status")
            way = self._ways.get((uid, via, oif)) or self._new(uid, via, oif)
            way.holders.add(holder)
            route = way_to(target, via, oif, way.number)
            way.routes.pop(route, None)
            way.routes[route] = None
            # Each time: a link that was down has taken its routes along.
            await asyncio.to_thread(_install, way.number, route)
            if len(way.routes) > MAX_TARGETS:
                oldest = next(iter(way.routes))
                await asyncio.to_thread(delete_ways, [oldest])
                del way.routes[oldest]
            return way.number

    async def close(self, holder: Hashable) -> None:
        """What `holder` has opened is not needed any more. Raises HelperError."""
        async with self._changing:
            for key, way in tuple(self._ways.items()):
                if holder in way.holders:
                    way.holders.discard(holder)
                    if not way.holders:
                        del self._ways[key]
                        last = not any(other.via.version == way.via.version for other in self._ways.values())
                        await asyncio.to_thread(_remove, way.number, way.via.version, way.routes, last=last)

    @asynccontextmanager
    async def forgotten(self) -> AsyncIterator[None]:
        """Meanwhile everything of ours is taken out of the kernel by another hand: no way is made, and those that are
        asked for before its end are refused."""
        self._undoings += 1
        async with self._changing:
            try:
                yield
            finally:
                self._undoings += 1
                self._ways.clear()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Holding]:
        """What the kernel holds of them, which stays so meanwhile."""
        async with self._changing:
            ways = self._ways.values()
            yield Holding(
                routes=tuple(route for way in ways for route in way.routes),
                rules=tuple(dict.fromkeys(rule for way in ways for rule in rules_of(way.number, way.via.version))),
            )

    def _new(self, uid: int, via: IPAddress, oif: str) -> _Way:
        if sum(way.uid == uid for way in self._ways.values()) >= MAX_WAYS_OF_ONE:
            raise UsageError(
                f"One user asks at most {MAX_WAYS_OF_ONE} gateways at once.",
                next_step="The others are asked when these are not.",
            )
        taken = {way.number for way in self._ways.values()}
        number = next((number for number in range(1, MAX_WAYS + 1) if number not in taken), None)
        if number is None:
            raise UsageError(
                f"At most {MAX_WAYS} gateways are asked at once.", next_step="The others are asked when these are not."
            )
        way = self._ways[uid, via, oif] = _Way(number, uid, via, oif)
        return way


def _install(number: int, route: Route) -> None:
    assert route.next_hop is not None
    # The rule that stops comes first: at no moment may a probe go by the ordinary routes.
    for rule in reversed(rules_of(number, route.next_hop.version)):
        rules.add(rule)
    put_way(route)


def _remove(number: int, version: int, routes: Iterable[Route], *, last: bool) -> None:
    for rule in rules_of(number, version):
        if last or rule != dead_end(version):
            rules.delete(rule)
    delete_ways(routes)
