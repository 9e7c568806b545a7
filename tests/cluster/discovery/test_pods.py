"""Pod networks: the CNI's own word, else what was declared and is not disproved, else a guess that is marked."""

import json

import pytest

from devlink.core.findings import Severity
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


def test_a_pool_that_is_being_deleted_is_as_one_that_is_disabled() -> None:
    going = pool("10.30.0.0/16", "b")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert pods([*BASE, pool("10.20.0.0/16", "a"), going, block("n", "10.20.1.0/26")]) == ["10.20.0.0/16"]


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
    assert pods(networks.k3s()) == ["10.42.0.0/16"]
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
    nodes = [node(f"n{n}", f"192.0.2.{n}", pod_cidrs=[f"10.42.{n}.0/24"]) for n in range(2)]
    told = finding([*BASE, *nodes], "DL-POD-SUM")
    assert told is not None
    assert "10.42.0.0/23" in told.evidence
    assert finding(networks.rke2(), "DL-POD-SUM") is None


def test_what_k3s_gives_where_nobody_chose_is_known_where_its_nodes_have_it() -> None:
    assert source(networks.k3s(), "pods").startswith("nodes/k3s-0 (k3s.io/node-args), which name no --cluster-cidr")
    other = [node("n", "192.0.2.1", pod_cidrs=["10.77.0.0/24"], annotations={"k3s.io/node-args": '["server"]'})]
    agent = [node("n", "192.0.2.1", pod_cidrs=["10.42.0.0/24"], annotations={"k3s.io/node-args": '["agent"]'})]
    assert pods([*BASE, *other]) == ["10.77.0.0/24"]
    assert pods([*BASE, *agent]) == ["10.42.0.0/24"], "an agent does not say what its server was told"


def test_an_argument_of_k3s_that_is_given_twice_is_a_list() -> None:
    given = [
        "server",
        "--cluster-cidr",
        "10.52.0.0/16",
        "--cluster-cidr=fd00:52::/56",
        "--service-cidr",
        "10.53.0.0/16",
    ]
    objects = [*BASE, node("n1", "192.0.2.1", annotations={"k3s.io/node-args": json.dumps(given)})]
    assert pods(objects) == ["10.52.0.0/16", "fd00:52::/56"]


FLANNELS = {"flannel.alpha.coreos.com/backend-type": "vxlan", "flannel.alpha.coreos.com/public-ip": "192.0.2.10"}


def test_what_another_network_left_behind_is_passed_over_where_pods_show_it() -> None:
    left = [
        node("c9", "192.0.2.19", pod_cidrs=["10.244.9.0/24"], annotations=FLANNELS),
        pool("10.20.0.0/16"), block("c0", "10.20.1.0/26"), block("c1", "10.20.2.0/26"),
        networks.kubeadm(podSubnet="10.244.0.0/16", serviceSubnet="10.96.0.0/12"),
    ]  # fmt: skip
    live = pod("web", "10.128.0.7", host="192.0.2.10", namespace="default")
    objects = [*networks.cilium(), *left, live]
    assert pods(objects) == ["10.128.0.0/14"]
    assert source(objects, "nodes") == "ciliumnodes.cilium.io"
    told = finding(objects, "DL-CNI-LEFT")
    assert told is not None
    assert told.title.startswith("Objects of Calico and flannel are there, and pods have addresses of Cilium")
    assert finding(objects[:-1], "DL-CNI-LEFT") is None, "without pods nobody knows"
    assert pods(objects[:-1]) == ["10.20.0.0/16"], "blocks are the surest trace"


def test_flannels_annotations_outlive_it_and_a_chained_cilium_gives_out_nothing() -> None:
    both = [*networks.cilium(), node("c0", "192.0.2.10", pod_cidrs=["10.244.0.0/24"], annotations=FLANNELS)]
    assert pods(both) == ["10.128.0.0/14"]
    chained = [
        *networks.cilium(cni_chaining_mode="flannel"),
        *without(networks.network_c(), "Service", "ConfigMap", "Pod"),
    ]
    net_conf = config_map("kube-flannel-cfg", {"net-conf.json": '{"Network": "172.20.0.0/16"}'}, "kube-flannel")
    assert pods([*chained, net_conf]) == ["172.20.0.0/16"]


