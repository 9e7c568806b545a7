"""Routes as data: how they read, what makes two of them the same place, and the difference between two sets."""

import dataclasses
from ipaddress import ip_address, ip_network

import pytest

from devlink.core.network import (
    PROTOCOL,
    Change,
    Holding,
    Nexthop,
    ObservedNetwork,
    ObservedRoute,
    Path,
    Route,
    RouteDiff,
    Rule,
)

ROUTE = Route(destination=ip_network("10.20.73.64/26"), next_hop=ip_address("172.16.0.13"), oif="eth0")


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
