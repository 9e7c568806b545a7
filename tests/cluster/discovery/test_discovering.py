"""A discovery as a whole: identity, wishes, what could not be read, and objects that nobody should have written."""

import copy
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devlink.cluster.discovery import Unread, Wishes, discover, knows_services
from devlink.core.profile import Transport
from devlink.core.profile_document import decode_profile, encode_profile
from devlink.errors import UsageError
from tests.cluster.discovery import networks
from tests.cluster.discovery.finds import finding, found, profile
from tests.cluster.discovery.networks import CA, Object, config_map, without
from tests.core.profiles import pem

A = networks.network_a()
OTHER_CA = pem(b"another cluster's")
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "discover.py"


def test_the_clusters_own_ca_goes_before_the_one_of_the_connection() -> None:
    identity = discover(A, Wishes(name="qa"), ca=OTHER_CA).profile
    assert identity is not None
    assert identity.spec.identity is not None
    assert identity.spec.identity.ca == CA


def test_the_ca_of_the_connection_stands_in() -> None:
    stranger = discover(without(A, "kube-root-ca.crt"), Wishes(name="qa"), ca=OTHER_CA).profile
    assert stranger is not None
    assert stranger.spec.identity is not None
    assert stranger.spec.identity.ca == OTHER_CA
    assert stranger.provenance["identity.ca"] == "the CA by which the API server was checked"


def test_without_any_ca_a_finding_says_so() -> None:
    objects = without(A, "kube-root-ca.crt")
    assert profile(objects).spec.identity is None
    missing = [one for one in found(objects).findings if one.code == "DL-NOT-FOUND"]
    assert [one.evidence for one in missing] == ["no identity.ca"]


def test_a_private_key_in_the_ca_costs_the_identity_and_is_never_shown() -> None:
    secret = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    result = found([*without(A, "kube-root-ca.crt"), config_map("kube-root-ca.crt", {"ca.crt": secret}, "kube-public")])
    assert result.profile is not None
    assert result.profile.spec.identity is None
    assert "c2VjcmV0" not in str(result)


def test_wishes_go_into_the_profile() -> None:
    made = profile(
        A, revision="2026-01-01T00:00:00Z", namespaces=("qa", "default"), search=("qa",), transport=Transport.TCP
    )
    assert made.metadata.revision == "2026-01-01T00:00:00Z"
    assert made.spec.dns is not None
    assert (made.spec.dns.namespaces, made.spec.dns.search) == (("qa", "default"), ("qa",))
    assert {server.transport for server in made.spec.dns.servers} == {Transport.TCP}


@pytest.mark.parametrize(
    "wishes",
    [
        {"name": "Not A Label"},
        {"name": ""},
        {"name": "qa", "namespaces": ("Q",)},
        {"name": "qa", "namespaces": ()},
        {"name": "qa", "search": ()},
        {"name": "qa", "search": ("com",)},
        {"name": "qa", "search": ("dev",), "namespaces": ("default",)},
    ],
)
def test_wishes_that_no_profile_can_have_are_the_users_error(wishes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Wishes(**wishes)


def test_what_could_not_be_read_is_told_by_what_would_help() -> None:
    unread = [
        Unread(path="/a", status=403, why="a is forbidden.", right="list a"),
        Unread(path="/b", status=404, why="not there.", right="list b"),
        Unread(path="/c", status=500, why="it broke.", right="list c"),
        Unread(path="/d", status=None, why="too slow.", right="list d"),
    ]
    result = discover(A, Wishes(name="qa"), unread=unread)
    assert result.unread == tuple(unread)
    told = {one.evidence: one for one in result.findings if one.code in ("DL-NOT-READ", "DL-NOT-THERE")}
    assert set(told) == {"/a", "/c: it broke.; /d: too slow.", "/b"}
    assert "list a" in told["/a"].fix
    assert "list c; list d" in told["/c: it broke.; /d: too slow."].fix


def test_the_order_of_the_objects_does_not_matter() -> None:
    shuffled = list(A)
    random.Random(3).shuffle(shuffled)
    assert found(shuffled) == found(A)


def test_two_runs_over_the_same_objects_leave_them_as_they_were() -> None:
    objects = copy.deepcopy(A)
    found(objects)
    assert objects == A


def test_a_profile_that_was_found_survives_its_document() -> None:
    for network in (networks.network_d, networks.k3s, networks.rke2, networks.cilium, networks.dual_stack):
        made = profile(network())
        assert decode_profile(encode_profile(made)) == made


def test_whether_services_are_known_leaves_guesses_out() -> None:
    assert knows_services(A)
    assert not knows_services([networks.service("kubernetes", "default", "10.96.0.1")])


CLUSTERS: list[Callable[[], list[Object]]] = [
    networks.network_a, networks.network_b, networks.network_c, networks.network_d, networks.network_e, networks.k3s,
    networks.rke2, networks.cilium, networks.dual_stack,
]  # fmt: skip
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    float("nan"),
    "",
    "x" * 70_000,
    "\x1b[2J\r\n",
    "0.0.0.0/0",
    "10.0.0.1/8",
    "::/0",
    "169.254.20.10",
    "10.20.0.0/16 255.255.0.0",
    "999.0.0.0/8",
    "fe80::1%eth0",
    "1" * 400,
    "/",
    ":",
    "-----BEGIN PRIVATE KEY-----",
    [],
    {},
    [None, 7, [], {}],
    {"a": {"b": 1}},
    "{" * 5000,
    "[" * 5000,
    "- " * 400,
    "&a *a",
    "a: !!python/object:os.system x",
    "not (a",
    "\ud800",
    "\u0661\u0660.\u0660.\u0660.\u0660/8",
    "kubernetes",
    "." * 300,
    "in-addr.arpa",
    10**30,
    "10.254.0.0/16",
    "172.16.0.13",
]


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all that is in a tree."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))][0 if path else 1 :]


