"""Who else routes where our routes lead: conflicts, what others keep, and the ways that stay as they are."""

import ipaddress
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.findings import Finding, Severity
from devlink.core.network import (
    MAIN_TABLE,
    METRIC,
    OVERRIDE_TABLE,
    PROTOCOL,
    ObservedNetwork,
    ObservedRoute,
    Route,
    Rule,
)
from devlink.core.overlaps import conflicts, pins
from devlink.core.plan import Desired, make_plan, protect
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.core.profile import Node, RoutingMode
from tests.core.model_kernel import longest
from tests.core.plans import GATEWAY, GATEWAY6, ON_LINK, PROFILE, altered, seen, theirs

ROUTE = Route(destination=ip_network("10.20.0.0/16"), next_hop=GATEWAY, oif="eth0")


def test_the_same_prefix_of_another_is_a_conflict_that_names_the_route() -> None:
    static = theirs("10.20.0.0/16", protocol=4, metric=100, next_hop=ip_address("172.16.0.1"))
    assert conflicts([ROUTE], ObservedNetwork(routes=(static,))) == ((ROUTE, static),)


@pytest.mark.parametrize(
    "other",
    [
        theirs("10.20.0.0/16", kind="blackhole", oif=None, metric=51),
        theirs("10.20.0.0/16", kind="unreachable", oif=None, metric=1024),
        theirs("10.20.0.0/16", kind="broadcast"),
        theirs("10.20.0.0/16", table=100),
        theirs("10.20.0.0/16", protocol=PROTOCOL),
        theirs("10.20.0.0/17"),
        theirs("10.0.0.0/8"),
    ],
    ids=["blackhole", "unreachable", "broadcast", "table", "ours", "narrower", "wider"],
)
def test_what_is_no_other_way_to_the_same_place_is_no_conflict(other: ObservedRoute) -> None:
    assert conflicts([ROUTE], ObservedNetwork(routes=(other,))) == ()


@pytest.mark.parametrize("kind", ["blackhole", "unreachable", "prohibit", "throw"])
@pytest.mark.parametrize("metric", [0, METRIC])
def test_what_drops_the_same_prefix_and_wins_by_its_metric_is_a_conflict(kind: str, metric: int) -> None:
    dropping = theirs("10.20.0.0/16", kind=kind, oif=None, metric=metric)
    assert conflicts([ROUTE], ObservedNetwork(routes=(dropping,))) == ((ROUTE, dropping),)


def test_of_several_routes_to_the_same_prefix_the_conflict_names_the_one_that_wins() -> None:
    low, high = theirs("10.20.0.0/16", oif="tun0", metric=10), theirs("10.20.0.0/16", metric=600)
    assert conflicts([ROUTE], ObservedNetwork(routes=(high, low))) == ((ROUTE, low),)


def test_a_route_in_the_table_that_wins_meets_no_conflict_in_the_main_table() -> None:
    winning = replace(ROUTE, table=OVERRIDE_TABLE)
    assert conflicts([winning], ObservedNetwork(routes=(theirs("10.20.0.0/16", protocol=4),))) == ()


@pytest.mark.parametrize("other", ["0.0.0.0/0", "10.20.0.0/16", "10.20.7.0/24", "192.0.2.0/24"])
@pytest.mark.parametrize("kind", ["unicast", "throw"])
def test_whatever_others_have_in_the_table_that_wins_is_a_conflict_for_routes_there_of_its_family(
    other: str, kind: str
) -> None:
    foreign = theirs(other, table=OVERRIDE_TABLE, kind=kind)
    observed = ObservedNetwork(routes=(foreign,))
    winning = replace(ROUTE, table=OVERRIDE_TABLE)
    assert conflicts([ROUTE, winning], observed) == ((winning, foreign),)
    assert conflicts([ROUTE], observed) == (), "that table is not asked"
    six = Route(destination=ip_network("fd00:20::/48"), next_hop=GATEWAY6, oif="eth0", table=OVERRIDE_TABLE)
    assert conflicts([six], observed) == ()


