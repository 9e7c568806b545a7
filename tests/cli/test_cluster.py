"""`devlink profile discover`, `publish`, `fetch` and `diff` with a cluster that is made of objects."""

import copy
import dataclasses
import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from devlink.agent import cache
from devlink.cli import root
from devlink.cluster.access import Access
from devlink.cluster.contexts import IN_CLUSTER
from devlink.cluster.dumps import KUBECTL
from devlink.cluster.publication import KEY, config_map, manifests, published_profile
from devlink.cluster.publishing import PATH
from devlink.core.profile import BridgeProfile, Transport
from devlink.core.profile_document import decode_profile
from devlink.errors import ClusterError
from tests.cluster import test_reads
from tests.cluster.discovery import networks
from tests.core.profiles import SAMPLE

Run = Callable[..., tuple[int, str, str]]
QA = decode_profile(SAMPLE)


class Cluster(test_reads.FakeApi):
    """Network A, in which profiles may be published."""

    def __init__(self) -> None:
        super().__init__(networks.network_a())
        self.access = Access(name="kubernetes-admin@qa", server="https://192.0.2.6:6443", ca=networks.CA)
        self.chosen: list[str | None] = []
        self.terminal: bool | None = None
        self.written: list[str] = []

    def choose(self, context: str | None, environ: Mapping[str, str]) -> Access:
        self.chosen.append(context)
        return self.access

    def open(self, access: Access, *, environ: Mapping[str, str], terminal: bool = False) -> Self:
        assert access == self.access
        self.terminal = terminal
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def apply(self, path: str, body: Mapping[str, Any], *, manager: str, force: bool = False) -> dict[str, Any]:
        await self._ask(f"PATCH {path}")
        self.written.append(path)
        self.single[path] = copy.deepcopy(dict(body))
        return self.single[path]

    @property
    def published(self) -> BridgeProfile | None:
        return published_profile(self.single[PATH]) if PATH in self.single else None

    def publish(self, profile: BridgeProfile) -> None:
        self.single[PATH] = config_map(profile)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    for name in ("CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    made = Cluster()
    monkeypatch.setattr("devlink.cluster.contexts.choose_access", made.choose)
    monkeypatch.setattr("devlink.cluster.api.Api", made.open)
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`devlink profile ...`: exit code, stdout, stderr."""

    def devlink(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["devlink", "profile", *arguments])
        code = root.run()
        said = capsys.readouterr()
        return code, said.out, said.err

    return devlink


def test_discover_prints_a_profile_and_says_where_each_fact_came_from(cluster: Cluster, run: Run) -> None:
    code, out, err = run("discover")
    assert code == 0
    found = decode_profile(out)
    assert found.metadata.name == "qa"
    assert found.metadata.revision
    assert found.spec.identity is not None
    assert "pods         10.20.0.0/16" in err
    for key in ("pods", "services", "gateways", "nodes", "dns.servers", "identity.ca"):
        (line,) = (line for line in err.splitlines() if line.strip().startswith(f"{key} "))
        assert line.endswith(found.provenance[key])
    assert cluster.written == []
    assert decode_profile(run("discover", "-o", "json")[1]).spec == found.spec


def test_a_refused_read_costs_its_fact_and_the_report_names_the_right(cluster: Cluster, run: Run) -> None:
    cluster.refuse["/api/v1/nodes"] = 403
    code, out, err = run("discover")
    assert code == 0
    assert decode_profile(out).spec.pods is not None
    assert "list nodes" in err


def test_what_people_wish_for_is_asked_for_once(cluster: Cluster, run: Run) -> None:
    options = [
        "--namespace",
        "qa",
        "--namespace",
        "default",
        "--search",
        "qa",
        "--transport",
        "tcp",
        "--gateway",
        "172.16.0.9",
    ]
    assert run("publish", "--name", "office", *options)[0] == 0
    first = cluster.published
    assert first is not None
    assert first.spec.dns is not None
    assert first.metadata.name == "office"
    assert (first.spec.dns.namespaces, first.spec.dns.servers[0].transport) == (("qa", "default"), Transport.TCP)
    assert first.spec.dns.search == ("qa",)
    assert [str(each.address) for each in first.spec.gateways or ()] == ["172.16.0.9"]
    again = decode_profile(run("discover")[1])
    assert (again.metadata.name, again.spec) == (first.metadata.name, first.spec)
    told = ("--all-namespaces", "--no-search", "--transport", "auto", "--gateway", "172.16.0.13")
    other = decode_profile(run("discover", *told)[1])
    assert other.spec.dns is not None
    assert (other.spec.dns.namespaces, other.spec.dns.search) == (None, None)
    assert other.spec.dns.servers[0].transport is Transport.AUTO
    fresh = decode_profile(run("discover", "--name", "another")[1])
    assert fresh.spec.dns is not None
    assert fresh.spec.dns.namespaces is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["discover", "--name", "No Label"], "a DNS label"),
        (["discover", "--gateway", "somewhere"], "--gateway"),
        (["discover", "--namespace", "a", "--all-namespaces"], "exclude each other"),
        (["discover", "--search", "a", "--no-search"], "exclude each other"),
        (["discover", "--search", "com"], "is a top-level domain"),
        (["discover", "--from", "x.json", "--context", "qa"], "what to read"),
        (["discover", "--from", "not-there.json"], "cannot be read"),
        (["publish", "not-there"], "no profile not-there"),
        (["publish", "FILE", "--transport", "tcp"], "do not go with"),
        (["publish", "FILE", "--name", "No Label"], "cannot be named"),
        (["diff", "not-there"], "no profile not-there"),
    ],
)
def test_what_cannot_be_meant_is_a_matter_of_usage(
    cluster: Cluster, run: Run, arguments: list[str], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "qa.yaml"
    file.write_text(SAMPLE)
    code, out, err = run(*(str(file) if each == "FILE" else each for each in arguments))
    assert (code, out) == (2, "")
    assert said in err
    assert cluster.written == []


def test_a_pod_must_be_told_the_first_name(cluster: Cluster, run: Run) -> None:
    cluster.access = dataclasses.replace(cluster.access, name=IN_CLUSTER)
    code, _, err = run("publish")
    assert code == 2
    assert "--name" in err
    assert run("publish", "--name", "qa")[0] == 0
    assert run("publish")[0] == 0


def test_dumps_are_discovered_without_a_cluster(cluster: Cluster, run: Run, tmp_path: Path) -> None:
    objects = networks.network_a()
    nodes = {"kind": "List", "apiVersion": "v1", "items": [each for each in objects if each["kind"] == "Node"]}
    (tmp_path / "office.json").write_text(json.dumps(nodes))
    (tmp_path / "rest.yaml").write_text(yaml.safe_dump_all(each for each in objects if each["kind"] != "Node"))
    code, out, _ = run("discover", "--from", str(tmp_path / "office.json"), "--from", str(tmp_path / "rest.yaml"))
    assert code == 0
    assert decode_profile(out).metadata.name == "office"
    assert decode_profile(out).spec == decode_profile(run("discover")[1]).spec
    assert cluster.chosen == [None]


def test_what_a_dump_lacks_is_told_with_the_command_that_makes_a_whole_one(
    cluster: Cluster, run: Run, tmp_path: Path
) -> None:
    some = [each for each in networks.network_a() if each["kind"] in ("Node", "ConfigMap")]
    (tmp_path / "office.yaml").write_text(yaml.safe_dump_all(some))
    code, _, err = run("discover", "--from", str(tmp_path / "office.yaml"))
    assert code == 0
    assert "DL-NOT-IN-DUMP" in err
    assert KUBECTL in err


class Endless(io.RawIOBase):
    """A standard input that never ends, and counts what was taken."""

    taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.taken += len(buffer)
        buffer[:] = b"y" * len(buffer)
        return len(buffer)


def test_of_an_endless_input_no_more_is_read_than_a_dump_may_have(
    cluster: Cluster, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = Endless()
    monkeypatch.setattr("devlink.cluster.discovery.documents.MAX_TEXT", 1 << 20)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(endless)))
    code, out, err = run("discover", "--from", "-")
    assert (code, out) == (2, "")
    assert "larger than 1 MB" in err
    assert "Standard input" in err
    assert endless.taken < 2 << 20


def test_a_dump_that_cannot_be_read_has_a_next_step(cluster: Cluster, run: Run, tmp_path: Path) -> None:
    (tmp_path / "packed.json.gz").write_bytes(b"\x1f\x8b\x08\x00\xff")
    for name in (".", "not-there.json", "packed.json.gz"):
        code, out, err = run("discover", "--from", str(tmp_path / name))
        assert (code, out) == (2, "")
        assert "Next: " in err
        assert "kubectl" in err
        assert "codec" not in err


def test_where_nothing_is_found_no_profile_is_printed(cluster: Cluster, run: Run) -> None:
    cluster.lists = {path: [] for path in test_reads.ALWAYS}
    cluster.single = {}
    cluster.refuse["/api/v1/nodes"] = 403
    code, out, err = run("discover")
    assert (code, out) == (7, "")
    assert "list nodes" in err


def test_over_an_unchecked_connection_a_profile_has_no_ca_and_none_is_published(cluster: Cluster, run: Run) -> None:
    cluster.access = dataclasses.replace(cluster.access, insecure=True)
    code, out, err = run("discover")
    assert code == 0
    assert decode_profile(out).spec.identity is None
    assert "identity.ca" not in decode_profile(out).provenance
    assert "DL-INSECURE" in err
    assert run("publish")[0] == 2
    assert cluster.published is None


def test_publish_writes_what_is_found_and_then_leaves_it_alone(cluster: Cluster, run: Run) -> None:
    code, out, err = run("publish", "--context", "office")
    assert (code, out) == (0, "")
    assert "devlink up" in err
    first = cluster.published
    assert first is not None
    code, _, err = run("publish")
    assert code == 0
    assert "published already" in err
    assert cluster.published == first
    assert cluster.chosen == ["office", None]


def test_publish_takes_a_file_under_a_name(cluster: Cluster, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(SAMPLE)
    assert run("publish", str(file), "--name", "office")[0] == 0
    assert cluster.published is not None
    assert cluster.published.metadata.name == "office"
    assert cluster.published.spec == QA.spec
    code, _, err = run("publish", str(file))
    assert code == 5
    assert "--overwrite" in err
    assert run("publish", str(file), "--overwrite")[0] == 0
    assert cluster.published == QA


def test_a_dry_run_prints_all_objects_and_needs_no_right_to_write(cluster: Cluster, run: Run, tmp_path: Path) -> None:
    code, out, _ = run("publish", "--dry-run")
    assert code == 0
    printed = list(yaml.safe_load_all(out))
    assert [each["kind"] for each in printed] == ["ConfigMap", "Role", "RoleBinding"]
    assert published_profile(printed[0]).metadata.name == "qa"
    assert cluster.written == []
    file = tmp_path / "x.yaml"
    file.write_text(SAMPLE)
    cluster.chosen.clear()
    assert list(yaml.safe_load_all(run("publish", str(file), "--dry-run")[1])) == list(manifests(QA))
    assert cluster.chosen == [], "a file needs no cluster"


def test_a_bad_minute_of_the_api_takes_nothing_from_what_is_published(cluster: Cluster, run: Run) -> None:
    assert run("publish")[0] == 0
    first = cluster.published
    assert first is not None
    assert first.spec.nodes
    cluster.refuse["/api/v1/nodes"] = 500
    code, _, err = run("publish")
    assert code == 7
    assert "nodes" in err
    assert "list nodes" in err
    assert cluster.published == first
    assert run("publish", "--overwrite")[0] == 0
    assert cluster.published != first


@pytest.mark.parametrize("status", [429, 500, 503])
def test_while_what_is_published_cannot_be_read_nothing_that_people_gave_is_lost(
    cluster: Cluster, run: Run, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    assert run("publish", "--namespace", "qa", "--transport", "tcp", "--gateway", "172.16.0.9")[0] == 0
    first = cluster.published
    get, failures = cluster.get, iter([status])

    async def failing_once(path: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        if path == PATH and (failure := next(failures, None)):
            raise ClusterError("The API failed.", why="etcdserver: request timed out", status=failure)
        return await get(path, *arguments, **named)

    monkeypatch.setattr(cluster, "get", failing_once)
    code, _, err = run("publish")
    assert code == 7
    assert "etcdserver" in err
    assert cluster.published == first
    assert run("publish")[0] == 0
    assert cluster.published == first


def test_without_the_right_to_see_what_is_published_it_is_left_alone_unless_told(cluster: Cluster, run: Run) -> None:
    assert run("publish", "--namespace", "qa")[0] == 0
    first = cluster.published
    cluster.refuse[PATH] = 403
    for arguments in (["publish"], ["publish", "--dry-run"]):
        code, _, err = run(*arguments)
        assert code == 7
        assert "--overwrite" in err
    assert cluster.published == first
    assert run("discover")[0] == 0, "which changes nothing"
    assert run("publish", "--overwrite")[0] == 0
    assert cluster.published != first


@pytest.mark.parametrize("status", [403, 500])
def test_what_gitops_applies_is_held_to_the_same(cluster: Cluster, run: Run, status: int) -> None:
    assert run("publish")[0] == 0
    cluster.refuse["/api/v1/nodes"] = status
    code, out, err = run("publish", "--dry-run")
    assert (code, out) == (7, "")
    assert "list nodes" in err
    assert run("publish", "--dry-run", "--overwrite")[0] == 0


def test_the_readers_right_that_could_not_be_given_is_a_remark(cluster: Cluster, run: Run) -> None:
    cluster.refuse["PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/kube-public/roles/devlink-profile"] = 403
    code, _, err = run("publish")
    assert code == 0
    assert "Role kube-public/devlink-profile was not written" in err


def test_fetch_keeps_the_profile_for_up(cluster: Cluster, run: Run) -> None:
    cluster.publish(QA)
    code, out, err = run("fetch")
    assert (code, out) == (0, "")
    assert "devlink up qa" in err
    kept = cache.named("qa")
    assert kept is not None
    assert (kept.profile, kept.origin.context) == (QA, cluster.access.name)
    assert decode_profile(run("fetch", "-o", "yaml")[1]) == QA
    assert decode_profile(run("fetch", "-o", "json")[1]) == QA
    assert decode_profile(run("show", "qa")[1]) == QA


def test_fetch_over_an_unchecked_connection_keeps_nothing(cluster: Cluster, run: Run) -> None:
    cluster.access = dataclasses.replace(cluster.access, insecure=True)
    cluster.publish(QA)
    _, _, err = run("fetch")
    assert "DL-INSECURE" in err
    assert cache.every() == ()


def test_fetch_from_a_cluster_that_publishes_none_says_who_could(cluster: Cluster, run: Run) -> None:
    code, out, err = run("fetch")
    assert (code, out) == (7, "")
    assert "devlink profile publish" in err


def test_a_broken_profile_shows_its_faults(cluster: Cluster, run: Run) -> None:
    cluster.single[PATH] = {"data": {KEY: SAMPLE.replace("mtu: 1480", "mtu: 1")}}
    code, _, err = run("fetch")
    assert code == 8
    assert "spec.mtu" in err


def test_diff_shows_what_publish_would_change_and_not_when_it_was_made(
    cluster: Cluster, run: Run, tmp_path: Path
) -> None:
    assert run("publish")[0] == 0
    code, out, err = run("diff")
    assert (code, out) == (0, "")
    assert "No difference." in err
    file = tmp_path / "x.yaml"
    found = decode_profile(run("discover")[1])
    file.write_text(run("discover")[1].replace("mtu: 1480", "mtu: 1450"))
    assert found.spec.mtu == 1480
    code, out, _ = run("diff", str(file))
    assert code == 0
    changed = [line for line in out.splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-  mtu: 1480", "+  mtu: 1450"]


def test_show_provenance_has_each_fact_with_its_source(cluster: Cluster, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(SAMPLE)
    code, out, _ = run("show", str(file), "--provenance")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["FACT", "VALUE", "SOURCE"]
    assert lines[1].split() == ["pods", "10.20.0.0/16,", "fd00:20::/48", QA.provenance["pods"]]
    assert lines[-1].split()[0] == "dns.namespaces"
    assert lines[-1].endswith(" -")
    file.write_text(SAMPLE.replace("    reverse: true", "    search: [qa]"))
    assert run("show", str(file), "--provenance")[1].splitlines()[-1].split() == ["dns.search", "qa", "-"]
    file.write_text(SAMPLE)
    facts = json.loads(run("show", str(file), "--provenance", "-o", "json")[1])
    assert facts["pods"] == {"value": "10.20.0.0/16, fd00:20::/48", "source": QA.provenance["pods"]}


def test_an_api_that_is_away_ends_it_with_its_error(cluster: Cluster, run: Run) -> None:
    async def away(*_: object, **__: object) -> dict[str, Any]:
        raise ClusterError("The API of qa cannot be reached.", why="Nobody is there.")

    cluster.get = away  # type: ignore[method-assign]
    for command in ("discover", "publish", "fetch", "diff"):
        code, out, err = run(command)
        assert (code, out) == (7, ""), command
        assert "Nobody is there." in err
