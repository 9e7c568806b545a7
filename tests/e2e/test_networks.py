"""The five networks: `up`, data by pod addresses, ClusterIPs and names, `down`; and what each is known to fail by.

Each goes with the real kube-proxy, in one of its modes in each run and in the other one in the matrix, and where the
network has BGP with the real BIRD.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import pytest
import yaml

from devlink import lab
from devlink.lab import Parts, Peering, ProxyMode, Routes
from devlink.lab.credentials import PUBLISHER
from tests.e2e.link import PROFILE, Link, linked
from tests.lab.routers import await_true, next_hop, set_peering

pytestmark = pytest.mark.lab
BIG = 3_000_000
"""Octets behind a pod's /big."""
BY_GATEWAY = "/root/by-gateway.yaml"
"""The profile that asks for routing by the gateways, in the shared worlds."""
Log = pytest.TempPathFactory


def strict(network: Callable[..., lab.WorldSpec], **more: object) -> Callable[..., lab.WorldSpec]:
    """With kube-proxy as kubeadm sets it up: its iptables mode drops what it finds invalid."""
    return partial(network, parts=Parts.REAL, drop_invalid=True, **more)


REAL = {
    "a": strict(lab.network_a, routes=Routes.BIRD, reflectors=2, dns_nodes=("node1", "node2")),
    "b": strict(lab.network_b, routes=Routes.BIRD),
    "c": strict(lab.network_c),
    "d": strict(lab.network_d),
    "e": strict(lab.network_e, routes=Routes.BIRD, peering=Peering.MULTIHOP),
}
MODES = {
    "a": ProxyMode.IPTABLES, "b": ProxyMode.NFTABLES, "c": ProxyMode.IPTABLES, "d": ProxyMode.NFTABLES,
    "e": ProxyMode.IPTABLES,
}  # fmt: skip
"""Of kube-proxy in each run."""
ROUTING = {"a": "per-node", "b": "per-node", "c": "router", "d": "gateway", "e": "router"}


def real(network: str, log: Log, proxy_mode: ProxyMode | None = None) -> AbstractContextManager[Link]:
    """One of the networks with its real parts."""
    return linked(REAL[network](proxy_mode=proxy_mode or MODES[network]), log.mktemp(network) / "helper.log")


@contextmanager
def while_up(link: Link, profile: str = PROFILE) -> Iterator[None]:
    """Up while the block runs; with `down` the laptop is what it was."""
    before = link.world.snapshot()
    link.up(profile)
    yield
    link.down()
    link.assert_equal(before)


@contextmanager
def left_as_found(link: Link) -> Iterator[Link]:
    """Whatever a test of a shared network ends with, the next one finds it down."""
    before = link.world.snapshot()
    yield link
    link.devlink("down", "--all")
    link.await_equal(before)


@pytest.fixture(scope="module")
def world_a(tmp_path_factory: Log) -> Iterator[Link]:
    """Network A on the node LAN: two reflectors."""
    with real("a", tmp_path_factory) as link:
        link.write_profile("by-gateway", by_gateway)
        yield link


@pytest.fixture
def of_network_a(world_a: Link) -> Iterator[Link]:
    with left_as_found(world_a) as link:
        yield link


@pytest.fixture(scope="module")
def world_b(tmp_path_factory: Log) -> Iterator[Link]:
    """Network B: a mesh and an overlay."""
    with real("b", tmp_path_factory) as link:
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


def assert_silent(link: Link, service: str) -> None:
    """Not even an error comes back from a ClusterIP."""
    ask = ["curl", "-s", "--max-time", "1", f"http://{link.world.spec.service(service).address}/"]
    assert link.world.run(lab.LAPTOP, ask).returncode == 28


def findings(link: Link) -> dict[str, dict[str, str]]:
    """What the one session has to tell, by its code."""
    (session,) = link.status()["sessions"]
    return {finding["code"]: finding for finding in session["findings"]}


def cure(link: Link, code: str) -> str:
    """What the finding of that code says is to be done; nothing where there is none."""
    return findings(link).get(code, {}).get("fix", "")


def mode(link: Link) -> str:
    (session,) = link.status()["sessions"]
    assert session["state"] == "up"
    return str(session["mode"])


