"""How ours differ from what they shall be, without a kernel: what makes two of them the same place, and the same."""

import dataclasses
import ipaddress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.network import METRIC, Holding, Route, RouteDiff, RouteKey
from devlink.core.prefixes import IPNetwork
from tests.core.model_kernel import difference
from tests.kernel.holding import present

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
        table=draw(st.sampled_from((254, 5230))),
        mtu=draw(st.none() | st.just(1480)),
        source=draw(st.none() | st.just(ip_address("172.16.0.100" if v4 else "fd00::100"))),
    )


def route_tables() -> st.SearchStrategy[tuple[Route, ...]]:
    """Routes as a kernel can hold them: one for each place."""
    return st.lists(routes(), max_size=8, unique_by=lambda route: route.key).map(tuple)


def change(desired: tuple[Route, ...], observed: tuple[Route, ...]) -> RouteDiff:
    return present(observed).change_to(Holding(routes=desired)).routes


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
    assert set(apply(change(desired, observed), observed)) == set(desired)


@given(desired=route_tables(), observed=route_tables())
def test_a_difference_names_each_place_once_and_only_where_something_changes(
    desired: tuple[Route, ...], observed: tuple[Route, ...]
) -> None:
    diff = change(desired, observed)
    named = (*diff.add, *diff.replace, *diff.delete)
    assert {route.key for route in named} == {route.key for route in set(desired) ^ set(observed)}
    assert len({route.key for route in named}) == len(named)
    assert bool(diff) == (set(desired) != set(observed))


@given(table=route_tables())
def test_equal_routes_have_no_difference_whatever_their_order(table: tuple[Route, ...]) -> None:
    assert not change(table, tuple(reversed(table)))


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
    assert change((desired,), (ROUTE,)) == RouteDiff(replace=(desired,))


@pytest.mark.parametrize("changed", [{"metric": METRIC + 1}, {"table": 5230}])
def test_another_metric_or_table_is_another_place(changed: dict[str, int]) -> None:
    # The kernel's replace on another metric adds a second route: it must be an add and a delete.
    desired = dataclasses.replace(ROUTE, **changed)  # type: ignore[arg-type]  # see above
    assert change((desired,), (ROUTE,)) == RouteDiff(add=(desired,), delete=(ROUTE,))


@given(desired=route_tables(), observed=route_tables())
def test_a_difference_by_octets_is_the_one_by_data(desired: tuple[Route, ...], observed: tuple[Route, ...]) -> None:
    found, expected = change(desired, observed), difference(desired, observed)
    assert (set(found.add), set(found.replace)) == (set(expected.add), set(expected.replace))
    assert set(found.delete) == set(expected.delete)


@given(table=route_tables())
def test_routes_are_told_as_they_were_wanted(table: tuple[Route, ...]) -> None:
    assert set(present(table).routes) == set(table)


def test_a_route_by_an_object_stays_the_same_wherever_the_object_leads_and_is_another_with_another_object() -> None:
    by_object = dataclasses.replace(ROUTE, nexthop_id=7)
    turned = dataclasses.replace(by_object, next_hop=ip_address("172.16.0.16"))
    assert not change((by_object,), (turned,))
    other = dataclasses.replace(by_object, nexthop_id=8)
    assert change((other,), (by_object,)) == RouteDiff(replace=(other,))
    assert change((ROUTE,), (by_object,)) == RouteDiff(replace=(ROUTE,))


def test_what_lies_in_other_tables_than_the_sessions_stays_unless_everything_is_to_go() -> None:
    probe = dataclasses.replace(ROUTE, table=5231)
    assert not change((), (probe,))
    assert present((probe,)).change_to(Holding(), thorough=True).routes == RouteDiff(delete=(probe,))
