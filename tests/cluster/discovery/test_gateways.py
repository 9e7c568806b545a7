"""Who forwards: the switch, then route reflectors by annotation or by label, else any node."""

import ipaddress

import pytest

from tests.cluster.discovery import networks
from tests.cluster.discovery.finds import finding, gateways, profile, source
from tests.cluster.discovery.networks import CRD, SERVED, Object, calico_node, node, pool, thing, without

BASE = [networks.kube_dns("10.96.0.10"), networks.service_cidr("10.96.0.0/12"), pool("10.20.0.0/16")]


def peer(name: str, **spec: object) -> Object:
    return thing(CRD, "BGPPeer", name, spec=spec)


def labelled(name: str, address: str) -> Object:
    return node(name, address, labels={"rr": "yes"})


TO_REFLECTORS = peer("to-rrs", nodeSelector="!has(rr)", peerSelector="rr == 'yes'")


def test_reflectors_are_known_by_a_peers_selector() -> None:
    objects = [*BASE, labelled("a", "192.0.2.9"), node("b", "192.0.2.2"), TO_REFLECTORS]
    assert gateways(objects) == [("192.0.2.9", "route-reflector", 10)]
    assert source(objects, "gateways") == "bgppeers.crd.projectcalico.org/to-rrs"


def test_reflectors_are_known_by_calicos_own_labels() -> None:
    note = {"projectcalico.org/labels": '{"rr": "yes"}'}
    objects = [*BASE, node("a", "192.0.2.9", annotations=note), node("b", "192.0.2.2"), TO_REFLECTORS]
    assert gateways(objects) == [("192.0.2.9", "route-reflector", 10)]


def test_reflectors_are_known_by_their_annotation_without_any_peer() -> None:
    assert gateways(without(networks.network_a(), "BGPPeer"))[0] == ("172.16.0.13", "route-reflector", 10)


@pytest.mark.parametrize("peers", [
    [peer("mesh", nodeSelector="has(rr)", peerSelector="has(rr)")],
    [peer("all", nodeSelector="all()", peerSelector="all()")],
    [peer("nobody", nodeSelector="has(rr)", peerSelector="has(no-such)")],
    [peer("broken", nodeSelector="!has(rr", peerSelector="has(rr)")],
    [],
])  # fmt: skip
def test_peers_among_themselves_reflect_nothing(peers: list[Object]) -> None:
    objects = [*BASE, labelled("a", "192.0.2.9"), node("b", "192.0.2.2"), *peers]
    assert gateways(objects) == [("192.0.2.2", "gateway", 10), ("192.0.2.9", "gateway", 20)]


def test_a_reflector_that_is_not_ready_forwards_nothing() -> None:
    objects = networks.network_a()
    for item in objects:
        if item["kind"] == "Node" and item["metadata"]["name"] == "d13.node":
            item["status"]["conditions"][2]["status"] = "Unknown"
    assert gateways(objects) == [("172.16.0.16", "route-reflector", 10)]
    told = finding(objects, "DL-REFLECTOR-NOT-READY")
    assert told is not None
    assert told.evidence == "d13.node"
    assert finding(networks.network_a(), "DL-REFLECTOR-NOT-READY") is None


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"peerIP": "192.0.2.254", "asNumber": 65001}, True),
        ({"peerIP": "192.0.2.254:1790", "asNumber": "65001"}, True),
        ({"peerIP": "192.0.2.254", "asNumber": "1.10"}, True),
        ({"peerIP": "192.0.2.254", "asNumber": 64512}, False),
        ({"peerIP": "192.0.2.254"}, False),
        ({"peerIP": "192.0.2.1", "asNumber": 65001}, False),
        ({"peerIP": "192.0.2.254", "asNumber": 65001, "nodeSelector": "has(no-such)"}, False),
        ({"peerIP": "192.0.2.254", "asNumber": 65001, "node": "b"}, True),
        ({"peerIP": "192.0.2.254", "asNumber": 65001, "node": "no-such"}, False),
        ({"peerIP": "the switch", "asNumber": 65001}, False),
    ],
)
def test_a_switch_is_a_peer_outside_in_another_as(spec: dict[str, object], expected: bool) -> None:
    objects = [*BASE, node("a", "192.0.2.1"), node("b", "192.0.2.2"), peer("tor", **spec)]
    assert any(role == "switch" for _, role, _ in gateways(objects)) is expected
    assert (profile(objects).spec.nodes is None) is True


def test_behind_a_switch_without_reflectors_any_node_forwards() -> None:
    objects = [*BASE, node("a", "192.0.2.1"), peer("tor", peerIP="192.0.2.254", asNumber=65001)]
    assert gateways(objects) == [("192.0.2.254", "switch", 10), ("192.0.2.1", "gateway", 20)]


def test_an_ipv6_switch_and_reflectors_are_ranked_by_family() -> None:
    annotations = {"projectcalico.org/RouteReflectorClusterID": "1.1.1.1"}
    objects = [
        *BASE, pool("fd00:20::/48", "six"), node("a", "192.0.2.1", "2001:db8::1", annotations=annotations),
        peer("tor", peerIP="[2001:db8::fe]:179", asNumber=65001),
    ]  # fmt: skip
    assert gateways(objects) == [
        ("192.0.2.1", "route-reflector", 10),
        ("2001:db8::fe", "switch", 10),
        ("2001:db8::1", "route-reflector", 20),
    ]


def test_a_family_that_no_prefix_is_of_has_no_gateway() -> None:
    assert gateways([*BASE, node("a", "192.0.2.1", "2001:db8::1")]) == [("192.0.2.1", "gateway", 10)]