def by_gateway(spec: dict[str, Any]) -> None:
    spec["routing"] = "gateway"


@pytest.mark.cluster
@pytest.mark.peers
@pytest.mark.matrix
@pytest.mark.parametrize("network", REAL)
def test_in_kube_proxys_other_mode_all_is_carried_as_well(tmp_path_factory: Log, network: str) -> None:
    """Also network E by a multihop session: the nftables mode drops nothing that it finds invalid."""
    (other,) = set(ProxyMode) - {MODES[network]}
    with real(network, tmp_path_factory, other) as link, while_up(link):
        assert mode(link) == ROUTING[network]
        assert_carries(link)


@pytest.mark.cluster
@pytest.mark.peers
def test_a_by_the_owners_of_the_blocks_all_is_carried_past_a_strict_kube_proxy(of_network_a: Link) -> None:
    link = of_network_a
    with while_up(link):
        assert mode(link) == "per-node"
        assert not {"DL-POD-HANGS", "DL-POD-SILENT", "DL-SERVICE-NO-RETURN"} & set(findings(link))
        assert_carries(link)


@pytest.mark.cluster
@pytest.mark.peers
def test_a_by_a_gateway_a_pod_elsewhere_hangs_and_the_cures_are_named(of_network_a: Link) -> None:
    """R2."""
    link = of_network_a
    with while_up(link, BY_GATEWAY):
        assert mode(link) == "gateway"
        assert received(link, "api-0", patience=1) == 0
        assert "tcpBeLiberal" in cure(link, "DL-POD-HANGS")
        assert_carries(link, without="api-0")


def test_a_off_the_node_lan_nothing_is_installed_and_the_routers_part_is_named(tmp_path_factory: Log) -> None:
    """R1, where the router does not carry the cluster."""
    spec = lab.network_a(laptop=lab.LaptopPlace.BEHIND_ROUTER, router_carries=False)
    with linked(spec, tmp_path_factory.mktemp("a-off") / "helper.log") as link:
        before = link.world.snapshot()
        said = link.up(expect=4)
        assert "Routing is router" in said
        assert str(spec.gateway.address) in said
        assert "DL-R1-OFFLINK" in said
        assert "have this network's router route the pod and service networks" in said
        link.await_equal(before)
        profile = link.write_profile("by-gateway", by_gateway)
        before = link.world.snapshot()
        said = link.up(profile, expect=4)
        assert "No next hop of profile routing gateway is on this laptop's link" in said
        link.await_equal(before)


@pytest.mark.cluster
@pytest.mark.parametrize("proxy_mode", [ProxyMode.IPTABLES, pytest.param(ProxyMode.NFTABLES, marks=pytest.mark.matrix)])
def test_a_without_masquerade_services_elsewhere_are_silent_and_cluster_cidr_is_named(
    tmp_path_factory: Log, proxy_mode: ProxyMode
) -> None:
    """R3: kube-proxy's `clusterCIDR` is empty. By the node that has the cluster's DNS there are names at least."""
    spec = lab.network_a(parts=Parts.REAL, proxy_mode=proxy_mode, snat_services=False, dns_nodes=("node2",))
    with linked(spec, tmp_path_factory.mktemp("a-no-snat") / "helper.log") as link:
        with while_up(link):
            found = findings(link)["DL-GATEWAY-PASSED-OVER"]
            assert found["severity"] == "warning"
            for node in ("node1", "node2"):
                assert str(spec.host(node).address) in found["title"]
            assert f"answered by {spec.dns_pod.address}" in found["evidence"]
            assert "DL-SERVICE-NO-RETURN" in found["evidence"]
            assert "clusterCIDR" in found["fix"]
            assert curl(link, spec.service_name("api", "qa")) == "api-0"
            assert_silent(link, "web")
        profile = link.write_profile("by-gateway", by_gateway)
        before = link.world.snapshot()
        said = link.up(profile, expect=4)
        assert "DL-SERVICE-NO-RETURN" in said
        assert "clusterCIDR" in said
        link.await_equal(before)


@pytest.mark.cluster
@pytest.mark.peers
def test_b_all_is_carried_and_the_domain_is_its_own(of_network_b: Link) -> None:
    link = of_network_b
    with while_up(link):
        assert mode(link) == "per-node"
        assert link.world.spec.service_name("web").endswith(".cluster.kube")
        assert_carries(link)


