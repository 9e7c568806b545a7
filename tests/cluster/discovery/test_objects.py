"""Odd shapes count as absent; what is refused is noted; an object is there once."""

from typing import Any

import pytest

from devlink.cluster.discovery.objects import (
    CALICO,
    CORE,
    Objects,
    flag,
    json_in,
    mappings,
    name_of,
    number,
    source_of,
    text,
    texts,
)
from tests.cluster.discovery.networks import CRD, SERVED, config_map, pool, thing

ODD: list[Any] = [None, 7, 1.5, True, "text", [], {}, [None, 3, "x", {"a": 1}], {"a": {"b": []}}, "x" * 100_000]


@pytest.mark.parametrize("tree", ODD)
def test_no_shape_is_an_error(tree: Any) -> None:
    assert isinstance(text(tree, "a", "b"), str)
    assert texts(tree, "a", "b") == ()
    assert list(mappings(tree, "a", "b")) == []
    assert flag(tree, "a", "b") is None
    assert number(tree, "a", "b") is None
    assert json_in(tree, "a", "b") is None
    assert text({"a": tree}, "a") in ("", tree)


@pytest.mark.parametrize(
    ("value", "read_flag", "read_number"),
    [
        ("true", True, None), ("False", False, None), (True, True, None), (0, None, 0), ("0", None, 0),
        (1480, None, 1480),
        ("1480", None, 1480), (-1, None, None), ("٣", None, None), ("9" * 30, None, None), ("1.5", None, None),
    ],
)  # fmt: skip
def test_flags_and_numbers_may_be_texts(value: Any, read_flag: bool | None, read_number: int | None) -> None:
    assert flag({"a": value}, "a") is read_flag
    assert number({"a": value}, "a") == read_number


def test_the_served_api_goes_before_its_storage_and_objects_are_in_order() -> None:
    objects = Objects([pool("10.0.0.0/16", "b"), pool("10.1.0.0/16", "z", SERVED), pool("10.2.0.0/16", "a", SERVED)])
    assert [name_of(item) for item in objects.of("IPPool", *CALICO)] == ["a", "z"]
    assert [name_of(item) for item in objects.of("IPPool", *reversed(CALICO))] == ["b"]


def test_an_object_is_there_once_and_a_foreign_kind_of_the_same_name_is_another() -> None:
    mine = pool("10.0.0.0/16", "p")
    foreign = thing("whereabouts.cni.cncf.io/v1alpha1", "IPPool", "p", "kube-system", spec={"range": "10.0.0.0/16"})
    objects = Objects([mine, mine, foreign, None, 7, [], {"kind": 3}, {"metadata": {}}])
    assert objects.of("IPPool", *CALICO) == [mine]


def test_an_object_that_does_not_say_its_group_is_taken_as_it_is() -> None:
    bare = {"kind": "IPPool", "metadata": {"name": "p"}, "spec": {}}
    assert Objects([bare]).of("IPPool", *CALICO) == [bare]
    assert Objects([bare, pool("10.0.0.0/16", "q", CRD)]).of("Node", CORE) == []


def test_a_config_map_is_found_by_the_first_name_that_is_there() -> None:
    objects = Objects([config_map("b", {}, "kube-system"), config_map("a", {}, "other")])
    assert name_of(objects.config_map("kube-system/a", "kube-system/b")) == "b"
    assert objects.config_map("kube-system/c") == {}
    bare = {"kind": "ConfigMap", "metadata": {"name": "c"}}
    assert Objects([bare]).config_map("kube-system/c") == bare, "a dump need not say the namespace"


def test_what_cannot_be_read_is_noted_with_its_source() -> None:
    objects = Objects([])
    item = pool("172.27.0.208/22", "bad")
    assert objects.prefixes(item, ["172.27.0.208/22", "10.0.0.0/8 255.0.0.0", "10.0.0.0/8"]) != ()
    assert objects.yaml_in(config_map("c", {"k": "a: [1"}), "k") is None
    assert objects.address(item, "fe80::x") is None
    sources = [one.source for one in objects.refused]
    assert sources == ["ippools.crd.projectcalico.org/bad"] * 2 + ["configmaps/kube-system/c (k)", sources[0]]
    assert "host bits set" in objects.refused[0].problem
    assert "172.27.0.0/22" in objects.refused[0].problem


def test_a_source_names_resource_and_object_and_never_harms_a_terminal_or_a_shell() -> None:
    assert (
        source_of(config_map("kubeadm-config", {}), "podSubnet") == "configmaps/kube-system/kubeadm-config (podSubnet)"
    )
    assert source_of(thing(CRD, "BlockAffinity", "b")) == "blockaffinities.crd.projectcalico.org/b"
    hostile = source_of(thing("v1", "Node", "\x1b[2J;$(reboot) `x` " + "y" * 1000))
    assert not set("\x1b;$()` ") & set(hostile)
    assert len(hostile) < 300
