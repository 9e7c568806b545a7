"""What is put back and what waits, and whose the numbers of nexthop objects are, without a kernel."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from devlink.core.network import FIRST_NEXTHOP_ID, Holding, Link, ObservedNetwork, Path, Route
from devlink.helper.installed import Installed, SessionRoutes
from devlink.helper.repair import Numbers, mending
from devlink.kernel.ours import Ours, Way
from devlink.kernel.rtnetlink import key_of

GATEWAY, OWN, GONE = (ip_address(f"192.0.2.{last}") for last in (9, 1, 2))
ROUTE = Route(destination=ip_network("10.1.0.0/16"), next_hop=GATEWAY, oif="v0")
ROLE = ("qa", GATEWAY, "v0")
INSTALLED = Installed(sessions=(SessionRoutes(session="qa", routes=(ROUTE,)),))
LINK = Link(index=2, name="v0", mtu=1500, up=True, addresses=((OWN, 24),))
WAYS = ObservedNetwork(links=(LINK,), paths={GATEWAY: Path(oif="v0")})


def test_a_number_under_which_another_put_an_object_stays_ours_while_our_routes_use_it() -> None:
    ours = Ours(
        found={(4, ROUTE.table, ROUTE.metric): {key_of(ROUTE.destination): Way("unicast", FIRST_NEXTHOP_ID)}},
        nexthop_ids=frozenset({FIRST_NEXTHOP_ID}),
    )
    for present, number in ((ours, FIRST_NEXTHOP_ID), (replace(ours, found={}), FIRST_NEXTHOP_ID + 1)):
        numbers = Numbers(wanted=True)
        numbers.known = {ROLE: FIRST_NEXTHOP_ID}
        assert numbers.of(INSTALLED, present) == {ROLE: number}


def test_a_route_whose_source_is_no_address_of_the_machine_waits_for_it() -> None:
    routes = tuple(replace(ROUTE, destination=ip_network(f"10.{n}.0.0/16"), source=s) for n, s in ((1, OWN), (2, GONE)))
    change, waiting = mending(Holding(routes=routes), Ours(), WAYS)
    assert change.routes.add == routes[:1]
    assert waiting == {routes[1].key}
