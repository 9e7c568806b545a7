"""From a profile and an observed network to a plan: the mode, its next hops, the pins, and who else routes there."""

import cProfile
import ipaddress
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.findings import Severity
from devlink.core.names import reverse_prefix
from devlink.core.network import METRIC, PROTOCOL, ObservedNetwork, ObservedRoute, Path
from devlink.core.overlaps import conflicts, pins
from devlink.core.plan import Plan, addresses_of_interest, make_plan, proof_address, protect
from devlink.core.prefixes import collapse, covered, is_within
from devlink.core.profile import BridgeProfile, Identity, RoutingMode
from devlink.core.routing import WITHOUT_NEXT_HOPS
from devlink.core.trust import claim_of_plan, claim_of_profile, record_of, uncovered
from devlink.errors import UsageError, VerificationError
from tests.core.plans import (
    GATEWAY,
    GATEWAY6,
    LOCAL,
    NOWHERE,
    ON_LINK,
    PROFILE,
    ROUTED,
    altered,
    large,
    seen,
    theirs,
    via,
)
from tests.core.profiles import pem, profiles


@st.composite
def networks(draw: st.DrawFn, profile: BridgeProfile) -> ObservedNetwork:
    """Any state of the paths to a profile's addresses, and some routes of others."""
    paths = {
        address: draw(st.sampled_from([ON_LINK, ROUTED, LOCAL, NOWHERE, Path(oif="wlan0")]))
        for address in addresses_of_interest(profile)
        if draw(st.booleans())
    }
    foreign = draw(
        st.lists(
            st.sampled_from(
                [theirs("0.0.0.0/0", next_hop=ip_address("172.16.0.1")), theirs("10.0.0.0/8"), theirs("10.1.0.0/24")]
            )
        )
    )
    return ObservedNetwork(paths=paths, routes=tuple(foreign))


@given(data=st.data(), profile=profiles())
def test_every_planned_next_hop_is_on_link_and_of_its_routes_family(
    data: st.DataObject, profile: BridgeProfile
) -> None:
    observed = data.draw(networks(profile))
    try:
        plan = make_plan(profile, observed)
    except VerificationError:
        assert profile.spec.routing not in (RoutingMode.AUTO, RoutingMode.ROUTER)
        return
    assert plan.mode is not RoutingMode.AUTO
    for route in plan.desired.routes:
        if plan.mode is RoutingMode.RELAY:
            assert (route.next_hop, route.oif) == (None, "devlink0")
            assert any(is_within(route.destination, prefix) for prefix in profile.spec.prefixes)
            continue
        assert route.next_hop is not None
        assert route.next_hop.version == route.destination.version
        path = observed.paths[route.next_hop]
        assert path.is_on_link
        assert route.oif == path.oif
        assert any(is_within(route.destination, prefix) for prefix in profile.spec.prefixes)
        assert (route.metric, route.mtu) == (METRIC, profile.spec.mtu)
    keys = [route.key for route in plan.desired.routes]
    assert len(set(keys)) == len(keys)


@given(data=st.data(), profile=profiles())
def test_whatever_part_of_the_cluster_gets_no_route_is_told_in_a_few_findings(
    data: st.DataObject, profile: BridgeProfile
) -> None:
    observed = data.draw(networks(profile))
    try:
        plan = make_plan(profile, observed)
    except VerificationError:
        return
    told = [f for f in plan.findings if f.code == "DL-ROUTE-MISSING"]
    blocks = [block for node in profile.spec.nodes or () for block in node.pods]
    parts = [p for p in profile.spec.prefixes if not any(is_within(b, p) for b in blocks)] + blocks
    routed = [route.destination for route in plan.desired.routes]
    if plan.mode not in WITHOUT_NEXT_HOPS and not all(covered(part, routed) for part in parts):
        assert 1 <= len(told) <= 6
        assert all(f.severity is Severity.WARNING and f.fix for f in told)
    else:
        assert told == []


@given(data=st.data(), profile=profiles())
def test_planning_again_with_ours_installed_gives_the_same_plan(data: st.DataObject, profile: BridgeProfile) -> None:
    observed = data.draw(networks(profile))
    try:
        plan = make_plan(profile, observed)
    except VerificationError:
        return
    ours = tuple(
        ObservedRoute(destination=r.destination, next_hop=r.next_hop, oif=r.oif, metric=r.metric, protocol=PROTOCOL)
        for r in plan.desired.routes
    )
    again = replace(observed, routes=ours + observed.routes)
    assert make_plan(profile, again) == plan
    assert conflicts(plan.desired.routes, again) == conflicts(plan.desired.routes, observed)
    protected = [ip_address("10.1.0.9"), ip_address("10.2.0.9")]
    assert pins(plan.desired.routes, protected, again) == pins(plan.desired.routes, protected, observed)


