"""Pod networks: the CNI's own word, else what was declared and is not disproved, else a guess that is marked."""

import json

import pytest

from tests.cluster.discovery import networks
from tests.cluster.discovery.finds import finding, found, pods, profile, source
from tests.cluster.discovery.networks import CRD, block, config_map, node, pod, pool, thing, without

BASE = [networks.kube_dns("10.96.0.10"), networks.service_cidr("10.96.0.0/12")]


def test_several_pools_of_both_families_are_all_taken() -> None:
    pools = [pool("10.20.0.0/16", "a"), pool("10.30.0.0/16", "b"), pool("fd00:20::/48", "c")]
    assert pods([*BASE, *pools]) == ["10.20.0.0/16", "10.30.0.0/16", "fd00:20::/48"]
    assert source([*BASE, *pools], "pods").count("ippools.crd.projectcalico.org/") == 3


@pytest.mark.parametrize("uses", [["LoadBalancer"], ["Tunnel"]])
def test_a_pool_that_pods_get_nothing_of_is_left_out(uses: list[str]) -> None:
    assert pods([*BASE, pool("10.20.0.0/16", "a"), pool("10.30.0.0/16", "b", allowedUses=uses)]) == ["10.20.0.0/16"]


def test_a_disabled_pool_is_left_out_unless_its_blocks_are_in_use() -> None:
    pools = [pool("10.20.0.0/16", "a"), pool("10.30.0.0/16", "b", disabled=True)]
    assert pods([*BASE, *pools, block("n", "10.20.1.0/26")]) == ["10.20.0.0/16"]
    in_use = [*BASE, *pools, block("n", "10.20.1.0/26"), block("n", "10.30.1.0/26")]
    assert pods(in_use) == ["10.20.0.0/16", "10.30.0.0/16"]
    told = finding(in_use, "DL-POOL-DISABLED")
    assert told is not None
    assert "10.30.0.0/16" in told.evidence
    assert finding([*BASE, *pools, block("n", "10.20.1.0/26")], "DL-POOL-DISABLED") is None


def test_a_pool_within_another_is_not_named_twice() -> None:
    assert pods([*BASE, pool("10.20.128.0/17", "a"), pool("10.20.0.0/16", "b")]) == ["10.20.0.0/16"]


def test_pools_that_may_not_be_read_are_told_from_the_blocks() -> None:
    objects = without(networks.network_a(), "IPPool", "kube-proxy")
    assert pods(objects) == [
        "10.20.12.128/26",
        "10.20.73.64/26",
        "10.20.101.0/26",
        "10.20.166.192/26",
        "10.20.209.64/26",
    ]
    assert source(objects, "pods") == "blockaffinities.crd.projectcalico.org"
    told = finding(objects, "DL-FOUND-DISPROVED")
    assert told is not None
    assert "10.244.0.0/16 by configmaps/kube-system/kubeadm-config (podSubnet)" in told.evidence


def test_what_kubeadm_was_told_is_believed_where_the_blocks_lie_in_it() -> None:
    objects = [*without(networks.network_e(), "IPPool")]
    assert pods(objects) == ["172.27.208.0/22"]
    assert source(objects, "pods") == "configmaps/kube-system/kubeadm-config (podSubnet)"


def test_node_pod_cidrs_are_never_believed_under_calicos_ipam() -> None:
    objects = without(networks.network_a(), "IPPool", "BlockAffinity", "kubeadm-config", "coredns-1", "kube-proxy")
    assert profile(objects).spec.pods is None
    assert finding(objects, "DL-NOT-FOUND") is not None


def test_the_nodes_own_prefixes_stand_in_where_nobody_says_more() -> None:
    objects = [
        *BASE,
        node("n1", "192.0.2.1", pod_cidrs=["10.42.0.0/24", "fd00:42::/64"]),
        node("n2", "192.0.2.2", pod_cidrs=["10.42.1.0/24"]),
    ]
    assert pods(objects) == ["10.42.0.0/23", "fd00:42::/64"]
    assert source(objects, "pods") == "nodes (spec.podCIDRs)"


def test_flannels_network_of_both_families() -> None:
    net_conf = {
        "Network": "10.244.0.0/16",
        "IPv6Network": "fd00:244::/56",
        "EnableIPv6": True,
        "Backend": {"Type": "vxlan"},
    }
    objects = [*BASE, config_map("kube-flannel-cfg", {"net-conf.json": json.dumps(net_conf)}, "kube-flannel")]
    assert pods(objects) == ["10.244.0.0/16", "fd00:244::/56"]


def test_what_flannel_left_behind_is_not_believed_where_calico_gives_out_blocks() -> None:
    assert pods([*networks.network_a(), *without(networks.network_c(), "Node", "Service", "EndpointSlice")]) == [
        "10.20.0.0/16"
    ]


def test_k3s_and_rke2_and_cilium() -> None:
    assert pods(networks.k3s()) == ["10.42.0.0/23"]
    assert pods(networks.rke2()) == ["10.42.0.0/16"]
    assert source(networks.rke2(), "pods") == "pods/kube-system/kube-controller-manager-rke2-0 (--cluster-cidr)"
    assert pods(networks.cilium()) == ["10.128.0.0/14"]
    assert pods(networks.cilium(cluster_pool_ipv4_cidr="10.1.0.0/16 10.2.0.0/16")) == ["10.1.0.0/16", "10.2.0.0/16"]
    assert pods(networks.cilium(ipam="kubernetes")) == ["10.128.0.0/23"]


