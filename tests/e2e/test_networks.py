"""The five networks: `up`, data by pod addresses, ClusterIPs and names, `down`; and what each is known to fail by.

Where kube-proxy or BGP is the point, both are the real ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from devlink import lab
from devlink.lab import Parts, Peering, ProxyMode, Routes
from devlink.lab.credentials import PUBLISHER
from tests.e2e.link import Link, linked
from tests.lab.routers import await_true, next_hop, set_peering

pytestmark = pytest.mark.lab
BIG = 3_000_000
"""Octets behind a pod's /big."""
BY_GATEWAY = "/root/by-gateway.yaml"
"""The profile that asks for routing by the gateways, in the shared worlds."""
Log = pytest.TempPathFactory


@contextmanager
def left_as_found(link: Link) -> Iterator[Link]:
    """Whatever a test of a shared network ends with, the next one finds it down."""
    before = link.world.snapshot()
    yield link
    link.devlink("down", "--all")
    link.await_equal(before)


@pytest.fixture(scope="module")
def world_a(tmp_path_factory: Log) -> Iterator[Link]:
    """Network A on the node LAN: two reflectors, kube-proxy in its iptables mode, which drops what it finds invalid."""
    spec = lab.network_a(
        parts=Parts.REAL, proxy_mode=ProxyMode.IPTABLES, drop_invalid=True, routes=Routes.BIRD, reflectors=2,
        dns_nodes=("node1", "node2"),
    )  # fmt: skip
    with linked(spec, tmp_path_factory.mktemp("a") / "helper.log") as link:
        link.write_profile("by-gateway", by_gateway)
        yield link


@pytest.fixture
def of_network_a(world_a: Link) -> Iterator[Link]:
    with left_as_found(world_a) as link:
        yield link


@pytest.fixture(scope="module")
def world_b(tmp_path_factory: Log) -> Iterator[Link]:
    """Network B: a mesh and an overlay, kube-proxy in its nftables mode."""
    spec = lab.network_b(parts=Parts.REAL, routes=Routes.BIRD)
    with linked(spec, tmp_path_factory.mktemp("b") / "helper.log") as link:
        link.write_profile("by-gateway", by_gateway)
        yield link


@pytest.fixture
def of_network_b(world_b: Link) -> Iterator[Link]:
    with left_as_found(world_b) as link:
        yield link


def curl(link: Link, host: object, port: int = 80) -> str:
    return link.run("curl", "-sS", "--max-time", "5", f"http://{host}:{port}/").strip()


def received(link: Link, pod: str, *, patience: float = 10.0) -> int:
    """How much of a pod's big answer arrives in `patience` seconds; -1 where not even the connection opens."""
    url = f"http://{link.world.spec.pod(pod).address}:8080/big"
    report = ["-o", "/dev/null", "-w", "%{time_connect} %{size_download}"]
    ask = ["curl", "-s", "--max-time", f"{patience:g}", *report, url]
    connected, octets = link.world.run(lab.LAPTOP, ask, timeout=30).stdout.split()
    return int(octets) if float(connected) else -1


def assert_carries(link: Link, *, without: str = "") -> None:
    """Data come from pods on two nodes, from ClusterIPs with an endpoint on either, and by name; but from `without`."""
    spec = link.world.spec
    for pod in {"web-0", "api-0"} - {without}:
        assert curl(link, spec.pod(pod).address, 8080) == pod
        assert received(link, pod) == BIG
    for service, namespace, pod in (("web", "default", "web-0"), ("api", "qa", "api-0")):
        assert curl(link, spec.service(service, namespace).address) == pod
        assert curl(link, spec.service_name(service, namespace)) == pod
    assert curl(link, lab.ORDINARY_NAME) == lab.UPSTREAM


def findings(link: Link) -> dict[str, str]:
    """What the one session has to tell: for each code the cure."""
    (session,) = link.status()["sessions"]
    return {finding["code"]: finding.get("fix", "") for finding in session["findings"]}


def mode(link: Link) -> str:
    (session,) = link.status()["sessions"]
    assert session["state"] == "up"
    return str(session["mode"])


def by_gateway(spec: dict[str, Any]) -> None:
    spec["routing"] = "gateway"


