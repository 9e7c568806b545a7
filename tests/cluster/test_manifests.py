"""packaging/kubernetes: the same objects as the program's, and the rights that discovery and publishing use."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from devlink.cluster import publishing, reads
from devlink.cluster.publication import CONFIG_MAP, MANAGER, NAMESPACE, reader_rights

FOLDER = Path(__file__).parents[2] / "packaging" / "kubernetes"
NOT_GRANTED = {"/api/v1/pods"}
"""Pods of all namespaces: those of kube-system, which the same read falls back to, do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to the API, as RBAC sees it."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str


@functools.cache
def objects(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / file).read_text()))


def request(path: str, *, is_list: bool) -> Request:
    """`/api/v1/...` or `/apis/GROUP/VERSION/...`, with or without a namespace."""
    parts = path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    namespace = ""
    if rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    name = "" if is_list else rest[1]
    return Request(verb="list" if is_list else "get", group=group, resource=rest[0], namespace=namespace, name=name)


def rules(namespace: str) -> Iterator[Mapping[str, Any]]:
    """What publishers may do in a namespace."""
    for each in objects("rights/publishers.yaml"):
        if each["kind"] == "ClusterRole" or (each["kind"] == "Role" and each["metadata"]["namespace"] == namespace):
            yield from each["rules"]


def allows(rule: Mapping[str, Any], wanted: Request) -> bool:
    return (
        wanted.verb in rule["verbs"]
        and wanted.group in rule["apiGroups"]
        and wanted.resource in rule["resources"]
        and (not rule.get("resourceNames") or wanted.name in rule["resourceNames"])
    )


def may(wanted: Request) -> bool:
    return any(allows(rule, wanted) for rule in rules(wanted.namespace))


READS = [(path, read.is_list) for read in (reads.FIRST, *reads.READS, reads.KUBERNETES) for path in read.paths]


def test_the_readers_manifest_is_what_publish_applies() -> None:
    assert objects("rights/readers.yaml") == list(reader_rights())


@pytest.mark.parametrize(("path", "is_list"), sorted(set(READS) - {(path, True) for path in NOT_GRANTED}))
def test_publishers_may_read_all_that_discovery_reads(path: str, is_list: bool) -> None:
    assert may(request(path, is_list=is_list))


def test_publishers_may_write_what_publish_writes() -> None:
    rbac = "rbac.authorization.k8s.io"
    for verb in ("get", "create", "patch"):
        assert may(Request(verb=verb, group="", resource="configmaps", namespace=NAMESPACE, name=CONFIG_MAP))
    for resource in ("roles", "rolebindings"):
        for verb in ("create", "patch"):
            assert may(Request(verb=verb, group=rbac, resource=resource, namespace=NAMESPACE, name=CONFIG_MAP))
    (given,) = reader_rights()[0]["rules"]
    for verb in given["verbs"]:  # nobody may give a right that he does not have
        assert may(Request(verb=verb, group="", resource="configmaps", namespace=NAMESPACE, name=CONFIG_MAP))
    assert not may(Request(verb="patch", group="", resource="configmaps", namespace=NAMESPACE, name="cluster-info"))
    assert publishing.PATH.endswith(f"/{NAMESPACE}/configmaps/{CONFIG_MAP}")
    assert MANAGER == "devlink"


def test_publishers_may_read_nothing_that_discovery_does_not_read() -> None:
    wanted = [request(path, is_list=is_list) for path, is_list in READS]
    for each in objects("rights/publishers.yaml"):
        if each["metadata"]["name"] != "devlink-discover" or "rules" not in each:
            continue
        namespace = each["metadata"].get("namespace")
        for rule in each["rules"]:
            for verb in rule["verbs"]:
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames", [""]):
                        one = {**rule, "verbs": [verb], "resources": [resource], "resourceNames": [name] * bool(name)}
                        used = (r for r in wanted if allows(one, r) and namespace in (None, r.namespace))
                        assert next(used, None), f"{verb} {resource} {name} in {namespace} is used by nobody"


def test_every_binding_is_of_a_role_that_is_there_and_of_publishers() -> None:
    found = objects("rights/publishers.yaml")
    roles = {(each["kind"], each["metadata"]["name"], each["metadata"].get("namespace")) for each in found}
    bindings = [each for each in found if each["kind"].endswith("Binding")]
    assert len(bindings) * 2 == len(found)
    for binding in bindings:
        ref = binding["roleRef"]
        assert (ref["kind"], ref["name"], binding["metadata"].get("namespace")) in roles
        assert [subject["name"] for subject in binding["subjects"]] == ["devlink-publishers"]


def test_the_job_publishes_with_an_account_that_has_the_publishers_rights() -> None:
    kustomization = objects("republish/kustomization.yaml")[0]
    account, job = objects("republish/cronjob.yaml")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (container["image"], container["args"]) == (kustomization["images"][0]["name"], ["profile", "publish"])
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    patched = {(each["target"]["kind"], each["target"]["name"]) for each in kustomization["patches"]}
    bindings = {
        (each["kind"], each["metadata"]["name"])
        for each in objects("rights/publishers.yaml")
        if each["kind"].endswith("Binding")
    }
    assert patched == bindings
    for patch in kustomization["patches"]:
        (step,) = yaml.safe_load(patch["patch"])
        assert step["value"] == {"kind": "ServiceAccount", **{k: account["metadata"][k] for k in ("name", "namespace")}}
    assert job["spec"]["concurrencyPolicy"] == "Forbid"


GIVEN_BY_HAND = {"relay.yaml", "relay-namespace.yaml"}
"""Whoever applies the others gives nobody a way to all pods."""


def test_every_manifest_is_in_a_kustomization() -> None:
    for folder in ("rights", "republish"):
        (kustomization,) = objects(f"{folder}/kustomization.yaml")
        named = {each for each in kustomization["resources"] if each.endswith(".yaml")}
        assert (
            named == {path.name for path in (FOLDER / folder).glob("*.yaml")} - {"kustomization.yaml"} - GIVEN_BY_HAND
        )
