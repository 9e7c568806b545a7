"""The leases: which sessions there are, whose they are, and what keeps each of them alive."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from devlink.core.network import Route, RouteKey
from devlink.core.plan import Desired
from devlink.core.prefixes import Cover
from devlink.errors import ConflictError, NotPermittedError
from devlink.helper.access import user_name
from devlink.helper.installed import Installed, SessionRoutes
from devlink.helper.listeners import Listener, close
from devlink.helper.relayed import is_relayed, relayed, relayed_zones
from devlink.rpc.server import Session


@dataclass(slots=True, kw_only=True, eq=False)
class Lease:
    """One session and what keeps it."""

    desired: Desired
    pinned: tuple[Route, ...]
    """Host routes that keep protected addresses on their present way."""
    uid: int
    holder: Session | None
    """The connection that applied it; None while it is orphaned and its grace runs."""
    confirmed: bool = False
    """The agent has verified it: from then on it has a grace."""
    relay_routes: tuple[Route, ...] = ()
    """What is in the kernel of the routes of a session that is relayed (`relayed.relay_routes`)."""
    listeners: tuple[Listener, ...] = ()
    """Those of its relay; closed when it is forgotten."""
    expiry: asyncio.TimerHandle | None = None
    _networks: Cover | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        return self.desired.session

    @property
    def networks(self) -> Cover:
        """Where its routes lead, which no switch changes. Kept: every probe asks for it."""
        if self._networks is None:
            self._networks = Cover(route.destination for route in self.desired.routes)
        return self._networks

    @property
    def routes(self) -> tuple[Route, ...]:
        """Those that it wants in the kernel, but for its pins."""
        return self.relay_routes if is_relayed(self.desired) else self.desired.routes

    @property
    def state(self) -> str:
        if self.holder is None:
            return "orphaned"
        return "up" if self.confirmed else "applied"

    @property
    def installed(self) -> Installed:
        """What it wants of the machine, its pins included."""
        return together([self])


class Leases:
    """All of them, by session."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}

    def __iter__(self) -> Iterator[Lease]:
        return iter(tuple(self._leases.values()))

    def get(self, name: str) -> Lease | None:
        return self._leases.get(name)

    def put(self, lease: Lease) -> None:
        """Add a lease, in the place of an older one of its session."""
        self.forget(lease.name)
        self._leases[lease.name] = lease

    def forget(self, name: str) -> None:
        """Strike a session out; its grace runs no more."""
        lease = self._leases.pop(name, None)
        if lease is None:
            return
        close(lease.listeners)
        if lease.expiry is not None:
            lease.expiry.cancel()

    def others(self, names: set[str]) -> list[Lease]:
        """All but these."""
        return [lease for lease in self if lease.name not in names]

    def orphan(self, holder: Session, after: Callable[[Lease], asyncio.TimerHandle]) -> None:
        """A connection has ended: let the grace of its sessions run, by the timers that `after` starts."""
        for lease in self:
            if lease.holder is holder:
                lease.holder = None
                lease.expiry = after(lease)

    def check_free(self, name: str, caller: Session) -> None:
        """Raise ConflictError where somebody else has the session: another user, or another agent of this one."""
        lease = self._leases.get(name)
        if lease is None or lease.holder is caller:
            return
        if lease.uid != caller.peer.uid:
            raise ConflictError(
                f"Session {name} is up already, for user {user_name(lease.uid)}.",
                why="A profile can be up once on a machine.",
                next_step="Ask that user to take it down.",
            )
        if lease.holder is not None:
            raise ConflictError(
                f"Session {name} is up already, held by another agent of yours (pid {lease.holder.peer.pid}).",
                next_step=f"Run: devlink down {name}",
            )

    def check_owned(self, lease: Lease, caller: Session) -> None:
        """Raise NotPermittedError where the session is another user's. Root has a verb of its own: Restore."""
        if lease.uid != caller.peer.uid:
            raise NotPermittedError(
                f"Session {lease.name} belongs to user {user_name(lease.uid)}.",
                why="Only that user can take it down; root can only restore everything.",
                next_step="Ask that user to take it down.",
            )


def together(leases: list[Lease]) -> Installed:
    """What several sessions want of the machine. Where a pin and a route meet, the route wins."""
    taken: dict[RouteKey, str] = {route.key: lease.name for lease in leases for route in lease.routes}
    pins: dict[RouteKey, Route] = {}
    for lease in leases:
        for pin in lease.pinned:
            if pin.key not in taken:
                pins.setdefault(pin.key, pin)
    return Installed(
        pins=tuple(pins.values()),
        sessions=tuple(
            SessionRoutes(
                session=lease.name,
                routes=tuple(route for route in lease.routes if taken[route.key] == lease.name),
            )
            for lease in leases
        ),
        detours={lease.name: lease.desired.detours for lease in leases if lease.desired.detours},
        zones=tuple(zone for lease in leases for zone in relayed_zones(lease.desired, lease.listeners)),
        networks=tuple(route.destination for lease in leases for route in lease.routes if route.kind == "unicast"),
        relayed=tuple(
            relayed(lease.desired, lease.uid, lease.routes, lease.listeners)
            for lease in leases
            if lease.desired.relay is not None
        ),
    )
