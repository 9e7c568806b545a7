"""The ways by which agents ask gateways whether they forward: rules and tables, for as long as their holders live."""

import asyncio
import socket
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal

from devlink.core.network import Route
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError, UsageError, reason
from devlink.kernel import rules
from devlink.kernel.probe import MAX_WAYS, dead_end, delete_way, probe_socket, put_way, rules_of, way_to
from devlink.rpc.tasks import spawn


@dataclass(slots=True, eq=False)
class _Way:
    number: int
    via: IPAddress
    oif: str
    routes: set[Route] = field(default_factory=set)
    holders: set[Hashable] = field(default_factory=set)


class Probes:
    """All of them. A way is shared by those who probe by the same gateway, and goes with the last of them.

    Whoever keeps the sessions' routes leaves tables and rules of probes alone, but for an undoing of everything.
    """

    def __init__(self) -> None:
        self._ways: dict[tuple[IPAddress, str], _Way] = {}
        self._changing = asyncio.Lock()

    async def open(
        self, holder: Hashable, via: IPAddress, oif: str, target: IPAddress, kind: Literal["udp", "tcp"]
    ) -> socket.socket:
        """A socket that reaches `target` by `via` on link `oif`, and nothing else. Raises HelperError."""
        # To its end, even when the caller goes away meanwhile: what is half made could not be taken back.
        number = await asyncio.shield(spawn(self._have_way(holder, via, oif, target), name=f"a way by {via}"))
        try:
            return probe_socket(via.version, kind, number)
        except OSError as error:
            raise HelperError(
                "No socket for a probe could be made.", why=reason(error), next_step="See the helper's log."
            ) from error

    async def _have_way(self, holder: Hashable, via: IPAddress, oif: str, target: IPAddress) -> int:
        """The number of the gateway's way, which leads to `target`."""
        async with self._changing:
            way = self._ways.get((via, oif)) or self._new(via, oif)
            way.holders.add(holder)
            route = way_to(target, via, oif, way.number)
            way.routes.add(route)
            # Each time: a link that was down has taken its routes along.
            await asyncio.to_thread(_install, way.number, route)
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

    def forget(self) -> None:
        """Everything of ours is taken out of the kernel by another hand."""
        self._ways.clear()

    def _new(self, via: IPAddress, oif: str) -> _Way:
        taken = {way.number for way in self._ways.values()}
        number = next((number for number in range(1, MAX_WAYS + 1) if number not in taken), None)
        if number is None:
            raise UsageError(
                f"At most {MAX_WAYS} gateways are asked at once.", next_step="The others are asked when these are not."
            )
        way = self._ways[via, oif] = _Way(number, via, oif)
        return way


def _install(number: int, route: Route) -> None:
    assert route.next_hop is not None
    # The rule that stops comes first: at no moment may a probe go by the ordinary routes.
    for rule in reversed(rules_of(number, route.next_hop.version)):
        rules.add(rule)
    put_way(route)


def _remove(number: int, version: int, routes: set[Route], *, last: bool) -> None:
    for rule in rules_of(number, version):
        if last or rule != dead_end(version):
            rules.delete(rule)
    for route in routes:
        delete_way(route)
