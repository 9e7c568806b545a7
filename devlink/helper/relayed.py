"""What a session that is relayed wants of the machine: routes to our own link, zones by the relay, a redirect. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from devlink.core.network import Route
from devlink.core.plan import Desired, Upstream, Zone
from devlink.core.prefixes import IPAddress, Remainder, host_prefix
from devlink.core.profile import Transport
from devlink.helper.listeners import LOOPBACK, Listener, entrances, names_port, ports
from devlink.helper.redirects import ADDRESSES
from devlink.kernel.redirect import Relayed


def is_relayed(desired: Desired) -> bool:
    """Whether its routes are for what is redirected. Of a session that drains they are ordinary ones."""
    return desired.relay is not None and not desired.relay.draining


def relay_routes(desired: Desired, protected: Iterable[IPAddress]) -> tuple[Route, ...]:
    """The routes of a relayed session without the protected addresses, which keep the way that they have.

    None for another session. Their source is an address of ours that stays as long as something is relayed: what a
    connection has for its own it keeps to its end.
    """
    if not is_relayed(desired):
        return ()
    left = Remainder(host_prefix(address) for address in protected)
    return tuple(
        replace(route, destination=part, source=ADDRESSES[part.version])
        for route in desired.routes
        for part in left.of(route.destination)
    )


def relayed_zones(desired: Desired, listeners: Iterable[Listener]) -> tuple[Zone, ...]:
    """Its zones, asked by way of the relay: the forwarder is another user, for whom nothing is redirected."""
    port = names_port(listeners) if is_relayed(desired) else 0
    if not port:
        return desired.zones
    relay = Upstream(address=LOOPBACK[4], port=port, transport=Transport.TCP)
    return tuple(replace(zone, servers=(relay,)) for zone in desired.zones)


def relayed(desired: Desired, uid: int, routes: tuple[Route, ...], listeners: tuple[Listener, ...]) -> Relayed:
    """What is redirected for it; `routes` are those that are in the kernel."""
    return Relayed(
        session=desired.session,
        uid=uid,
        destinations=tuple(route.destination for route in routes) if is_relayed(desired) else (),
        ports=ports(listeners),
        names_port=names_port(listeners),
        entrances=entrances(listeners),
    )
