"""What is relayed of a cluster's networks, and what others keep of them."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from devlink.core.network import (
    MAIN_TABLE,
    OVERRIDE_TABLE,
    Link,
    ObservedNetwork,
    ObservedRoute,
    Path,
    Rule,
    relay_table,
)
from devlink.core.overrides import parse_override
from devlink.core.plan import Plan, Relaying, make_plan
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.core.profile import RoutingMode
from devlink.core.relay_routes import LINK
from devlink.core.samples import check_paths, choose_samples
from devlink.core.ways import Ways
from devlink.errors import ConflictError, UsageError, VerificationError
from tests.core.plans import altered

ROUTER = ip_address("192.168.1.1")
PODS, SERVICES = ip_network("10.20.0.0/16"), ip_network("10.254.0.0/16")
PROFILE = altered(pods=(PODS,), services=(SERVICES,), gateways=None, nodes=None, mtu=None)
UID = 1234
HOME = ObservedNetwork(
    routes=(ObservedRoute(destination=ip_network("0.0.0.0/0"), next_hop=ROUTER, oif="wlan0", protocol=16),)
)


def beside(*routes: ObservedRoute, rules: tuple[Rule, ...] = ()) -> ObservedNetwork:
    return replace(HOME, routes=(*HOME.routes, *routes), rules=rules)


def theirs(prefix: str, table: int = MAIN_TABLE, oif: str = "tun0", protocol: int = 3) -> ObservedRoute:
    return ObservedRoute(destination=ip_network(prefix), oif=oif, protocol=protocol, table=table)


def plan(
    observed: ObservedNetwork = HOME,
    *,
    pins: tuple[IPAddress, ...] = (),
    exclude: tuple[IPNetwork, ...] = (),
    override: tuple[str, ...] = (),
) -> Plan:
    return make_plan(
        PROFILE, observed, routing=RoutingMode.RELAY, uid=UID, pins=pins, exclude=exclude,
        override=parse_override(override), containers=("docker0",),
    )  # fmt: skip


def relayed(made: Plan) -> set[IPNetwork]:
    return {route.destination for route in made.desired.routes}


def test_all_networks_lead_to_our_own_link_in_their_users_table() -> None:
    made = plan()
    assert relayed(made) == {PODS, SERVICES}
    assert {(route.oif, route.next_hop, route.table) for route in made.desired.routes} == {
        (LINK, None, relay_table(UID))
    }
    assert made.mode is RoutingMode.RELAY
    assert made.desired.relay == Relaying(containers=("docker0",))
    assert not made.alternatives
    (finding,) = (each for each in made.findings if each.code == "DL-RELAYED")
    assert "10.20.0.0/16" in finding.evidence
    assert "no UDP" in finding.evidence


def test_the_api_server_a_proxy_and_the_default_gateway_are_let_through() -> None:
    inside = ip_address("10.20.0.1")
    home = ObservedNetwork(routes=(replace(HOME.routes[0], next_hop=ip_address("10.254.255.254")),))
    made = plan(home, pins=(inside,), exclude=(ip_network("10.20.128.0/17"),))
    assert not any(inside in each or ip_address("10.254.255.254") in each for each in relayed(made))
    assert not any(each.overlaps(ip_network("10.20.128.0/17")) for each in relayed(made))
    assert sum(each.num_addresses for each in relayed(made)) == 2**15 - 1 + 2**16 - 1


def test_what_others_route_inside_is_cut_out_and_told() -> None:
    made = plan(beside(theirs("10.20.7.0/24", oif="docker0", protocol=2)))
    assert not any(each.overlaps(ip_network("10.20.7.0/24")) for each in relayed(made))
    (kept,) = (each for each in made.findings if each.code == "DL-ROUTE-KEPT")
    assert "10.20.7.0/24 dev docker0" in kept.evidence
    assert relayed(plan(beside(theirs("10.20.7.0/24")), override=("10.20.7.0/24",))) == {PODS, SERVICES}


def test_what_is_wider_is_no_rival() -> None:
    everything = Rule(version=4, priority=5100, table=51820)
    observed = beside(theirs("10.0.0.0/8"), theirs("0.0.0.0/0", table=51820, oif="wg0"), rules=(everything,))
    assert relayed(plan(observed)) == {PODS, SERVICES}


def test_a_part_that_another_table_has_before_the_main_one_is_cut_out() -> None:
    tailscale = Rule(version=4, priority=5270, table=52)
    observed = beside(theirs("10.20.3.0/24", table=52), rules=(tailscale, Rule(version=4, priority=32766, table=254)))
    assert not any(each.overlaps(ip_network("10.20.3.0/24")) for each in relayed(plan(observed)))
    assert relayed(plan(observed, override=("all",))) == {PODS, SERVICES}


def test_a_network_that_somebody_else_routes_is_a_conflict_unless_it_is_overridden() -> None:
    with pytest.raises(ConflictError, match=r"10\.254\.0\.0/16 is routed already, dev tun0"):
        plan(beside(theirs("10.254.0.0/16")))
    assert relayed(plan(beside(theirs("10.254.0.0/16")), override=("10.254.0.0/16",))) == {PODS, SERVICES}
    rules = (Rule(version=4, priority=5270, table=52), Rule(version=4, priority=32766, table=254))
    with pytest.raises(ConflictError, match="in a table that is asked before ours"):
        plan(beside(theirs("10.254.0.0/16", table=52), rules=rules))


def test_who_chose_a_relay_is_not_told_that_it_ends_by_itself() -> None:
    chosen = plan().findings[0]
    fallen_to = make_plan(PROFILE, HOME, routing=RoutingMode.RELAY, reason="nobody else carries them").findings[0]
    assert (chosen.code, fallen_to.code) == ("DL-RELAYED", "DL-RELAYED")
    assert "by itself" not in chosen.fix
    assert "devlink up --routing auto" in chosen.fix
    assert "by itself" in fallen_to.fix


def test_on_a_laptop_without_ipv6_only_the_other_family_is_relayed() -> None:
    dual = altered(pods=(PODS, ip_network("fd00:20::/48")), services=(SERVICES,), gateways=None, nodes=None, mtu=None)
    ipv4, ipv6 = (ip_address("127.0.0.1"), 8), (ip_address("::1"), 128)
    for addresses, versions in (((ipv4,), {4}), ((ipv4, ipv6), {4, 6})):
        loopback = Link(index=1, name="lo", mtu=65536, up=True, addresses=addresses)
        made = make_plan(dual, replace(HOME, links=(loopback,)), routing=RoutingMode.RELAY, uid=UID)
        assert {prefix.version for prefix in relayed(made)} == versions


def test_there_must_be_something_to_relay() -> None:
    with pytest.raises(VerificationError, match="nothing to relay"):
        make_plan(PROFILE, HOME, routing=RoutingMode.RELAY, exclude=(PODS, SERVICES), with_dns=False)
    with pytest.raises(VerificationError, match="no pod and no service networks"):
        make_plan(altered(pods=None, services=None, nodes=None), HOME, routing=RoutingMode.RELAY)
    with pytest.raises(UsageError, match="the cluster's DNS"):
        make_plan(altered(), HOME, routing=RoutingMode.RELAY, exclude=altered().spec.services or ())


def test_its_addresses_are_tried_by_our_own_link_and_lost_by_any_other() -> None:
    made = plan(beside(theirs("10.20.7.0/24")))
    desired = made.desired
    samples = choose_samples(desired.routes, beside(theirs("10.20.7.0/24")), uid=UID)
    assert set(samples) == set(desired.routes)
    assert Ways(desired).to(ip_address("10.20.0.1")) == Path(oif=LINK)
    right = ObservedNetwork(paths={address: Path(oif=LINK) for address in samples.values()})
    check_paths(samples, desired, right)
    wrong = ObservedNetwork(paths={address: Path(oif="wlan0", next_hop=ROUTER) for address in samples.values()})
    with pytest.raises(VerificationError, match="the kernel does not use it"):
        check_paths(samples, desired, wrong)


def test_a_rule_of_another_after_ours_takes_nothing_from_the_samples() -> None:
    after = Rule(version=4, priority=5270, table=52)
    observed = beside(theirs("10.0.0.0/8", table=52), rules=(after,))
    assert choose_samples(plan().desired.routes, observed, uid=UID)
    assert OVERRIDE_TABLE not in {route.table for route in plan().desired.routes}
