"""The profile comes from the cluster: a real API server with RBAC, the real kube-proxy and CoreDNS."""

import base64
import gzip
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from devlink import lab
from devlink.lab.credentials import DEVELOPER, OBSERVER, PUBLISHER, server_url
from tests.certificates import Authority
from tests.e2e.operator import CACHE, Beside, beside

pytestmark = pytest.mark.cluster
WEB = "web.default.svc.cluster.local"
BY_NODE2 = re.compile(r"10\.20\.120\.128/26 (nhid \d+ )?via 172\.16\.0\.19 ")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    with beside(tmp_path_factory.mktemp("cluster") / "helper.log") as made:
        yield made


@pytest.fixture
def cluster(world: Beside) -> Iterator[Beside]:
    """The good profile is published, trusted and has been up; the test leaves the laptop as it found it."""
    world.settle()
    before = world.world.snapshot()
    yield world
    world.link.put_back(before)


def test_a_developer_who_may_read_one_config_map_types_up_and_is_connected(cluster: Beside) -> None:
    cluster.forget()
    assert "Forbidden" in cluster.link.run(
        "sh", "-c", f"curl -sk -H 'Authorization: Bearer {cluster.world.secrets.tokens[DEVELOPER]}' "
        f"{server_url(cluster.world.spec)}/api/v1/nodes",
    )  # fmt: skip
    said = cluster.devlink("up")
    assert f"of context {DEVELOPER}@{cluster.name}, as it is published now" in said
    assert "DL-UNAUTHENTICATED" not in cluster.codes()
    (session,) = cluster.link.status()["sessions"]
    assert session["context"] == f"{DEVELOPER}@{cluster.name}"
    assert cluster.link.run("getent", "hosts", WEB).split()[0] == "10.254.0.10"
    for name in (WEB, "api.qa.svc.cluster.local"):
        assert cluster.link.run("curl", "-sS", "--max-time", "3", f"http://{name}").strip() in ("web-0", "api-0")
    assert "web-0" in cluster.link.run("curl", "-sS", "--max-time", "3", "http://10.20.73.67:8080")


def test_kubectl_devlink_takes_kubectls_flags_to_the_cluster_that_they_name(cluster: Beside) -> None:
    cluster.forget()
    kubeconfig = cluster.kubeconfig(DEVELOPER)
    context = f"{DEVELOPER}@{cluster.name}"
    kubectl = ("kubectl", "devlink", "--kubeconfig", kubeconfig)
    cluster.link.run(*kubectl, "up", "--context", context, env={"KUBECONFIG": "/nonexistent"})
    (session,) = cluster.link.status()["sessions"]
    assert session["context"] == context
    cluster.link.run(*kubectl, "--context", context, "profile", "fetch")
    cluster.link.run("kubectl", "devlink", "down")


def test_who_may_write_nothing_cannot_publish_and_who_may_read_nothing_is_told_which_right(cluster: Beside) -> None:
    said = cluster.devlink("profile", "publish", "/root/published.yaml", user=DEVELOPER, expect=7)
    assert "You may not publish" in said
    said = cluster.devlink("profile", "discover", user=DEVELOPER, expect=7)
    assert "list nodes" in said


def test_what_the_publisher_discovers_is_what_the_world_is(cluster: Beside) -> None:
    found = yaml.safe_load(cluster.link.devlink(
        "profile", "discover", env={"KUBECONFIG": cluster.kubeconfig(PUBLISHER)}
    ).stdout)  # fmt: skip
    wanted = cluster.profile["spec"]
    for fact in ("pods", "services", "nodes", "mtu", "dns", "identity"):
        assert found["spec"][fact] == wanted[fact], fact
    assert [each["address"] for each in found["spec"]["gateways"]] == [g["address"] for g in wanted["gateways"]]
    assert set(found["provenance"]) >= {"pods", "services", "nodes", "gateways", "mtu", "dns.domain", "dns.servers"}


