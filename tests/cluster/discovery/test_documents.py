"""What kubectl prints becomes objects, whatever it prints: lists, typed lists, several documents, JSON or YAML."""

import json

import pytest
import yaml

from devlink.cluster.discovery import Wishes, discover, documents_in, objects_in
from devlink.errors import UsageError
from tests.cluster.discovery import networks
from tests.cluster.discovery.networks import Object

A = networks.network_a()


def bare(kind: str) -> list[Object]:
    return [
        {key: value for key, value in item.items() if key not in ("kind", "apiVersion")}
        for item in A
        if item["kind"] == kind
    ]


DUMPS = {
    "one list in JSON": json.dumps({"kind": "List", "apiVersion": "v1", "items": A}, indent=4),
    "one list in YAML": yaml.safe_dump({"kind": "List", "apiVersion": "v1", "items": A}),
    "documents in YAML": yaml.safe_dump_all(A, explicit_start=True),
    "documents in JSON": "\n".join(json.dumps(item) for item in A),
    "an array": json.dumps(A),
    "typed lists": "\n".join(
        json.dumps({"kind": f"{kind}List", "apiVersion": version, "metadata": {}, "items": bare(kind)})
        for kind, version in {item["kind"]: item["apiVersion"] for item in A}.items()
    ),
}


@pytest.mark.parametrize("dump", DUMPS, ids=list(DUMPS))
def test_every_form_of_a_dump_gives_the_same_profile(dump: str) -> None:
    expected = discover(A, Wishes(name="qa")).profile
    assert expected is not None
    assert discover(objects_in(documents_in(DUMPS[dump])), Wishes(name="qa")).profile == expected


def test_what_is_no_object_is_passed_over() -> None:
    assert list(
        objects_in([None, 7, "x", [], {"kind": "List", "items": [None, {"kind": "Node"}]}, {"kind": "Pod"}])
    ) == [
        {"kind": "Node"},
        {"kind": "Pod"},
    ]


def test_a_kind_that_only_ends_like_a_list_is_itself() -> None:
    assert list(objects_in([{"kind": "AccessList", "spec": {}}])) == [{"kind": "AccessList", "spec": {}}]


@pytest.mark.parametrize("text", ["{", '{"a": 1', "a: [1", "a: !!python/object:os.system x", "\t- x", "[" * 100_000])
def test_what_is_no_document_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(UsageError, match=r"nodes\.json is neither JSON nor YAML"):
        list(documents_in(text, name="nodes.json"))


def test_an_empty_text_has_no_object() -> None:
    assert list(objects_in(documents_in("\n"))) == []


def test_lists_that_were_put_into_a_list_are_opened() -> None:
    inner = {"kind": "NodeList", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}]}
    outer = {"kind": "List", "apiVersion": "v1", "items": [inner, {"kind": "Pod", "metadata": {"name": "p"}}]}
    assert [item["kind"] for item in objects_in([outer])] == ["Node", "Pod"]
