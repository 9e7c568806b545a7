"""Which profile `up` means: a file, else what its cluster publishes, else what it gave last; and what is said of it."""

import asyncio
import dataclasses
import ipaddress
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from devlink.agent import cache, sources
from devlink.agent.cache import Origin
from devlink.agent.sources import Obtained, obtain
from devlink.cluster.access import Access
from devlink.cluster.publishing import Published
from devlink.core.profile import BridgeProfile
from devlink.core.profile_document import decode_profile
from devlink.errors import ClusterError, DevlinkError, ProfileError, UsageError
from tests.core.profiles import SAMPLE

QA = decode_profile(SAMPLE)
AWAY = ClusterError("The API of office cannot be reached.", next_step="Look at the VPN.")
BROKEN = ProfileError("The profile is invalid.", faults=("spec.pods: an empty list",))


def edition(revision: str, name: str = "qa") -> BridgeProfile:
    return dataclasses.replace(QA, metadata=dataclasses.replace(QA.metadata, name=name, revision=revision))


class Clusters:
    """Clusters by context, each with what it answers, and the current one."""

    def __init__(self) -> None:
        self.published: dict[str, BridgeProfile | DevlinkError | None] = {}
        self.current = ""
        self.asked: list[str] = []
        self.insecure = False
        self.proxy = ""
        self.is_configured = False
        """There is a kubeconfig, even where no context of it can be used."""
        self.servers: dict[str, str] = {}
        """Of contexts that lead elsewhere than their names say."""
        self.environ: list[Mapping[str, str]] = []

    def name_meant(self, context: str | None, environ: Mapping[str, str]) -> str:
        return context or self.current

    def choose(self, context: str | None, environ: Mapping[str, str]) -> Access:
        self.environ.append(environ)
        name = context or self.current
        if name not in self.published:
            raise UsageError("There is no kubeconfig.")
        server = self.servers.get(name, f"https://{name}.example.com:6443")
        return Access(name=name, server=server, insecure=self.insecure, proxy=self.proxy)

    async def fetch(self, api: object) -> Published:
        access: Access = api.access  # type: ignore[attr-defined]
        self.asked.append(access.name)
        found = self.published[access.name]
        if found is None:
            await asyncio.Event().wait()
        if isinstance(found, DevlinkError):
            raise found
        assert found is not None
        return Published(profile=found, resource_version=f"v{found.metadata.revision}", insecure=access.insecure)


@pytest.fixture
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clusters:
    """No file and no cluster yet."""
    for name in ("CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    made = Clusters()
    monkeypatch.setattr("devlink.cluster.contexts.choose_access", made.choose)
    monkeypatch.setattr("devlink.cluster.contexts.name_meant", made.name_meant)
    monkeypatch.setattr("devlink.cluster.contexts.is_any_meant", lambda _: bool(made.published) or made.is_configured)
    monkeypatch.setattr("devlink.cluster.publishing.fetch", made.fetch)

    async def resolve(*urls: str) -> tuple[ipaddress.IPv4Address, ...]:
        hosts = {"proxy.example.com": "192.0.2.7"}
        return tuple(ipaddress.IPv4Address(hosts.get(str(urlsplit(url).hostname), "192.0.2.6")) for url in urls if url)

    monkeypatch.setattr(sources, "addresses_of", resolve)
    return made


def put(tmp_path: Path, *names: str) -> None:
    folder = tmp_path / "CONFIG" / "devlink" / "profiles"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.yaml").write_text(SAMPLE.replace("name: qa", f"name: {name}"))


def run(argument: str = "", context: str = "", environ: Mapping[str, str] | None = None) -> Obtained:
    async def main() -> Obtained:
        async with asyncio.timeout(10):
            return await obtain(argument, context, environ or {})

    return asyncio.run(main())


def codes(obtained: Obtained) -> list[str]:
    return [finding.code for finding in obtained.findings]


def test_with_no_file_the_current_context_s_cluster_is_asked_and_its_profile_kept(clusters: Clusters) -> None:
    clusters.published, clusters.current = {"office": edition("1")}, "office"
    obtained = run(environ={"KUBECONFIG": "/k"})
    assert obtained.profile == edition("1")
    assert obtained.origin == Origin(context="office", server="https://office.example.com:6443")
    assert (obtained.version, codes(obtained), obtained.pins) == ("v1", [], (ipaddress.ip_address("192.0.2.6"),))
    assert clusters.environ == [{"KUBECONFIG": "/k"}]
    kept = cache.named("qa")
    assert kept is not None
    assert kept.profile == edition("1")


def test_who_only_looks_has_nothing_kept_and_gets_the_same(clusters: Clusters) -> None:
    clusters.published, clusters.current = {"office": edition("1")}, "office"
    looked = asyncio.run(sources.obtain("", "", {"KUBECONFIG": "/k"}, keep=False))
    assert (looked.profile, looked.version) == (edition("1"), "v1")
    assert cache.named("qa") is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (AWAY, "DL-PROFILE-CACHED"),
        (ClusterError("Who are you?", status=401), "DL-PROFILE-CACHED"),
        (ClusterError("Nobody publishes.", status=404), "DL-PROFILE-CACHED"),
        (BROKEN, "DL-PROFILE-BROKEN"),
        (None, "DL-PROFILE-CACHED"),
    ],
    ids=["away", "expired", "withdrawn", "broken", "silent"],
)
def test_what_a_cluster_cannot_say_now_it_has_said_before(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch, answer: DevlinkError | None, code: str
) -> None:
    monkeypatch.setattr(sources, "PATIENCE_WITH_CACHE", 0.05)
    clusters.published, clusters.current = {"office": edition("1")}, "office"
    run()
    clusters.published["office"] = answer
    for argument in ("", "qa"):
        obtained = run(argument)
        assert (obtained.profile, codes(obtained)) == (edition("1"), [code])
        assert obtained.fetched > 0
    if isinstance(answer, ProfileError):
        assert "an empty list" in obtained.findings[0].evidence