def test_discover_and_publish_without_a_file_and_up_without_one(cluster: Beside) -> None:
    cluster.devlink("profile", "publish", user=PUBLISHER)
    cluster.forget()
    cluster.devlink("profile", "fetch")
    cluster.devlink("up")
    assert cluster.routes()


@pytest.mark.parametrize("user", ["nobody", "expired"])
def test_whom_the_cluster_does_not_know_is_told_so_and_goes_on_with_what_is_kept(cluster: Beside, user: str) -> None:
    path = f"/root/{user}.kubeconfig"
    token = "" if user == "nobody" else "expired"
    text = yaml.safe_load(cluster.world.kubeconfig(DEVELOPER))
    text["users"][0]["user"] = {"token": token} if token else {}
    cluster.world.write_file(lab.LAPTOP, path, yaml.safe_dump(text))
    cluster.devlink("up", kubeconfig=path)
    assert "DL-PROFILE-CACHED" in cluster.codes()
    cluster.devlink("down")
    cluster.forget()
    said = cluster.devlink("up", kubeconfig=path, expect=7)
    assert ("does not know who you are" if token else "may not read") in said


def test_a_server_of_another_ca_is_not_believed(cluster: Beside) -> None:
    text = yaml.safe_load(cluster.world.kubeconfig(DEVELOPER))
    another = base64.b64encode(Authority.another().pem.encode()).decode()
    text["clusters"][0]["cluster"]["certificate-authority-data"] = another
    cluster.world.write_file(lab.LAPTOP, "/root/wrong.kubeconfig", yaml.safe_dump(text))
    cluster.forget()
    said = cluster.devlink("up", kubeconfig="/root/wrong.kubeconfig", expect=7)
    assert "not the one that it must be" in said
    assert cluster.routes() == []


