"""What is ours in a kernel, without the kernel."""

from collections.abc import Iterable

from devlink.core.network import Route
from devlink.kernel.ours import Links, Ours, Table, Way
from devlink.kernel.rtnetlink import key_of

LINKS = {"eth0": 2, "wlan0": 3, "devlink0": 4}
"""Their indexes."""


class KnownLinks(Links):
    """`LINKS`, whatever links this machine has."""

    def index(self, name: str) -> int | None:
        return LINKS.get(name)

    def name(self, index: int) -> str:
        return next((name for name, each in LINKS.items() if each == index), "")


def present(routes: Iterable[Route]) -> Ours:
    """A kernel that has these routes."""
    found: dict[Table, dict[bytes, Way]] = {}
    for route in routes:
        table = (route.destination.version, route.table, route.metric)
        found.setdefault(table, {})[key_of(route.destination)] = _way(route)
    return Ours(found=found, links=KnownLinks())


def _way(route: Route) -> Way:
    source = route.source.packed if route.source is not None else None
    if route.nexthop_id or route.kind == "throw":
        return Way(route.kind, route.nexthop_id, mtu=route.mtu, source=source)
    gateway = route.next_hop.packed if route.next_hop is not None else None
    return Way(route.kind, 0, LINKS[route.oif], gateway, route.mtu, source)
