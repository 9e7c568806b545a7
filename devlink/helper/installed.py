"""What shall be there of all sessions together: the routes, the zones, and where the sessions' own routes lead."""

from dataclasses import dataclass

from devlink.core.network import Route
from devlink.core.plan import Zone
from devlink.core.prefixes import IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """All that shall be there, of all sessions together."""

    routes: tuple[Route, ...] = ()
    zones: tuple[Zone, ...] = ()
    networks: tuple[IPNetwork, ...] = ()
    """Where the sessions' own routes lead; those that only keep an address on its way are not among them."""
