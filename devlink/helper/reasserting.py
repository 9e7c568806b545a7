"""Keeps our routes in the kernel while others take them away: back at once, each nine times a minute at most."""

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devlink.core.network import ObservedRoute, Route, RouteKey
from devlink.errors import DevlinkError
from devlink.helper.netwatch import NetworkWatch
from devlink.helper.repair import Lack
from devlink.helper.restraint import BURST, BURST_TIME, Restraint
from devlink.kernel.observe import observe
from devlink.kernel.owners import as_ip_route, owner_of

if TYPE_CHECKING:
    from devlink.helper.machine import Machine

log = logging.getLogger(__name__)

SETTLE = 0.05
"""Seconds from the kernel's first word until it is looked: a link that goes takes a dozen routes with it."""

FOUGHT = f"taken away {BURST} times within {BURST_TIME:g} s, and left alone since"
OCCUPIED = "another program holds their place until it takes its own routes away"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Routes that are missing because of another program."""

    routes: tuple[str, ...]
    """As `ip route` writes them."""
    why: str


class Reasserter:
    """Looks whenever the kernel says that something has changed. Without a session nothing of it runs."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        self._watch = NetworkWatch(self._look, settle=SETTLE)
        self._restraints: dict[RouteKey, Restraint] = {}
        """Of those that were put back lately, or are given up: a fight for one route says nothing of another."""
        self._waiting: frozenset[RouteKey] = frozenset()
        """Routes that waited at the last look for a link or an address, without which they cannot be there."""
        self._held: frozenset[RouteKey] = frozenset()
        """Those whose place another program had at the last look. That is no fight: nothing was put back."""
        self._rivals: dict[RouteKey, ObservedRoute] = {}
        """Of those in the two: what somebody else had to the same destination when that was noticed."""
        self._told = ""

    @property
    def _left_alone(self) -> frozenset[RouteKey]:
        """Those that are given up."""
        return frozenset(key for key, restraint in self._restraints.items() if restraint.has_given_up)

    def fought(self, missing: Iterable[Route]) -> Contest | None:
        """Those of the missing that are given up: they come back when they are applied anew, and not by themselves."""
        return self._contest(missing, self._left_alone, FOUGHT)

    def occupied(self, missing: Iterable[Route]) -> Contest | None:
        """Those of the missing that come back as soon as another program gives their place back."""
        return self._contest(missing, self._held - self._left_alone, OCCUPIED)

    def _contest(self, missing: Iterable[Route], keys: Collection[RouteKey], why: str) -> Contest | None:
        routes = tuple(route for route in missing if route.key in keys)
        if not routes:
            return None
        return Contest(routes=tuple(map(str, routes)), why=why + _there_is(routes, self._rivals))

    def start(self) -> None:
        """Something is installed anew: what was given up is tried, and counted from none."""
        self._restraints = {}
        self._waiting = self._held = frozenset()
        self._rivals, self._told = {}, ""
        self._watch.start()

    def stop(self) -> None:
        """Nothing is installed any more. May be repeated."""
        self._watch.stop()

    async def _look(self) -> bool:
        """Whether to look once more in a while: something is missing, and whatever it waits for may be silent."""
        async with self._machine.lock:
            try:
                lack = await self._machine.lack()
                now = time.monotonic()
                self._forget(lack, now)
                # What goes with its link is nobody's deed: a link that flaps must not have us give up.
                been = self._waiting | self._left_alone
                taken = tuple(route for route in lack.taken if route.key not in been)
                if fought := tuple(route for route in taken if not self._permits(route.key, now)):
                    self._give_up(fought)
                mended = await self._machine.reassert(self._left_alone, lack)
            except DevlinkError as error:  # the network changes at this moment: the next look sees more
                if str(error) != self._told:
                    self._told = str(error)
                    log.warning("what is missing cannot be put back yet: %s", error)
                return True
            held = frozenset(route.key for route in mended.held)
            for key in {route.key for route in taken} - self._left_alone - held:
                self._restraints.setdefault(key, Restraint()).note(now)
            if mended.back:
                log.warning("put back, as it was gone: %s", _listed(mended.back))
            if held != self._held:
                self._hold(mended.held)
            if lack.waiting and not self._waiting:
                log.warning("gone, and waiting for its link: %s", _listed(lack.waiting))
            self._waiting, self._told = frozenset(route.key for route in lack.waiting), ""
            return bool(lack.waiting or mended.held)

    def _permits(self, key: RouteKey, now: float) -> bool:
        return key not in self._restraints or self._restraints[key].permits(now)

    def _forget(self, lack: Lack, now: float) -> None:
        """Of what is there again, or wanted no more, nothing is given up; and what is long ago does not count."""
        missing = {route.key for route in (*lack.taken, *lack.waiting)}
        back = self._left_alone - missing
        self._restraints = {k: r for k, r in self._restraints.items() if k not in back and not r.is_over(now)}

    def _hold(self, routes: tuple[Route, ...]) -> None:
        """Say whose place another program has now; the kernel tells when it gives it back (`kernel.filter`)."""
        newly = tuple(route for route in routes if route.key not in self._held)
        self._held = frozenset(route.key for route in routes)
        if newly:
            self._note_rivals(newly)
            log.warning("%s: %s%s", _listed(newly), OCCUPIED, _there_is(newly, self._rivals))

    def _give_up(self, missing: tuple[Route, ...]) -> None:
        self._note_rivals(missing)
        log.error("%s: %s%s; `devlink up` tries again", _listed(missing), FOUGHT, _there_is(missing, self._rivals))

    def _note_rivals(self, routes: tuple[Route, ...]) -> None:
        """Who has their places, or else other routes to the same destinations."""
        destinations = {route.destination for route in routes}
        try:
            theirs = [route for route in observe().foreign if route.destination in destinations]
        except DevlinkError:
            theirs = []
        of_place = {(each.destination, each.metric, each.table): each for each in theirs}
        first = {each.destination: each for each in reversed(theirs)}
        others = (self._left_alone | self._held) - {route.key for route in routes}
        self._rivals = {key: rival for key, rival in self._rivals.items() if key in others}
        for route in routes:
            if rival := of_place.get(route.key) or first.get(route.destination):
                self._rivals[route.key] = rival


def _there_is(routes: Iterable[Route], rivals: Mapping[RouteKey, ObservedRoute]) -> str:
    """What another program has instead of the first of them that is known."""
    rival = next((rivals[route.key] for route in routes if route.key in rivals), None)
    return f"; there is {as_ip_route(rival)} of {owner_of(rival)}" if rival is not None else ""


def _listed(routes: tuple[Route, ...]) -> str:
    more = f" and {len(routes) - 3} more" if len(routes) > 3 else ""
    return "; ".join(str(route) for route in routes[:3]) + more