def test_over_an_unchecked_connection_nothing_is_kept_nor_believed(cluster: Beside) -> None:
    text = yaml.safe_load(cluster.world.kubeconfig(DEVELOPER))
    del text["clusters"][0]["cluster"]["certificate-authority-data"]
    text["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
    cluster.world.write_file(lab.LAPTOP, "/root/insecure.kubeconfig", yaml.safe_dump(text))
    cluster.forget()
    said = cluster.devlink("up", kubeconfig="/root/insecure.kubeconfig", expect=6)
    assert "as it is published now" in said
    assert "Next: Put the cluster's CA into the kubeconfig" in said
    assert cluster.routes() == []
    assert cluster.world.run(lab.LAPTOP, ["sh", "-c", f"ls {CACHE}"]).stdout == ""


def test_while_the_api_is_down_up_lives_by_the_copy_and_says_so(cluster: Beside) -> None:
    cluster.link.run("ip", "neigh", "flush", "dev", "eth0")
    cluster.world.run(lab.LAPTOP, ["rm", "/root/.local/state/devlink/seen-through.json"], check=True)
    cluster.devlink("up")
    cluster.devlink("down")
    cluster.world.kill_api()
    try:
        assert "the copy that is kept here" in cluster.devlink("up")
        assert cluster.codes() >= {"DL-PROFILE-CACHED"}
        assert "DL-UNAUTHENTICATED" not in cluster.codes(), "the gateway's link address speaks for the network"
        assert "web-0" in cluster.link.run("curl", "-sS", "--max-time", "3", f"http://{WEB}")
        cluster.devlink("down")
        cluster.world.run(lab.LAPTOP, ["rm", "/root/.local/state/devlink/seen-through.json"], check=True)
        cluster.devlink("up")
        assert "DL-UNAUTHENTICATED" in cluster.codes(), "here nobody vouches for it, and that is no failure"
        cluster.forget()
        cluster.devlink("down")
        assert "cannot be reached" in cluster.devlink("up", expect=7)
    finally:
        cluster.world.restart_api()


def test_an_api_that_hangs_costs_a_known_profile_its_patience_and_no_more(cluster: Beside) -> None:
    with cluster.world.paused_api():
        assert "the copy that is kept here" in cluster.devlink("up")
        assert "no profile within 3 s" in cluster.link.devlink("status").stdout
        cluster.devlink("down")


def test_a_cluster_of_another_ca_is_refused_and_everything_taken_back(cluster: Beside) -> None:
    tree = {**cluster.profile, "metadata": {"name": "forged"}}
    tree["spec"] = {**tree["spec"], "identity": {"ca": Authority.another().pem}}
    cluster.world.write_file(lab.LAPTOP, "/root/forged.yaml", yaml.safe_dump(tree))
    cluster.link.trust("/root/forged.yaml")
    before = cluster.world.snapshot()
    said = cluster.devlink("up", "/root/forged.yaml", expect=4)
    assert "not the cluster of profile forged" in said
    cluster.link.await_equal(before)
    cluster.devlink("trust", "revoke", "forged")


def widen(key: str, *values: str) -> Callable[[dict[str, Any]], None]:
    def change(tree: dict[str, Any]) -> None:
        tree["spec"][key] = [*tree["spec"].get(key, []), *values]

    return change


def set_dns(**values: Any) -> Callable[[dict[str, Any]], None]:
    def change(tree: dict[str, Any]) -> None:
        tree["spec"]["dns"] = {**tree["spec"]["dns"], **values}

    return change


def text_of(cluster: Beside, change: Callable[[dict[str, Any]], None]) -> str:
    import copy

    tree = copy.deepcopy(cluster.profile)
    change(tree)
    return yaml.safe_dump(tree)


def packed(text: bytes) -> str:
    return base64.b64encode(gzip.compress(text, mtime=0)).decode()


def forge_ca(tree: dict[str, Any]) -> None:
    tree["spec"]["identity"] = {"ca": Authority.another().pem}


HOSTILE: dict[str, tuple[Callable[[Beside], dict[str, dict[str, str | None]]], str]] = {
    "a default route": (lambda c: {"data": {"profile.yaml": text_of(c, widen("pods", "0.0.0.0/0"))}}, "BROKEN"),
    "a corporate /8": (lambda c: {"data": {"profile.yaml": text_of(c, widen("pods", "11.0.0.0/8"))}}, "UNTRUSTED"),
    "around all": (lambda c: {"data": {"profile.yaml": text_of(c, widen("services", "10.0.0.0/8"))}}, "BROKEN"),
    "another's domain": (lambda c: {"data": {"profile.yaml": text_of(c, set_dns(domain="corp.example"))}}, "UNTRUSTED"),
    "a top-level domain": (lambda c: {"data": {"profile.yaml": text_of(c, set_dns(domain="com"))}}, "BROKEN"),
    "another CA": (lambda c: {"data": {"profile.yaml": text_of(c, forge_ca)}}, "UNTRUSTED"),
    "the API server's network": (
        lambda c: {"data": {"profile.yaml": text_of(c, widen("services", "172.16.0.8/29"))}}, "UNTRUSTED|HELD|BROKEN",
    ),
    "not YAML": (lambda c: {"data": {"profile.yaml": "a: ["}}, "BROKEN"),
    "nothing": (lambda c: {"data": {"other": "x", "profile.yaml": None}}, "BROKEN"),
    "1 MB of one value": (lambda c: {"data": {"profile.yaml": "x" * 1_000_000}}, "BROKEN"),
    "a gzip bomb": (lambda c: {"binaryData": {"profile.yaml.gz": packed(b"#" * 300_000_000)}}, "BROKEN"),
    "half a gzip": (
        lambda c: {"binaryData": {"profile.yaml.gz": base64.b64encode(gzip.compress(b"kind: x")[:-9]).decode()}},
        "BROKEN",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_config_map_is_held_back_and_changes_nothing(cluster: Beside, kind: str) -> None:
    cluster.devlink("up")
    good = cluster.routes()
    make, codes = HOSTILE[kind]
    wanted = {f"DL-PROFILE-{code}" for code in codes.split("|")}
    cluster.put(**make(cluster))
    cluster.link.wait_until(lambda: wanted & cluster.codes(), f"the session tells of {kind}")
    assert cluster.link.states() == {cluster.name: "up"}
    assert cluster.routes() == good
    cluster.devlink("down")
    cluster.devlink("up")
    assert wanted & cluster.codes()
    assert cluster.routes() == good
    assert "web-0" in cluster.link.run("curl", "-sS", "--max-time", "3", f"http://{WEB}")


def many_nodes(tree: dict[str, Any]) -> None:
    """A hundred thousand blocks, all of them inside the pod network that is trusted."""
    blocks = [f"10.20.{n // 256}.{n % 256}/32" for n in range(65536)]
    blocks += [f"10.20.{n // 256}.{n % 256 // 2 * 2}/31" for n in range(0, 65536, 2)]
    tree["spec"]["nodes"] = [{"address": "172.16.0.19", "pods": blocks}]


def test_a_hundred_thousand_routes_do_not_come_up(cluster: Beside) -> None:
    cluster.devlink("up")
    good = cluster.routes()
    cluster.put(binaryData={"profile.yaml.gz": packed(text_of(cluster, many_nodes).encode())})
    told = {"DL-PROFILE-HELD", "DL-PROFILE-UNTRUSTED", "DL-PROFILE-BROKEN"}
    cluster.link.wait_until(lambda: told & cluster.codes(), "the session tells of it")
    assert cluster.routes() == good
    assert cluster.link.states() == {cluster.name: "up"}


def test_a_newer_profile_is_gone_over_to_while_streams_go_on(cluster: Beside) -> None:
    cluster.devlink("up")
    stream = cluster.link.world.popen(
        lab.LAPTOP,
        ["curl", "-sS", "--max-time", "20", "--limit-rate", "1M", "-o", "/dev/null", "-w", "%{size_download}",
         "http://10.20.73.67:8080/big"],
    )  # fmt: skip
    cluster.publish(lambda tree: tree["spec"].update(mtu=1400), revision="2")
    cluster.link.wait_until(lambda: all("mtu 1400" in route for route in cluster.routes()), "the new MTU is there")
    assert cluster.link.states() == {cluster.name: "up"}
    assert stream.communicate(timeout=30)[0] == "3000000"


def test_a_node_that_left_has_its_block_go_by_the_gateway(cluster: Beside) -> None:
    cluster.devlink("up")
    assert any(BY_NODE2.match(route) for route in cluster.routes())

    def without_node2(tree: dict[str, Any]) -> None:
        tree["spec"]["nodes"] = [n for n in tree["spec"]["nodes"] if n["address"] != "172.16.0.19"]

    cluster.publish(without_node2, revision="2")
    cluster.link.wait_until(lambda: not any("172.16.0.19" in r for r in cluster.routes()), "its route is gone")
    assert "via 172.16.0.13" in cluster.link.run("ip", "route", "get", "10.20.120.130")
    cluster.publish(revision="3")
    cluster.link.wait_until(lambda: any("172.16.0.19" in r for r in cluster.routes()), "and back when it is")


def test_an_agent_that_is_started_by_whoever_follows_the_cluster_of_who_brought_it_up(cluster: Beside) -> None:
    cluster.devlink("up")
    cluster.link.kill("agent")
    cluster.devlink("up", "no-such-profile", kubeconfig="/nonexistent", expect=2)
    cluster.publish(lambda tree: tree["spec"].update(mtu=1400), revision="2")
    cluster.link.wait_until(lambda: all("mtu 1400" in route for route in cluster.routes()), "it is followed")


def test_an_edited_copy_claims_no_more_than_is_trusted(cluster: Beside) -> None:
    cluster.world.kill_api()
    try:
        cluster.link.run("sh", "-c", f"sed -i 's#10.254.0.0/16#10.254.0.0/16\", \"11.0.0.0/8#' {CACHE}/*.json")
        said = cluster.devlink("up", expect=6)
        assert "11.0.0.0/8" in said
        assert cluster.routes() == []
    finally:
        cluster.world.restart_api()


def test_publishing_does_not_overwrite_what_another_wrote(cluster: Beside) -> None:
    cluster.put(data={"profile.yaml": text_of(cluster, lambda tree: tree["spec"].update(mtu=1300))})
    said = cluster.devlink("profile", "publish", "/root/published.yaml", user=PUBLISHER, expect=5)
    assert "another" in said
    assert "mtu: 1300" in cluster.devlink("profile", "fetch", "-o", "yaml")
    cluster.devlink("profile", "publish", "/root/published.yaml", "--overwrite", user=PUBLISHER)
    assert "mtu: 1480" in cluster.devlink("profile", "fetch", "-o", "yaml")
    assert "No difference" in cluster.devlink("profile", "diff", "/root/published.yaml")


def test_who_may_only_look_discovers_and_does_not_publish(cluster: Beside) -> None:
    assert "10.20.0.0/16" in cluster.devlink("profile", "discover", user=OBSERVER)
    assert "kind: ConfigMap" in cluster.devlink("profile", "publish", "--dry-run", user=OBSERVER)
    cluster.devlink("profile", "publish", user=OBSERVER, expect=7)


def test_who_may_read_nodes_and_blocks_has_the_routes_move_with_them_whatever_is_published(cluster: Beside) -> None:
    def without_node2(tree: dict[str, Any]) -> None:
        tree["spec"]["nodes"] = [n for n in tree["spec"]["nodes"] if n["address"] != "172.16.0.19"]

    cluster.publish(without_node2, revision="2")
    cluster.devlink("up")
    assert not any("172.16.0.19" in route for route in cluster.routes()), "a developer lives by the list"
    cluster.devlink("down")
    cluster.devlink("up", user=OBSERVER)
    cluster.link.wait_until(lambda: any(BY_NODE2.match(r) for r in cluster.routes()), "it moves")
    assert cluster.link.states() == {cluster.name: "up"}
    assert "api-0" in cluster.link.run("curl", "-sS", "--max-time", "3", "http://10.20.120.130:8080")


def test_a_down_ends_an_up_that_still_asks_its_cluster(cluster: Beside) -> None:
    cluster.forget()
    with cluster.world.paused_api():
        asking = cluster.link.start("up", env={"KUBECONFIG": cluster.kubeconfig(DEVELOPER)})
        cluster.link.wait_until(
            lambda: "still asked for: the default profile" in cluster.link.devlink("status").stdout,
            "it says what it does",
        )
        cluster.link.wait_until(lambda: "is down" in cluster.link.devlink("down").stderr, "it is taken down")
        code, said = cluster.link.await_end(asking)
    assert code == 3
    assert "cancelled before anything was changed" in said
    assert cluster.link.states() == {}


def reads_of_the_profile(cluster: Beside) -> int:
    """How often the API server has been asked for a ConfigMap since it started, by its own count."""
    token = cluster.world.secrets.tokens["admin"]
    metrics = cluster.link.run(
        "curl", "-sSk", "-H", f"Authorization: Bearer {token}", f"{server_url(cluster.world.spec)}/metrics"
    )
    counts = (line for line in metrics.splitlines() if line.startswith("apiserver_request_total{"))
    ours = (line for line in counts if 'resource="configmaps"' in line and 'verb="GET"' in line)
    return sum(int(float(line.rpartition(" ")[2])) for line in ours)


def test_an_api_server_that_was_restarted_is_not_asked_for_the_same_profile_over_and_over(cluster: Beside) -> None:
    cluster.devlink("up")
    cluster.world.kill_api()
    cluster.world.restart_api()
    cluster.publish(lambda tree: tree["spec"].update(mtu=1400), revision="2")
    cluster.link.wait_until(
        lambda: all("mtu 1400" in route for route in cluster.routes()), "it is followed again", limit=60.0
    )
    before = reads_of_the_profile(cluster)
    time.sleep(3)
    assert reads_of_the_profile(cluster) - before < 10
