"""The cluster's domain and its DNS servers, under all their names, and never one that only a node can ask."""

from ipaddress import ip_network

import pytest

from devlink.cluster.discovery.cluster import read_cluster
from devlink.cluster.discovery.dns import find_endpoints, find_servers
from devlink.cluster.discovery.objects import Objects
from tests.cluster.discovery import networks
from tests.cluster.discovery.finds import dns_pods, finding, profile, servers, source
from tests.cluster.discovery.networks import Object, coredns, endpoints, kube_dns, kubeadm, kubelet, node, pod, service

BASE = [networks.service_cidr("10.96.0.0/12"), node("n1", "192.0.2.1")]


def domain(objects: list[Object]) -> str:
    dns = profile(objects).spec.dns
    assert dns is not None
    return str(dns.domain)


COREFILE = "configmaps/kube-system/coredns (Corefile)"
KUBELET = "configmaps/kube-system/kubelet-config (clusterDomain)"
RKE2 = "rke2-coredns-rke2-coredns"
DOMAINS: list[tuple[list[Object], str, str]] = [
    ([coredns("cluster.kube")], "cluster.kube", COREFILE),
    ([coredns("cluster.kube", RKE2)], "cluster.kube", f"configmaps/kube-system/{RKE2} (Corefile)"),
    ([kubelet("k.example.", "10.96.0.10")], "k.example", KUBELET),
    ([kubeadm(dnsDomain="k.example")], "k.example", "configmaps/kube-system/kubeadm-config (dnsDomain)"),
    ([coredns("a.example b.example"), kubelet("b.example", "10.96.0.10")], "b.example", COREFILE),
    ([coredns("a.example"), kubelet("b.example", "10.96.0.10")], "a.example", COREFILE),
    ([coredns("local"), kubelet("b.example", "10.96.0.10")], "b.example", KUBELET),
    ([], "cluster.local", "guess: Kubernetes' default"),
]


@pytest.mark.parametrize(("objects", "expected", "by"), DOMAINS)
def test_the_domain(objects: list[Object], expected: str, by: str) -> None:
    objects = [*BASE, kube_dns("10.96.0.10"), *objects]
    assert domain(objects) == expected
    assert source(objects, "dns.domain") == by


def test_a_domain_that_pods_do_not_search_is_a_finding() -> None:
    objects = [*BASE, kube_dns("10.96.0.10"), coredns("a.example"), kubelet("b.example", "10.96.0.10")]
    told = finding(objects, "DL-DNS-DOMAIN-DIFFERS")
    assert told is not None
    assert "a.example" in told.evidence
    assert "b.example" in told.evidence
    assert finding([*objects[:-1], kubelet("a.example", "10.96.0.10")], "DL-DNS-DOMAIN-DIFFERS") is None


@pytest.mark.parametrize("name", ["kube-dns", "rke2-coredns-rke2-coredns", "coredns", "anything"])
def test_the_service_is_known_by_its_label_whatever_it_is_called(name: str) -> None:
    assert servers([*BASE, kube_dns("10.96.0.10", name=name)]) == ["10.96.0.10"]


@pytest.mark.parametrize("name", ["kube-dns", "rke2-coredns-rke2-coredns", "coredns"])
def test_the_service_is_known_by_its_name_without_the_label(name: str) -> None:
    assert servers([*BASE, service(name, "kube-system", "10.96.0.10")]) == ["10.96.0.10"]


def test_a_service_of_metrics_or_of_another_namespace_is_not_the_clusters_dns() -> None:
    labels = {"k8s-app": "kube-dns"}
    objects = [
        *BASE, kube_dns("10.96.0.10", name="z-dns"),
        service("a-metrics", "kube-system", "10.96.0.11", labels=labels, port=9153),
        service("b-headless", "kube-system", "None", labels=labels),
        service("kube-dns", "qa", "10.96.0.12", labels=labels),
    ]  # fmt: skip
    assert servers(objects) == ["10.96.0.10"]


def test_the_upstream_of_node_local_dns_does_not_stand_in_for_the_real_one() -> None:
    objects = [*BASE, kube_dns("10.96.0.77", name="kube-dns-upstream"), kube_dns("10.96.0.10")]
    assert servers(objects) == ["10.96.0.10"]


def test_dual_stack_has_both_addresses() -> None:
    assert servers(networks.dual_stack()) == ["10.96.0.10", "fd00:96::a"]


def test_coredns_on_the_nodes_network_is_asked_there() -> None:
    on_nodes = [*BASE, node("n2", "192.0.2.2"), kube_dns("10.96.0.10"), endpoints("192.0.2.2", "192.0.2.1")]
    assert servers(on_nodes) == ["192.0.2.1", "192.0.2.2"]
    assert "endpointslices.discovery.k8s.io/kube-system/kube-dns-x7f2k" in source(on_nodes, "dns.servers")
    assert servers([*BASE, kube_dns("10.96.0.10"), endpoints("192.0.2.1", "10.20.0.3")]) == ["10.96.0.10"]
    assert servers([*BASE, kube_dns("10.96.0.10"), endpoints("192.0.2.1", ready=False)]) == ["10.96.0.10"]


def test_coredns_on_the_nodes_network_is_known_by_its_pods_where_nodes_may_not_be_read() -> None:
    running = pod("coredns-1", "192.0.2.9", host="192.0.2.9", labels={"k8s-app": "kube-dns"})
    assert servers([BASE[0], kube_dns("10.96.0.10"), endpoints("192.0.2.9"), running]) == ["192.0.2.9"]


def test_coredns_without_any_service_is_found_by_its_pods() -> None:
    running = pod("coredns-1", "192.0.2.9", host="192.0.2.9", labels={"k8s-app": "kube-dns"})
    assert servers([*BASE, running]) == ["192.0.2.9"]
    assert source([*BASE, running], "dns.servers") == "pods/kube-system/coredns-1"


