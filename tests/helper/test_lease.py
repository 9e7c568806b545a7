"""What several leases want of the machine together."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from devlink.core.names import DomainName
from devlink.core.network import Route
from devlink.core.plan import Desired, Detour, Upstream, Zone
from devlink.helper.installed import Installed, SessionRoutes
from devlink.helper.lease import Lease, together

GATEWAY = ip_address("172.16.0.13")
ROUTE = Route(destination=ip_network("10.20.0.0/16"), next_hop=GATEWAY, oif="eth0")
OTHER = replace(ROUTE, destination=ip_network("10.30.0.0/16"))
HOST = replace(ROUTE, destination=ip_network("192.0.2.53/32"))
PIN = replace(HOST, next_hop=ip_address("172.16.0.1"))
ZONE = Zone(suffix=DomainName.parse("cluster.local"), servers=(Upstream(address=ip_address("10.20.0.2")),))


def lease(name: str, *routes: Route, zones: tuple[Zone, ...] = (), pinned: tuple[Route, ...] = ()) -> Lease:
    desired = Desired(session=name, routes=routes, zones=zones)
    return Lease(desired=desired, pinned=pinned, uid=1000, holder=None)


def test_the_networks_are_where_the_sessions_own_routes_lead_and_no_pins() -> None:
    wanted = together([lease("qa", ROUTE, zones=(ZONE,), pinned=(PIN,)), lease("prod", OTHER)])
    assert wanted == Installed(
        pins=(PIN,),
        sessions=(SessionRoutes(session="qa", routes=(ROUTE,)), SessionRoutes(session="prod", routes=(OTHER,))),
        zones=(ZONE,),
        networks=(ROUTE.destination, OTHER.destination),
    )
    assert lease("prod", OTHER, pinned=(PIN,)).installed.networks == (OTHER.destination,)


def test_where_a_pin_and_a_route_meet_the_route_wins() -> None:
    wanted = together([lease("qa", ROUTE, pinned=(PIN,)), lease("prod", HOST)])
    assert wanted.routes == (ROUTE, HOST)
    assert wanted.networks == (ROUTE.destination, HOST.destination)


def test_the_detours_of_each_session_are_its_own() -> None:
    turn = Detour(next_hop=GATEWAY, via=ip_address("172.16.0.16"), oif="eth0")
    turned = lease("qa", ROUTE)
    turned.desired = replace(turned.desired, detours=(turn,))
    wanted = together([turned, lease("prod", OTHER)])
    assert [wanted.hop_of(role) for role in wanted.roles] == [(turn.via, "eth0"), (GATEWAY, "eth0")]
    assert wanted.detoured("qa", GATEWAY, None).detours["qa"] == ()
    assert wanted.detoured("prod", GATEWAY, turn).detours == {"qa": (turn,), "prod": (turn,)}


def test_what_a_session_leaves_to_other_tables_is_none_of_its_networks() -> None:
    throw = replace(OTHER, next_hop=None, oif="", kind="throw", table=5230)
    assert together([lease("qa", ROUTE, throw)]).networks == (ROUTE.destination,)