@given(data=st.data(), profile=profiles())
def test_the_planned_zones_are_the_domain_and_the_reverse_of_what_is_claimed(
    data: st.DataObject, profile: BridgeProfile
) -> None:
    zones = make_plan(
        replace(profile, spec=replace(profile.spec, routing=RoutingMode.ROUTER)), ObservedNetwork()
    ).desired.zones
    dns = profile.spec.dns
    if dns is None:
        assert zones == ()
        return
    assert zones[0].suffix == dns.domain
    assert zones[0].namespaces == dns.namespaces
    assert zones[0].search == (dns.search or ())
    assert not any(zone.search for zone in zones[1:])
    reverse = [reverse_prefix(zone.suffix) for zone in zones[1:]]
    assert collapse(p for p in reverse if p is not None) == (collapse(profile.spec.prefixes) if dns.reverse else ())
    for zone in zones:
        assert [server.address for server in zone.servers] == [server.address for server in dns.servers]


def test_auto_prefers_each_block_by_its_own_node() -> None:
    plan = make_plan(PROFILE, seen(GATEWAY, GATEWAY6))
    assert plan.mode is RoutingMode.PER_NODE
    assert via(plan) == {
        "10.20.0.0/16": "172.16.0.13",
        "fd00:20::/48": "fd00:16::13",
        "10.254.0.0/16": "172.16.0.13",
        "fd00:254::/112": "fd00:16::13",
        "10.20.73.64/26": "172.16.0.13",
        "fd00:20:0:73::/64": "fd00:16::13",
    }
    assert all(route.mtu == 1480 for route in plan.desired.routes)


def test_auto_takes_a_gateway_where_no_node_is_on_link() -> None:
    plan = make_plan(altered(nodes=None), seen(GATEWAY, GATEWAY6))
    assert plan.mode is RoutingMode.GATEWAY
    assert set(via(plan)) == {"10.20.0.0/16", "fd00:20::/48", "10.254.0.0/16", "fd00:254::/112"}
    assert str(GATEWAY) in plan.reason


def test_auto_leaves_it_to_the_router_where_nothing_is_on_link_and_says_why() -> None:
    plan = make_plan(PROFILE, seen())
    assert plan.mode is RoutingMode.ROUTER
    assert plan.desired.routes == ()
    assert plan.desired.zones, "names are split all the same"
    assert "172.16.0.13 is behind 172.16.0.1, so it cannot be a next hop" in plan.reason


@pytest.mark.parametrize(
    ("path", "words"),
    [(NOWHERE, "has no route"), (LOCAL, "is this laptop's own"), (ROUTED, "is behind 172.16.0.1")],
)
def test_the_reason_tells_what_is_known_of_the_next_hop(path: Path, words: str) -> None:
    assert words in make_plan(PROFILE, ObservedNetwork(paths={GATEWAY: path})).reason


@pytest.mark.parametrize("mode", [RoutingMode.GATEWAY, RoutingMode.PER_NODE])
def test_a_profile_that_insists_on_next_hops_off_link_gets_an_error_that_explains_why(mode: RoutingMode) -> None:
    with pytest.raises(VerificationError) as error:
        make_plan(altered(routing=mode), seen())
    assert mode.value in error.value.what
    assert "172.16.0.13 is behind 172.16.0.1" in error.value.why
    assert "never through another router" in error.value.why
    assert "routing: auto" in error.value.next_step


def test_a_profile_that_insists_on_gateways_does_not_use_nodes_for_pods() -> None:
    plan = make_plan(altered(routing=RoutingMode.GATEWAY), seen(GATEWAY, GATEWAY6))
    assert plan.mode is RoutingMode.GATEWAY
    assert "10.20.73.64/26" not in via(plan)


def test_a_profile_that_says_router_installs_nothing_though_gateways_are_on_link() -> None:
    plan = make_plan(altered(routing=RoutingMode.ROUTER), seen(GATEWAY, GATEWAY6))
    assert (plan.mode, plan.desired.routes) == (RoutingMode.ROUTER, ())


