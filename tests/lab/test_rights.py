"""The lab's users may do what the manifests that we ship give them."""

from pathlib import Path
from typing import Any

import yaml

from devlink.lab.credentials import GROUPS, PUBLISHER, RELAYER, TENANT
from devlink.lab.rights import RELAY, TENANTS_NAMESPACE, rights

FOLDER = Path(__file__).parents[2] / "packaging/kubernetes/rights"


def key(obj: dict[str, Any]) -> tuple[str, str, str]:
    return obj["kind"], obj["metadata"]["name"], obj["metadata"].get("namespace", "")


def objects(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / file).read_text()))


def test_publishers_have_the_rights_of_the_manifests_and_no_others() -> None:
    shipped = {key(obj): obj for obj in objects("publishers.yaml")}
    ours = {key(obj): obj for obj in rights() if "devlink" in key(obj)[1] and key(obj)[1] != RELAY}
    assert set(ours) == set(shipped)
    for place, obj in shipped.items():
        for part in {"rules", "roleRef"} & set(obj):
            assert ours[place][part] == obj[part]
        assert [subject["name"] for subject in obj.get("subjects", [])] in ([], list(GROUPS[PUBLISHER]))
        assert {s["name"] for s in obj.get("subjects", [])} <= {s["name"] for s in ours[place].get("subjects", [])}


def test_who_relays_has_the_rights_of_the_manifests_and_no_others() -> None:
    for user, file, namespace in ((RELAYER, "relay.yaml", ""), (TENANT, "relay-namespace.yaml", TENANTS_NAMESPACE)):
        shipped = {each["kind"]: each for each in objects(file)}
        ours = {each["kind"]: each for each in rights() if key(each)[1:] == (RELAY, namespace)}
        assert set(ours) == set(shipped)
        for kind, each in shipped.items():
            assert "namespace" not in each["metadata"], "whoever applies it says which"
            for part in {"rules", "roleRef"} & set(each):
                assert ours[kind][part] == each[part]
            assert [subject["name"] for subject in each.get("subjects", [])] in ([], list(GROUPS[user]))