def test_kubelets_word_stands_in_and_a_cache_on_each_node_never_does() -> None:
    assert servers([*BASE, kubelet("cluster.local", "10.96.0.10")]) == ["10.96.0.10"]
    cached = [*BASE, kubelet("cluster.local", "169.254.20.10")]
    assert servers(cached) == []
    assert finding(cached, "DL-FOUND-REFUSED") is None
    assert finding(cached, "DL-NOT-FOUND") is not None


def test_node_local_dns_is_told_and_the_service_is_asked() -> None:
    objects = [*BASE, kube_dns("10.96.0.10"), kubelet("cluster.local", "169.254.20.10")]
    assert servers(objects) == ["10.96.0.10"]
    told = finding(objects, "DL-NODE-LOCAL-DNS")
    assert told is not None
    assert "169.254.20.10" in told.evidence


def test_an_older_kubeadms_kubelet_configuration_is_read() -> None:
    old = kubelet("k.example", "10.96.0.10")
    old["metadata"]["name"] = "kubelet-config-1.23"
    assert domain([*BASE, old]) == "k.example"


def test_of_coredns_on_every_node_a_few_are_asked() -> None:
    nodes = [node(f"m{n}", f"192.0.2.{n}") for n in range(100, 140)]
    everywhere = endpoints(*(f"192.0.2.{n}" for n in range(139, 99, -1)))
    assert servers([*BASE, *nodes, everywhere]) == [f"192.0.2.{n}" for n in range(100, 108)]


def test_of_kubelets_configurations_of_several_versions_the_newest_is_read() -> None:
    def old(version: str, domain: str) -> Object:
        item = kubelet(domain, "10.96.0.9")
        item["metadata"]["name"] = f"kubelet-config-{version}"
        return item

    objects = [*BASE, kube_dns("10.96.0.10"), old("1.9", "oldest.example"), old("1.23", "new.example")]
    assert domain([*objects, old("1.19", "old.example")]) == "new.example"
    assert domain([*objects, kubelet("newest.example", "10.96.0.10")]) == "newest.example"


def test_the_pods_behind_the_service_are_told_with_their_source() -> None:
    objects = [*BASE, kube_dns("10.96.0.10"), endpoints("10.20.1.7", "10.20.0.3")]
    assert dns_pods(objects) == ["10.20.0.3", "10.20.1.7"]
    assert source(objects, "dns.endpoints") == "endpointslices.discovery.k8s.io/kube-system/kube-dns-x7f2k"
    assert dns_pods([*BASE, kube_dns("10.96.0.10"), endpoints("10.20.0.3", ready=False)]) == []
    assert dns_pods([*BASE, kube_dns("10.96.0.10")]) == []


def test_without_endpoint_slices_the_pods_that_run_are_told() -> None:
    objects = [*BASE, kube_dns("10.96.0.10"), dns_pod(3, "192.0.2.1"), pod("web", "10.20.0.9", host="192.0.2.1")]
    assert dns_pods(objects) == ["10.20.0.3"]
    assert source(objects, "dns.endpoints") == "pods/kube-system/coredns-3"


def test_dns_on_the_nodes_network_has_no_pods_of_its_own() -> None:
    on_nodes = [*BASE, node("n2", "192.0.2.2"), kube_dns("10.96.0.10"), endpoints("192.0.2.2", "192.0.2.1")]
    assert dns_pods(on_nodes) == []
    mixed = [*BASE, kube_dns("10.96.0.10"), endpoints("192.0.2.1", "10.20.0.3")]
    assert dns_pods(mixed) == ["10.20.0.3"]


def test_a_pod_of_the_dns_outside_the_pod_networks_is_left_out() -> None:
    """Such as one on a node whose pool was taken away; where pods need no route, nothing is known against it."""
    found = read_cluster(Objects([*BASE, kube_dns("10.96.0.10"), endpoints("10.20.0.3", "192.168.7.3")]))
    servers_ = find_servers(found)
    for pods, told in (((ip_network("10.20.0.0/16"),), ["10.20.0.3"]), ((), ["10.20.0.3", "192.168.7.3"])):
        fact = find_endpoints(found, servers_, pods)
        assert fact is not None
        assert [str(address) for address in fact.value] == told
    assert find_endpoints(found, servers_, (ip_network("10.99.0.0/16"),)) is None


def test_of_many_pods_a_few_are_told_on_as_many_nodes_as_may_be() -> None:
    crowd = [dns_pod(n, "192.0.2.1") for n in range(10, 20)] + [dns_pod(90, "192.0.2.2"), dns_pod(91, "192.0.2.3")]
    addresses = [f"10.20.0.{n}" for n in (*range(19, 9, -1), 90, 91)]
    objects = [*BASE, kube_dns("10.96.0.10"), endpoints(*addresses), *crowd]
    assert dns_pods(objects) == ["10.20.0.10", "10.20.0.11", "10.20.0.90", "10.20.0.91"]
    assert dns_pods(list(reversed(objects))) == dns_pods(objects)


def test_of_two_ip_versions_both_are_told() -> None:
    both = [
        *BASE,
        kube_dns("10.96.0.10"),
        endpoints(*(f"10.20.0.{n}" for n in range(1, 9)), "fd00:20::9", "fd00:20::8"),
    ]
    assert dns_pods(both) == ["10.20.0.1", "10.20.0.2", "fd00:20::8", "fd00:20::9"]


def dns_pod(number: int, host: str) -> Object:
    return pod(f"coredns-{number}", f"10.20.0.{number}", host=host, labels={"k8s-app": "kube-dns"})