@pytest.mark.cluster
@pytest.mark.peers
def test_b_by_a_gateway_a_strict_tunnel_loses_pods_elsewhere_and_is_named(of_network_b: Link) -> None:
    """R4: only nodes that others forward to are strict, so pods by their owners go on."""
    link = of_network_b
    with while_up(link, BY_GATEWAY):
        assert mode(link) == "gateway"
        assert_carries(link)
    set_filter(link, "1")
    try:
        with while_up(link, BY_GATEWAY):
            assert received(link, "api-0", patience=1) == -1
            assert "rp_filter" in cure(link, "DL-POD-SILENT")
            assert_carries(link, without="api-0")
    finally:
        set_filter(link, "0")


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


@pytest.mark.cluster
def test_c_udp_is_lost_in_the_firewall_and_names_come_by_tcp(tmp_path_factory: Log) -> None:
    """Pods elsewhere do not hang: flannel masquerades, so each node sees both halves of a flow."""
    with real("c", tmp_path_factory) as link, while_up(link):
        assert mode(link) == "router"
        assert "DL-UDP53-BLOCKED" in findings(link)
        assert_carries(link)


@pytest.mark.cluster
def test_d_only_services_have_a_route_and_the_nodes_dns_is_asked(tmp_path_factory: Log) -> None:
    with real("d", tmp_path_factory) as link, while_up(link):
        spec = link.world.spec
        (session,) = link.status()["sessions"]
        (route,) = session["routes"]
        assert route.startswith(f"{spec.cluster.services[0]} via {spec.gateway.address} ")
        assert_carries(link)


@pytest.mark.cluster
@pytest.mark.matrix  # the world alone is proved in each run, and `up` sees nothing of it
def test_d_without_the_second_interface_pods_answer_and_services_on_the_gateways_own_pods_do_not(
    tmp_path_factory: Log,
) -> None:
    spec = lab.network_d(parts=Parts.REAL, has_veth=False)
    with linked(spec, tmp_path_factory.mktemp("d-no-veth") / "helper.log") as link, while_up(link):
        for pod in ("web-0", "api-0"):
            assert received(link, pod) == BIG
        assert curl(link, spec.service("api", "qa").address) == "api-0"
        assert_silent(link, "web")


def test_d_with_its_dns_on_such_a_pod_does_not_come_up(tmp_path_factory: Log) -> None:
    """Why CoreDNS is on the host's network there."""
    spec = lab.network_d(has_veth=False, dns_on_host=False)
    with linked(spec, tmp_path_factory.mktemp("d-dns") / "helper.log") as link:
        before = link.world.snapshot()
        said = link.up(expect=4)
        assert "The cluster's DNS does not answer" in said
        assert "DL-SERVICE-SILENT" in said
        link.await_equal(before)


@pytest.mark.cluster
@pytest.mark.peers
def test_e_by_a_multihop_session_a_pod_elsewhere_hangs_until_next_hops_are_kept(tmp_path_factory: Log) -> None:
    """R2 where no route of the laptop is part of it."""
    with real("e", tmp_path_factory) as link:
        with while_up(link):
            assert mode(link) == "router"
            assert received(link, "api-0", patience=1) == 0
            assert "DL-POD-HANGS" in findings(link)
            assert_carries(link, without="api-0")
        set_peering(link.world, Peering.MULTIHOP_KEEP)
        owner = str(link.world.spec.host("node3").address)
        await_true(lambda: next_hop(link.world, lab.ROUTER, "api-0") == owner, "the switch knows the owner")
        with while_up(link):
            assert "DL-POD-HANGS" not in findings(link)
            assert_carries(link)


def test_e_beside_the_switch_all_goes_by_it(tmp_path_factory: Log) -> None:
    spec = lab.network_e(attachment=lab.Attachment.BESIDE_SWITCH)
    with linked(spec, tmp_path_factory.mktemp("e-beside") / "helper.log") as link, while_up(link):
        assert mode(link) == "gateway"
        (session,) = link.status()["sessions"]
        assert {route.split()[2] for route in session["routes"]} == {str(spec.gateway.address)}
        assert_carries(link)