def test_relay_comes_of_the_profile_or_of_its_user_and_never_by_itself() -> None:
    assert make_plan(altered(routing=RoutingMode.RELAY), seen(GATEWAY)).mode is RoutingMode.RELAY
    asked = make_plan(altered(), seen(GATEWAY), routing=RoutingMode.RELAY)
    assert (asked.mode, asked.reason) == (RoutingMode.RELAY, "you asked for it")
    assert make_plan(altered(routing=RoutingMode.RELAY), seen(), routing=RoutingMode.AUTO).mode is RoutingMode.ROUTER


def test_a_profile_without_prefixes_needs_no_routes() -> None:
    plan = make_plan(altered(pods=None, services=None, nodes=None), seen(GATEWAY))
    assert (plan.mode, plan.desired.routes) == (RoutingMode.ROUTER, ())


def test_the_gateway_with_the_lowest_priority_that_is_on_link_carries() -> None:
    spec = PROFILE.spec
    assert spec.gateways is not None
    first, second = spec.gateways[0], replace(spec.gateways[0], address=ip_address("172.16.0.16"), priority=5)
    profile = altered(gateways=(first, second), nodes=None, pods=(ip_network("10.20.0.0/16"),), services=None, mtu=None)
    both = {first.address: ON_LINK, second.address: ON_LINK}
    assert via(make_plan(profile, ObservedNetwork(paths=both))) == {"10.20.0.0/16": "172.16.0.16"}
    lower_is_away = both | {second.address: ROUTED}
    assert via(make_plan(profile, ObservedNetwork(paths=lower_is_away))) == {"10.20.0.0/16": "172.16.0.13"}


def test_services_of_a_family_that_no_gateway_has_go_by_a_node() -> None:
    assert PROFILE.spec.gateways is not None
    only_v4 = tuple(g for g in PROFILE.spec.gateways if g.address.version == 4)
    plan = make_plan(altered(gateways=only_v4), seen(GATEWAY, GATEWAY6))
    assert via(plan)["fd00:254::/112"] == str(GATEWAY6)
    assert via(plan)["10.254.0.0/16"] == str(GATEWAY)


def test_a_block_whose_node_is_off_link_goes_with_the_pods_by_the_gateway() -> None:
    assert PROFILE.spec.nodes is not None
    away = replace(
        PROFILE.spec.nodes[0], address=ip_address("192.0.2.9"), pods=(ipaddress.IPv4Network("10.20.9.0/26"),)
    )
    profile = altered(nodes=(*PROFILE.spec.nodes, away))
    plan = make_plan(profile, seen(GATEWAY, GATEWAY6))
    assert plan.mode is RoutingMode.PER_NODE
    assert "10.20.9.0/26" not in via(plan)
    assert "2 nodes of 3" in plan.reason


@pytest.mark.parametrize(("routes", "dns"), [(True, False), (False, True)])
def test_what_is_not_asked_for_is_not_planned(routes: bool, dns: bool) -> None:
    plan = make_plan(PROFILE, seen(GATEWAY, GATEWAY6), with_routes=routes, with_dns=dns)
    assert bool(plan.desired.routes) is routes
    assert bool(plan.desired.zones) is dns


def missing(plan: Plan) -> list[str]:
    return [f"{f.title} {f.evidence}" for f in plan.findings if f.code == "DL-ROUTE-MISSING"]


def test_a_block_of_a_node_off_link_without_a_gateway_is_told() -> None:
    assert PROFILE.spec.nodes is not None
    lost = replace(PROFILE.spec.nodes[0], address=ip_address("192.0.2.9"), pods=(ip_network("10.20.9.0/26"),))
    profile = altered(nodes=(*PROFILE.spec.nodes, lost), gateways=None)
    (words,) = missing(make_plan(profile, seen(GATEWAY, GATEWAY6)))
    assert "pod blocks (IPv4) have no route" in words
    assert "10.20.9.0/26: no IPv4 gateway" in words
    assert "10.20.73.64/26" not in words


def test_prefixes_of_a_family_that_no_next_hop_has_are_told_apart() -> None:
    assert PROFILE.spec.gateways is not None
    profile = altered(gateways=PROFILE.spec.gateways[:1], nodes=None)
    services, pods = missing(make_plan(profile, seen(GATEWAY)))
    assert "services (IPv6) have no route. fd00:254::/112" in services
    assert "pods (IPv6) have no route. fd00:20::/48" in pods