@pytest.mark.parametrize("answer", [AWAY, BROKEN])
def test_without_a_copy_the_cluster_s_own_trouble_is_told(clusters: Clusters, answer: DevlinkError) -> None:
    clusters.published, clusters.current = {"office": answer}, "office"
    with pytest.raises(type(answer)) as caught:
        run()
    assert caught.value is answer


def test_a_silent_cluster_costs_its_patience(clusters: Clusters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PATIENCE", 0.05)
    clusters.published, clusters.current = {"office": None}, "office"
    with pytest.raises(ClusterError, match="no profile within"):
        run()


def test_a_name_asks_the_cluster_that_gave_it_whatever_is_current(clusters: Clusters) -> None:
    clusters.published, clusters.current = {"office": edition("1"), "prod": edition("1", "prod")}, "office"
    run()
    clusters.current = "prod"
    clusters.published["office"] = edition("2")
    assert run("qa").profile == edition("2")
    assert run().profile == edition("1", "prod"), "and nothing named means the current one"
    assert run(context="office").profile == edition("2")


def test_files_go_before_clusters(clusters: Clusters, tmp_path: Path) -> None:
    clusters.published, clusters.current = {"office": edition("1")}, "office"
    run()
    clusters.asked.clear()
    put(tmp_path, "qa")
    for argument in ("", "qa", str(tmp_path / "CONFIG/devlink/profiles/qa.yaml")):
        obtained = run(argument)
        assert (obtained.origin, obtained.profile) == (None, QA)
    assert clusters.asked == []


def test_of_several_files_none_is_meant_and_the_current_cluster_is(clusters: Clusters, tmp_path: Path) -> None:
    put(tmp_path, "a", "b")
    with pytest.raises(UsageError, match="Which profile") as caught:
        run()
    assert "no kubeconfig" in caught.value.why
    clusters.published, clusters.current = {"office": edition("1")}, "office"
    assert run().profile == edition("1")


def test_the_configured_default_goes_before_both(clusters: Clusters, tmp_path: Path) -> None:
    clusters.published, clusters.current = {"office": edition("1"), "prod": edition("1", "prod")}, "prod"
    run()
    (tmp_path / "CONFIG" / "devlink").mkdir(parents=True)
    (tmp_path / "CONFIG/devlink/config.toml").write_text('default = "prod"')
    clusters.current = "office"
    assert run().profile.metadata.name == "prod"


def test_with_nothing_at_all_the_lack_is_told_with_the_ways_out(clusters: Clusters) -> None:
    with pytest.raises(UsageError, match="no profile yet") as caught:
        run()
    assert "no kubeconfig" in caught.value.why
    assert "devlink profile fetch" in caught.value.next_step


def test_what_came_unchecked_is_used_and_never_kept(clusters: Clusters) -> None:
    clusters.published, clusters.current, clusters.insecure = {"office": edition("1")}, "office", True
    assert codes(run()) == ["DL-INSECURE"]
    assert cache.every() == ()


@pytest.mark.slow
def test_the_edition_that_came_up_comes_with_a_newer_one(clusters: Clusters) -> None:
    clusters.published, clusters.current = {"office": edition("1")}, "office"
    run()
    cache.note_good(Origin(context="office", server="https://office.example.com:6443"), edition("1"))
    clusters.published["office"] = edition("2")
    for _ in range(2):
        obtained = run()
        assert (obtained.profile, obtained.good) == (edition("2"), edition("1"))


@pytest.mark.parametrize("trouble", [ClusterError("The keyring is locked."), None], ids=["locked", "silent"])
def test_a_keyring_that_is_locked_costs_no_profile_that_is_kept(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch, trouble: ClusterError | None
) -> None:
    monkeypatch.setattr(sources, "PATIENCE_WITH_CACHE", 0.1)
    clusters.published, clusters.current = {"office": edition("1")}, "office"
    run()
    asked = threading.Event()

    def locked(context: str | None, environ: Mapping[str, str]) -> Access:
        if trouble is None:
            asked.wait(5)
        raise trouble or ClusterError("The keyring is locked.")

    monkeypatch.setattr("devlink.cluster.contexts.choose_access", locked)
    threading.Timer(0.5, asked.set).start()
    for context in ("", "office"):
        obtained = run(context=context)
        assert (obtained.profile, codes(obtained)) == (edition("1"), ["DL-PROFILE-CACHED"])
    with pytest.raises(ClusterError):
        run(context="elsewhere")


def test_a_context_of_the_same_name_at_another_server_is_another_cluster(clusters: Clusters) -> None:
    clusters.published, clusters.current = {"default": edition("1")}, "default"
    run()
    clusters.servers["default"] = "https://another.example.com:6443"
    clusters.published["default"] = AWAY
    for context in ("", "default"):
        with pytest.raises(ClusterError) as caught:
            run(context=context)
        assert caught.value is AWAY, "what the first one gave is not the second one's"
    by_name = run("qa")
    assert (by_name.profile, codes(by_name)) == (edition("1"), ["DL-PROFILE-CACHED"])
    assert "another server" in by_name.findings[0].evidence


def test_a_profile_that_its_cluster_has_renamed_stays_under_its_old_name_and_that_is_told(clusters: Clusters) -> None:
    clusters.published, clusters.current = {"office": edition("1")}, "office"
    run()
    clusters.published["office"] = edition("2", "prod")
    for _ in range(2):
        by_name = run("qa")
        assert (by_name.profile, codes(by_name)) == (edition("1"), ["DL-PROFILE-RENAMED"])
    assert run("prod").profile == edition("2", "prod")
    bare = run()
    assert (bare.profile, bare.good) == (edition("2", "prod"), edition("1"))


@pytest.mark.parametrize(("status", "title"), [(401, "know who"), (403, "not let"), (404, "no profile any more")])
def test_what_a_cluster_refuses_is_told_as_that(clusters: Clusters, status: int, title: str) -> None:
    clusters.published, clusters.current = {"office": edition("1")}, "office"
    run()
    clusters.published["office"] = ClusterError("No.", status=status)
    assert title in run().findings[0].title


def test_a_broken_way_to_the_current_cluster_is_told_and_brings_up_no_other(clusters: Clusters) -> None:
    clusters.published, clusters.current = {"office": edition("1")}, "office"
    run()
    clusters.current = "prod"  # a typing error, a program that is not there, a broken file
    with pytest.raises(UsageError, match="no kubeconfig"):
        run()


def test_without_any_kubeconfig_the_only_copy_is_meant_and_its_age_told(clusters: Clusters) -> None:
    clusters.published, clusters.current = {"office": edition("1")}, "office"
    run()
    clusters.published, clusters.current = {}, ""
    obtained = run()
    assert (obtained.profile, codes(obtained)) == (edition("1"), ["DL-PROFILE-CACHED"])
    assert obtained.origin is not None
    cache.keep(Origin(context="other", server="https://192.0.2.1"), edition("1", "other"), "1", 1.0)
    with pytest.raises(UsageError, match="Which profile"):
        run()


def test_the_api_server_and_the_proxy_that_is_on_the_way_to_it_keep_their_ways(clusters: Clusters) -> None:
    clusters.published, clusters.current = {"office": edition("1")}, "office"
    assert [str(pin) for pin in run().pins] == ["192.0.2.6"]
    clusters.proxy = "http://proxy.example.com:3128"
    assert [str(pin) for pin in run().pins] == ["192.0.2.6", "192.0.2.7"]


def test_with_a_copy_the_api_server_keeps_its_way_where_its_address_is_known(clusters: Clusters) -> None:
    clusters.published, clusters.current = {"office": edition("1")}, "office"
    clusters.servers["office"] = "https://192.0.2.9:6443"
    run()
    clusters.published["office"] = AWAY
    assert [str(pin) for pin in run().pins] == ["192.0.2.9"]
