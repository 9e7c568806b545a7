"""What will not work is found before anyone tries, with a fix; where it works, nothing is said."""

import json
from typing import Any

import pytest

from devlink.core.findings import Finding, Severity
from tests.cluster.discovery import networks
from tests.cluster.discovery.finds import finding
from tests.cluster.discovery.networks import (
    CRD,
    Object,
    calico_node,
    config_map,
    kube_proxy,
    node,
    pool,
    thing,
    without,
)

BASE = [
    networks.kube_dns("10.96.0.10"),
    networks.service_cidr("10.96.0.0/12"),
    node("a", "192.0.2.1"),
    node("b", "192.0.2.2"),
]
CALICO = [*BASE, pool("10.20.0.0/16")]
EBPF = thing(CRD, "FelixConfiguration", "default", spec={"bpfEnabled": True})


def there(objects: list[Object], code: str) -> Finding:
    """The finding, which must be there and say what to do or that nothing needs doing."""
    told = finding(objects, code)
    assert told is not None
    assert told.title.endswith(".")
    assert told.evidence
    assert told.fix or told.severity is Severity.INFO
    return told


@pytest.mark.parametrize(("mode", "device"), [("ipipMode", "tunl0"), ("vxlanMode", "vxlan/calico")])
def test_an_overlay_for_everything_meets_strict_reverse_paths(mode: str, device: str) -> None:
    told = there([*BASE, pool("10.20.0.0/16", "big", **{mode: "Always"})], "DL-R4-OVERLAY")
    assert (
        f"""kubectl patch ippools.crd.projectcalico.org big --type merge -p '{{"spec":{{"{mode}":"CrossSubnet"}}}}'"""
        in told.fix
    )
    assert f"net.ipv4.conf.{device}.rp_filter=2" in told.fix
    for harmless in ("CrossSubnet", "Never"):
        assert finding([*BASE, pool("10.20.0.0/16", **{mode: harmless})], "DL-R4-OVERLAY") is None


def test_canals_pool_encapsulates_nothing() -> None:
    assert finding(networks.rke2(), "DL-R4-OVERLAY") is None


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        (kube_proxy("10.20.0.0/16"), True),
        (kube_proxy("10.20.0.0/16", mode="iptables"), True),
        (kube_proxy("10.20.0.0/16", mode="nftables"), False),
        (kube_proxy("10.20.0.0/16", mode="ipvs"), False),
        (kube_proxy("10.20.0.0/16", liberal="true"), False),
        (config_map("kube-proxy", {"config.conf": "a: [1"}), False),
        (config_map("kube-proxy", {}), False),
    ],
)
def test_kube_proxy_drops_half_seen_connections_in_iptables_mode(proxy: Object, expected: bool) -> None:
    assert (finding([*CALICO, proxy], "DL-R2-INVALID-DROP") is not None) is expected
    if expected:
        assert "tcpBeLiberal: true" in there([*CALICO, proxy], "DL-R2-INVALID-DROP").fix
        assert finding([*networks.network_c(), proxy], "DL-R2-INVALID-DROP") is None, "flannel masquerades"
        assert finding([*CALICO, proxy, EBPF], "DL-R2-INVALID-DROP") is None, "eBPF needs no kube-proxy"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"cluster_cidr": ""}, True),
        ({"cluster_cidr": "", "detect": "ClusterCIDR", "mode": "nftables"}, True),
        ({"cluster_cidr": "10.20.0.0/16"}, False),
        ({"cluster_cidr": "", "detect": "NodeCIDR"}, False),
        ({"cluster_cidr": "", "masquerade_all": "true"}, False),
    ],
)
def test_clusterips_need_snat(options: dict[str, str], expected: bool) -> None:
    objects = [*CALICO, kube_proxy(**options)]
    assert (finding(objects, "DL-R3-NO-SNAT") is not None) is expected
    if expected:
        told = there(objects, "DL-R3-NO-SNAT")
        assert told.severity is Severity.ERROR
        assert "clusterCIDR: 10.20.0.0/16" in told.fix
        helped = there([*networks.network_c(), kube_proxy(**options)], "DL-R3-NO-SNAT")
        assert helped.severity is Severity.WARNING
        assert finding([*networks.cilium(), kube_proxy(**options)], "DL-R3-NO-SNAT") is None


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, True),
        ({"kube_proxy_replacement": "strict"}, True),
        ({"bpf_lb_external_clusterip": "true"}, False),
        ({"kube_proxy_replacement": "false"}, False),
        ({"kube_proxy_replacement": "disabled"}, False),
    ],
)
def test_cilium_refuses_clusterips_to_hosts_outside(config: dict[str, Any], expected: bool) -> None:
    objects = networks.cilium(**config)
    assert (finding(objects, "DL-R6-CLUSTERIP") is not None) is expected
    if expected:
        told = there(objects, "DL-R6-CLUSTERIP")
        assert told.severity is Severity.ERROR
        assert "bpf-lb-external-clusterip true" in told.fix


def test_a_full_mesh_is_told_and_warned_of_only_where_it_is_large() -> None:
    assert there(CALICO, "DL-FULL-MESH").severity is Severity.INFO
    many = [calico_node(f"n{n}", f"192.0.2.{n}") for n in range(1, 120)]
    large = there([*CALICO, *many], "DL-FULL-MESH")
    assert large.severity is Severity.WARNING
    assert "121 nodes" in large.evidence
    off = thing(CRD, "BGPConfiguration", "default", spec={"nodeToNodeMeshEnabled": False})
    assert finding([*CALICO, off], "DL-FULL-MESH") is None
    assert finding([*BASE, pool("10.20.0.0/16", vxlanMode="Always")], "DL-FULL-MESH") is None, "no BGP at all"
    assert finding(networks.network_a(), "DL-FULL-MESH") is None