def findings_of(code: str, *foreign: ObservedRoute) -> list[Finding]:
    found = make_plan(PROFILE, seen(GATEWAY, GATEWAY6, routes=foreign)).findings
    return [finding for finding in found if finding.code == code]


@pytest.mark.parametrize("kind", ["unicast", "blackhole"])
@pytest.mark.parametrize("destination", ["10.20.73.64/26", "10.254.0.0/16", "fd00:254::/112"])
def test_a_route_to_the_same_destination_that_wins_by_its_metric_is_an_error_that_names_it(
    destination: str, kind: str
) -> None:
    winning = theirs(destination, oif="tun0", metric=20, kind=kind)
    (finding,) = findings_of("DL-ROUTE-TAKEN", winning)
    assert finding.severity is Severity.ERROR
    assert make_plan(PROFILE, seen(GATEWAY, GATEWAY6, routes=(winning,))).loses_routes
    assert f"{destination} dev tun0 metric 20" in finding.evidence
    assert not findings_of("DL-ROUTE-KEPT", winning)


@pytest.mark.parametrize(
    "other",
    [
        theirs("10.254.0.0/16", metric=METRIC),
        theirs("10.254.0.0/16", metric=1024),
        theirs("10.254.7.0/24", metric=0),
        theirs("10.0.0.0/8", metric=0),
        theirs("10.254.0.0/16", metric=0, table=100),
        theirs("10.254.0.0/16", metric=0, table=OVERRIDE_TABLE),
    ],
    ids=["in our place", "higher metric", "narrower", "wider", "table that is not asked", "unused table"],
)
def test_what_does_not_win_over_all_of_a_network_is_no_such_error(other: ObservedRoute) -> None:
    assert findings_of("DL-ROUTE-TAKEN", other) == []
    assert not make_plan(PROFILE, seen(GATEWAY, GATEWAY6, routes=(other,))).loses_routes


@pytest.mark.parametrize(("destination", "metric"), [("10.254.7.0/24", 100), ("10.254.0.0/16", 20)])
def test_who_puts_routes_into_the_table_that_wins_and_takes_some_of_ours_is_an_error(
    destination: str, metric: int
) -> None:
    foreign = theirs(destination, table=OVERRIDE_TABLE, metric=metric)
    plan = make_plan(PROFILE, seen(GATEWAY, GATEWAY6, routes=(foreign,)), override=(ip_network("10.254.0.0/16"),))
    (finding,) = [finding for finding in plan.findings if finding.code == "DL-ROUTE-TAKEN"]
    assert f"{destination} dev eth0 metric {metric} table {OVERRIDE_TABLE}" in finding.evidence
    assert plan.loses_routes


def test_a_narrower_blackhole_inside_ours_is_reported() -> None:
    blackhole = theirs("10.20.7.0/26", kind="blackhole", oif=None)
    findings = make_plan(PROFILE, seen(GATEWAY, GATEWAY6, routes=(blackhole,))).findings
    (kept,) = [finding for finding in findings if finding.code == "DL-ROUTE-KEPT"]
    assert "blackhole 10.20.7.0/26 in 10.20.0.0/16" in kept.evidence


def test_what_a_home_network_keeps_is_told_with_whose_pods_are_lost() -> None:
    blocks = {"10.20.16.227": "192.168.1.0/25", "10.20.16.228": "192.168.2.0/24"}
    nodes = tuple(Node(address=ip_address(a), pods=(ip_network(block),)) for a, block in blocks.items())
    profile = altered(
        pods=(ip_network("192.168.0.0/16"),), services=None, nodes=nodes, routing=RoutingMode.GATEWAY, dns=None
    )
    home = seen(GATEWAY, routes=(theirs("192.168.1.0/24", oif="wlan0", protocol=2),))
    (kept,) = [f for f in make_plan(profile, home).findings if f.code == "DL-ROUTE-KEPT"]
    assert kept.evidence.endswith("192.168.1.0/24 dev wlan0 in 192.168.0.0/16 (with pods of node 10.20.16.227)")
    by_node = replace(home, paths={**home.paths, nodes[0].address: ON_LINK})
    per_node = replace(profile, spec=replace(profile.spec, routing=RoutingMode.AUTO))
    (kept,) = [f for f in make_plan(per_node, by_node).findings if f.code == "DL-ROUTE-KEPT"]
    assert "with pods of" not in kept.evidence, "its block has a narrower route of its own"