def test_of_thousands_of_nodes_a_few_of_each_lan_are_named() -> None:
    nodes = [calico_node(f"n{lan}-{n}", f"172.16.{lan}.{n}") for lan in range(4) for n in range(1, 200)]
    named = gateways([*BASE, *nodes])
    assert len(named) == 16
    assert {address.rsplit(".", 1)[0] for address, _, _ in named} == {f"172.16.{lan}" for lan in range(4)}
    assert [priority for _, _, priority in named] == [10] + [20] * 15


def test_gateways_that_are_wished_for_replace_all_others() -> None:
    wished = [ipaddress.ip_address(text) for text in ("172.16.0.19", "172.16.0.10")]
    assert gateways(networks.network_a(), gateways=tuple(wished)) == [
        ("172.16.0.19", "gateway", 10),
        ("172.16.0.10", "gateway", 20),
    ]


def test_the_served_api_and_the_storage_name_the_same_gateways() -> None:
    assert gateways(networks.network_e(SERVED)) == gateways(networks.network_e(CRD))


def test_a_node_of_another_system_forwards_nothing() -> None:
    windows = node("w", "192.0.2.1", labels={"kubernetes.io/os": "windows"})
    assert gateways([*BASE, windows, node("a", "192.0.2.2")]) == [("192.0.2.2", "gateway", 10)]


@pytest.mark.parametrize(
    "labels", [{"type": "virtual-kubelet"}, {"type": "kwok"}, {"eks.amazonaws.com/compute-type": "fargate"}]
)
def test_a_node_that_is_no_machine_forwards_nothing(labels: dict[str, str]) -> None:
    assert gateways([*BASE, node("v", "192.0.2.1", labels=labels), node("a", "192.0.2.2")]) == [
        ("192.0.2.2", "gateway", 10)
    ]


def test_a_node_without_network_forwards_nothing() -> None:
    silent = node("v", "192.0.2.1")
    silent["status"]["conditions"][0]["status"] = "True"
    assert gateways([*BASE, silent, node("a", "192.0.2.2")]) == [("192.0.2.2", "gateway", 10)]


@pytest.mark.parametrize(
    ("rules", "is_switch"),
    [
        ([{"action": "Reject"}], False),
        ([{"action": "Reject", "cidr": "", "source": ""}], False),
        ([{"action": "Reject", "cidr": "10.20.0.0/16", "matchOperator": "In"}], False),
        ([{"action": "Reject", "cidr": "0.0.0.0/0", "matchOperator": "In"}], False),
        ([{"action": "Accept", "cidr": "10.96.0.0/12", "matchOperator": "In"}, {"action": "Reject"}], False),
        ([{"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In"}, {"action": "Reject"}], True),
        ([{"action": "Reject", "cidr": "10.20.0.0/16", "matchOperator": "NotIn"}], True),
        ([{"action": "Reject", "cidr": "10.96.0.0/12", "matchOperator": "NotIn"}], False),
        ([{"action": "Reject", "cidr": "10.20.0.0/16", "matchOperator": "Equal"}], True),
        ([{"action": "Reject", "cidr": "10.20.0.0/16", "matchOperator": "NotEqual"}], False),
        ([{"action": "Reject", "interface": "eth1"}], True),
        ([{"action": "Reject", "cidr": "nonsense", "matchOperator": "In"}], True),
        ([{"action": "Accept"}, {"action": "Reject"}], True),
        ([], True),
    ],
)
def test_a_peer_that_is_told_nothing_is_no_switch(rules: list[dict[str, str]], is_switch: bool) -> None:
    silence = thing(CRD, "BGPFilter", "silence", spec={"exportV4": rules, "importV4": [{"action": "Reject"}]})
    objects = [*BASE, node("a", "192.0.2.1"), networks.block("a", "10.20.1.0/26"), silence]
    collector = peer("collector", peerIP="192.0.2.254", asNumber=65001, filters=["silence"])
    assert (("192.0.2.254", "switch", 10) in gateways([*objects, collector])) is is_switch
    assert (profile([*objects, collector]).spec.nodes is None) is is_switch


def test_a_peer_at_a_nodes_second_address_is_no_switch() -> None:
    objects = [*BASE, node("a", "192.0.2.1"), node("b", "192.0.2.2", "172.20.0.2")]
    assert ("172.20.0.2", "switch", 10) not in gateways([*objects, peer("x", peerIP="172.20.0.2", asNumber=65001)])


def test_a_switch_of_one_family_leaves_the_others_blocks_to_laptops() -> None:
    objects = [*networks.dual_stack(), peer("tor6", peerIP="fd00:16::fe", asNumber=65001)]
    assert ("fd00:16::fe", "switch", 10) in gateways(objects)
    assert {str(n.address) for n in profile(objects).spec.nodes or ()} == {"172.16.0.1", "172.16.0.2"}
    assert finding(objects, "DL-BLOCK-OUTSIDE") is None


def test_who_speaks_with_one_node_of_many_forwards_and_leaves_the_blocks_to_laptops() -> None:
    objects = [*BASE, node("a", "192.0.2.1"), node("b", "192.0.2.2"), networks.block("a", "10.20.1.0/26")]
    one, both = (
        peer("tor", node="b", peerIP="192.0.2.254", asNumber=65001),
        peer("all", peerIP="192.0.2.254", asNumber=7),
    )
    assert ("192.0.2.254", "switch", 10) in gateways([*objects, one])
    assert profile([*objects, one]).spec.nodes is not None
    assert profile([*objects, both]).spec.nodes is None
    reflects = node("b", "192.0.2.2", annotations={"projectcalico.org/RouteReflectorClusterID": "1.1.1.1"})
    assert profile([*objects[:-2], reflects, objects[-1], one]).spec.nodes is None, "a reflector knows all of them"
