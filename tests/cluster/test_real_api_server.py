"""Publishing, fetching and signing in at a real API server, with the rights of packaging/kubernetes and no others."""

import hashlib
import ipaddress
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from devlink import lab
from devlink.cluster.pins import pin_of
from devlink.cluster.publication import CONFIG_MAP, KEY, NAMESPACE, published_profile
from devlink.core.profile_document import decode_profile
from devlink.lab import World
from devlink.lab.credentials import ADMIN, DEVELOPER, PUBLISHER, server_url

pytestmark = pytest.mark.cluster
FOLDER = Path(__file__).parents[2] / "packaging" / "kubernetes"
HOME = "/root/packaging"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
WHERE = ("-n", NAMESPACE)


class Cluster:
    """The control plane, and the laptop from which everybody asks it."""

    def __init__(self, world: World) -> None:
        self.world = world
        for user in (ADMIN, PUBLISHER, DEVELOPER):
            world.write_file(lab.LAPTOP, self.kubeconfig(user), world.kubeconfig(user))
        for path in sorted(FOLDER.rglob("*.yaml")):
            place = f"{HOME}/{path.relative_to(FOLDER)}"
            world.run(lab.LAPTOP, ["mkdir", "-p", str(Path(place).parent)], check=True)
            world.write_file(lab.LAPTOP, place, path.read_text())
        # What the lab itself gave to publishers goes: only the manifests' rights count here.
        for kind, name, *where in (
            ("clusterrolebinding", "devlink-discover"),
            ("rolebinding", "devlink-discover", "-n", "kube-system"),
            ("rolebinding", "devlink-publish", *WHERE),
            ("role", "devlink-publish", *WHERE),
            ("role", "devlink-discover", "-n", "kube-system"),
            ("clusterrole", "devlink-discover"),
        ):
            self.kubectl("delete", kind, name, *where)
        self.kubectl("apply", "-k", f"{HOME}/republish")

    @staticmethod
    def kubeconfig(user: str) -> str:
        return f"/root/{user}.kubeconfig"

    def kubectl(self, *arguments: str, user: str = ADMIN, stdin: str = "") -> str:
        done = self.world.run(
            lab.LAPTOP, ["kubectl", "--kubeconfig", self.kubeconfig(user), *arguments], input=stdin, timeout=30
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def devlink(
        self,
        *arguments: str,
        user: str = PUBLISHER,
        expect: int = 0,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """What a command says, typed by `user`: empty for one without a kubeconfig."""
        environ = {"KUBECONFIG": self.kubeconfig(user) if user else "/nonexistent", **(env or {})}
        done = self.world.run(lab.LAPTOP, ["devlink", *arguments], input=stdin, timeout=30, env=environ)
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def found(self) -> dict[str, Any]:
        """The published ConfigMap."""
        tree: dict[str, Any] = json.loads(self.kubectl("get", "configmap", CONFIG_MAP, *WHERE, "-o", "json"))
        return tree

    def version(self) -> str:
        return str(self.found()["metadata"]["resourceVersion"])


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with World.start(lab.network_a(parts=lab.Parts.REAL)) as world:
        yield Cluster(world)


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """Nothing is published, and nobody has signed in."""
    for kind in ("configmap", "role", "rolebinding"):
        running.kubectl("delete", kind, CONFIG_MAP, *WHERE, "--ignore-not-found")
    running.kubectl("apply", "-f", f"{HOME}/rights/readers.yaml")
    running.world.run(
        lab.LAPTOP, ["rm", "-rf", "/root/.cache/devlink/profiles", "/root/.config/devlink", ACCOUNT], check=True
    )
    return running


def test_the_manifests_rights_are_enough_to_discover_everything(cluster: Cluster) -> None:
    done = cluster.devlink("profile", "discover")
    assert "DL-NOT-READ" not in done.stderr
    spec = decode_profile(done.stdout).spec
    assert spec.nodes
    assert spec.gateways
    assert spec.dns
    assert spec.services
    assert spec.identity is not None
    assert spec.identity.ca.strip() == cluster.world.secrets.ca.strip()


def test_a_publisher_publishes_from_nothing_and_gives_everybody_the_right_to_read(cluster: Cluster) -> None:
    cluster.kubectl("delete", "role,rolebinding", CONFIG_MAP, *WHERE)
    assert "right to get" in cluster.devlink("profile", "fetch", user=DEVELOPER, expect=7).stderr
    done = cluster.devlink("profile", "publish")
    assert "was not written" not in done.stderr
    fetched = cluster.devlink("profile", "fetch", "-o", "yaml", user=DEVELOPER)
    assert decode_profile(fetched.stdout) == published_profile(cluster.found())
    said = cluster.devlink("profile", "publish", "--overwrite", user=DEVELOPER, expect=7).stderr
    assert "list nodes" in said


def test_to_publish_the_same_again_makes_no_new_edition(cluster: Cluster) -> None:
    cluster.devlink("profile", "publish")
    before = cluster.version()
    assert "published already" in cluster.devlink("profile", "publish").stderr
    assert cluster.version() == before
    cluster.kubectl("label", "node", cluster.world.spec.cluster.nodes[0].host, "colour=red")
    cluster.devlink("profile", "publish")
    assert cluster.version() == before
    cluster.devlink("profile", "publish", "--transport", "tcp")
    assert cluster.version() != before


def test_what_somebody_edited_is_left_alone_unless_told(cluster: Cluster) -> None:
    cluster.devlink("profile", "publish")
    text = cluster.found()["data"][KEY].replace("mtu: 1480", "mtu: 1400")
    cluster.kubectl("patch", "configmap", CONFIG_MAP, *WHERE, "-p", json.dumps({"data": {KEY: text}}))
    before = cluster.version()
    done = cluster.devlink("profile", "publish", expect=5)
    assert "kubectl-patch" in done.stderr
    assert "--overwrite" in done.stderr
    assert cluster.version() == before
    assert "-  mtu: 1400" in cluster.devlink("profile", "diff").stdout
    cluster.devlink("profile", "publish", "--overwrite")
    assert published_profile(cluster.found()).spec.mtu == 1480
    cluster.devlink("profile", "publish")


def test_the_api_finds_a_conflict_too(cluster: Cluster) -> None:
    """As it does where somebody writes between our look and our writing."""
    printed = cluster.devlink("profile", "publish", "--dry-run").stdout
    changed = printed.replace("mtu: 1480", "mtu: 1400")
    cluster.kubectl("apply", "--server-side", "--field-manager=argocd", "-f", "-", stdin=changed)
    done = cluster.devlink("profile", "publish", expect=5)
    assert "argocd" in done.stderr
    asked = cluster.world.run(
        lab.LAPTOP,
        ["kubectl", "--kubeconfig", cluster.kubeconfig(PUBLISHER), "apply", "--server-side", "--field-manager=devlink",
         "-f", "-"],
        input=next(part for part in printed.split("---\n") if "kind: ConfigMap" in part), timeout=30,
    )  # fmt: skip
    assert asked.returncode != 0
    assert "conflict" in asked.stderr


def test_a_dry_run_needs_no_right_to_write_and_kubectl_takes_what_it_prints(cluster: Cluster) -> None:
    cluster.kubectl("delete", "rolebinding", "devlink-publish", *WHERE)
    try:
        printed = cluster.devlink("profile", "publish", "--dry-run").stdout
        said = cluster.devlink("profile", "publish", expect=7).stderr
        assert "You may not publish" in said
    finally:
        cluster.kubectl("apply", "-k", f"{HOME}/republish")
    cluster.kubectl("apply", "-f", "-", stdin=printed)
    wanted = next(each for each in yaml.safe_load_all(printed) if each["kind"] == "ConfigMap")
    assert published_profile(cluster.found()) == published_profile(wanted)


def test_a_profile_that_outgrows_its_place_moves_there_and_back(cluster: Cluster) -> None:
    blocks = ipaddress.IPv4Network("10.0.0.0/8").subnets(new_prefix=26)
    first = ipaddress.ip_address("172.16.0.1")
    nodes = "".join(
        f"  - {{address: {first + n}, pods: [{block}]}}\n" for n, block in zip(range(11_000), blocks, strict=False)
    )
    large = (
        "apiVersion: devlink/v1alpha1\nkind: BridgeProfile\nmetadata: {name: large}\n"
        f"spec:\n  pods: [10.0.0.0/8]\n  nodes:\n{nodes}"
    )
    small = large.split("  nodes:")[0] + "  gateways: [{address: 172.16.0.1}]\n"
    cluster.world.write_file(lab.LAPTOP, "/root/large.yaml", large)
    cluster.world.write_file(lab.LAPTOP, "/root/small.yaml", small)
    for size, text in (("small", small), ("large", large), ("small", small)):
        cluster.devlink("profile", "publish", f"/root/{size}.yaml")
        found = cluster.found()
        assert bool(found.get("binaryData", {}).get(f"{KEY}.gz")) is (size == "large")
        assert published_profile(found) == decode_profile(text)


def test_the_jobs_account_publishes_from_within_the_cluster(cluster: Cluster) -> None:
    account = ("devlink-republish", "-n", "kube-system")
    token = cluster.kubectl("create", "token", *account).strip()
    cluster.world.run(lab.LAPTOP, ["mkdir", "-p", ACCOUNT], check=True)
    cluster.world.write_file(lab.LAPTOP, f"{ACCOUNT}/token", token)
    cluster.world.write_file(lab.LAPTOP, f"{ACCOUNT}/ca.crt", cluster.world.secrets.ca)
    host, _, port = server_url(cluster.world.spec).removeprefix("https://").rpartition(":")
    pod = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "HOME": "/nonexistent"}
    said = cluster.devlink("profile", "publish", user="", expect=2, env=pod).stderr
    assert "--name" in said
    cluster.devlink("profile", "publish", "--name", "office", "--namespace", "qa")
    before = cluster.version()
    done = cluster.devlink("profile", "publish", user="", env=pod)
    assert "published already" in done.stderr
    assert "was not written" not in done.stderr
    assert cluster.version() == before
    name = cluster.world.spec.cluster.nodes[-1].host
    node = cluster.kubectl("get", "node", name, "-o", "json")
    cluster.kubectl("delete", "node", name)
    try:
        assert "is published" in cluster.devlink("profile", "publish", user="", env=pod).stderr
        spec = published_profile(cluster.found()).spec
        assert spec.nodes is not None
        assert spec.dns is not None
        assert len(spec.nodes) == len(cluster.world.spec.cluster.nodes) - 1
        assert spec.dns.namespaces == ("qa",)
    finally:
        tree = json.loads(node)
        for key in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
            tree["metadata"].pop(key, None)
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(tree))
        cluster.kubectl("replace", "--subresource=status", "-f", "-", stdin=json.dumps(tree))