def test_narrower_routes_of_others_are_reported_as_kept_and_wider_ones_as_around_ours() -> None:
    others = (theirs("10.20.5.0/24", oif="docker0"), theirs("10.0.0.0/8", oif="tun0"), theirs("0.0.0.0/0"))
    findings = {f.code: f for f in make_plan(PROFILE, seen(GATEWAY, GATEWAY6, routes=others)).findings}
    assert findings["DL-ROUTE-KEPT"].severity is Severity.WARNING
    assert "10.20.5.0/24 dev docker0" in findings["DL-ROUTE-KEPT"].evidence
    assert findings["DL-ROUTE-KEPT"].fix
    assert "10.0.0.0/8 dev tun0" in findings["DL-ROUTE-INSIDE"].evidence
    assert "10.20.0.0/16" in findings["DL-ROUTE-INSIDE"].evidence
    clean = make_plan(PROFILE, seen(GATEWAY, GATEWAY6, routes=(theirs("0.0.0.0/0"),))).findings
    assert not [f for f in clean if f.code.startswith("DL-ROUTE")]


def test_a_thousand_routes_of_others_are_one_finding_that_counts_them() -> None:
    inside = tuple(theirs(str(block)) for block in list(ip_network("10.20.0.0/16").subnets(new_prefix=26))[:1000])
    findings = make_plan(PROFILE, seen(GATEWAY, GATEWAY6, routes=inside)).findings
    (kept,) = [f for f in findings if f.code == "DL-ROUTE-KEPT"]
    assert "10.20.0.0/26 dev eth0" in kept.evidence
    assert "and 993 more" in kept.evidence, "one of them has all of a node's block"


# Pins

ROUTER = ip_address("10.20.0.1")
WIDE = theirs("10.0.0.0/8")


def observed_with_default(via_: IPAddress = ROUTER) -> ObservedNetwork:
    """A laptop whose own network lies around ours: its gateway would be taken over."""
    return ObservedNetwork(
        routes=(
            theirs("0.0.0.0/0", next_hop=via_),
            WIDE,
            ObservedRoute(
                destination=ROUTE.destination, next_hop=GATEWAY, oif="eth0", metric=METRIC, protocol=PROTOCOL
            ),
        )
    )


def test_the_default_gateway_inside_our_prefix_keeps_its_way() -> None:
    observed = observed_with_default()
    assert pins([ROUTE], observed.default_gateways, observed) == (
        Route(destination=ip_network("10.20.0.1/32"), oif="eth0"),
    )


def test_an_upstream_behind_a_router_keeps_its_router() -> None:
    observed = ObservedNetwork(routes=(theirs("0.0.0.0/0", next_hop=ip_address("172.16.0.1")),))
    upstream = ip_address("10.20.7.7")
    (pin,) = pins([ROUTE], [upstream], observed)
    assert pin == Route(destination=ip_network("10.20.7.7/32"), next_hop=ip_address("172.16.0.1"), oif="eth0")


@pytest.mark.parametrize(
    ("address", "routes", "why"),
    [
        ("10.30.0.1", (theirs("0.0.0.0/0"),), "it is not taken over"),
        ("10.20.0.1", (theirs("0.0.0.0/0"), theirs("10.20.0.0/24")), "a narrower route of its own keeps it"),
        ("10.20.0.1", (), "there is no way to keep"),
        ("fd00:20::1", (theirs("::/0"),), "another family"),
        ("10.20.0.1", (theirs("0.0.0.0/0", oif=None),), "a way out of several links cannot be pinned to one"),
    ],
)
def test_an_address_that_keeps_its_way_anyway_needs_no_pin(
    address: str, routes: tuple[ObservedRoute, ...], why: str
) -> None:
    assert pins([ROUTE], [ip_address(address)], ObservedNetwork(routes=routes)) == (), why


