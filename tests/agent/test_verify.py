"""What must be true before a session counts as up, in its parts that need no network."""

import ipaddress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.agent.verify import check_paths, choose_samples
from devlink.core.network import PROTOCOL, ObservedNetwork, ObservedRoute, Path, Route
from devlink.core.prefixes import IPNetwork
from devlink.errors import VerificationError

GATEWAY = ip_address("172.16.0.13")


def route(destination: str, hop: str = "172.16.0.13") -> Route:
    return Route(destination=ip_network(destination), next_hop=ip_address(hop), oif="eth0")


def kernel(*routes: Route, foreign: tuple[str, ...] = ()) -> ObservedNetwork:
    """Ours as they are once installed, and others' of these destinations."""
    ours = [
        ObservedRoute(destination=r.destination, next_hop=r.next_hop, oif=r.oif, metric=r.metric, protocol=PROTOCOL)
        for r in routes
    ]
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
        check_paths({pods: address}, (pods,), ObservedNetwork(paths={address: taken}))
    assert "10.20.0.0/16" in failure.value.what
    assert (taken.oif or "no way at all") in failure.value.why
    assert f"ip route get {address}" in failure.value.next_step


def test_a_block_of_ours_inside_the_pod_network_is_expected_to_win_there() -> None:
    pods, block = route("10.20.0.0/16"), route("10.20.0.0/26", hop="172.16.0.14")
    address = ip_address("10.20.0.1")
    observed = ObservedNetwork(paths={address: Path(oif="eth0", next_hop=ip_address("172.16.0.14"))})
    check_paths({pods: address}, (pods, block), observed)
    with pytest.raises(VerificationError):
        check_paths({pods: address}, (pods,), observed)


def test_twenty_thousand_blocks_are_sampled_in_a_moment() -> None:
    blocks = tuple(
        Route(destination=block, next_hop=GATEWAY, oif="eth0")
        for block in list(ipaddress.IPv4Network("10.0.0.0/11").subnets(new_prefix=26))[:20_000]
    )
    pods = route("10.0.0.0/8")
    # Quadratic work would pass the test's time limit many times over.
    samples = choose_samples((pods, *blocks), kernel(pods, *blocks))
    assert len(samples) == 20_001
    assert samples[pods] == ip_address("10.19.136.0")