def test_a_switch_that_does_not_know_the_services_is_a_finding_until_it_does() -> None:
    told = there(networks.network_e(), "DL-SERVICES-NOT-ADVERTISED")
    assert """'{"spec":{"serviceClusterIPs":[{"cidr":"10.96.0.0/12"}]}}'""" in told.fix
    group = told.evidence.partition("/")[0].removeprefix("bgppeers.")
    assert f"bgpconfigurations.{group} default" in told.fix, "in the group by which this cluster's Calico is served"
    spec = {"asNumber": 64512, "nodeToNodeMeshEnabled": False, "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}]}
    told_them = [
        *without(networks.network_e(), "BGPConfiguration"),
        thing(CRD, "BGPConfiguration", "default", spec=spec),
    ]
    assert finding(told_them, "DL-SERVICES-NOT-ADVERTISED") is None


@pytest.mark.parametrize("keeps", [{"nextHopMode": "Keep"}, {"keepOriginalNextHop": True}])
def test_a_switch_that_only_reflectors_speak_with_may_send_them_everything(keeps: dict[str, Any]) -> None:
    told = there(networks.network_e(), "DL-BGP-NEXT-HOP")
    assert "e27, e28" in told.evidence
    change = '{"spec":{"keepOriginalNextHop":true}}'
    assert told.fix == f"kubectl patch bgppeers.crd.projectcalico.org rr-peer --type merge -p '{change}'"
    objects = networks.network_e()
    next(item for item in objects if item["metadata"]["name"] == "rr-peer")["spec"] |= keeps
    assert finding(objects, "DL-BGP-NEXT-HOP") is None


@pytest.mark.parametrize(
    ("prefix", "expected"), [("192.168.4.0/22", True), ("172.17.0.0/16", True), ("10.20.0.0/16", False)]
)
def test_addresses_of_most_homes_are_told(prefix: str, expected: bool) -> None:
    assert (finding([*BASE, pool(prefix)], "DL-HOME-LAN") is not None) is expected


@pytest.mark.parametrize(
    ("prefix", "expected"), [("198.18.0.0/16", True), ("100.64.0.0/16", True), ("10.0.0.0/9", False)]
)
def test_addresses_that_are_not_private_are_told(prefix: str, expected: bool) -> None:
    objects = [node("a", "192.0.2.1"), pool(prefix)]
    assert (finding(objects, "DL-PUBLIC-PREFIX") is not None) is expected


def test_ebpf_nat_and_admitted_hosts_are_told() -> None:
    assert there([*CALICO, EBPF], "DL-CALICO-EBPF")
    assert "10.10.0.0/24" in there(networks.network_a(), "DL-EXTERNAL-NODES").evidence
    assert there(CALICO, "DL-NAT-OUTGOING")
    assert finding([*BASE, pool("10.20.0.0/16", natOutgoing=False)], "DL-NAT-OUTGOING") is None


def test_ipv6_has_no_reverse_path_check_to_meet() -> None:
    assert finding([*BASE, pool("fd00:20::/48", "six", vxlanMode="Always")], "DL-R4-OVERLAY") is None


def test_every_pool_is_patched_and_the_operators_by_its_installation() -> None:
    kept = pool("10.40.0.0/16", "kept", ipipMode="Always")
    kept["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "tigera-operator"}
    pools = [pool("10.20.0.0/16", "a", ipipMode="Always"), pool("10.30.0.0/16", "b", ipipMode="Always"), kept]
    fix = there([*BASE, *pools], "DL-R4-OVERLAY").fix
    assert "kubectl patch ippools.crd.projectcalico.org a " in fix
    assert "kubectl patch ippools.crd.projectcalico.org b " in fix
    assert "ippools.crd.projectcalico.org kept" not in fix
    assert "kubectl edit installation default: encapsulation: IPIPCrossSubnet" in fix


def test_where_no_bgp_configuration_is_there_it_is_made() -> None:
    told = there(without(networks.network_e(), "BGPConfiguration"), "DL-SERVICES-NOT-ADVERTISED")
    made = json.loads(told.fix.removeprefix("echo '").partition("'")[0])
    assert told.fix.endswith("| kubectl create -f -")
    assert (made["apiVersion"], made["kind"], made["metadata"]) == (CRD, "BGPConfiguration", {"name": "default"})
    assert made["spec"] == {"serviceClusterIPs": [{"cidr": "10.96.0.0/12"}]}


def test_nodes_that_each_speak_with_their_own_switch_send_nobody_astray() -> None:
    racks = [
        thing(CRD, "BGPPeer", f"rack-{name}", spec={"node": name, "peerIP": f"192.0.2.{last}", "asNumber": 65000})
        for name, last in (("a", 253), ("b", 254))
    ]
    assert finding([*CALICO, *racks], "DL-BGP-NEXT-HOP") is None
    assert there([*CALICO, racks[0]], "DL-BGP-NEXT-HOP").evidence.startswith("bgppeers.crd.projectcalico.org/rack-a")


def test_kube_proxy_is_told_one_network_of_each_family() -> None:
    two = [*BASE, pool("10.20.0.0/16", "a"), pool("10.30.0.0/16", "b"), kube_proxy("")]
    assert "interfaceNamePrefix: cali" in there(two, "DL-R3-NO-SNAT").fix
    both = [*BASE, pool("10.20.0.0/16", "a"), pool("fd00:20::/48", "b"), kube_proxy("")]
    assert "clusterCIDR: 10.20.0.0/16,fd00:20::/48 in" in there(both, "DL-R3-NO-SNAT").fix