def test_under_ciliums_kubernetes_ipam_kubeadm_knows_the_whole_network() -> None:
    kubeadm = networks.kubeadm(podSubnet="10.128.0.0/16", serviceSubnet="10.96.0.0/12")
    assert pods([*networks.cilium(ipam="kubernetes"), kubeadm]) == ["10.128.0.0/16"]
    elsewhere = networks.kubeadm(podSubnet="10.244.0.0/16", serviceSubnet="10.96.0.0/12")
    assert pods([*networks.cilium(ipam="kubernetes"), elsewhere]) == ["10.128.0.0/23"], "its nodes disprove it"
    assert finding([*networks.cilium(ipam="multi-pool", cluster_pool_ipv4_cidr="")], "DL-POD-SUM") is not None


@pytest.mark.parametrize("services", ["10.96.0.0/12", "172.30.0.0/16"])
def test_a_pool_that_nobody_chose_is_what_nodes_have_of_it(services: str) -> None:
    """Ten million addresses toward a test cluster would take the office's own, too."""
    objects = [
        *without(networks.cilium(cluster_pool_ipv4_cidr="10.0.0.0/8"), "ServiceCIDR"),
        networks.service_cidr(services),
    ]
    assert pods(objects) == ["10.128.0.0/23"]
    assert source(objects, "pods") == "configmaps/kube-system/cilium-config (cluster-pool), what nodes have of it"
    assert [str(prefix) for prefix in profile(objects).spec.services or ()] == [services]
    assert finding(objects, "DL-POD-SUM") is not None
    narrowed = finding(objects, "DL-POD-NARROWED")
    assert narrowed is not None
    assert "10.0.0.0/8 by configmaps/kube-system/cilium-config" in narrowed.evidence


def test_a_pool_that_the_nodes_are_in_is_what_they_have_of_it() -> None:
    nodes = [node("n0", "10.20.200.10"), node("n1", "10.20.200.11")]
    blocks = [block("n0", "10.20.1.0/26"), block("n1", "10.20.9.0/26"), block("n1", "10.20.200.64/26")]
    objects = [*BASE, *nodes, *blocks, pool("10.20.0.0/16"), pool("10.30.0.0/16", "other")]
    assert pods(objects) == ["10.20.1.0/26", "10.20.9.0/26", "10.30.0.0/16"], "and none beside a node's own address"


def test_calicos_netmask_narrows_the_nodes_lan() -> None:
    mask = {"projectcalico.org/IPv4Address": "10.20.0.4/27"}
    objects = [*BASE, node("n", "10.20.0.4", annotations=mask), block("n", "10.20.0.128/26"), pool("10.20.0.128/25")]
    assert pods(objects) == ["10.20.0.128/25"]
    host = {"projectcalico.org/IPv4Address": "10.20.0.4/32"}
    beside = [*BASE, node("n", "10.20.0.4", annotations=host), pool("10.20.0.128/25")]
    assert profile(beside).spec.pods is None, "a host route says nothing of the LAN"


def test_pods_in_the_lan_of_a_second_interface_or_of_hosts_that_may_not_be_read_need_no_route() -> None:
    second = [node("n", "10.10.20.152", "192.168.50.152"), pod("a", "192.168.50.60", host="10.10.20.152")]
    hidden = [pod("a", "10.10.20.60", host="10.10.20.152", namespace="default")]
    for objects in (second, hidden):
        assert profile([*BASE, *objects]).spec.pods is None
        assert finding([*BASE, *objects], "DL-POD-UNDERLAY") is not None


def test_pods_between_the_nodes_of_a_cloud_are_of_its_own_network() -> None:
    nodes = [node("a", "10.0.12.5"), node("b", "10.0.44.9")]
    objects = [*BASE, *nodes, pod("x", "10.0.27.4", host="10.0.12.5", namespace="default")]
    assert profile(objects).spec.pods is None
    assert finding(objects, "DL-POD-UNDERLAY") is not None
    public = [node("a", "10.0.12.5"), node("b", "10.0.44.9")]
    for number, each in enumerate(public):
        each["status"]["addresses"].append({"type": "ExternalIP", "address": f"203.0.113.{number}"})
    assert profile([*BASE, *public, objects[-1]]).spec.pods is None, "where they are seen outside says nothing"
    assert profile([*BASE, nodes[0], objects[-1]]).spec.pods is None, "nor is one node a site of its own"
    told = finding(objects, "DL-POD-UNDERLAY")
    assert told is not None
    assert told.severity is Severity.WARNING, "it is a guess"
    far = [node("a", "10.0.12.5"), node("b", "10.200.44.9")]
    assert pods([*BASE, *far, objects[-1]]) == ["10.0.27.0/24"], "two sites have anything between them"
    assert profile([*networks.cilium(ipam="eni"), objects[-1]]).spec.pods is None


