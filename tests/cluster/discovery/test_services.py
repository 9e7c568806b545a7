"""Networks of ClusterIPs: in the order of what is sure; a guess is bounded and marked."""

import pytest

from tests.cluster.discovery import networks
from tests.cluster.discovery.finds import finding, profile, services, source
from tests.cluster.discovery.networks import (
    CRD,
    Object,
    api_server,
    kubeadm,
    node,
    refusal,
    service,
    service_cidr,
    thing,
)

KUBERNETES = service("kubernetes", "default", "10.254.0.1", port=443)


def bgp(*cidrs: str) -> Object:
    return thing(CRD, "BGPConfiguration", "default", spec={"serviceClusterIPs": [{"cidr": cidr} for cidr in cidrs]})


SOURCES: list[tuple[Object, str]] = [
    (service_cidr("10.254.0.0/16"), "servicecidrs.networking.k8s.io/kubernetes"),
    (bgp("10.254.0.0/16"), "bgpconfigurations.crd.projectcalico.org/default"),
    (kubeadm(serviceSubnet="10.254.0.0/16"), "configmaps/kube-system/kubeadm-config (serviceSubnet)"),
    (
        api_server("172.16.0.1", "--service-cluster-ip-range=10.254.0.0/16"),
        "pods/kube-system/kube-apiserver-cp1 (--service-cluster-ip-range)",
    ),
    (
        node("n", "172.16.0.1", annotations={"rke2.io/node-args": '["server", "--service-cidr", "10.254.0.0/16"]'}),
        "nodes/n (rke2.io/node-args)",
    ),
    (refusal("10.254.0.0/16"), "the API server's answer to a Service with dryRun=All"),
    (KUBERNETES, "guess: ClusterIPs in use: services/default/kubernetes"),
]


@pytest.mark.parametrize("place", range(len(SOURCES)))
def test_the_best_source_that_is_there_is_taken(place: int) -> None:
    objects = [item for item, _ in reversed(SOURCES[place:])]
    assert services(objects) == ["10.254.0.0/16"]
    assert source(objects, "services") == SOURCES[place][1]


def test_dual_stack_keeps_the_order_of_the_families() -> None:
    assert services([service_cidr("10.96.0.0/12", "fd00:96::/112")]) == ["10.96.0.0/12", "fd00:96::/112"]
    assert services([kubeadm(serviceSubnet="10.96.0.0/12,fd00:96::/112")]) == ["10.96.0.0/12", "fd00:96::/112"]


def test_service_cidrs_beside_the_first_one_follow_it() -> None:
    objects = [service_cidr("10.20.0.0/24", name="a-second"), service_cidr("10.254.0.0/16"), KUBERNETES]
    assert services(objects) == ["10.254.0.0/16", "10.20.0.0/24"]


def test_a_service_cidr_around_the_first_one_keeps_the_kubernetes_services_address_first() -> None:
    wide = [
        service_cidr("10.254.5.0/24"),
        service_cidr("10.254.4.0/23", name="wider"),
        service("kubernetes", "default", "10.254.5.1"),
    ]
    assert services(wide) == ["10.254.5.0/24", "10.254.4.0/24"]
    same = [service_cidr("10.254.0.0/24"), service_cidr("10.254.0.0/23", name="wider")]
    assert services(same) == ["10.254.0.0/24", "10.254.1.0/24"]


def test_a_range_that_a_clusterip_in_use_is_outside_of_is_passed_over() -> None:
    objects = [
        bgp("10.254.0.10/32"),
        kubeadm(serviceSubnet="10.254.0.0/16"),
        networks.kube_dns("10.254.0.2"),
        KUBERNETES,
    ]
    assert services(objects) == ["10.254.0.0/16"]
    assert source(objects, "services").endswith("(serviceSubnet)")
    assert finding(objects, "DL-FOUND-DISPROVED") is not None


@pytest.mark.parametrize(
    ("in_use", "guess"),
    [
        (["10.96.0.1", "10.108.4.7"], "10.96.0.0/12"),
        (["10.43.0.1"], "10.43.0.0/16"),
        (["10.233.0.1", "10.233.60.1"], "10.233.0.0/18"),
        (["10.152.183.1"], "10.152.183.0/24"),
        (["10.254.0.1", "10.254.77.3"], "10.254.0.0/16"),
        (["172.20.0.1", "172.21.4.4"], "172.20.0.0/15"),
        (["10.100.64.1", "10.100.65.3"], "10.100.64.0/18"),
        (["fd00:96::1", "fd00:96::abcd"], "fd00:96::/112"),
    ],
)
def test_a_guess_is_the_least_likely_network_that_holds_what_is_in_use(in_use: list[str], guess: str) -> None:
    objects = [
        service("kubernetes", "default", in_use[0]),
        *(service(f"s{n}", "qa", ip) for n, ip in enumerate(in_use[1:])),
    ]
    assert services(objects) == [guess]
    assert source(objects, "services").startswith("guess: ")


def test_clusterips_that_no_network_can_hold_give_no_guess() -> None:
    objects = [
        service("kubernetes", "default", "10.96.5.1"),
        service("s", "qa", "172.16.4.4"),
        networks.pool("10.20.0.0/16"),
    ]
    assert profile(objects).spec.services is None


def test_a_range_with_host_bits_costs_itself_and_the_next_source_is_asked() -> None:
    objects = [service_cidr("10.254.0.1/16"), kubeadm(serviceSubnet="10.254.0.0/16")]
    assert services(objects) == ["10.254.0.0/16"]
    assert finding(objects, "DL-API-VALUE") is not None


def test_a_headless_service_has_no_address_to_be_misled_by() -> None:
    assert services([service_cidr("10.254.0.0/16"), service("headless", "qa", "None")]) == ["10.254.0.0/16"]
    assert finding([service_cidr("10.254.0.0/16"), service("headless", "qa", "None")], "DL-API-VALUE") is None


def test_a_guess_is_bounded() -> None:
    objects = [
        service("kubernetes", "default", "10.64.0.1"),
        service("s", "qa", "10.90.0.1"),
        networks.pool("10.20.0.0/16"),
    ]
    assert profile(objects).spec.services is None


def test_one_clusterip_outside_does_not_cost_the_range_of_the_kubernetes_service() -> None:
    declared = kubeadm(serviceSubnet="10.96.0.0/12")
    inside, outside = service("kubernetes", "default", "10.96.0.1"), service("odd", "qa", "10.200.0.5")
    objects = [declared, inside, outside]
    assert services(objects) == ["10.96.0.0/12"]
    assert source(objects, "services") == "configmaps/kube-system/kubeadm-config (serviceSubnet)"
    told = finding(objects, "DL-SERVICE-OUTSIDE")
    assert told is not None
    assert "10.200.0.5 of services/qa/odd" in told.evidence
    assert finding(objects[:2], "DL-SERVICE-OUTSIDE") is None
    moved = [declared, service("kubernetes", "default", "10.43.0.1"), outside, networks.pool("10.20.0.0/16")]
    assert profile(moved).spec.services is None, "then it is another cluster's range"


def test_the_range_of_the_kubernetes_service_is_first_whatever_it_is_called() -> None:
    objects = [service_cidr("10.20.0.0/24"), service_cidr("10.254.0.0/16", name="older"), KUBERNETES]
    assert services(objects) == ["10.254.0.0/16", "10.20.0.0/24"]
