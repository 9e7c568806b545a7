"""Fetching and publishing: what is written, what is left alone, and what the errors say."""

import asyncio
import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import pytest

from devlink.cluster.access import Access
from devlink.cluster.api import Api
from devlink.cluster.publication import KEY, PACKED_KEY, config_map
from devlink.cluster.publishing import PATH, Published, Written, fetch, known, publish
from devlink.core.profile import BridgeProfile, Identity
from devlink.core.profile_document import decode_profile
from devlink.errors import ClusterError, ConflictError, ProfileError, UsageError
from tests.core.profiles import SAMPLE, pem

RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-public"
QA = decode_profile(SAMPLE)
TEXT: dict[str, Any] = {"f:data": {".": {}, f"f:{KEY}": {}}}
PACKED: dict[str, Any] = {"f:binaryData": {f"f:{PACKED_KEY}": {}}}
OURS = {"manager": "devlink", "operation": "Apply", "fieldsV1": TEXT}


def edition(revision: str = "later", *, name: str = "qa", mtu: int | None = None) -> BridgeProfile:
    metadata = dataclasses.replace(QA.metadata, name=name, revision=revision)
    return dataclasses.replace(QA, metadata=metadata, spec=dataclasses.replace(QA.spec, mtu=mtu or QA.spec.mtu))


