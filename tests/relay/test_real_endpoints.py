"""A real API server answers what a relay asks: by its selectors, in both families, with each user's rights."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devlink import lab
from devlink.lab import World
from devlink.lab.credentials import ADMIN, DEVELOPER, RELAYER, TENANT
from devlink.lab.rights import RELAY, TENANTS_NAMESPACE

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
RIGHTS = ROOT / "packaging/kubernetes/rights"


class Cluster:
    """A world's API, asked from its laptop."""

    def __init__(self, world: World) -> None:
        self.world = world
        for user in (ADMIN, DEVELOPER, RELAYER, TENANT):
            world.write_file(lab.LAPTOP, self.kubeconfig(user), world.kubeconfig(user))
        # Only the manifests' rights count here.
        self.kubectl("delete", "clusterrole,clusterrolebinding", RELAY)
        self.kubectl("delete", "role,rolebinding", RELAY, "-n", TENANTS_NAMESPACE)
        self.kubectl("apply", "-f", "-", stdin=(RIGHTS / "relay.yaml").read_text())
        self.kubectl("apply", "-n", TENANTS_NAMESPACE, "-f", "-", stdin=(RIGHTS / "relay-namespace.yaml").read_text())

    @staticmethod
    def kubeconfig(user: str) -> str:
        return f"/root/{user}.kubeconfig"

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        argv = ["kubectl", "--kubeconfig", self.kubeconfig(ADMIN), *arguments]
        done = self.world.run(lab.LAPTOP, argv, input=stdin, timeout=30)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def ask(self, user: str, **question: Any) -> Any:
        cluster = self.world.spec.cluster
        asked = {
            "user": self.kubeconfig(user), "prefixes": [str(each) for each in (*cluster.pods, *cluster.services)],
            "api": str(self.ip("kubernetes")), **question,
        }  # fmt: skip
        argv = [sys.executable, "-m", "tests.relay.asking"]
        env = {"PYTHONPATH": str(ROOT)}
        done = self.world.run(lab.LAPTOP, argv, input=f"{json.dumps(asked)}\n", env=env, timeout=30)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def find(self, *finds: tuple[object, int], user: str = RELAYER, **config: Any) -> list[str]:
        """Where each leads."""
        said = self.ask(user, finds=[(str(address), port, 1) for address, port in finds], **config)
        return [each["to"] for each in said]

    def ip(self, service: str, namespace: str = "default", number: int = 0) -> object:
        return self.world.spec.service(service, namespace).cluster_ips[number]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with World.start(lab.far()) as world:
        yield Cluster(world)


def test_services_and_pods_of_both_families_lead_to_pods(cluster: Cluster) -> None:
    web = next(pod for pod in cluster.world.spec.cluster.pod_objects if pod.name == "web-0")
    redis = next(pod for pod in cluster.world.spec.cluster.pod_objects if pod.name == "redis-0")
    found = cluster.find(
        (cluster.ip("web"), 80), (cluster.ip("web", number=1), 80), (cluster.ip("api", "qa"), 80),
        (web.addresses[0], 8080), (redis.addresses[1], 6379), (cluster.ip("kubernetes"), 443),
        (cluster.ip("stream"), 7), (cluster.ip("kube-dns", "kube-system"), 53),
    )  # fmt: skip
    *to_pods, to_api, to_named, to_dns = found
    assert to_pods == [
        "default/web-0:8080", "default/web-0:8080", "qa/api-0:8080", "default/web-0:8080", "default/redis-0:6379",
    ]  # fmt: skip
    assert to_api.endswith(":6443")
    assert to_named == "default/stream-0:7007"
    assert to_dns.startswith("kube-system/coredns")


def test_what_leads_nowhere_is_refused_for_its_reason(cluster: Cluster) -> None:
    web = next(pod for pod in cluster.world.spec.cluster.pod_objects if pod.name == "web-0")
    finds = (
        (cluster.ip("lonely"), 80), (cluster.ip("web"), 81), (cluster.ip("agent"), 9100), (web.addresses[0], 22),
        ("10.20.120.190", 80), ("192.0.2.80", 80),
    )  # fmt: skip
    assert cluster.find(*finds) == ["no-pods", "undeclared", "host-network", "undeclared", "no-object", "outside"]
    allowed = {"undeclared_ports": True, "host_network": True}
    to_agent, to_web = cluster.find(*finds[2:4], options=allowed)
    assert to_agent == "default/agent-node2:80"
    assert to_web == "default/web-0:22"


def test_a_thousand_connections_at_once_take_three_requests(cluster: Cluster) -> None:
    (said,) = cluster.ask(RELAYER, finds=[(str(cluster.ip("web")), 80, 1000)])
    assert said == {"to": "default/web-0:8080", "asked": 3, "refused": []}


def test_who_may_see_one_namespace_reaches_what_is_in_it_and_nothing_else(cluster: Cluster) -> None:
    config: dict[str, Any] = {"user": TENANT, "namespaces": [TENANTS_NAMESPACE]}
    api, web = (cluster.ip("api", "qa"), 80), (cluster.ip("web"), 80)
    second = (cluster.ip("api", "qa", number=1), 80)
    pod = next(pod for pod in cluster.world.spec.cluster.pod_objects if pod.name == "api-0")
    own = [(address, 8080) for address in pod.addresses]
    assert cluster.find(api, web, second, *own, **config) == [
        "qa/api-0:8080", "no-object", "qa/api-0:8080", "qa/api-0:8080", "qa/api-0:8080",
    ]  # fmt: skip
    assert cluster.find(api, user=DEVELOPER) == ["rights"]


def test_rights_are_told_as_they_are(cluster: Cluster) -> None:
    said = cluster.ask(RELAYER, review=True)
    assert said == {"enough": [True, True], "reached": [], "asked": [5, 2], "finding": ""}
    said = cluster.ask(TENANT, review=True, namespaces=[TENANTS_NAMESPACE])
    assert said == {"enough": [True, True], "reached": [TENANTS_NAMESPACE], "asked": [15, 2], "finding": ""}
    said = cluster.ask(DEVELOPER, review=True)
    assert (said["enough"], said["finding"]) == ([False, False], "DL-RELAY-RIGHTS")
