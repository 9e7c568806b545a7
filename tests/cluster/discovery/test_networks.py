"""Each of the five networks is discovered as its sample in profiles/ has it, with the source of every fact."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devlink.cluster.discovery import Discovery, Wishes, discover
from devlink.core.profile import BridgeProfile, Identity, Transport
from devlink.core.profile_document import decode_profile
from tests.cluster.discovery import networks
from tests.cluster.discovery.networks import CA, CRD, SERVED, Object

SAMPLES = Path(__file__).parents[3] / "profiles"
REVISION = "2026-11-20T09:00:00Z"


def sample(name: str) -> BridgeProfile:
    return decode_profile((SAMPLES / f"{name}.yaml").read_bytes())


def found(objects: list[Object], name: str = "qa", **wishes: Any) -> Discovery:
    return discover(objects, Wishes(name=name, revision=REVISION, **wishes))


NETWORKS: list[tuple[str, Callable[[], list[Object]], dict[str, Any]]] = [
    ("a-calico-rr", networks.network_a, {}),
    ("b-calico-overlay", networks.network_b, {}),
    ("c-flannel-hostgw", networks.network_c, {"namespaces": ("default",), "transport": Transport.TCP}),
    ("d-macvlan-underlay", networks.network_d, {}),
    ("e-calico-ebgp", networks.network_e, {}),
]


@pytest.mark.parametrize(("file", "objects", "wishes"), NETWORKS, ids=[name for name, _, _ in NETWORKS])
def test_a_network_is_discovered_as_its_sample_has_it(
    file: str, objects: Callable[[], list[Object]], wishes: dict[str, Any]
) -> None:
    expected = sample(file)
    profile = found(objects(), expected.metadata.name, **wishes).profile
    assert profile is not None
    assert profile.metadata == expected.metadata
    assert profile.spec == replace(expected.spec, identity=Identity(ca=CA))
    assert expected.provenance.items() <= profile.provenance.items()


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("network", [networks.network_a, networks.network_b, networks.network_e])
def test_calicos_two_apis_say_the_same_in_any_order(network: Callable[[str], list[Object]], backwards: bool) -> None:
    storage, served = network(CRD), network(SERVED)
    first, second = found(storage), found(served[::-1] if backwards else served)
    assert first.profile is not None
    assert second.profile is not None
    assert first.profile.spec == second.profile.spec
    assert {k: v.replace("crd.", "") for k, v in first.profile.provenance.items()} == dict(second.profile.provenance)


def test_of_both_apis_the_served_one_is_believed() -> None:
    both = [*networks.network_a(CRD), networks.pool("10.99.0.0/16", api=SERVED)]
    both += [networks.block("d10.node", "10.99.1.0/26", SERVED)]
    profile = found(both).profile
    assert profile is not None
    assert list(map(str, profile.spec.pods or ())) == ["10.99.0.0/16"]
    assert [list(map(str, node.pods)) for node in profile.spec.nodes or ()] == [["10.99.1.0/26"]]


PROVENANCE = {
    "a-calico-rr": {
        "pods": "ippools.crd.projectcalico.org/default-ipv4-ippool",
        "services": "bgpconfigurations.crd.projectcalico.org/default",
        "gateways": "nodes (projectcalico.org/RouteReflectorClusterID)",
        "nodes": "blockaffinities.crd.projectcalico.org",
        "mtu": "ippools.crd.projectcalico.org/default-ipv4-ippool (ipipMode CrossSubnet)",
        "dns.domain": "configmaps/kube-system/coredns (Corefile)",
        "dns.servers": "services/kube-system/kube-dns",
        "identity.ca": "configmaps/kube-public/kube-root-ca.crt",
    },
    "b-calico-overlay": {
        "services": "servicecidrs.networking.k8s.io/kubernetes",
        "gateways": "nodes (any of them forwards)",
        "mtu": "ippools.crd.projectcalico.org/default-ipv4-ippool (ipipMode Always)",
        "dns.servers": "services/kube-system/coredns",
    },
    "c-flannel-hostgw": {
        "pods": "configmaps/kube-flannel/kube-flannel-cfg (net-conf.json)",
        "services": "the API server's answer to a Service with dryRun=All",
        "nodes": "nodes (spec.podCIDRs)",
    },
    "d-macvlan-underlay": {
        "pods": "guess: the addresses of 3 running pods are of the nodes' own LAN",
        "services": "configmaps/kube-system/kubeadm-config (serviceSubnet)",
        "dns.servers": "endpointslices.discovery.k8s.io/kube-system/kube-dns-x7f2k (on the nodes' network)",
    },
    "e-calico-ebgp": {
        "gateways": "bgppeers.crd.projectcalico.org/rr-peer, nodes (projectcalico.org/RouteReflectorClusterID)",
        "services": "configmaps/kube-system/kubeadm-config (serviceSubnet)",
    },
}


@pytest.mark.parametrize(("file", "objects", "wishes"), NETWORKS, ids=[name for name, _, _ in NETWORKS])
def test_every_fact_says_where_it_came_from(
    file: str, objects: Callable[[], list[Object]], wishes: dict[str, Any]
) -> None:
    profile = found(objects(), **wishes).profile
    assert profile is not None
    provenance = dict(profile.provenance)
    assert PROVENANCE[file].items() <= provenance.items()
    spec = profile.spec
    facts: dict[str, object] = {
        "pods": spec.pods,
        "services": spec.services,
        "gateways": spec.gateways,
        "nodes": spec.nodes,
    }
    facts |= {"mtu": spec.mtu, "dns.domain": spec.dns, "dns.servers": spec.dns, "identity.ca": spec.identity}
    assert {key for key, value in facts.items() if value is not None} <= provenance.keys()


FINDINGS = {
    "a-calico-rr": {"DL-R2-INVALID-DROP", "DL-NAT-OUTGOING", "DL-EXTERNAL-NODES", "DL-FOUND-DISPROVED"},
    "b-calico-overlay": {"DL-R4-OVERLAY", "DL-FULL-MESH", "DL-NAT-OUTGOING", "DL-HOME-LAN"},
    "c-flannel-hostgw": set(),
    "d-macvlan-underlay": {"DL-POD-UNDERLAY", "DL-FOUND-DISPROVED"},
    "e-calico-ebgp": {"DL-BGP-NEXT-HOP", "DL-SERVICES-NOT-ADVERTISED"},
}


@pytest.mark.parametrize(("file", "objects", "wishes"), NETWORKS, ids=[name for name, _, _ in NETWORKS])
def test_a_networks_findings_are_its_own(
    file: str, objects: Callable[[], list[Object]], wishes: dict[str, Any]
) -> None:
    assert {finding.code for finding in found(objects(), **wishes).findings} == FINDINGS[file]
