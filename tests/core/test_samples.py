"""Which address a route is tried with, and when the kernel's choice of way is a failure."""

import cProfile
import ipaddress
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.network import (
    OVERRIDE_PREFERENCE,
    OVERRIDE_TABLE,
    PROTOCOL,
    ObservedNetwork,
    ObservedRoute,
    Path,
    Route,
    Rule,
)
from devlink.core.plan import Desired, Detour
from devlink.core.prefixes import IPNetwork
from devlink.core.samples import check_paths, choose_samples
from devlink.errors import VerificationError

GATEWAY = ip_address("172.16.0.13")
BY_GATEWAY = Path(oif="eth0", next_hop=GATEWAY)


def route(destination: str, hop: str = "172.16.0.13") -> Route:
    return Route(destination=ip_network(destination), next_hop=ip_address(hop), oif="eth0")


def wanted(*routes: Route, detours: tuple[Detour, ...] = ()) -> Desired:
    return Desired(session="qa", routes=routes, detours=detours)


def kernel(*routes: Route, foreign: tuple[str, ...] = ()) -> ObservedNetwork:
    """Ours as they are once installed, and others' of these destinations."""
    ours = [
        ObservedRoute(
            destination=r.destination, next_hop=r.next_hop, oif=r.oif, metric=r.metric, protocol=PROTOCOL,
            table=r.table, kind=r.kind,
        )
        for r in routes
    ]  # fmt: skip
    theirs = [ObservedRoute(destination=ip_network(text), oif="docker0", protocol=2) for text in foreign]
    return ObservedNetwork(routes=(*theirs, *ours))


def test_a_route_is_tried_with_the_first_address_that_a_host_can_have() -> None:
    pods, host = route("10.20.0.0/16"), route("10.30.0.7/32")
    assert choose_samples((pods, host), kernel(pods, host)) == {
        pods: ip_address("10.20.0.1"),
        host: ip_address("10.30.0.7"),
    }


def test_a_narrower_route_of_another_is_no_failure_of_ours() -> None:
    pods = route("10.20.0.0/16")
    samples = choose_samples((pods,), kernel(pods, foreign=("10.20.0.0/24", "10.20.1.0/32", "0.0.0.0/0", "10.0.0.0/8")))
    assert samples == {pods: ip_address("10.20.1.1")}


def test_a_route_that_others_take_out_wholly_is_not_tried() -> None:
    pods = route("10.20.0.0/16")
    assert choose_samples((pods,), kernel(pods, foreign=("10.20.0.0/17", "10.20.128.0/17"))) == {}


def test_a_narrower_route_in_whatever_table_is_no_failure_of_ours() -> None:
    pods = route("10.20.0.0/16")
    vpn = ObservedRoute(destination=ip_network("10.20.0.0/24"), oif="tailscale0", table=52, protocol=3)
    observed = replace(kernel(pods), routes=(vpn, *kernel(pods).routes))
    assert choose_samples((pods,), observed) == {pods: ip_address("10.20.1.0")}


def test_an_override_is_tried_beside_what_it_leaves_to_others_and_whatever_the_main_table_has() -> None:
    pods = replace(route("10.20.0.0/16"), table=OVERRIDE_TABLE)
    kept = Route(destination=ip_network("10.20.0.0/24"), oif="", table=OVERRIDE_TABLE, kind="throw")
    services = route("10.254.0.0/16")
    observed = kernel(pods, kept, services, foreign=("10.20.1.0/24",))
    samples = choose_samples((pods, kept, services), observed)
    assert samples == {pods: ip_address("10.20.1.0"), services: ip_address("10.254.0.1")}
    there = Path(oif="eth0", next_hop=GATEWAY)
    check_paths(samples, wanted(pods, kept, services), ObservedNetwork(paths=dict.fromkeys(samples.values(), there)))


@pytest.mark.parametrize(
    ("rule", "destination"),
    [
        (Rule(version=4, priority=5270, table=52), "10.20.64.0/18"),
        (Rule(version=4, priority=100, table=52, destination=ip_network("10.20.64.0/18")), "0.0.0.0/0"),
        (Rule(version=4, priority=100, action="prohibit", destination=ip_network("10.20.64.0/18")), "192.0.2.0/24"),
    ],
    ids=["by its table", "by the rule", "by the rule alone"],
)
def test_what_another_table_takes_of_the_pod_network_is_not_tried(rule: Rule, destination: str) -> None:
    """A node's block inside it belongs to the other one as well; blocks beside it are tried as ever."""
    pods, inside, beside = route("10.20.0.0/16"), route("10.20.73.64/26"), route("10.20.200.0/26")
    vpn = ObservedRoute(destination=ip_network(destination), oif="ts0", table=52, protocol=3)
    rules = (rule, Rule(version=4, priority=32766, table=254))
    observed = kernel(pods, inside, beside)
    observed = replace(observed, routes=(vpn, *observed.routes), rules=rules)
    assert choose_samples((pods, inside, beside), observed) == {
        pods: ip_address("10.20.0.1"),
        beside: ip_address("10.20.200.1"),
    }
    won = tuple(replace(each, table=OVERRIDE_TABLE) for each in (pods, inside, beside))
    overriding = replace(kernel(*won), routes=(vpn, *kernel(*won).routes), rules=rules)
    assert (inside.destination in {each.destination for each in choose_samples(won, overriding)}) is (
        rule.priority > OVERRIDE_PREFERENCE
    )