@pytest.mark.cluster
@pytest.mark.peers
def test_a_by_the_owners_of_the_blocks_all_is_carried_past_a_strict_kube_proxy(of_network_a: Link) -> None:
    link = of_network_a
    before = link.world.snapshot()
    link.up()
    assert mode(link) == "per-node"
    assert not {"DL-POD-HANGS", "DL-POD-SILENT", "DL-SERVICE-NO-RETURN"} & set(findings(link))
    assert_carries(link)
    link.down()
    link.assert_equal(before)


@pytest.mark.cluster
@pytest.mark.peers
def test_a_by_a_gateway_a_pod_elsewhere_hangs_and_the_cures_are_named(of_network_a: Link) -> None:
    """R2."""
    link = of_network_a
    before = link.world.snapshot()
    link.up(BY_GATEWAY)
    assert mode(link) == "gateway"
    assert received(link, "api-0", patience=1) == 0
    assert "tcpBeLiberal" in findings(link).get("DL-POD-HANGS", "")
    assert_carries(link, without="api-0")
    link.down()
    link.assert_equal(before)


def test_a_off_the_node_lan_nothing_is_installed_and_the_routers_part_is_named(tmp_path_factory: Log) -> None:
    """R1, where the router does not carry the cluster."""
    spec = lab.network_a(laptop=lab.LaptopPlace.BEHIND_ROUTER, router_carries=False)
    with linked(spec, tmp_path_factory.mktemp("a-off") / "helper.log") as link:
        before = link.world.snapshot()
        said = link.up(expect=4)
        assert "Routing is router" in said
        assert str(spec.gateway.address) in said
        assert "Does the network's router have routes to the pod and service networks" in said
        link.await_equal(before)
        profile = link.write_profile("by-gateway", by_gateway)
        before = link.world.snapshot()
        said = link.up(profile, expect=4)
        assert "No next hop of profile routing gateway is on this laptop's link" in said
        link.await_equal(before)


def test_a_without_masquerade_services_elsewhere_are_silent_and_cluster_cidr_is_named(tmp_path_factory: Log) -> None:
    """R3: kube-proxy's `clusterCIDR` is empty."""
    spec = lab.network_a(snat_services=False, dns_nodes=("node2",))
    with linked(spec, tmp_path_factory.mktemp("a-no-snat") / "helper.log") as link:
        before = link.world.snapshot()
        said = link.up(expect=4)
        assert "DL-SERVICE-NO-RETURN" in said
        assert "clusterCIDR" in said
        link.await_equal(before)


@pytest.mark.cluster
@pytest.mark.peers
def test_b_all_is_carried_and_the_domain_is_its_own(of_network_b: Link) -> None:
    link = of_network_b
    before = link.world.snapshot()
    link.up()
    assert mode(link) == "per-node"
    assert link.world.spec.service_name("web").endswith(".cluster.kube")
    assert_carries(link)
    link.down()
    link.assert_equal(before)


@pytest.mark.cluster
@pytest.mark.peers
def test_b_by_a_gateway_a_strict_tunnel_loses_pods_elsewhere_and_is_named(of_network_b: Link) -> None:
    """R4: only nodes that others forward to are strict, so pods by their owners go on."""
    link = of_network_b
    before = link.world.snapshot()
    link.up(BY_GATEWAY)
    assert mode(link) == "gateway"
    assert_carries(link)
    link.down()
    set_filter(link, "1")
    try:
        link.up(BY_GATEWAY)
        assert received(link, "api-0", patience=1) == -1
        assert "rp_filter" in findings(link).get("DL-POD-SILENT", "")
        assert_carries(link, without="api-0")
    finally:
        set_filter(link, "0")
    link.down()
    link.assert_equal(before)


@pytest.mark.cluster
@pytest.mark.peers
def test_b_what_is_discovered_is_what_it_is_and_the_overlay_is_told_of(of_network_b: Link) -> None:
    link, path = of_network_b, "/root/publisher.kubeconfig"
    link.world.write_file(lab.LAPTOP, path, link.world.kubeconfig(PUBLISHER))
    found = link.devlink("profile", "discover", env={"KUBECONFIG": path})
    wanted = yaml.safe_load(link.world.profile())["spec"]
    spec = yaml.safe_load(found.stdout)["spec"]
    assert {fact: spec[fact] for fact in ("pods", "services", "nodes", "identity")} == {
        fact: wanted[fact] for fact in ("pods", "services", "nodes", "identity")
    }
    assert spec["dns"]["domain"] == "cluster.kube"
    assert "DL-R4-OVERLAY" in found.stderr