def test_behind_a_vpn_that_takes_all_an_upstream_keeps_its_way_into_the_vpn() -> None:
    rules = (
        Rule(version=4, priority=32764, table=254, suppress_prefix_length=0),
        Rule(version=4, priority=32765, table=51820, inverted=True, mark=0xCA6C),
        Rule(version=4, priority=32766, table=254),
    )
    routes = (
        theirs("0.0.0.0/0", next_hop=ip_address("192.168.1.1"), oif="wlan0"),
        theirs("0.0.0.0/0", oif="wg0", table=51820),
    )
    (pin,) = pins([ROUTE], [ip_address("10.20.0.53")], ObservedNetwork(routes=routes, rules=rules))
    assert pin == Route(destination=ip_network("10.20.0.53/32"), oif="wg0")


def test_the_laptops_own_address_needs_no_pin() -> None:
    own = ObservedRoute(destination=ip_network("10.20.0.5/32"), oif="eth0", table=255, protocol=2, kind="local")
    observed = ObservedNetwork(routes=(own, theirs("0.0.0.0/0")))
    assert pins([ROUTE], [ip_address("10.20.0.5")], observed) == ()


def test_a_route_to_exactly_that_address_is_meant_and_not_pinned_away() -> None:
    host = replace(ROUTE, destination=ip_network("10.20.0.1/32"))
    assert pins([ROUTE, host], [ROUTER], observed_with_default()) == ()


def test_gateways_pins_upstreams_and_next_hops_are_all_protected() -> None:
    observed = observed_with_default()
    inside = [ip_address(f"10.20.0.{number}") for number in (1, 13, 53, 80)]
    desired = Desired(session="qa", routes=(replace(ROUTE, next_hop=inside[1]),), pins=(inside[3],))
    made = protect(desired, [inside[2], inside[2]], observed)
    assert sorted(str(route.destination) for route in made) == [f"{address}/32" for address in inside]


@st.composite
def tables(draw: st.DrawFn) -> tuple[ObservedRoute, ...]:
    """Routes of others around and inside ours, small enough that they often meet."""
    inside = list(ipaddress.IPv4Network("10.20.0.0/28").subnets(new_prefix=30))
    around: list[IPNetwork] = [ip_network("0.0.0.0/0"), ip_network("10.0.0.0/8"), *inside]
    chosen = draw(st.lists(st.sampled_from(around), unique=True))
    hops = st.sampled_from([None, ip_address("10.20.0.1"), ip_address("172.16.0.1")])
    return tuple(
        ObservedRoute(destination=d, next_hop=draw(hops), oif="eth0", protocol=16, metric=draw(st.integers(0, 600)))
        for d in chosen
    )


@given(
    table=tables(),
    ours=st.lists(
        st.sampled_from([ip_network("10.20.0.0/28"), ip_network("10.20.0.0/29"), ip_network("10.16.0.0/12")]),
        min_size=1,
        unique=True,
    ),
    protected=st.lists(st.sampled_from(list(ip_network("10.20.0.0/28"))), unique=True),
)
def test_with_routes_and_pins_installed_every_protected_address_goes_the_way_it_went(
    table: tuple[ObservedRoute, ...], ours: list[IPNetwork], protected: list[IPAddress]
) -> None:
    before = ObservedNetwork(routes=table)
    routes = [replace(ROUTE, destination=destination) for destination in ours]
    made = pins(routes, protected, before)
    after = table + tuple(
        ObservedRoute(destination=r.destination, next_hop=r.next_hop, oif=r.oif, metric=r.metric, protocol=PROTOCOL)
        for r in (*routes, *made)
    )
    for address in protected:
        former, present = (
            longest(address, (r for r in each if r.table == MAIN_TABLE and r.kind == "unicast"))
            for each in (table, after)
        )
        if former is None or former.destination in ours:  # nothing to keep, or a conflict that is refused anyway
            continue
        assert present is not None
        assert (present.oif, present.next_hop) == (former.oif, former.next_hop)
