"""Routes as data: how they read, what makes two of them the same place, and the difference between two sets."""

import dataclasses
import ipaddress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.network import (
    METRIC,
    PROTOCOL,
    Change,
    Holding,
    Nexthop,
    ObservedNetwork,
    ObservedRoute,
    Path,
    Route,
    RouteDiff,
    RouteKey,
    Rule,
    diff_routes,
    forwarding_table,
)
from devlink.core.prefixes import IPNetwork

# Few values, so that two sets often meet in the same place and often differ there.
DESTINATIONS: tuple[IPNetwork, ...] = (
    ip_network("10.20.0.0/16"),
    ip_network("10.20.0.0/24"),
    ip_network("10.254.0.0/16"),
    ip_network("fd00:20::/64"),
)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    destination = draw(st.sampled_from(DESTINATIONS))
    v4 = isinstance(destination, ipaddress.IPv4Network)
    hops = [ip_address(hop) for hop in (("172.16.0.13", "172.16.0.16") if v4 else ("fd00::13", "fd00::16"))]
    return Route(
        destination=destination,
        next_hop=draw(st.none() | st.sampled_from(hops)),
        oif=draw(st.sampled_from(("eth0", "devlink0"))),
        metric=draw(st.sampled_from((METRIC, 51))),
        table=draw(st.sampled_from((254, 100))),
        mtu=draw(st.none() | st.just(1480)),
        source=draw(st.none() | st.just(ip_address("172.16.0.100" if v4 else "fd00::100"))),
    )


def route_tables() -> st.SearchStrategy[tuple[Route, ...]]:
    """Routes as a kernel can hold them: one for each place."""
    return st.lists(routes(), max_size=8, unique_by=lambda route: route.key).map(tuple)


def apply(diff: RouteDiff, table: tuple[Route, ...]) -> tuple[Route, ...]:
    """What a kernel holds after the diff; fails where it would answer EEXIST or ESRCH."""
    kernel: dict[RouteKey, Route] = {route.key: route for route in table}
    for route in diff.delete:
        assert kernel.pop(route.key) == route, "a delete names the route as it is"
    for route in diff.replace:
        assert route.key in kernel, "replace without a route there"
        kernel[route.key] = route
    for route in diff.add:
        assert route.key not in kernel, "add onto a route there"
        kernel[route.key] = route
    return tuple(kernel.values())


@given(desired=route_tables(), observed=route_tables())
def test_applying_the_difference_to_the_observed_routes_yields_the_desired_ones(
    desired: tuple[Route, ...], observed: tuple[Route, ...]
) -> None:
    assert set(apply(diff_routes(desired, observed), observed)) == set(desired)


@given(desired=route_tables(), observed=route_tables())
def test_a_difference_names_each_place_once_and_only_where_something_changes(
    desired: tuple[Route, ...], observed: tuple[Route, ...]
) -> None:
    diff = diff_routes(desired, observed)
    named = (*diff.add, *diff.replace, *diff.delete)
    assert {route.key for route in named} == {route.key for route in set(desired) ^ set(observed)}
    assert len({route.key for route in named}) == len(named)
    assert bool(diff) == (set(desired) != set(observed))


@given(table=route_tables())
def test_equal_routes_have_no_difference_whatever_their_order(table: tuple[Route, ...]) -> None:
    assert not diff_routes(table, tuple(reversed(table)))


ROUTE = Route(destination=ip_network("10.20.73.64/26"), next_hop=ip_address("172.16.0.13"), oif="eth0")


@pytest.mark.parametrize(
    "changed",
    [
        {"next_hop": ip_address("172.16.0.16")},
        {"next_hop": None},
        {"oif": "wlan0"},
        {"mtu": 1400},
        {"source": ip_address("172.16.0.100")},
    ],
)
def test_another_way_to_the_same_place_is_a_replace(changed: dict[str, object]) -> None:
    desired = dataclasses.replace(ROUTE, **changed)  # type: ignore[arg-type]  # one field of five types
    assert diff_routes((desired,), (ROUTE,)) == RouteDiff(replace=(desired,))


@pytest.mark.parametrize("changed", [{"metric": METRIC + 1}, {"table": 100}])
def test_another_metric_or_table_is_another_place(changed: dict[str, int]) -> None:
    # The kernel's replace on another metric adds a second route: it must be an add and a delete.
    desired = dataclasses.replace(ROUTE, **changed)  # type: ignore[arg-type]  # see above
    assert diff_routes((desired,), (ROUTE,)) == RouteDiff(add=(desired,), delete=(ROUTE,))


