"""Who is on which link: next hops must be (facts: R1), whatever a VPN does to the laptop's own packets for them."""

import ipaddress
from collections.abc import Iterable
from functools import cached_property

from devlink.core.network import MAIN_TABLE, ObservedNetwork, ObservedRoute, Path
from devlink.core.prefixes import IPAddress, IPNetwork, PrefixTable, host_prefix


class Neighbours:
    """Where addresses can be next hops; a look-up takes as many steps as there are prefix lengths."""

    def __init__(self, observed: ObservedNetwork) -> None:
        self._observed = observed
        up = {link.name for link in observed.links if link.up}
        links: dict[IPNetwork, list[str]] = {}
        for prefix, name in (*addressed(observed), *connected(observed)):
            names = links.setdefault(prefix, [])
            names.insert(0 if name in up else len(names), name)  # of two in one network, the one that works
        self._up = up
        self._connected = PrefixTable(links.items())

    def link_to(self, address: IPAddress) -> str | None:
        """The link that `address` is on, so that a route can name both; None where it is on none.

        That is a link which has a network that holds it. A route which names link and next hop is looked up no more, so
        it does not matter that a policy rule or a narrower route sends the laptop's own packets for that address into
        another link. And what leads out of a link without a router, as a VPN's default route does, puts nobody on it,
        unless it is for that one host.
        """
        path = self._path(address)
        if path is None:
            return None
        name = self._by_network(address, path)
        if name is None and path.next_hop is None and path.oif is not None and self._is_host(address, path.oif):
            return path.oif
        return name

    def is_open(self, address: IPAddress) -> bool:
        """Whether the networks on the links do not tell: then it depends on what others route out of them."""
        path = self._path(address)
        return path is not None and path.next_hop is None and self._by_network(address, path) is None

    def _path(self, address: IPAddress) -> Path | None:
        path = self._observed.paths.get(address)
        return path if path is not None and path.oif is not None and path.kind == "unicast" else None

    def _by_network(self, address: IPAddress, path: Path) -> str | None:
        nearest = self._connected.longest(address)  # nearly always this decides, and there may be 20,000 nodes
        if nearest is None:
            return None
        if path.next_hop is None and path.oif in nearest:
            return path.oif
        names = [name for names in self._connected.around(host_prefix(address)) for name in names]
        if path.next_hop is None and path.oif in names:
            return path.oif
        if address.is_link_local:  # that is on every link
            return None
        # The kernel passes over routes out of other links, but not over a router on this one (fib_check_nh).
        return next((name for name in names if name in self._up and name != path.oif), None)

    def _is_host(self, address: IPAddress, oif: str) -> bool:
        """Whether what leads out of `oif` is for that one host; where nothing is known, the kernel's word counts."""
        return self._direct.longest(address) is None or (host_prefix(address), oif) in self._hosts

    @cached_property
    def _direct(self) -> PrefixTable[ObservedRoute]:
        """What leads out of a link without a router, in any table."""
        direct = (r for r in self._observed.foreign if r.kind == "unicast" and r.next_hop is None and r.oif is not None)
        return PrefixTable((r.destination, r) for r in direct)

    @cached_property
    def _hosts(self) -> frozenset[tuple[IPNetwork, str | None]]:
        """The hosts that have a route of their own without a router, each with its link."""
        return frozenset(
            (r.destination, r.oif)
            for r in self._observed.foreign
            if r.destination.prefixlen == r.destination.max_prefixlen and r.kind == "unicast" and r.next_hop is None
        )


def addressed(observed: ObservedNetwork) -> Iterable[tuple[IPNetwork, str]]:
    """The networks that the laptop has an address in, and their links."""
    for link in observed.links:
        for address, length in link.addresses:
            if link.up and length > 0:
                yield ipaddress.ip_network((int(address), length), strict=False), link.name


def connected(observed: ObservedNetwork) -> Iterable[tuple[IPNetwork, str]]:
    """The networks that the kernel itself, or a router advertisement, put on a link: those of an address's peer, or of
    IPv6 addresses of /128. What a program routes into a link, as a VPN does with 10.0.0.0/8, is nobody's network."""
    for route in observed.routes:
        if (
            route.table == MAIN_TABLE and route.kind == "unicast" and route.is_connected
            and route.oif is not None and route.destination.prefixlen > 0
        ):  # fmt: skip
            yield route.destination, route.oif
