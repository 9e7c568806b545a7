"""Blocks by owner: only what is confirmed, on nodes that are ready, by the address that a laptop reaches."""

from typing import Any

import pytest

from devlink.cluster.discovery import discover_nodes
from tests.cluster.discovery import networks
from tests.cluster.discovery.finds import finding, owners, profile, source
from tests.cluster.discovery.networks import CRD, Object, block, calico_node, node, pool, thing, without

BASE = [networks.kube_dns("10.96.0.10"), networks.service_cidr("10.96.0.0/12"), pool("10.20.0.0/16")]


@pytest.mark.parametrize(
    "spec", [{"state": "pending"}, {"state": "pendingDeletion"}, {"deleted": "true"}, {"deleted": True}]
)
def test_a_block_that_is_not_confirmed_is_nobodys(spec: dict[str, Any]) -> None:
    objects = [*BASE, calico_node("n", "192.0.2.1"), block("n", "10.20.1.0/26"), block("n", "10.20.2.0/26", **spec)]
    assert owners(objects) == {"192.0.2.1": ["10.20.1.0/26"]}


def test_a_node_that_is_not_ready_is_left_out_and_told() -> None:
    for ready in ("False", "Unknown"):
        silent = node("b", "192.0.2.2", ready=ready)
        objects = [*BASE, node("a", "192.0.2.1"), silent, block("a", "10.20.1.0/26"), block("b", "10.20.2.0/26")]
        assert owners(objects) == {"192.0.2.1": ["10.20.1.0/26"]}
        assert [str(g.address) for g in profile(objects).spec.gateways or ()] == ["192.0.2.1"]
        told = finding(objects, "DL-NODE-NOT-READY")
        assert told is not None
        assert told.evidence == "b"


def test_a_node_without_conditions_is_not_called_silent() -> None:
    bare = {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": "n"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
    }
    assert owners([*BASE, bare, block("n", "10.20.1.0/26")]) == {"192.0.2.1": ["10.20.1.0/26"]}


def test_a_block_of_a_node_that_is_gone_goes_by_the_gateway() -> None:
    assert owners([*BASE, node("a", "192.0.2.1"), block("a", "10.20.1.0/26"), block("gone", "10.20.2.0/26")]) == {
        "192.0.2.1": ["10.20.1.0/26"]
    }


def test_calicos_address_goes_before_flannels_and_the_nodes_own() -> None:
    flannel = {"flannel.alpha.coreos.com/public-ip": "192.0.2.22"}
    calico = {"projectcalico.org/IPv4Address": "192.0.2.33/24"}
    for notes, address in (({}, "192.0.2.11"), (flannel, "192.0.2.22"), (flannel | calico, "192.0.2.33")):
        objects = [*BASE, node("n", "192.0.2.11", annotations=notes), block("n", "10.20.1.0/26")]
        assert owners(objects) == {address: ["10.20.1.0/26"]}


@pytest.mark.parametrize("odd", ["", "none", "127.0.0.1/8", "fe80::1/64", "0.0.0.0", "999.1.1.1", "\x1b[2J"])
def test_an_odd_annotation_leaves_the_nodes_own_address(odd: str) -> None:
    objects = [
        *BASE,
        node("n", "192.0.2.11", annotations={"projectcalico.org/IPv4Address": odd}),
        block("n", "10.20.1.0/26"),
    ]
    assert owners(objects) == {"192.0.2.11": ["10.20.1.0/26"]}


def test_a_dual_stack_node_stands_once_for_each_family() -> None:
    assert owners(networks.dual_stack()) == {
        "172.16.0.1": ["10.20.1.0/26"],
        "172.16.0.2": ["10.20.2.0/26"],
        "fd00:16::1": ["fd00:20::100/122"],
        "fd00:16::2": ["fd00:20::200/122"],
    }


def test_blocks_of_one_node_are_in_order_and_each_once() -> None:
    blocks = [block("n", cidr) for cidr in ("10.20.9.0/26", "10.20.1.64/26", "10.20.1.0/26")]
    again = {**block("n", "10.20.1.0/26"), "metadata": {"name": "twice"}}
    objects = [*BASE, node("n", "192.0.2.1"), *blocks, again]
    assert owners(objects) == {"192.0.2.1": ["10.20.1.0/26", "10.20.1.64/26", "10.20.9.0/26"]}


def test_a_block_outside_the_pools_is_left_out_and_told() -> None:
    objects = [*BASE, node("n", "192.0.2.1"), block("n", "10.20.1.0/26"), block("n", "10.99.1.0/26")]
    assert owners(objects) == {"192.0.2.1": ["10.20.1.0/26"]}
    told = finding(objects, "DL-BLOCK-OUTSIDE")
    assert told is not None
    assert told.evidence == "10.99.1.0/26"