@pytest.mark.parametrize(
    ("route", "text"),
    [
        (ROUTE, "10.20.73.64/26 via 172.16.0.13 dev eth0 proto 231 metric 50"),
        (
            Route(destination=ip_network("10.96.0.10/32"), oif="devlink0"),
            "10.96.0.10/32 dev devlink0 proto 231 metric 50",
        ),
        (
            Route(
                destination=ip_network("fd00:20::/64"),
                next_hop=ip_address("fd00::13"),
                oif="eth0",
                metric=70,
                table=100,
                mtu=1480,
                source=ip_address("fd00::100"),
            ),
            "fd00:20::/64 via fd00::13 dev eth0 proto 231 src fd00::100 metric 70 table 100 mtu 1480",
        ),
    ],
)
def test_a_route_reads_as_ip_route_writes_it(route: Route, text: str) -> None:
    assert str(route) == text


@given(route=routes())
def test_a_route_of_ours_comes_back_from_the_observation_unchanged(route: Route) -> None:
    observed = ObservedRoute(
        destination=route.destination, next_hop=route.next_hop, oif=route.oif, metric=route.metric, table=route.table,
        protocol=PROTOCOL, mtu=route.mtu, source=route.source,
    )  # fmt: skip
    assert ObservedNetwork(routes=(observed,)).ours == (route,)


def test_only_unicast_routes_of_our_protocol_and_with_a_link_are_ours() -> None:
    foreign = ObservedRoute(destination=ip_network("10.20.0.0/16"), oif="eth0", protocol=186)
    # The kernel shows IPv6 routes to nowhere with a link.
    blackhole = ObservedRoute(destination=ip_network("fd00:21::/64"), oif="lo", protocol=PROTOCOL, kind="blackhole")
    multipath = ObservedRoute(destination=ip_network("10.22.0.0/16"), protocol=PROTOCOL)
    assert ObservedNetwork(routes=(foreign, blackhole, multipath)).ours == ()


def test_default_gateways_are_those_of_both_families_each_once_and_of_no_other_route() -> None:
    v4, v6, router = ip_address("192.168.1.1"), ip_address("fe80::1"), ip_address("192.168.1.2")
    network = ObservedNetwork(
        routes=(
            ObservedRoute(destination=ip_network("0.0.0.0/0"), next_hop=v4, oif="wlan0", metric=600, protocol=16),
            ObservedRoute(destination=ip_network("0.0.0.0/0"), next_hop=v4, oif="wlan0", metric=700, protocol=4),
            ObservedRoute(destination=ip_network("::/0"), next_hop=v6, oif="wlan0", metric=1024, protocol=9),
            ObservedRoute(destination=ip_network("0.0.0.0/0"), oif="ppp0", metric=800, protocol=4),
            ObservedRoute(destination=ip_network("10.0.0.0/8"), next_hop=router, oif="wlan0", protocol=4),
        )
    )
    assert network.default_gateways == (v4, v6)


@pytest.mark.parametrize(
    ("path", "on_link"),
    [
        (Path(oif="eth0"), True),
        (Path(oif="eth0", next_hop=ip_address("192.168.1.1")), False),
        (Path(oif="lo", kind="local"), False),
        (Path(), False),
        (Path(kind="unreachable"), False),
    ],
)
def test_a_next_hop_must_be_reached_out_of_a_link_without_a_router(path: Path, on_link: bool) -> None:
    assert path.is_on_link is on_link


def other(destination: str, **more: object) -> ObservedRoute:
    return ObservedRoute(**{"destination": ip_network(destination), "oif": "eth0", "protocol": 4, **more})  # type: ignore[arg-type]  # fields of several types


def test_the_longest_prefix_carries_an_address_and_among_equals_the_lowest_metric() -> None:
    table = (
        other("0.0.0.0/0"),
        other("10.0.0.0/8", metric=20, oif="eth1"),
        other("10.20.0.0/16", metric=600, oif="wlan0"),
        other("10.20.0.0/16", metric=100, oif="eth2"),
        other("fd00::/8"),
    )
    found = forwarding_table(table).longest(ip_address("10.20.0.1"))
    assert found is not None
    assert (found.oif, found.metric) == ("eth2", 100)
    around = forwarding_table(table).longest(ip_address("10.30.0.1"))
    assert around is not None
    assert around.oif == "eth1"