class FakeApi:
    """A cluster's objects by path; it may refuse some, and notes what is written."""

    def __init__(self, *, insecure: bool = False) -> None:
        self.access = Access(name="qa", server="https://192.0.2.6:6443", insecure=insecure)
        self.objects: dict[str, dict[str, Any]] = {}
        self.refuse: dict[tuple[str, str], ClusterError] = {}
        self.written: list[str] = []
        self.forced: list[bool] = []

    def hold(self, profile: BridgeProfile, *managers: Mapping[str, Any]) -> None:
        found = config_map(profile)
        found["metadata"] |= {"resourceVersion": "7", "managedFields": list(managers)}
        self.objects[PATH] = found

    @property
    def held(self) -> BridgeProfile:
        return decode_profile(self.objects[PATH]["data"][KEY])

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, limit: int = 0) -> dict[str, Any]:
        if ("get", path) in self.refuse:
            raise self.refuse["get", path]
        if path not in self.objects:
            raise ClusterError("The cluster of qa has no such thing.", status=404)
        return copy.deepcopy(self.objects[path])

    async def apply(
        self, path: str, body: Mapping[str, Any], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        assert manager == "devlink"
        if ("apply", path) in self.refuse:
            raise self.refuse["apply", path]
        self.objects[path] = copy.deepcopy(dict(body))
        self.written.append(path)
        self.forced.append(force)
        return copy.deepcopy(self.objects[path])


def fetched(api: FakeApi) -> Published:
    return asyncio.run(fetch(cast(Api, api)))


def published(api: FakeApi, profile: BridgeProfile = QA, *, overwrite: bool = False) -> Written:
    return asyncio.run(publish(cast(Api, api), profile, overwrite=overwrite))


def error(status: int | None, why: str = "No.") -> ClusterError:
    return ClusterError("The cluster of qa does not.", why=why, status=status)


def test_what_is_published_is_fetched_with_its_edition() -> None:
    api = FakeApi()
    api.hold(QA)
    assert fetched(api) == Published(profile=QA, resource_version="7", insecure=False)


def test_a_profile_from_an_unchecked_connection_has_no_identity() -> None:
    api = FakeApi(insecure=True)
    spec = dataclasses.replace(QA.spec, identity=Identity(ca=pem()))
    api.hold(dataclasses.replace(QA, spec=spec, provenance={"identity.ca": "anyone", "pods": "ippools"}))
    found = fetched(api)
    assert found.insecure
    assert found.profile.spec == QA.spec
    assert dict(found.profile.provenance) == {"pods": "ippools"}


@pytest.mark.parametrize(
    ("status", "said", "step"),
    [(404, "publishes no profile", "devlink profile publish"), (403, "may not read", "configmaps/devlink-profile")],
)
def test_no_profile_and_no_right_are_told_apart(status: int, said: str, step: str) -> None:
    api = FakeApi()
    api.refuse["get", PATH] = error(status)
    with pytest.raises(ClusterError, match=said) as caught:
        fetched(api)
    assert (caught.value.status, caught.value.exit_code) == (status, 7)
    assert step in caught.value.next_step


def test_another_failure_passes_as_it_is_and_a_broken_profile_names_its_faults() -> None:
    api = FakeApi()
    api.refuse["get", PATH] = away = error(None)
    with pytest.raises(ClusterError) as caught:
        fetched(api)
    assert caught.value is away
    del api.refuse["get", PATH]
    api.hold(QA)
    api.objects[PATH]["data"][KEY] = SAMPLE.replace("mtu: 1480", "mtu: 1")
    with pytest.raises(ProfileError, match="kube-public/devlink-profile") as broken:
        fetched(api)
    assert broken.value.faults[0].startswith("spec.mtu")


@pytest.mark.parametrize("overwrite", [True, False])
def test_who_publishes_again_knows_what_is_published_or_that_there_is_nothing(overwrite: bool) -> None:
    api = FakeApi()
    assert asyncio.run(known(cast(Api, api), overwrite=overwrite)) is None
    api.hold(QA)
    assert asyncio.run(known(cast(Api, api), overwrite=overwrite)) == QA
    api.objects[PATH]["data"] = {KEY: "a: ["}
    assert asyncio.run(known(cast(Api, api), overwrite=overwrite)) is None


@pytest.mark.parametrize("status", [401, 429, 500, 503, None])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_failure_to_read_what_is_published_is_never_taken_for_nothing(status: int | None, overwrite: bool) -> None:
    api = FakeApi()
    api.hold(QA)
    api.refuse["get", PATH] = failure = error(status)
    with pytest.raises(ClusterError) as caught:
        asyncio.run(known(cast(Api, api), overwrite=overwrite))
    assert caught.value is failure


def test_what_may_not_be_seen_is_written_over_only_where_told() -> None:
    api = FakeApi()
    api.refuse["get", PATH] = error(403, "user x cannot get.")
    for attempt in (known(cast(Api, api), overwrite=False), publish(cast(Api, api), QA, overwrite=False)):
        with pytest.raises(ClusterError, match="may not read") as caught:
            asyncio.run(attempt)
        assert caught.value.why == "user x cannot get."
        assert "--overwrite" in caught.value.next_step
    assert api.written == []
    assert asyncio.run(known(cast(Api, api), overwrite=True)) is None
    assert published(api, overwrite=True).changed


@pytest.mark.parametrize("overwrite", [True, False])
def test_what_nobody_can_change_is_to_be_deleted_first(overwrite: bool) -> None:
    api = FakeApi()
    api.hold(QA, OURS)
    api.objects[PATH]["immutable"] = True
    with pytest.raises(ConflictError, match="is immutable") as caught:
        published(api, edition(mtu=1450), overwrite=overwrite)
    assert "kubectl -n kube-public delete configmap devlink-profile" in caught.value.next_step
    assert api.written == []
    assert not published(api, edition()).changed


def test_publishing_writes_the_profile_first_and_then_the_right_to_read_it() -> None:
    api = FakeApi()
    written = published(api)
    assert (written.changed, written.remarks, written.profile) == (True, (), QA)
    assert api.written == [PATH, f"{RBAC}/roles/devlink-profile", f"{RBAC}/rolebindings/devlink-profile"]
    assert api.forced == [False] * 3
    assert api.held == QA


def test_what_is_published_already_keeps_its_revision_so_that_nobody_fetches_it_again() -> None:
    api = FakeApi()
    api.hold(QA, OURS)
    before = copy.deepcopy(api.objects[PATH]["data"])
    written = published(api, edition("later"))
    assert not written.changed
    assert api.objects[PATH]["data"] == before
    assert published(api, edition("later", mtu=1450)).changed
    assert api.held == edition("later", mtu=1450)


@pytest.mark.parametrize(
    ("manager", "who"),
    [
        ({"manager": "argocd", "operation": "Apply", "time": "2026-11-20", "fieldsV1": TEXT}, "argocd"),
        ({"manager": "kubectl-edit", "operation": "Update", "fieldsV1": PACKED}, "kubectl-edit"),
        ({"manager": "devlink", "operation": "Update", "fieldsV1": TEXT}, "devlink"),
        ({"manager": "a\x1b[31m" + "b" * 500, "fieldsV1": TEXT}, "a [31m"),
    ],
)
def test_what_another_program_has_written_is_left_alone_unless_told(manager: dict[str, Any], who: str) -> None:
    api = FakeApi()
    api.hold(QA, OURS, manager)
    before = copy.deepcopy(api.objects)
    with pytest.raises(ConflictError) as caught:
        published(api, edition(mtu=1450))
    assert who in caught.value.why
    assert caught.value.why.isprintable()
    assert len(caught.value.why) < 200
    assert "--overwrite" in caught.value.next_step
    assert caught.value.exit_code == 5
    assert api.objects == before
    assert published(api, edition(mtu=1450), overwrite=True).changed
    assert api.held == edition(mtu=1450)
    assert all(api.forced)


def test_who_only_put_a_label_or_another_key_on_it_is_no_hindrance() -> None:
    label = {"manager": "kubectl-label", "fieldsV1": {"f:metadata": {"f:labels": {}}}}
    note = {"manager": "kubectl-edit", "fieldsV1": {"f:data": {"f:note": {}}}}
    api = FakeApi()
    api.hold(QA, OURS, label, note)
    assert published(api, edition(mtu=1450)).changed


def test_another_profile_is_left_alone_unless_told() -> None:
    api = FakeApi()
    api.hold(edition("first", name="other"), OURS)
    with pytest.raises(ConflictError, match="is another's") as caught:
        published(api)
    assert "profile other, revision first, not qa" in caught.value.why
    assert api.written == []
    published(api, overwrite=True)
    assert api.held == QA


def test_a_conflict_that_only_the_api_sees_is_one_too() -> None:
    api = FakeApi()
    api.refuse["apply", PATH] = error(409, 'conflict with "argocd"')
    with pytest.raises(ConflictError, match="is another's") as caught:
        published(api)
    assert "argocd" in caught.value.why


def test_a_broken_profile_of_ours_is_written_anew() -> None:
    api = FakeApi()
    api.hold(QA, OURS)
    api.objects[PATH]["data"] = {KEY: "a: ["}
    assert published(api).changed
    assert api.held == QA


def test_who_may_not_write_the_profile_learns_what_it_takes() -> None:
    api = FakeApi()
    api.refuse["apply", PATH] = error(403, "user x cannot patch.")
    with pytest.raises(ClusterError, match="may not publish") as caught:
        published(api)
    assert caught.value.why == "user x cannot patch."
    assert "--dry-run" in caught.value.next_step


def test_the_readers_right_that_cannot_be_given_is_a_remark_and_any_other_failure_is_not() -> None:
    api = FakeApi()
    path = f"{RBAC}/roles/devlink-profile"
    api.refuse["apply", path] = error(403, "forbidden")
    written = published(api)
    assert api.held == QA
    (remark,) = written.remarks
    assert remark.startswith("Role kube-public/devlink-profile")
    assert "forbidden" in remark
    api.refuse["apply", path] = error(None)
    with pytest.raises(ClusterError):
        published(api, edition(mtu=1450))


def test_over_an_unchecked_connection_nothing_is_published() -> None:
    api = FakeApi(insecure=True)
    with pytest.raises(UsageError, match="not checked") as caught:
        published(api, overwrite=True)
    assert api.written == []
    assert "certificate-authority-data" in caught.value.next_step


def test_a_place_that_another_manager_keeps_filled_is_told() -> None:
    class Stubborn(FakeApi):
        async def apply(self, path: str, body: Mapping[str, Any], **named: Any) -> dict[str, Any]:
            found = await super().apply(path, body, **named)
            if path == PATH:
                found["binaryData"] = {"profile.yaml.gz": "eA=="}
            return found

    with pytest.raises(ClusterError, match="cannot be read from it") as caught:
        published(Stubborn(), overwrite=True)
    assert "kubectl -n kube-public delete configmap" in caught.value.next_step
