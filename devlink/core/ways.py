"""Which way a session's packets shall go: by its routes, its overrides, and the detours of the moment."""

from devlink.core.network import MAIN_TABLE, OVERRIDE_TABLE, Path, Route
from devlink.core.plan import Desired
from devlink.core.prefixes import IPAddress, PrefixTable


class Ways:
    """The ways that a session wants; a look-up takes as many steps as there are prefix lengths."""

    def __init__(self, desired: Desired) -> None:
        relayed = {route.table for route in desired.routes} - {OVERRIDE_TABLE, MAIN_TABLE}
        tables = (OVERRIDE_TABLE, *sorted(relayed), MAIN_TABLE)
        self._tables: list[PrefixTable[Route]] = [
            PrefixTable((route.destination, route) for route in desired.routes if route.table == table)
            for table in tables  # in the order in which the kernel asks them
        ]
        self._detours = {detour.next_hop: detour for detour in desired.detours}

    def to(self, address: IPAddress) -> Path | None:
        """The next hop and the link for an address now; None where the session has no route to it."""
        for table in self._tables:
            route = table.longest(address)
            if route is not None and route.kind != "throw":
                detour = self._detours.get(route.next_hop) if route.next_hop is not None else None
                if detour is not None:
                    return Path(oif=detour.oif, next_hop=detour.via)
                return Path(oif=route.oif, next_hop=route.next_hop)
        return None

    def is_lost(self, address: IPAddress, path: Path) -> bool:
        """Whether `path`, by which the kernel sends to an address, is another way than the session wants; never where
        the session has no route to it."""
        wanted = self.to(address)
        return wanted is not None and (path.oif, path.next_hop) != (wanted.oif, wanted.next_hop)