def test_an_argument_of_k3s_goes_before_what_single_nodes_have() -> None:
    arguments = json.dumps(["server", "--cluster-cidr", "10.52.0.0/16", "--service-cidr=10.53.0.0/16"])
    objects = [*BASE, node("n1", "192.0.2.1", pod_cidrs=["10.52.0.0/24"], annotations={"k3s.io/node-args": arguments})]
    assert pods(objects) == ["10.52.0.0/16"]
    assert source(objects, "pods") == "nodes/n1 (k3s.io/node-args)"


def test_pods_that_run_give_a_guess_that_is_marked() -> None:
    objects = [
        *BASE,
        node("n1", "192.0.2.1"),
        pod("a", "10.50.3.7", host="192.0.2.1"),
        pod("b", "10.50.9.7", host="192.0.2.1"),
    ]
    assert pods(objects) == ["10.50.3.0/24", "10.50.9.0/24"]
    assert source(objects, "pods").startswith("guess: ")
    assert finding(objects, "DL-GUESS") is not None


def test_pods_on_the_nodes_network_or_ended_say_nothing_of_the_pods() -> None:
    ended = pod("c", "10.50.3.7", host="192.0.2.1")
    ended["status"]["phase"] = "Succeeded"
    objects = [*BASE, node("n1", "192.0.2.1"), pod("a", "192.0.2.1", host="192.0.2.1"), ended]
    assert profile(objects).spec.pods is None
    assert finding(objects, "DL-POD-UNDERLAY") is None


def test_pods_in_the_nodes_lan_need_no_route_whoever_says_so() -> None:
    nodes = [node("n1", "10.10.20.152"), node("n2", "10.10.20.153")]
    for how in (
        [networks.kubeadm(podSubnet="10.10.20.0/24", serviceSubnet="10.96.0.0/12")],
        [networks.kubeadm(podSubnet="10.10.20.48/28", serviceSubnet="10.96.0.0/12")],
        [pod("a", "10.10.20.50", host="10.10.20.152", namespace="default")],
    ):
        objects = [*BASE, *nodes, *how]
        assert profile(objects).spec.pods is None
        assert profile(objects).spec.gateways is not None
        assert finding(objects, "DL-POD-UNDERLAY") is not None


def test_a_pool_with_host_bits_costs_itself_and_is_reported_with_what_it_should_be() -> None:
    objects = [*BASE, pool("172.27.0.208/22", "typo"), pool("10.20.0.0/16", "good")]
    assert pods(objects) == ["10.20.0.0/16"]
    told = finding(objects, "DL-API-VALUE")
    assert told is not None
    assert "ippools.crd.projectcalico.org/typo" in told.evidence
    assert "172.27.0.0/22" in told.evidence


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "127.0.0.0/8", "169.254.0.0/16", "10.96.0.0/14"])
def test_a_pool_that_no_laptop_may_route_costs_itself_only(cidr: str) -> None:
    objects = [*BASE, pool(cidr, "bad"), pool("10.20.0.0/16", "good")]
    assert pods(objects) == ["10.20.0.0/16"]
    assert finding(objects, "DL-FOUND-REFUSED") is not None


def test_two_sources_that_disagree_are_a_finding_and_the_better_one_is_taken() -> None:
    objects = [*BASE, pool("10.20.0.0/16"), networks.kubeadm(podSubnet="10.99.0.0/16", serviceSubnet="10.96.0.0/12")]
    assert pods(objects) == ["10.20.0.0/16"]
    told = finding(objects, "DL-FOUND-DISAGREE")
    assert told is not None
    assert "10.20.0.0/16 by ippools" in told.evidence
    assert "10.99.0.0/16 by configmaps/kube-system/kubeadm-config" in told.evidence


def test_a_narrower_source_is_no_disagreement() -> None:
    objects = [*BASE, pool("10.20.0.0/16"), networks.kubeadm(podSubnet="10.20.0.0/14", serviceSubnet="10.96.0.0/12")]
    assert finding(objects, "DL-FOUND-DISAGREE") is None


def test_another_programs_ippool_is_none_of_calicos() -> None:
    foreign = thing(
        "whereabouts.cni.cncf.io/v1alpha1",
        "IPPool",
        "x",
        "kube-system",
        spec={"range": "10.9.0.0/24", "cidr": "10.9.0.0/24"},
    )
    assert pods([*BASE, foreign, pool("10.20.0.0/16", api=CRD)]) == ["10.20.0.0/16"]


def test_nothing_at_all_is_no_profile_and_says_what_is_missing() -> None:
    result = found([])
    assert result.profile is None
    assert len([one for one in result.findings if one.code == "DL-NOT-FOUND"]) == 5


def test_endpoints_of_services_show_where_pods_are() -> None:
    web = networks.endpoints("10.10.20.51", "10.10.20.57", of="web")
    for endpoint in web["endpoints"]:
        endpoint["targetRef"] = {"kind": "Pod", "name": "web", "namespace": "default"}
    objects = [*BASE, node("n", "10.10.20.152", pod_cidrs=["10.244.0.0/24"]), web]
    assert profile(objects).spec.pods is None
    assert finding(objects, "DL-POD-UNDERLAY") is not None
    elsewhere = networks.endpoints("10.10.20.51", of="web")
    assert pods([*objects[:-1], elsewhere]) == ["10.244.0.0/24"], "it is not said to be a pod's"


def test_a_guess_contradicts_nobody() -> None:
    objects = [*BASE, pool("10.20.0.0/16"), pod("elsewhere", "10.99.3.7", host="192.0.2.1")]
    assert pods(objects) == ["10.20.0.0/16"]
    assert finding(objects, "DL-FOUND-DISAGREE") is None


def test_pod_networks_that_grow_with_the_nodes_are_told() -> None:
    told = finding(networks.k3s(), "DL-POD-SUM")
    assert told is not None
    assert "10.42.0.0/23" in told.evidence
    assert finding(networks.rke2(), "DL-POD-SUM") is None
