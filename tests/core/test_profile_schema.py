"""The published schema allows every valid profile, and forbids nothing else than wrong ones."""

import ast
import dataclasses
import inspect
import json
import operator
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from devlink.core import codec
from devlink.core.checks import key_of
from devlink.core.profile import BridgeProfile, ClusterDns, DnsServer, Gateway, Identity, Metadata, Node, Spec
from devlink.core.profile_document import decode_profile
from devlink.core.profile_schema import DESCRIPTIONS, schema
from devlink.errors import ProfileError
from tests.core.profiles import SAMPLE, profiles

SCHEMA = schema()
SAMPLES = sorted((Path(__file__).parents[2] / "profiles").glob("*.yaml"))
TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "required": lambda tree, keys: all(key in tree for key in keys),
    "minItems": lambda tree, count: len(tree) >= count,
    "maxItems": lambda tree, count: len(tree) <= count,
    "maxLength": lambda tree, count: len(tree) <= count,
    "minimum": operator.ge,
    "maximum": operator.le,
    "pattern": lambda tree, pattern: re.search(pattern, tree) is not None,
    "enum": lambda tree, values: tree in values,
    "const": operator.eq,
}
ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description", "default"}


def violations(tree: Any, entry: dict[str, Any], path: str = "") -> list[str]:
    """What a JSON Schema says of a tree: the keywords of draft 2020-12 that ours uses, and a KeyError for others."""
    found: list[str] = []
    for word, argument in entry.items():
        if word in ANNOTATIONS:
            continue
        if word == "$ref":
            found += violations(tree, SCHEMA["$defs"][argument.removeprefix("#/$defs/")], path)
        elif word == "type":
            if not isinstance(tree, TYPES[argument]) or (isinstance(tree, bool) and argument != "boolean"):
                return [f"{path}: {word}"]
        elif word == "properties":
            for key in tree.keys() & argument.keys():
                found += violations(tree[key], argument[key], f"{path}.{key}")
        elif word == "additionalProperties":
            for key in tree.keys() - entry.get("properties", {}).keys():
                found += violations(tree[key], argument, f"{path}.{key}") if argument else [f"{path}.{key}: {word}"]
        elif word == "items":
            for index, item in enumerate(tree):
                found += violations(item, argument, f"{path}[{index}]")
        else:
            found += [] if HOLDS[word](tree, argument) else [f"{path}: {word}"]
    return found


@given(profiles())
def test_every_valid_profile_fits_the_schema(profile: BridgeProfile) -> None:
    assert violations(codec.encode(profile), SCHEMA) == []


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: str(path.stem))
def test_every_sample_fits_the_schema_as_it_is_written(path: Path) -> None:
    assert violations(yaml.safe_load(path.read_text()), SCHEMA) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("mtu: 1480", "mtu: 100", ".spec.mtu: minimum"),
        ("mtu: 1480", "mtu: 100000", ".spec.mtu: maximum"),
        ("mtu: 1480", "mtu: x", ".spec.mtu: type"),
        ("mtu: 1480", "mtuu: 1480", ".spec.mtuu: additionalProperties"),
        ("kind: BridgeProfile", "kind: Bridge", ".kind: const"),
        ("name: qa", "name: Qa", ".metadata.name: pattern"),
        ("name: qa, ", "", ".metadata: required"),
        ("routing: auto", "routing: direct", ".spec.routing: enum"),
        ("[default, qa]", "[]", ".spec.dns.namespaces: minItems"),
        ("[default, qa]", "[7]", ".spec.dns.namespaces[0]: type"),
        ("[default, qa]", "[Qa]", ".spec.dns.namespaces[0]: pattern"),
        ("[default, qa]", "null", ".spec.dns.namespaces: type"),
        ("namespaces: [default, qa]", "search: []", ".spec.dns.search: minItems"),
        ("namespaces: [default, qa]", "search: [Qa]", ".spec.dns.search[0]: pattern"),
        ("10.20.0.0/16", "10.20.0.0", ".spec.pods[0]: pattern"),
        ("172.16.0.13, role", "172.16.0.13/32, role", ".spec.gateways[0].address: pattern"),
        ("cluster.local", "local", ".spec.dns.domain: pattern"),
        ("{pods: ", "{pods: 7, x: ", ".provenance.pods: type"),
    ],
)
def test_what_the_schema_forbids_the_decoder_refuses_too(old: str, new: str, found: str) -> None:
    text = SAMPLE.replace(old, new, 1)
    assert violations(yaml.safe_load(text), SCHEMA) == [found]
    with pytest.raises(ProfileError):
        decode_profile(text)


@given(st.data())
def test_a_spoilt_profile_that_the_schema_forbids_is_refused(data: st.DataObject) -> None:
    tree = codec.encode(decode_profile(SAMPLE))
    place: Any = tree
    while True:  # go down to a random value and put something else there
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(st.none() | st.booleans() | st.integers(-1, 70000) | st.text(max_size=5) | st.just([]))
    if violations(tree, SCHEMA):
        with pytest.raises(ProfileError):
            decode_profile(json.dumps(tree))


CLASSES = [BridgeProfile, Metadata, Spec, Gateway, Node, ClusterDns, DnsServer, Identity]


@pytest.mark.parametrize("cls", CLASSES)
def test_a_key_is_described_in_the_words_that_stand_under_its_attribute(cls: type) -> None:
    (definition,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(definition, ast.ClassDef)
    written = {
        attribute.target.id: " ".join(text.value.value.split())
        for attribute, text in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(attribute, ast.AnnAssign) and isinstance(attribute.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }
    assert written == DESCRIPTIONS[cls]


def test_the_schema_needs_no_source_of_the_program(tmp_path: Path) -> None:
    script = "import json, linecache; linecache.getlines = linecache.updatecache = lambda *_: []\n"
    script += "from devlink.core.profile_schema import schema; print(json.dumps(schema()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout) == SCHEMA


@pytest.mark.parametrize("cls", CLASSES)
def test_the_schema_has_every_key_with_a_description(cls: type) -> None:
    entry = SCHEMA if cls is BridgeProfile else SCHEMA["$defs"][cls.__name__]
    assert list(entry["properties"]) == [key_of(field) for field in dataclasses.fields(cls)]
    assert entry["additionalProperties"] is False
    for key, value in entry["properties"].items():
        assert value.get("description") or "$ref" in value, key


def test_the_schema_is_json_and_says_which_draft() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$defs"]["Gateway"]["properties"]["priority"] | {"description": ""} == {
        "type": "integer", "minimum": 0, "maximum": 65535, "default": 10, "description": "",
    }  # fmt: skip
