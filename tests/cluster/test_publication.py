"""The profile as a ConfigMap and back, whatever a ConfigMap may hold; and the rights beside it."""

import base64
import dataclasses
import gzip
import ipaddress
import random
import zlib
from typing import Any

import pytest
import yaml
from hypothesis import given

from devlink.cluster import publication
from devlink.cluster.publication import (
    KEY,
    PACKED_KEY,
    PLAIN_LIMIT,
    config_map,
    emptied,
    is_same,
    manifests,
    published_profile,
    reader_rights,
    yaml_of,
)
from devlink.core.profile import BridgeProfile, Node
from devlink.core.profile_document import MAX_BYTES, decode_profile, encode_profile
from devlink.errors import ProfileError
from tests.core.profiles import SAMPLE, profiles

QA = decode_profile(SAMPLE)
LARGE = decode_profile("""\
apiVersion: devlink/v1alpha1
kind: BridgeProfile
metadata: {name: large}
spec:
  pods: [10.0.0.0/8]
  gateways: [{address: 172.16.0.1}]
""")


def with_blocks(count: int) -> BridgeProfile:
    """A profile of so many /26 blocks, each with a node of its own."""
    blocks = ipaddress.IPv4Network("10.0.0.0/8").subnets(new_prefix=26)
    nodes = tuple(
        Node(address=ipaddress.ip_address("172.16.0.1") + number, pods=(block,))
        for number, block in zip(range(count), blocks, strict=False)
    )
    return dataclasses.replace(LARGE, spec=dataclasses.replace(LARGE.spec, nodes=nodes))


def packed(content: bytes) -> dict[str, Any]:
    return {"binaryData": {PACKED_KEY: base64.b64encode(content).decode()}}


def faults_of(found: dict[str, Any]) -> str:
    with pytest.raises(ProfileError) as caught:
        published_profile(found)
    return " ".join(caught.value.faults)


@given(profiles())
def test_what_is_published_is_what_is_fetched(profile: BridgeProfile) -> None:
    assert published_profile(config_map(profile)) == profile


@pytest.mark.slow
def test_a_small_profile_lies_there_as_text_and_a_large_one_packed() -> None:
    assert config_map(QA)["data"] == {KEY: encode_profile(QA)}
    large = with_blocks(11_000)
    assert len(encode_profile(large)) > PLAIN_LIMIT
    found = config_map(large)
    assert "data" not in found
    assert len(found["binaryData"][PACKED_KEY]) < PLAIN_LIMIT
    assert published_profile(found) == large
    assert gzip.decompress(base64.b64decode(found["binaryData"][PACKED_KEY])) == encode_profile(large).encode()


def test_the_limit_is_of_octets_and_packing_gives_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(encode_profile(QA).encode())
    monkeypatch.setattr(publication, "PLAIN_LIMIT", size)
    assert "data" in config_map(QA)
    monkeypatch.setattr(publication, "PLAIN_LIMIT", size - 1)
    found = config_map(QA)
    assert "data" not in found
    header = base64.b64decode(found["binaryData"][PACKED_KEY])[:8]
    assert header[4:8] == bytes(4), "the time of packing would make an edition of its own"