def set_filter(link: Link, value: str) -> None:
    for node in link.world.spec.cluster.nodes:
        link.world.run(
            node.host, ["sh", "-c", f"echo {value} >/proc/sys/net/ipv4/conf/tunl0/rp_filter"], check=True
        )  # fmt: skip


def test_c_udp_is_lost_in_the_firewall_and_names_come_by_tcp(tmp_path_factory: Log) -> None:
    with linked(lab.network_c(), tmp_path_factory.mktemp("c") / "helper.log") as link:
        before = link.world.snapshot()
        link.up()
        assert mode(link) == "router"
        assert "DL-UDP53-BLOCKED" in findings(link)
        assert_carries(link)
        link.down()
        link.assert_equal(before)


def test_d_only_services_have_a_route_and_the_nodes_dns_is_asked(tmp_path_factory: Log) -> None:
    spec = lab.network_d()
    with linked(spec, tmp_path_factory.mktemp("d") / "helper.log") as link:
        before = link.world.snapshot()
        link.up()
        (session,) = link.status()["sessions"]
        (route,) = session["routes"]
        assert route.startswith(f"{spec.cluster.services[0]} via {spec.gateway.address} ")
        assert_carries(link)
        link.down()
        link.assert_equal(before)


@pytest.mark.matrix  # the world alone is proved in each run, and `up` sees nothing of it
def test_d_without_the_second_interface_pods_answer_and_services_on_the_gateways_own_pods_do_not(
    tmp_path_factory: Log,
) -> None:
    spec = lab.network_d(has_veth=False)
    with linked(spec, tmp_path_factory.mktemp("d-no-veth") / "helper.log") as link:
        before = link.world.snapshot()
        link.up()
        for pod in ("web-0", "api-0"):
            assert received(link, pod) == BIG
        assert curl(link, spec.service("api", "qa").address) == "api-0"
        silent = ["curl", "-s", "--max-time", "1", f"http://{spec.service('web').address}/"]
        assert link.world.run(lab.LAPTOP, silent).returncode == 28
        link.down()
        link.assert_equal(before)


def test_d_with_its_dns_on_such_a_pod_does_not_come_up(tmp_path_factory: Log) -> None:
    """Why CoreDNS is on the host's network there."""
    spec = lab.network_d(has_veth=False, dns_on_host=False)
    with linked(spec, tmp_path_factory.mktemp("d-dns") / "helper.log") as link:
        before = link.world.snapshot()
        said = link.up(expect=4)
        assert "The cluster's DNS does not answer" in said
        assert "DL-SERVICE-SILENT" in said
        link.await_equal(before)


@pytest.mark.peers
@pytest.mark.parametrize(
    "parts", [Parts.BY_HAND, pytest.param(Parts.REAL, marks=[pytest.mark.cluster, pytest.mark.matrix])]
)
def test_e_by_a_multihop_session_a_pod_elsewhere_hangs_until_next_hops_are_kept(
    tmp_path_factory: Log, parts: Parts
) -> None:
    """R2 where no route of the laptop is part of it."""
    spec = lab.network_e(
        parts=parts, proxy_mode=ProxyMode.IPTABLES, drop_invalid=True, routes=Routes.BIRD, peering=Peering.MULTIHOP
    )
    with linked(spec, tmp_path_factory.mktemp("e") / "helper.log") as link:
        before = link.world.snapshot()
        link.up()
        assert mode(link) == "router"
        assert received(link, "api-0", patience=1) == 0
        assert "DL-POD-HANGS" in findings(link)
        assert_carries(link, without="api-0")
        link.down()
        link.assert_equal(before)
        set_peering(link.world, Peering.MULTIHOP_KEEP)
        owner = str(spec.host("node3").address)
        await_true(lambda: next_hop(link.world, lab.ROUTER, "api-0") == owner, "the switch knows the owner")
        link.up()
        assert "DL-POD-HANGS" not in findings(link)
        assert_carries(link)
        link.down()
        link.assert_equal(before)


def test_e_beside_the_switch_all_goes_by_it(tmp_path_factory: Log) -> None:
    spec = lab.network_e(attachment=lab.Attachment.BESIDE_SWITCH)
    with linked(spec, tmp_path_factory.mktemp("e-beside") / "helper.log") as link:
        before = link.world.snapshot()
        link.up()
        assert mode(link) == "gateway"
        (session,) = link.status()["sessions"]
        assert {route.split()[2] for route in session["routes"]} == {str(spec.gateway.address)}
        assert_carries(link)
        link.down()
        link.assert_equal(before)
