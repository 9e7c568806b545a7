"""Whether the laptop is in another network than before: then what names were answered with there may be wrong here."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from devlink.core.network import ObservedNetwork
from devlink.core.prefixes import IPAddress
from devlink.kernel.monitor import SETTLE, Monitor
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

LATE = 3.0
"""Seconds after a change until it is looked once more: who brings a network up writes its DNS servers last."""

WaysOut = frozenset[tuple[IPAddress | None, str | None]]


def ways_out(observed: ObservedNetwork) -> WaysOut:
    """The default routes: where they lead, and out of which link. A VPN's may have no gateway."""
    routes = (route for route in observed.foreign if route.destination.prefixlen == 0 and route.kind == "unicast")
    return frozenset((route.next_hop, route.oif) for route in routes)


class NetworkWatch:
    """Has it looked whether something has changed: whenever the kernel says so, while started, or somebody else."""

    def __init__(self, look: Callable[[], Awaitable[bool]], *, settle: float = SETTLE) -> None:
        """`look` says whether to look once more, LATE seconds later; `settle` as of a Monitor."""
        self._look = look
        self._settle = settle
        self._monitor: Monitor | None = None
        self._looking: asyncio.Task[None] | None = None
        self._told = asyncio.Event()

    def start(self) -> None:
        """May be repeated."""
        if self._monitor is not None:
            return
        try:
            self._monitor = Monitor(self.tell, settle=self._settle)
        except OSError as error:
            log.error("changes of the network are not seen: %s", error)

    def stop(self) -> None:
        """May be repeated. A look that has begun comes to its end."""
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    def tell(self) -> None:
        """Something else says that it may have changed."""
        self._told.set()
        if self._looking is None or self._looking.done():
            self._looking = spawn(self._look_while_told(), name="look whether the network has changed")

    async def _look_while_told(self) -> None:
        while self._told.is_set():
            self._told.clear()
            if not await self._look():
                continue
            try:
                async with asyncio.timeout(LATE):
                    await self._told.wait()
            except TimeoutError:
                await self._look()