def test_a_profile_that_fits_into_no_configmap_is_told_at_its_publisher(monkeypatch: pytest.MonkeyPatch) -> None:
    large = with_blocks(100)
    monkeypatch.setattr(publication, "PLAIN_LIMIT", 100)
    monkeypatch.setattr(publication, "STORED_LIMIT", 100)
    with pytest.raises(ProfileError, match="too large") as caught:
        config_map(large)
    assert "without `nodes`" in caught.value.next_step


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        ({}, "neither"),
        ({"data": {}}, "neither"),
        ({"data": {KEY: ""}, "binaryData": {PACKED_KEY: ""}}, "neither"),
        ({"data": {"profile.yml": SAMPLE}}, "neither"),
        ({"data": [SAMPLE]}, "neither"),
        ({"data": {KEY: SAMPLE}, **packed(b"x")}, "both"),
        ({"data": {KEY: 7}}, "no text"),
        ({"binaryData": {PACKED_KEY: ["x"]}}, "no text"),
        ({"binaryData": {PACKED_KEY: "%%%"}}, "no gzip"),
        ({"binaryData": {PACKED_KEY: "ä"}}, "no gzip"),
        (packed(b"no gzip at all"), "no gzip"),
        (packed(zlib.compress(SAMPLE.encode())), "no gzip"),
        (packed(gzip.compress(SAMPLE.encode())[:-9]), "cut off"),
        (packed(gzip.compress(SAMPLE.encode()) + b"more"), "followed by more"),
        (packed(gzip.compress(b" " * (MAX_BYTES + 1))), "more than"),
        (packed(gzip.compress(b"\xff\xfe")), "UTF-8"),
        ({"data": {KEY: "a: ["}}, "not YAML"),
        ({"data": {KEY: SAMPLE.replace("mtu: 1480", "mtu: 1")}}, "spec.mtu"),
    ],
)
def test_a_configmap_that_holds_no_profile_says_why(found: dict[str, Any], fault: str) -> None:
    assert fault in faults_of(found)


@pytest.mark.slow
def test_a_bomb_is_not_unpacked_beyond_what_a_profile_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(gzip.compress(b"\0" * (1 << 26)) * 100)
    grown = gzip.compress(b"\0" * (1 << 26))
    real = zlib.decompressobj
    sizes = []

    class Watched:
        def __init__(self, **named: int) -> None:
            self._inner: Any = real(**named)  # type: ignore[arg-type]

        def decompress(self, data: bytes, limit: int) -> bytes:
            text: bytes = self._inner.decompress(data, limit)
            sizes.append(len(text))
            return text

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    assert "more than" in faults_of(packed(grown))
    faults_of(packed(bomb))
    assert sizes
    assert max(sizes) <= MAX_BYTES + 1


def test_no_octets_whatsoever_raise_anything_else() -> None:
    chance = random.Random(4)
    good = gzip.compress(SAMPLE.encode(), mtime=0)
    for _ in range(300):
        spoilt = bytearray(good)
        spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        try:
            published_profile(packed(bytes(spoilt)))
        except ProfileError:
            continue


def test_a_place_that_another_has_filled_is_emptied_and_counts_as_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(publication, "PLAIN_LIMIT", 100)
        large = config_map(with_blocks(100))
    mixed = emptied(large, {"data": {KEY: SAMPLE}})
    assert mixed["data"] == {KEY: ""}
    assert published_profile(mixed).metadata.name == "large"
    assert emptied(large, large) == large
    assert published_profile(emptied(config_map(QA), large)) == QA


def test_a_revision_and_a_source_make_no_other_profile_and_everything_else_does() -> None:
    newer = dataclasses.replace(QA, metadata=dataclasses.replace(QA.metadata, revision="later"), provenance={})
    assert is_same(QA, newer)
    assert not is_same(QA, dataclasses.replace(QA, metadata=dataclasses.replace(QA.metadata, name="qb")))
    assert not is_same(QA, dataclasses.replace(QA, spec=dataclasses.replace(QA.spec, mtu=1450)))


def test_the_readers_right_is_to_get_and_watch_one_object() -> None:
    role, binding = reader_rights()
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["devlink-profile"],
            "verbs": ["get", "watch"],
        }
    ]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == ["system:authenticated"]
    assert {each["metadata"]["namespace"] for each in (role, binding)} == {"kube-public"}


def test_manifests_are_yaml_that_people_can_read() -> None:
    text = yaml_of(manifests(QA))
    assert list(yaml.safe_load_all(text)) == list(manifests(QA))
    assert "  profile.yaml: |" in text
    assert "  pods: [10.20.0.0/16" in text
    assert "&id" not in text
