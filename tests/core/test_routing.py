"""Who carries what: aggregated blocks, the next hops' stand-ins, and what a route takes from its link."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from devlink.core.network import Link, ObservedNetwork, Path
from devlink.core.plan import make_plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, Gateway, Node, RoutingMode
from devlink.core.routing import MAX_NODE_CANDIDATES
from tests.core.plans import GATEWAY, ON_LINK, ROUTED, altered, via

RR1, RR2 = ip_address("172.16.0.13"), ip_address("172.16.0.16")
N1, N2, N3 = (ip_address(f"172.16.0.{number}") for number in (21, 22, 23))


def cluster(
    nodes: dict[IPAddress, str], gateways: dict[IPAddress, int] | None = None, services: bool = True
) -> BridgeProfile:
    """A cluster of IPv4 with these blocks, each node's apart by spaces, and these gateways by priority."""
    return altered(
        pods=(ip_network("10.20.0.0/16"), ip_network("10.21.0.0/16")),
        services=(ip_network("10.254.0.0/16"),) if services else None,
        nodes=tuple(Node(address=a, pods=tuple(map(ip_network, text.split()))) for a, text in nodes.items()) or None,
        gateways=tuple(Gateway(address=a, priority=p) for a, p in (gateways or {}).items()) or None,
        dns=None,
        mtu=None,
    )


def near(*addresses: IPAddress, links: tuple[Link, ...] = ()) -> ObservedNetwork:
    return ObservedNetwork(paths=dict.fromkeys(addresses, ON_LINK), links=links)


def test_neighbouring_blocks_of_a_node_are_one_route_and_those_of_two_nodes_are_not() -> None:
    profile = cluster({N1: "10.20.0.0/26 10.20.0.64/26 10.20.1.0/26", N2: "10.20.1.64/26"})
    assert via(make_plan(profile, near(N1, N2))) == {
        "10.254.0.0/16": str(N1),
        "10.20.0.0/25": str(N1),
        "10.20.1.0/26": str(N1),
        "10.20.1.64/26": str(N2),
    }


def test_neighbouring_blocks_of_two_pod_networks_stay_apart() -> None:
    plan = make_plan(cluster({N1: "10.20.0.0/16 10.21.0.0/16"}, services=False), near(N1))
    assert via(plan) == {"10.20.0.0/16": str(N1), "10.21.0.0/16": str(N1)}


def test_the_other_gateways_take_a_gateways_place_in_the_order_of_their_priority() -> None:
    third = ip_address("172.16.0.17")
    profile = cluster({}, {RR1: 20, RR2: 10, third: 30})
    plan = make_plan(profile, near(RR1, RR2, third))
    assert set(via(plan).values()) == {str(RR2)}
    assert plan.candidates(RR2) == ((RR1, "eth0"), (third, "eth0"))
    assert plan.candidates(RR1) == (), "no route prefers it"


def test_a_gateway_off_link_takes_nobodys_place() -> None:
    observed = ObservedNetwork(paths={RR1: ON_LINK, RR2: ROUTED})
    assert make_plan(cluster({}, {RR1: 10, RR2: 20}), observed).candidates(RR1) == ()


def test_the_gateways_carry_the_blocks_of_a_silent_node_and_other_nodes_do_not() -> None:
    plan = make_plan(cluster({N1: "10.20.0.0/26", N2: "10.20.1.0/26"}, {RR1: 10, RR2: 20}), near(N1, N2, RR1, RR2))
    assert plan.candidates(N1) == plan.candidates(N2) == ((RR1, "eth0"), (RR2, "eth0"))


def test_a_gateway_that_is_a_node_does_not_take_its_own_place() -> None:
    plan = make_plan(cluster({RR1: "10.20.0.0/26", RR2: "10.20.1.0/26"}, {RR1: 10, RR2: 20}), near(RR1, RR2))
    assert plan.candidates(RR1) == ((RR2, "eth0"),)
    assert plan.candidates(RR2) == ((RR1, "eth0"),)


def test_without_gateways_other_nodes_take_the_services_and_nobody_a_silent_nodes_pods() -> None:
    profile = cluster({N1: "10.20.0.0/26", N2: "10.20.1.0/26", N3: "10.20.2.0/26"})
    plan = make_plan(profile, near(N1, N2, N3))
    assert via(plan)["10.254.0.0/16"] == str(N1)
    assert plan.candidates(N1) == ((N2, "eth0"), (N3, "eth0"))
    assert plan.candidates(N2) == ()
    without = make_plan(cluster({N1: "10.20.0.0/26", N2: "10.20.1.0/26"}, services=False), near(N1, N2))
    assert without.candidates(N1) == ()


