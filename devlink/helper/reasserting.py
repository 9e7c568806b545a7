"""Keeps our routes in the kernel while others take them away: back at once, each nine times a minute at most."""

import logging
import time
from typing import TYPE_CHECKING

from devlink.core.network import Route, RouteKey
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


class Reasserter:
    """Looks whenever the kernel says that something has changed. Without a session nothing of it runs."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        self._watch = NetworkWatch(self._look, settle=SETTLE)
        self._restraints: dict[RouteKey, Restraint] = {}
        """Of those that were put back lately, or are given up: a fight for one route says nothing of another."""
        self._waiting: frozenset[RouteKey] = frozenset()
        """Routes that waited at the last look for a link or an address, without which they cannot be there."""
        self._left_alone: frozenset[RouteKey] = frozenset()
        """Those that are given up."""
        self._held: frozenset[RouteKey] = frozenset()
        """Those whose place another program had at the last look. That is no fight: nothing was put back."""
        self._told = self._fought = self._holder = ""

    @property
    def given_up(self) -> str:
        """Why what is missing stays so; empty while it is put back, or waits."""
        return "; ".join(filter(None, (self._fought, self._holder)))

    def start(self) -> None:
        """Something is installed anew: what was given up is tried, and counted from none."""
        self._restraints = {}
        self._waiting = self._left_alone = self._held = frozenset()
        self._told = self._fought = self._holder = ""
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
        self._left_alone -= back
        if not self._left_alone:
            self._fought = ""
        self._restraints = {k: r for k, r in self._restraints.items() if k not in back and not r.is_over(now)}

    def _hold(self, routes: tuple[Route, ...]) -> None:
        """Say whose place another program has now; the kernel tells when it gives it back (`kernel.filter`)."""
        newly = tuple(route for route in routes if route.key not in self._held)
        self._held = frozenset(route.key for route in routes)
        self._holder = "another program holds their place until it takes its own routes away" if routes else ""
        if routes and (rival := _rival(routes)):
            self._holder += f"; there is {rival}"
        if newly:
            log.warning("%s: %s", _listed(newly), self._holder)

    def _give_up(self, missing: tuple[Route, ...]) -> None:
        self._left_alone |= {route.key for route in missing}
        self._fought = f"they were taken away {BURST} times within {BURST_TIME:g} s, and are left alone"
        if rival := _rival(missing):
            self._fought += f"; there is {rival}"
        log.error("%s: %s; `devlink up` tries again", _listed(missing), self._fought)


def _rival(missing: tuple[Route, ...]) -> str:
    """Who has a route to one of these destinations, if anybody."""
    destinations = {route.destination for route in missing}
    try:
        theirs = next((route for route in observe().foreign if route.destination in destinations), None)
    except DevlinkError:
        return ""
    return f"{as_ip_route(theirs)} of {owner_of(theirs)}" if theirs is not None else ""


def _listed(routes: tuple[Route, ...]) -> str:
    more = f" and {len(routes) - 3} more" if len(routes) > 3 else ""
    return "; ".join(str(route) for route in routes[:3]) + more