def test_who_signs_in_by_a_hash_fetches_as_with_a_kubeconfig(cluster: Cluster) -> None:
    cluster.devlink("profile", "publish")
    secrets = cluster.world.secrets
    server = server_url(cluster.world.spec)
    login = ("login", server, "--name", "office", "--token-stdin")
    pin = pin_of(secrets.ca)
    wrong = f"sha256:{hashlib.sha256(b'').hexdigest()}"
    token = secrets.tokens[DEVELOPER]
    said = cluster.devlink(*login, "--ca-hash", wrong, user="", expect=7, stdin=token).stderr
    assert "not the cluster with that hash" in said
    said = cluster.devlink(*login, user="", expect=7, stdin=token).stderr
    assert "--ca-hash" in said
    said = cluster.devlink(*login, "--ca-hash", pin, user="", expect=7, stdin=token).stderr
    assert "--insecure-storage" in said, "the lab's laptop has no keyring"
    said = cluster.devlink(*login, "--ca-hash", pin, "--insecure-storage", user="", expect=7, stdin="nobody's").stderr
    assert "does not accept this token" in said
    said = cluster.devlink(*login, "--ca-hash", pin, "--insecure-storage", user="", stdin=token).stderr
    assert f"Signed in to office as {DEVELOPER}" in said
    assert token not in said
    fetched = decode_profile(cluster.devlink("profile", "fetch", "-o", "yaml", user="").stdout)
    assert fetched == published_profile(cluster.found())
    assert fetched.metadata.name in cluster.devlink("profile", "list", user="").stdout
    cluster.devlink("logout", user="")
    cluster.devlink("profile", "fetch", user="", expect=2)