def test_under_other_networks_the_nodes_own_prefixes_are_their_blocks() -> None:
    assert owners(networks.k3s()) == {"192.0.2.10": ["10.42.0.0/24"], "192.0.2.11": ["10.42.1.0/24"]}
    assert owners(networks.rke2()) == {"10.1.0.11": ["10.42.0.0/24"], "10.1.0.12": ["10.42.1.0/24"]}
    assert source(networks.k3s(), "nodes") == "nodes (spec.podCIDRs)"
    assert source(networks.cilium(), "nodes") == "ciliumnodes.cilium.io"


def test_where_a_switch_knows_every_block_none_is_listed() -> None:
    assert profile(networks.network_e()).spec.nodes is None
    assert owners(without(networks.network_e(), "rr-peer")) != {}


def test_two_nodes_with_one_address_do_not_end_the_run() -> None:
    objects = [
        *BASE,
        node("a", "192.0.2.1"),
        node("b", "192.0.2.1"),
        block("a", "10.20.1.0/26"),
        block("b", "10.20.2.0/26"),
    ]
    assert list(owners(objects)) == ["192.0.2.1"]
    assert finding(objects, "DL-FOUND-REFUSED") is not None


def test_the_nodes_alone_are_found_again_as_the_whole_has_them() -> None:
    for network in (networks.network_a, networks.network_b, networks.k3s, networks.cilium, networks.dual_stack):
        whole = profile(network()).spec
        few = [item for item in network() if item["kind"] in ("Node", "BlockAffinity", "CiliumNode")]
        assert discover_nodes(few, whole.pods or (), whole.nodes or ()) == whole.nodes
    assert discover_nodes([], (), ()) == ()


def test_blocks_are_known_by_ipams_own_objects_too() -> None:
    objects = without(networks.network_a(), "BlockAffinity")
    for number, cidr in ((10, "10.20.12.128/26"), (13, "10.20.73.64/26")):
        spec = {"cidr": cidr, "affinity": f"host:d{number}.node", "deleted": False, "allocations": [None, 0]}
        objects.append(thing(CRD, "IPAMBlock", cidr.replace("/", "-"), spec=spec))
    assert owners(objects) == {"172.16.0.10": ["10.20.12.128/26"], "172.16.0.13": ["10.20.73.64/26"]}
    assert source(objects, "nodes") == "ipamblocks.crd.projectcalico.org"


def test_blocks_of_tunnels_are_nobodys_pods_and_no_news() -> None:
    tunnels = pool("10.99.0.0/24", "tunnels", allowedUses=["Tunnel"])
    objects = [*BASE, tunnels, node("n", "192.0.2.1"), block("n", "10.20.1.0/26"), block("n", "10.99.0.0/26")]
    assert owners(objects) == {"192.0.2.1": ["10.20.1.0/26"]}
    assert finding(objects, "DL-BLOCK-OUTSIDE") is None


def test_prefixes_of_nodes_that_pods_disprove_are_nobodys_and_no_news() -> None:
    objects = [
        *BASE[:2], node("n", "192.0.2.1", pod_cidrs=["10.244.0.0/24"]),
        networks.pod("a", "10.50.3.7", host="192.0.2.1", namespace="default"),
    ]  # fmt: skip
    assert profile(objects).spec.nodes is None
    assert finding(objects, "DL-BLOCK-OUTSIDE") is None


def test_under_ciliums_own_pool_the_nodes_prefixes_are_not_believed() -> None:
    unread = without(networks.cilium(cluster_pool_ipv4_cidr="10.240.0.0/12"), "CiliumNode", "Node")
    assert profile([*unread, node("c0", "192.0.2.10", pod_cidrs=["10.244.0.0/24"])]).spec.nodes is None


def test_the_nodes_are_followed_in_the_families_and_by_the_source_of_the_profile_that_has_them() -> None:
    def followed(objects: list[Object]) -> tuple[object, object]:
        whole = profile(objects).spec
        few = [item for item in objects if item["kind"] in ("Node", "BlockAffinity", "CiliumNode")]
        return discover_nodes(few, whole.pods or (), whole.nodes or ()), whole.nodes

    tor = thing(CRD, "BGPPeer", "tor", spec={"peerIP": "172.16.0.254", "asNumber": 65000})
    left = [block("c0", "10.128.40.0/26"), block("c1", "10.128.50.0/26"), pool("10.128.0.0/14")]
    live = [networks.pod("p", "10.128.1.4", host="192.0.2.11", namespace="default")]
    for objects in ([*networks.dual_stack(), tor], [*networks.cilium(), *left, *live]):
        now, published = followed(objects)
        assert published
        assert now == published


def test_flannel_gives_out_the_nodes_prefixes_whatever_else_runs_there() -> None:
    objects = without(networks.network_c(), "Pod")
    odd = networks.pod("odd", "10.88.0.3", host="172.16.1.106", labels={"k8s-app": "kube-dns"})
    assert owners([*objects, odd]) == owners(objects) != {}