def test_a_network_that_another_table_takes_as_a_whole_is_tried() -> None:
    pods = route("10.20.0.0/16")
    vpn = ObservedRoute(destination=ip_network("10.0.0.0/8"), oif="ts0", table=52, protocol=3)
    rules = (Rule(version=4, priority=5270, table=52), Rule(version=4, priority=32766, table=254))
    observed = replace(kernel(pods), routes=(vpn, *kernel(pods).routes), rules=rules)
    assert choose_samples((pods,), observed) == {pods: ip_address("10.20.0.1")}


DESTINATIONS: list[IPNetwork] = [
    *ip_network("10.20.0.0/26").subnets(new_prefix=29),
    *ip_network("10.20.0.0/26").subnets(new_prefix=28),
    ip_network("10.20.0.0/26"),
    ip_network("10.20.0.0/27"),
    ip_network("10.20.0.16/32"),
    ip_network("0.0.0.0/0"),
    ip_network("fd00:20::/64"),
    ip_network("fd00:20::/126"),
]


@pytest.mark.parametrize("table", [254, 5230], ids=["main", "override"])
def test_the_laptops_own_address_is_no_sample(table: int) -> None:
    pods = replace(route("10.20.0.0/16"), table=table)
    own = ObservedRoute(destination=ip_network("10.20.0.1"), kind="local", table=255, protocol=2, oif="br0")
    assert choose_samples((pods,), ObservedNetwork(routes=(own,))) == {pods: ip_address("10.20.0.2")}


@given(
    ours=st.lists(st.sampled_from(DESTINATIONS[:-3]), min_size=1, unique=True),
    foreign=st.lists(st.sampled_from(DESTINATIONS), unique=True),
)
def test_a_sample_is_an_address_that_only_its_own_route_carries(
    ours: list[IPNetwork], foreign: list[IPNetwork]
) -> None:
    routes = tuple(route(str(destination)) for destination in ours)
    observed = kernel(*routes, foreign=tuple(map(str, foreign)))
    samples = choose_samples(routes, observed)
    for each in routes:
        narrower = [
            r.destination
            for r in observed.routes
            if r.destination.version == 4 and r.destination.prefixlen > each.destination.prefixlen
        ]
        free = [a for a in each.destination if not any(a in prefix for prefix in narrower)]
        if each in samples:
            assert samples[each] in free
        else:  # the network's own address is no host's, so it counts for nothing where it alone is free
            assert free in ([], [each.destination.network_address])


@pytest.mark.parametrize("taken", [Path(oif="tun0"), Path(oif="eth0", next_hop=ip_address("172.16.0.1")), Path()])
def test_a_kernel_that_chooses_another_way_fails_the_verification_and_is_quoted(taken: Path) -> None:
    pods = route("10.20.0.0/16")
    address = ip_address("10.20.0.1")
    with pytest.raises(VerificationError) as failure:
        check_paths({pods: address}, wanted(pods), ObservedNetwork(paths={address: taken}))
    assert "10.20.0.0/16" in failure.value.what
    assert (taken.oif or "no way at all") in failure.value.why
    assert f"ip route get {address}" in failure.value.next_step


def test_a_block_of_ours_inside_the_pod_network_is_expected_to_win_there() -> None:
    pods, block = route("10.20.0.0/16"), route("10.20.0.0/26", hop="172.16.0.14")
    address = ip_address("10.20.0.1")
    observed = ObservedNetwork(paths={address: Path(oif="eth0", next_hop=ip_address("172.16.0.14"))})
    check_paths({pods: address}, wanted(pods, block), observed)
    with pytest.raises(VerificationError):
        check_paths({pods: address}, wanted(pods), observed)


def test_while_packets_go_by_a_detour_the_kernel_is_expected_to_send_them_there() -> None:
    pods, block = route("10.20.0.0/16"), route("10.20.0.0/26", hop="172.16.0.14")
    via = ip_address("172.16.0.16")
    desired = wanted(pods, block, detours=(Detour(next_hop=GATEWAY, via=via, oif="eth1"),))
    inside, outside = ip_address("10.20.0.1"), ip_address("10.20.0.65")
    detour, direct = Path(oif="eth1", next_hop=via), Path(oif="eth0", next_hop=ip_address("172.16.0.14"))
    samples = {pods: outside, block: inside}
    check_paths(samples, desired, ObservedNetwork(paths={outside: detour, inside: direct}))
    with pytest.raises(VerificationError):
        check_paths(samples, desired, ObservedNetwork(paths={outside: Path(oif="eth0", next_hop=GATEWAY)}))


@pytest.mark.slow
def test_ten_times_the_blocks_cost_about_ten_times_the_work_to_sample_and_check() -> None:
    def calls(count: int) -> int:
        """Of functions, Python's own too: a clock would count what else the machine does."""
        blocks = list(ipaddress.IPv4Network("10.0.0.0/11").subnets(new_prefix=26))[:count]
        pods, ours = route("10.0.0.0/8"), tuple(replace(route("10.0.0.0/8"), destination=block) for block in blocks)
        observed = kernel(pods, *ours)
        paths = {pods.destination[1]: Path(oif="eth0", next_hop=GATEWAY)}
        with cProfile.Profile() as counted:
            samples = choose_samples((pods, *ours), observed)
            paths |= {address: Path(oif="eth0", next_hop=GATEWAY) for address in samples.values()}
            check_paths(samples, wanted(pods, *ours), ObservedNetwork(paths=paths))
        assert len(samples) == count + 1
        assert samples[pods] == blocks[-1].broadcast_address + 1
        return sum(entry.callcount for entry in counted.getstats())

    # Quadratic work in either would make it a hundred times.
    assert calls(5_000) < 12 * calls(500)