@pytest.mark.parametrize(
    "route",
    [
        other("10.20.0.0/16", table=100),
        other("10.20.0.1/32", kind="local", table=255),
        other("10.20.0.0/16", kind="blackhole", oif=None),
        other("10.21.0.0/16"),
        other("fd00::/8"),
    ],
)
def test_what_is_not_in_the_main_table_or_carries_nothing_is_no_way(route: ObservedRoute) -> None:
    assert forwarding_table((route,)).longest(ip_address("10.20.0.1")) is None


@given(
    destinations=st.lists(st.sampled_from(DESTINATIONS), max_size=6),
    address=st.sampled_from([ip_address(text) for text in ("10.20.0.7", "10.20.9.7", "10.254.0.1", "fd00:20::1")]),
)
def test_a_way_is_found_exactly_where_some_route_holds_the_address(
    destinations: list[IPNetwork], address: ipaddress.IPv4Address
) -> None:
    found = forwarding_table([other(str(d)) for d in destinations]).longest(address)
    holding = [d for d in destinations if address in d]
    assert (found is not None) == bool(holding)
    if found is not None:
        assert found.destination.prefixlen == max(d.prefixlen for d in holding)


def test_routes_are_ours_or_foreign_by_their_protocol_alone() -> None:
    ours, hole = other("10.20.0.0/16", protocol=PROTOCOL), other("10.21.0.0/16", protocol=PROTOCOL, kind="blackhole")
    theirs = [other("10.20.0.0/16", protocol=number) for number in (0, 2, 3, 4, 16, 186, 230, 232)]
    assert ObservedNetwork(routes=(ours, *theirs, hole)).foreign == tuple(theirs)


def test_what_is_gained_and_what_is_lost_are_the_whole_change_and_share_nothing() -> None:
    rule, hop = Rule(version=4, priority=5200, table=5230), Nexthop(id=7, next_hop=None, oif="eth0")
    routes = RouteDiff(add=(ROUTE,), replace=(ROUTE,), delete=(ROUTE,))
    change = Change(
        nexthops=(hop,), routes=routes, rules=(rule,), unwanted_rules=(rule,), unwanted_nexthops=(8,)
    )  # fmt: skip
    gains, losses = change.gains, change.losses
    assert (gains.nexthops, gains.rules, gains.routes) == ((hop,), (rule,), dataclasses.replace(routes, delete=()))
    assert (losses.unwanted_rules, losses.unwanted_nexthops, losses.routes) == (
        (rule,),
        (8,),
        RouteDiff(delete=(ROUTE,)),
    )
    assert not gains.losses
    assert not losses.gains
    assert not Change()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            dataclasses.replace(ROUTE, nexthop_id=7),
            "10.20.73.64/26 nhid 7 via 172.16.0.13 dev eth0 proto 231 metric 50",
        ),
        (
            Route(destination=ip_network("10.20.0.0/24"), oif="", table=5230, kind="throw"),
            "throw 10.20.0.0/24 proto 231 metric 50 table 5230",
        ),
        (Nexthop(id=7, next_hop=ip_address("fd00::13"), oif="eth0"), "id 7 via fd00::13 dev eth0 proto 231"),
        (Nexthop(id=7, next_hop=None, oif="eth0"), "id 7 dev eth0 proto 231"),
        (Rule(version=4, priority=5200, table=5230, protocol=231), "pref 5200 from all lookup 5230 protocol 231"),
    ],
)
def test_what_is_ours_reads_as_iproute2_writes_it(given: object, text: str) -> None:
    assert str(given) == text


def test_routes_by_an_object_lead_where_the_object_does() -> None:
    other = Nexthop(id=7, next_hop=ip_address("172.16.0.16"), oif="eth1")
    throw = Route(destination=ip_network("10.20.0.0/24"), oif="", table=5230, kind="throw")
    by_object = dataclasses.replace(ROUTE, destination=ip_network("10.21.0.0/16"), nexthop_id=7)
    held = Holding(routes=(ROUTE, by_object, throw), nexthops=(other,))
    assert held.hops == {(ROUTE.next_hop, "eth0"), (other.next_hop, "eth1")}