def test_where_all_is_routed_or_the_router_carries_it_nothing_is_missing() -> None:
    assert missing(make_plan(PROFILE, seen(GATEWAY, GATEWAY6))) == []
    assert missing(make_plan(altered(gateways=None), seen(GATEWAY, GATEWAY6))) == [], "each block has its node"
    assert missing(make_plan(PROFILE, seen())) == []
    assert missing(make_plan(altered(gateways=None), seen(GATEWAY), with_routes=False)) == []


@pytest.mark.parametrize("mode", list(RoutingMode))
def test_where_routes_are_not_asked_for_no_mode_is_chosen_and_none_can_fail(mode: RoutingMode) -> None:
    plan = make_plan(altered(routing=mode), seen(), with_routes=False)
    assert (plan.mode, plan.reason) == (RoutingMode.ROUTER, "routes were not asked for")
    assert plan.desired.zones


@pytest.mark.slow
def test_ten_times_the_nodes_cost_about_ten_times_the_work() -> None:
    def calls(count: int) -> int:
        """Of functions, Python's own too: a clock would count what else the machine does."""
        profile, observed = large(count)
        with cProfile.Profile() as counted:
            plan = make_plan(profile, observed)
            nodes = [node.address for node in profile.spec.nodes or ()]
            protect(plan.desired, [*nodes, *(route.destination[1] for route in plan.desired.routes)], observed)
            record = record_of(claim_of_profile(profile), observed)
            claim = claim_of_plan(
                "qa", [route.destination for route in plan.desired.routes], nodes, plan.desired.zones, plan.desired.ca
            )
            assert uncovered(record, claim) == ()
        return sum(entry.callcount for entry in counted.getstats())

    # Quadratic work in any of them would make it a hundred times.
    assert calls(5_000) < 12 * calls(500)


@pytest.mark.parametrize("family", [4, 6])
def test_the_proof_is_answered_with_an_address_of_the_family_that_nobody_has(family: int) -> None:
    address = proof_address(family)
    assert address.version == family
    assert any(address in ip_network(space) for space in ("192.0.2.0/24", "2001:db8::/32"))


def test_the_hash_of_the_clusters_ca_goes_with_the_plan() -> None:
    identity = Identity(ca=pem())
    assert make_plan(altered(identity=identity), seen()).desired.ca == identity.ca_hash
    assert make_plan(PROFILE, seen()).desired.ca == ""


def test_excluding_the_clusters_dns_is_refused_unless_no_names_are_asked_for_or_another_leads_there() -> None:
    here = seen(GATEWAY, GATEWAY6)
    assert PROFILE.spec.dns is not None
    services = tuple(p for p in PROFILE.spec.services or () if any(s.address in p for s in PROFILE.spec.dns.servers))
    with pytest.raises(UsageError, match=r"10\.254\.0\.2") as error:
        make_plan(PROFILE, here, exclude=services)
    assert "--no-dns" in str(error.value.next_step)
    assert make_plan(PROFILE, here, exclude=services, with_dns=False).desired.routes
    assert make_plan(PROFILE, here, exclude=services, with_routes=False).desired.zones
    assert make_plan(PROFILE, here, exclude=services[:1]).desired.zones, "the other family's is left"
    vpn = replace(here, routes=tuple(theirs(str(p), oif="tun0", protocol=3) for p in services))
    assert make_plan(PROFILE, vpn, exclude=services).desired.zones
    lan = replace(here, routes=tuple(theirs(str(p), oif="eth0", protocol=2) for p in services))
    with pytest.raises(UsageError):
        make_plan(PROFILE, lan, exclude=services)
    router = ip_address("fe80::1")
    told = replace(here, routes=tuple(theirs(str(p), next_hop=router, protocol=9) for p in services))
    assert make_plan(PROFILE, told, exclude=services).desired.zones, "a router announced it (RFC 4191)"


def test_what_is_excluded_whole_has_no_reverse_zone_and_a_part_takes_none_away() -> None:
    def suffixes(exclude: str) -> set[str]:
        plan = make_plan(PROFILE, seen(GATEWAY, GATEWAY6), exclude=(ip_network(exclude),))
        return {str(zone.suffix) for zone in plan.desired.zones}

    assert "20.10.in-addr.arpa" in suffixes("10.20.5.0/24")
    assert suffixes("10.20.5.0/24") - suffixes("10.20.0.0/16") == {"20.10.in-addr.arpa"}
