"""The lab's users may do what the manifests that we ship give them."""

from pathlib import Path
from typing import Any

import yaml

from devlink.lab.credentials import GROUPS, PUBLISHER
from devlink.lab.rights import rights

MANIFESTS = Path(__file__).parents[2] / "packaging/kubernetes/rights/publishers.yaml"


def key(obj: dict[str, Any]) -> tuple[str, str, str]:
    return obj["kind"], obj["metadata"]["name"], obj["metadata"].get("namespace", "")


def test_publishers_have_the_rights_of_the_manifests_and_no_others() -> None:
    shipped = {key(obj): obj for obj in yaml.safe_load_all(MANIFESTS.read_text())}
    ours = {key(obj): obj for obj in rights() if "devlink" in key(obj)[1] and "relay" not in key(obj)[1]}
    assert set(ours) == set(shipped)
    for place, obj in shipped.items():
        for part in {"rules", "roleRef"} & set(obj):
            assert ours[place][part] == obj[part]
        assert [subject["name"] for subject in obj.get("subjects", [])] in ([], list(GROUPS[PUBLISHER]))
        assert {s["name"] for s in obj.get("subjects", [])} <= {s["name"] for s in ours[place].get("subjects", [])}
