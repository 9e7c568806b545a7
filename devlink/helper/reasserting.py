"""Keeps our routes in the kernel while others take them away: put back at once, and nine times a minute at most."""

import logging
import time
from typing import TYPE_CHECKING

from devlink.core.network import Route
from devlink.errors import DevlinkError
from devlink.helper.netwatch import NetworkWatch
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
        self._restraint = Restraint()
        self._is_waiting = False
        """For a link or an address, without which some of it cannot be there."""
        self._told = ""
        self.given_up = ""
        """Why what is missing is left alone; empty while it is not."""

    def start(self) -> None:
        """Something is installed anew: what was given up is tried, and counted from none."""
        self._restraint.begin_anew()
        self._is_waiting, self._told, self.given_up = False, "", ""
        self._watch.start()

    def stop(self) -> None:
        """Nothing is installed any more. May be repeated."""
        self._watch.stop()

    async def _look(self) -> bool:
        """Whether to look once more in a while: something is missing, and whatever it waits for may be silent."""
        async with self._machine.lock:
            try:
                missing = await self._machine.missing_routes()
                now = time.monotonic()
                # What goes with its link is nobody's deed: a link that flaps must not have us give up.
                if missing and not self._is_waiting and not self._restraint.permits(now):
                    self._give_up(missing)
                    return False
                back = await self._machine.reassert()
                left = await self._machine.missing_routes() if missing else ()
            except DevlinkError as error:  # the network changes at this moment: the next look sees more
                if str(error) != self._told:
                    self._told = str(error)
                    log.warning("what is missing cannot be put back yet: %s", error)
                return True
            if back:
                if not self._is_waiting:
                    self._restraint.note(now)
                log.warning("put back, as it was gone: %s", _listed(back))
            if left and not self._is_waiting:
                log.warning("gone, and waiting for its link: %s", _listed(left))
            self._is_waiting, self._told = bool(left), ""
            return self._is_waiting

    def _give_up(self, missing: tuple[Route, ...]) -> None:
        if self.given_up:
            return
        self.given_up = f"they were taken away {BURST} times within {BURST_TIME:g} s, and are left alone"
        if rival := _rival(missing):
            self.given_up += f"; there is {rival}"
        log.error("%s: %s; `devlink up` tries again", _listed(missing), self.given_up)


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
