"""The real parts: an API server with its rights, kube-proxy in both modes, CoreDNS from the API; all found to be so."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devlink import lab
from devlink.errors import HelperError
from devlink.lab import Parts, ProxyMode, World, kit
from devlink.lab.credentials import ADMIN, DEVELOPER, OBSERVER, PUBLISHER, server_url
from tests.lab.by_hand import curl, route_per_node, via

pytestmark = pytest.mark.cluster
NODES = "/api/v1/nodes"
PROFILE = "/api/v1/namespaces/kube-public/configmaps/devlink-profile"
CA = "/root/ca.crt"


@pytest.fixture(scope="module")
def routed() -> Iterator[World]:
    """Network A in the nftables mode, both families, routed by hand: each test leaves it as it found it."""
    with World.start(lab.network_a(parts=Parts.REAL, ipv6=True)) as world:
        world.write_file(lab.LAPTOP, CA, world.secrets.ca)
        route_per_node(world)
        yield world


def ask(world: World, path: str, user: str | None, *more: str) -> tuple[int, dict[str, Any]]:
    """The status of an answer and its body; curl checks the server by the cluster's CA."""
    who = ["-H", f"Authorization: Bearer {world.secrets.tokens[user]}"] if user else []
    done = world.run(
        lab.LAPTOP, ["curl", "-sS", "--cacert", CA, "-w", "\n%{http_code}", *who, *more, server_url(world.spec) + path],
        check=True,
    )  # fmt: skip
    body, _, code = done.stdout.rpartition("\n")
    return int(code), json.loads(body)


@pytest.mark.parametrize(
    ("user", "path", "status"),
    [
        (ADMIN, NODES, 200),
        (OBSERVER, NODES, 200),
        (PUBLISHER, "/apis/crd.projectcalico.org/v1/ippools", 200),
        (PUBLISHER, "/api/v1/namespaces/kube-system/configmaps/kubeadm-config", 200),
        (PUBLISHER, "/api/v1/secrets", 403),
        (DEVELOPER, NODES, 403),
        (DEVELOPER, PROFILE, 403),
        (None, NODES, 403),
        (None, "/api/v1/namespaces/kube-public/configmaps/cluster-info", 200),
    ],
)
def test_each_user_may_do_what_its_role_says(routed: World, user: str | None, path: str, status: int) -> None:
    code, body = ask(routed, path, user)
    assert code == status, body


def test_a_token_that_nobody_has_is_refused(routed: World) -> None:
    assert ask(routed, NODES, None, "-H", "Authorization: Bearer nobody's")[0] == 401


def test_the_nodes_are_the_worlds_and_the_controller_gave_out_the_ca(routed: World) -> None:
    _, found = ask(routed, NODES, ADMIN)
    internal = {
        node["metadata"]["name"]: [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
        for node in found["items"]
    }
    spec = routed.spec
    assert internal == {n.host: [str(a) for a in spec.host(n.host).addresses] for n in spec.cluster.nodes}
    _, root = ask(routed, "/api/v1/namespaces/kube-public/configmaps/kube-root-ca.crt", ADMIN)
    assert root["data"]["ca.crt"].strip() == routed.secrets.ca.strip()


def test_the_kubernetes_cluster_ip_answers_by_the_clusters_ca(routed: World) -> None:
    kubernetes = routed.spec.service("kubernetes").address
    place = ["--resolve", f"kubernetes.default.svc:443:{kubernetes}", "https://kubernetes.default.svc/version"]
    said = routed.run(lab.LAPTOP, ["curl", "-sS", "--max-time", "3", "--cacert", CA, *place], check=True).stdout
    assert json.loads(said)["gitVersion"].startswith("v1.")
    # The CA is what makes the difference.
    assert routed.run(lab.LAPTOP, ["curl", "-sS", "--max-time", "3", *place]).returncode == 60


@pytest.mark.parametrize("family", [4, 6])
def test_pods_services_and_names_answer_in_both_families(routed: World, family: int) -> None:
    spec, qtype = routed.spec, {4: "A", 6: "AAAA"}[family]
    web, dns = spec.service("web"), spec.cluster_dns

    def url(address: object, port: int) -> str:
        return f"http://[{address}]:{port}/" if family == 6 else f"http://{address}:{port}/"

    (address,) = (a for a in spec.pod("api-0").addresses if a.version == family)
    assert curl(routed, url(address, 8080)) == "api-0"
    (address,) = (a for a in web.cluster_ips if a.version == family)
    assert curl(routed, url(address, 80)) == "web-0"
    (server,) = (a for a in dns.cluster_ips if a.version == family)
    for transport in ("+notcp", "+tcp"):
        dig = ["dig", "+short", "+tries=1", "+time=2", transport, f"@{server}"]
        assert routed.run(lab.LAPTOP, [*dig, spec.service_name("web"), qtype]).stdout.split() == [str(address)]
        assert routed.run(lab.LAPTOP, [*dig, "-x", str(address)]).stdout.split() == [spec.service_name("web") + "."]


def test_what_the_api_is_told_the_names_and_the_packet_filters_follow(routed: World) -> None:
    api = "/api/v1/namespaces/default/services"
    late = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "late"}}
    body = {**late, "spec": {"clusterIP": "10.254.7.7", "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}
    send = ["-X", "POST", "-H", "Content-Type: application/json", "-d"]
    assert ask(routed, api, ADMIN, *send, json.dumps(body))[0] == 201
    part = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "late-1", "labels": {"kubernetes.io/service-name": "late"}},
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [str(routed.spec.pod("api-0").address)], "conditions": {"ready": True}}],
    }  # fmt: skip
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    assert ask(routed, slices, ADMIN, *send, json.dumps(part))[0] == 201
    try:
        while curl(routed, "http://10.254.7.7/") != "api-0":
            time.sleep(0.1)  # pytest's time limit ends a wait for nothing
        dig = ["dig", "+short", f"@{routed.spec.cluster_dns.address}", "late.default.svc.cluster.local"]
        assert routed.run(lab.LAPTOP, dig).stdout.strip() == "10.254.7.7"
    finally:
        ask(routed, f"{slices}/late-1", ADMIN, "-X", "DELETE")
        ask(routed, f"{api}/late", ADMIN, "-X", "DELETE")