def test_of_disabled_pools_side_by_side_those_in_use_are_taken() -> None:
    pools = [pool("10.20.0.0/16", "a")] + [
        pool(f"10.30.{third}.0/17", f"old{third}", disabled=True) for third in (0, 128)
    ]
    assert pods([*BASE, *pools, block("n", "10.20.1.0/26"), block("n", "10.30.1.0/26")]) == [
        "10.20.0.0/16",
        "10.30.0.0/17",
    ]


def test_a_dump_of_very_many_pods_is_sampled_and_dns_is_found_in_it() -> None:
    many = [pod(f"a-{n:05}", f"10.50.{n // 250}.{n % 250}", host="192.0.2.1", namespace="a") for n in range(2_500)]
    dns = pod("coredns", "192.0.2.1", host="192.0.2.1", labels={"k8s-app": "kube-dns"})
    objects = [networks.service_cidr("10.96.0.0/12"), node("n", "192.0.2.1"), *many, dns]
    assert len(pods(objects)) <= 8
    assert [str(s.address) for s in (profile(objects).spec.dns or pytest.fail("no DNS")).servers] == ["192.0.2.1"]


def test_a_pool_that_nobody_chose_is_left_out_where_what_nodes_have_of_it_may_not_be_read() -> None:
    objects = without(networks.cilium(cluster_pool_ipv4_cidr="10.0.0.0/8"), "CiliumNode")
    assert profile(objects).spec.pods is None
    assert [str(prefix) for prefix in profile(objects).spec.services or ()] == ["10.96.0.0/12"]
    told = finding(objects, "DL-POD-WIDE")
    assert told is not None
    assert "10.0.0.0/8 by configmaps/kube-system/cilium-config" in told.evidence


def test_a_network_that_holds_the_nodes_is_no_lan_of_theirs_where_pods_are_seen_elsewhere_in_it() -> None:
    nodes = [node("n0", "192.168.1.10"), node("n1", "192.168.1.11")]
    elsewhere = pod("a", "192.168.20.70", host="192.168.1.10", namespace="default")
    beside = pod("b", "192.168.1.70", host="192.168.1.10", namespace="default")
    pools = [pool("192.168.0.0/16")]
    for seen, code, other in (
        ([elsewhere], "DL-POD-WIDE", "DL-POD-UNDERLAY"),
        ([], "DL-POD-WIDE", "DL-POD-UNDERLAY"),
        ([beside], "DL-POD-UNDERLAY", "DL-POD-WIDE"),
    ):
        objects = [*BASE, *nodes, *pools, *seen]
        assert profile(objects).spec.pods is None
        assert finding(objects, code) is not None
        assert finding(objects, other) is None


def test_of_two_wide_networks_each_is_told_of_by_itself() -> None:
    pools = [pool("10.20.0.0/16", "a"), pool("10.64.0.0/10", "b")]
    objects = [*BASE, node("n0", "10.20.200.10"), block("n0", "10.20.1.0/26"), *pools]
    assert pods(objects) == ["10.20.1.0/26"]
    told = finding(objects, "DL-POD-WIDE")
    assert told is not None
    assert "10.64.0.0/10" in told.evidence


def test_pods_outside_every_block_disprove_a_calico_whose_pool_the_next_network_took_over() -> None:
    left = [pool("10.128.0.0/14"), block("c0", "10.128.40.0/26"), block("c1", "10.128.50.0/26")]
    live = [pod(f"p{n}", f"10.128.{n}.4", host=f"192.0.2.{10 + n}", namespace="default") for n in range(2)]
    objects = [*networks.cilium(), *left, *live]
    assert source(objects, "nodes") == "ciliumnodes.cilium.io"
    assert finding(objects, "DL-CNI-LEFT") is not None