def spoil(tree: Any, path: tuple[Any, ...], value: Any) -> None:
    for step in path[:-1]:
        tree = tree[step]
    if value is Ellipsis:
        del tree[path[-1]]
    else:
        tree[path[-1]] = value


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=150)
def test_no_object_is_too_odd(data: st.DataObject) -> None:
    objects = copy.deepcopy(data.draw(st.sampled_from(CLUSTERS))())
    for _ in range(data.draw(st.integers(1, 6))):
        where = data.draw(st.sampled_from(places(objects)))
        spoil(objects, where, copy.deepcopy(data.draw(st.sampled_from([*ODD, ..., ...]))))
    result = found(objects, namespaces=("default",))
    if result.profile is not None:
        assert decode_profile(encode_profile(result.profile)) == result.profile
    for one in result.findings:
        shown = f"{one.title}{one.evidence}{one.fix}"
        assert len(shown) < 20_000
        assert shown.isprintable(), ascii(shown)


@pytest.mark.parametrize(
    "network",
    [
        network if network in (networks.network_a, networks.cilium, networks.dual_stack)
        else pytest.param(network, marks=pytest.mark.matrix)
        for network in CLUSTERS
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
@pytest.mark.slow
def test_no_single_field_is_missed_so_much_that_there_is_no_profile(network: Callable[[], list[Object]]) -> None:
    """Each field of each object taken away in turn, and each object: there is a profile all the same."""
    whole = network()
    for place in range(len(whole)):
        for path in places(whole[place]):
            if len(path) < 4 and "managedFields" not in path:
                changed = [*whole[:place], copy.deepcopy(whole[place]), *whole[place + 1 :]]
                spoil(changed[place], path, ...)
                assert found(changed).profile is not None, path


def test_a_hostile_configuration_reaches_no_shell_and_no_terminal() -> None:
    hostile = networks.pool("10.20.0.0/16", "x; rm -rf ~ #\x1b[2J", ipipMode="Always")
    told = finding([hostile, networks.service_cidr("10.96.0.0/12")], "DL-R4-OVERLAY")
    assert told is not None
    assert "; rm" not in told.fix
    assert told.fix.isprintable()


@pytest.mark.slow
def test_a_large_cluster_costs_little_more_than_reading_its_json() -> None:
    """A quarter of the size that counts (5,000 nodes, 20,000 blocks; `make bench`), in a process of its own."""
    run = subprocess.run([sys.executable, str(BENCHMARK), "1250", "5000"], check=True, capture_output=True, timeout=100)
    figures = json.loads(run.stdout)
    assert figures["nodes"] == 1250
    assert figures["blocks"] == 5000
    assert figures["ratio"] < 10
    assert figures["peak_mb"] < 100