def test_of_many_nodes_only_a_few_are_worth_asking() -> None:
    nodes = {ip_address("172.16.1.1") + n: f"10.20.{n}.0/24" for n in range(40)}
    plan = make_plan(cluster(nodes), near(*nodes))
    candidates = plan.candidates(next(iter(nodes)))
    assert 1 < len(candidates) <= MAX_NODE_CANDIDATES
    assert next(iter(nodes)) not in [hop for hop, _ in candidates]


def test_a_candidate_is_told_with_its_own_link() -> None:
    observed = ObservedNetwork(paths={RR1: ON_LINK, RR2: Path(oif="eth1")})
    assert make_plan(cluster({}, {RR1: 10, RR2: 20}), observed).candidates(RR1) == ((RR2, "eth1"),)


def test_a_plan_without_routes_has_no_candidates() -> None:
    assert make_plan(cluster({N1: "10.20.0.0/26"}), near(N1), with_routes=False).alternatives == {}


@pytest.mark.parametrize(("link", "profile", "expected"), [(1500, 1480, 1480), (1480, 1480, 1480), (1400, 1480, None)])
def test_a_routes_mtu_is_the_profiles_unless_its_link_takes_less(link: int, profile: int, expected: int | None) -> None:
    asked = replace(cluster({}, {RR1: 10}), spec=replace(cluster({}, {RR1: 10}).spec, mtu=profile))
    plan = make_plan(asked, near(RR1, links=(Link(index=2, name="eth0", mtu=link, up=True),)))
    assert {route.mtu for route in plan.desired.routes} == {expected}


HOP6 = ip_address("fd00:16::13")


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (("fd00:16::5/64",), None),
        (("fd00:10::5/64", "fd00:16::5/64"), "fd00:16::5"),
        (("fe80::5/64", "fd00:16::5/64"), None),
        (("fd00:10::5/64", "fd00:16::5/64", "fd00:16::abcd/64"), None),
        (("fd00:10::5/64", "fd00:11::5/64"), None),
    ],
    ids=["one", "two subnets", "link-local besides", "privacy extensions", "none shares it"],
)
def test_a_source_is_named_only_where_the_kernel_might_take_one_of_another_subnet(
    addresses: tuple[str, ...], expected: str | None
) -> None:
    held = tuple((ip_address(text.split("/")[0]), int(text.split("/")[1])) for text in addresses)
    profile = altered(
        pods=(ip_network("fd00:20::/48"),), services=None, nodes=None, gateways=(Gateway(address=HOP6),), dns=None
    )
    plan = make_plan(profile, near(HOP6, links=(Link(index=2, name="eth0", mtu=1500, up=True, addresses=held),)))
    assert [route.source for route in plan.desired.routes] == [ip_address(expected) if expected else None]


def test_of_two_ipv4_subnets_the_kernel_takes_the_next_hops_by_itself() -> None:
    held = ((ip_address("10.10.0.5"), 24), (ip_address("172.16.0.5"), 24))
    plan = make_plan(
        cluster({}, {GATEWAY: 10}),
        near(GATEWAY, links=(Link(index=2, name="eth0", mtu=1500, up=True, addresses=held),)),
    )
    assert {route.source for route in plan.desired.routes} == {None}


def test_what_is_excluded_has_no_route_and_is_not_told_to_be_missing() -> None:
    profile = cluster({N1: "10.20.0.0/26", N2: "10.20.1.0/26"})
    plan = make_plan(profile, near(N1), exclude=(ip_network("10.20.0.32/27"), ip_network("10.20.1.0/24")))
    assert via(plan) == {"10.254.0.0/16": str(N1), "10.20.0.0/27": str(N1)}
    assert [f.evidence for f in plan.findings if f.code == "DL-ROUTE-MISSING"] == [
        "10.21.0.0/16: no IPv4 gateway is on this link"
    ]


def test_a_profile_that_insists_on_gateways_has_no_nodes_as_candidates_for_pods() -> None:
    profile = cluster({N1: "10.20.0.0/26"}, {RR1: 10, RR2: 20}, services=False)
    plan = make_plan(replace(profile, spec=replace(profile.spec, routing=RoutingMode.GATEWAY)), near(N1, RR1, RR2))
    assert dict(plan.alternatives) == {RR1: ((RR2, "eth0"),)}