def test_the_api_can_be_killed_slowed_and_paused_and_the_cluster_serves_on(routed: World) -> None:
    host, service = str(routed.spec.control_plane.address), str(routed.spec.service("web").address)

    def answers(limit: str) -> bool:
        try:
            return ask(routed, "/version", ADMIN, "--max-time", limit)[0] == 200
        except subprocess.CalledProcessError:
            return False

    with routed.paused_api():
        assert not answers("1")
        reached = routed.run(lab.LAPTOP, ["curl", "-sS", "--max-time", "1", f"telnet://{host}:6443"])
        assert reached.returncode == 28, "the connection opens, and nothing comes"
    with routed.slow_api(1_000):
        assert not answers("1")
    assert answers("5")
    routed.kill_api()
    try:
        assert not answers("5")
        assert curl(routed, f"http://{service}/") == "web-0"
    finally:
        routed.restart_api()
    assert answers("5")
    assert ask(routed, NODES, DEVELOPER)[0] == 403, "what it knew, it knows"


def test_a_kubeconfig_is_taken_by_kubectl(routed: World) -> None:
    routed.write_file(lab.LAPTOP, "/root/observer", routed.kubeconfig(OBSERVER), mode=0o600)
    kubectl = ["kubectl", "--kubeconfig", "/root/observer"]
    done = routed.run(lab.LAPTOP, [*kubectl, "get", "nodes", "-o", "name"], timeout=30, check=True)
    assert done.stdout.split() == [f"node/{node.host}" for node in routed.spec.cluster.nodes]
    done = routed.run(lab.LAPTOP, [*kubectl, "auth", "whoami", "-o", "json"], timeout=30, check=True)
    assert json.loads(done.stdout)["status"]["userInfo"]["username"] == OBSERVER


@pytest.mark.parametrize(
    ("drop_invalid", "received"),
    [pytest.param(True, "0", id="strict", marks=pytest.mark.matrix), pytest.param(False, "3000000", id="tcpBeLiberal")],
)
def test_the_iptables_mode_hangs_what_goes_to_a_remote_pod_by_the_gateway_unless_it_is_liberal(
    drop_invalid: bool, received: str
) -> None:
    """R2, and R3 for the ClusterIP, with the real one. That it hangs is seen in each run by devlink (tests/e2e)."""
    spec = lab.network_a(parts=Parts.REAL, proxy_mode=ProxyMode.IPTABLES, drop_invalid=drop_invalid)
    with World.start(spec) as world:
        for prefix in (*spec.cluster.pods, *spec.cluster.services):
            via(world, prefix, spec.gateway.address)
        report = ["-o", "/dev/null", "-w", "%{size_download}"]
        big = f"http://{spec.pod('api-0').address}:8080/big"
        done = world.run(lab.LAPTOP, ["curl", "-s", "--max-time", "2", *report, big])
        assert done.stdout == received
        assert curl(world, f"http://{spec.pod('web-0').address}:8080/") == "web-0"
        assert curl(world, f"http://{spec.service('api', 'qa').address}/") == "api-0"
        running = {pid: Path(argv[0]).name for pid, argv in world.processes()}
        assert set(kit.PROGRAMS) - {"kubectl"} < set(running.values())
    assert not [name for pid, name in running.items() if Path(f"/proc/{pid}").exists()]


@pytest.mark.matrix  # in each run devlink meets it (tests/e2e)
def test_without_a_cluster_cidr_only_services_with_a_remote_endpoint_time_out() -> None:
    """R3 with the real one, for a laptop whose packets the router carries to the gateway."""
    spec = lab.network_a(parts=Parts.REAL, snat_services=False, laptop=lab.LaptopPlace.BEHIND_ROUTER)
    with World.start(spec) as world:
        assert curl(world, f"http://{spec.service('web').address}/") == "web-0"
        said = curl(world, f"http://{spec.service('api', 'qa').address}/", "--max-time", "1")
        assert said.startswith("curl: (28)")


def test_without_the_kit_a_world_with_real_parts_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(HelperError, match="real parts") as refused:
        World.start(lab.network_a(parts=Parts.REAL))
    assert "make kit" in refused.value.why
