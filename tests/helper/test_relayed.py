"""What a relayed session wants of the machine, beside its routes."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network

from devlink.core.names import DomainName
from devlink.core.network import Route, relay_table
from devlink.core.plan import Desired, Relaying, Upstream, Zone
from devlink.core.profile import Transport
from devlink.helper.lease import Lease, Leases, together
from devlink.helper.listeners import Listener, close, listen, places
from devlink.helper.relayed import relay_routes
from devlink.kernel.redirect import Relayed

ZONE = Zone(suffix=DomainName.parse("cluster.local"), servers=(Upstream(address=ip_address("10.20.0.2")),))
ROUTE = Route(destination=ip_network("10.20.0.0/16"), oif="devlink0", table=relay_table(1000))
QA = Desired(session="qa", routes=(ROUTE,), zones=(ZONE,), relay=Relaying())
DRAINING = replace(QA, routes=(), relay=Relaying(draining=True))


@contextmanager
def listening(*versions: int) -> Iterator[tuple[Listener, ...]]:
    made = listen(places(versions, {}), ())
    try:
        yield made
    finally:
        close(made)


def lease(desired: Desired, listeners: tuple[Listener, ...]) -> Lease:
    routes = relay_routes(desired, [ip_address("10.20.0.1")])
    return Lease(desired=desired, pinned=(), uid=1000, holder=None, relay_routes=routes, listeners=listeners)


def test_what_is_redirected_is_where_its_routes_lead_and_protected_addresses_are_not_among_it() -> None:
    with listening(4) as listeners:
        wanted = together([lease(QA, listeners)])
        (relayed,) = wanted.relayed
        assert relayed.destinations == tuple(route.destination for route in wanted.routes) == wanted.networks
        assert not any(ip_address("10.20.0.1") in prefix for prefix in relayed.destinations)
        assert sum(prefix.num_addresses for prefix in relayed.destinations) == (1 << 16) - 1
        assert {str(route.source) for route in wanted.routes} == {"169.254.53.55"}  # whatever names do
        (rule,) = wanted.holding({}).rules
        assert str(rule) == "pref 5201 from all iif lo uidrange 1000-1000 lookup 2147484648 protocol 231"


def test_ordinary_routes_are_no_routes_for_what_is_redirected_also_while_it_drains() -> None:
    home = Route(destination=ip_network("10.20.0.0/16"), oif="eth0", next_hop=ip_address("192.168.1.1"))
    for relay in (None, Relaying(draining=True)):
        assert relay_routes(replace(QA, routes=(home,), relay=relay), ()) == ()


def test_names_are_asked_by_way_of_the_relay_until_it_drains() -> None:
    with listening(4) as listeners:
        names = listeners[-1]
        (zone,) = together([lease(QA, listeners)]).zones
        assert zone.servers == (Upstream(address=ip_address("127.0.0.1"), port=names.port, transport=Transport.TCP),)
        assert together([lease(DRAINING, listeners)]).zones == (ZONE,)


def test_while_it_drains_its_listeners_are_still_its_own_and_nothing_is_redirected() -> None:
    with listening(4, 6) as listeners:
        (relayed,) = together([lease(DRAINING, listeners)]).relayed
        assert relayed == Relayed(
            session="qa",
            uid=1000,
            ports={4: listeners[0].port, 6: listeners[1].port},
            names_port=listeners[2].port,
        )


def test_who_asks_for_the_same_places_again_has_the_same_listeners() -> None:
    with listening(4) as first:
        again = listen(places([4, 6], {}), first)
        assert [each for each in again if each in first] == list(first)
        close(again, but=first)
        assert first[0].sock.fileno() >= 0


def test_a_bridge_has_a_listener_for_each_family_that_it_and_the_prefixes_have() -> None:
    bridges = {"docker0": [ip_address(each) for each in ("fe80::1", "fd17::1", "172.17.0.1", "172.17.0.2")], "br0": []}
    found = [(each.bridge, str(each.address)) for each in places([4, 6], bridges) if each.bridge]
    assert found == [("docker0", "172.17.0.1"), ("docker0", "fd17::1")]
    assert not [each for each in places([4], {"docker0": [ip_address("fd17::1")]}) if each.bridge]


def test_a_session_that_is_forgotten_listens_no_more() -> None:
    with listening(4) as listeners:
        port = listeners[0].port
        leases = Leases()
        leases.put(lease(QA, listeners))
        with listeners[0].sock.dup(), socket.socket() as sock:  # a relay may have it still
            leases.forget("qa")
            assert sock.connect_ex(("127.0.0.1", port)) != 0
