"""Publishing again: what people gave stays, and no fact gets worse because something could not be read."""

import contextlib
import dataclasses
import ipaddress
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from devlink.cluster import publication
from devlink.cluster.discovery import Discovery, Unread, Wishes, discover
from devlink.cluster.discovery.facts import Fact
from devlink.cluster.republishing import Given, check_not_worse, label, wishes_of
from devlink.core.profile import BridgeProfile, Gateway, Transport
from devlink.core.profile_document import decode_profile
from devlink.errors import ClusterError, UsageError
from tests.cluster.discovery import networks
from tests.cluster.discovery.networks import CRD, Object, thing
from tests.core.profiles import SAMPLE, pem

QA = decode_profile(SAMPLE)
NINE = ipaddress.ip_address("172.16.0.9")


def given_gateways(profile: BridgeProfile) -> BridgeProfile:
    return dataclasses.replace(profile, provenance={**profile.provenance, "gateways": "given"})


def wished(published: BridgeProfile | None = None, name: str | None = "office", **given: Any) -> Wishes:
    return wishes_of(Given(**given), published, name=name, revision="now")


def test_what_is_given_goes_before_what_was_published_and_that_before_the_defaults() -> None:
    published = given_gateways(QA)
    kept = wished(published)
    assert QA.spec.gateways is not None
    assert kept == Wishes(
        name="qa",
        revision="now",
        namespaces=("default", "qa"),
        transport=Transport.AUTO,
        gateways=tuple(each.address for each in QA.spec.gateways),
    )
    told = wished(published, namespaces=("x",), transport=Transport.TCP, gateways=(NINE,))
    assert (told.namespaces, told.transport, told.gateways) == (("x",), Transport.TCP, (NINE,))
    assert wished(published, all_namespaces=True).namespaces is None
    assert wished() == Wishes(name="office", revision="now")
    assert wished(published, name=None) == kept, "what is published has a name"


def test_where_names_of_two_labels_are_searched_is_kept_until_told_otherwise() -> None:
    assert QA.spec.dns is not None
    published = replace(QA, spec=replace(QA.spec, dns=replace(QA.spec.dns, search=("qa",))))
    assert wished(QA).search is None
    assert wished(published).search == ("qa",)
    assert wished(published, search=("default",)).search == ("default",)
    assert wished(published, no_search=True).search is None
    with pytest.raises(UsageError, match="exclude each other") as caught:
        wished(search=("a",), no_search=True)
    assert caught.value.next_step


def test_gateways_that_nobody_gave_are_found_anew() -> None:
    assert wished(QA).gateways == ()


def test_another_profile_keeps_nothing() -> None:
    other = wishes_of(Given(name="other"), given_gateways(QA), name="office", revision="now")
    assert other == Wishes(name="other", revision="now")


def test_a_first_profile_needs_a_name_from_somewhere() -> None:
    with pytest.raises(UsageError, match="be called") as caught:
        wished(name=None)
    assert "--name" in caught.value.next_step


def test_some_namespaces_and_all_of_them_cannot_both_be_meant() -> None:
    with pytest.raises(UsageError, match="exclude each other") as caught:
        wished(namespaces=("a",), all_namespaces=True)
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("context", "made"),
    [
        ("kubernetes-admin@qa", "qa"),
        ("arn:aws:eks:eu-west-1:123456789012:cluster/QA", "qa"),
        ("gke_project_europe-west1_qa", "gke-project-europe-west1-qa"),
        ("admin@qa.example.com", "qa-example-com"),
        ("office@", "office"),
        ("///", "cluster"),
        ("", "cluster"),
        ("x" * 62 + ".y", "x" * 62),
        ("ä", "cluster"),
    ],
)
def test_a_profile_is_named_after_its_context(context: str, made: str) -> None:
    assert label(context) == made


def unread(resource: str, status: int | None) -> Unread:
    return Unread(path=f"/apis/{CRD}/{resource}", status=status, why="No.", right=f"list {resource}.{CRD}")


def found(objects: list[Object], *missing: Unread, gateways: tuple[Any, ...] = ()) -> Discovery:
    return discover(objects, Wishes(name="qa", gateways=gateways), unread=missing)


def published(objects: list[Object], **wishes: Any) -> BridgeProfile:
    profile = found(objects, **wishes).profile
    assert profile is not None
    return profile


def cluster(*nodes: str, peers: bool = True) -> list[Object]:
    """Network A's objects with further nodes, and a reflector that only a BGPPeer tells."""
    objects = networks.without(networks.network_a(), "BGPPeer")
    for number, name in enumerate(nodes, 40):
        objects.append(networks.calico_node(name, f"172.16.0.{number}"))
        objects.append(networks.block(name, f"10.20.{number}.0/26"))
    if peers:
        selectors = {"nodeSelector": "!has(rr)", "peerSelector": "has(rr)"}
        objects.append(thing(CRD, "BGPPeer", "to-rr", spec=selectors))
        reflector = networks.calico_node("rr", "172.16.0.99")
        reflector["metadata"]["labels"]["rr"] = "true"
        objects.append(reflector)
    return objects


def test_the_cluster_of_these_tests_has_a_better_and_a_worse_gateway() -> None:
    better, worse = published(cluster()), published(networks.without(cluster(), "BGPPeer"))
    assert better.spec.gateways != worse.spec.gateways
    assert better.provenance["gateways"] != worse.provenance["gateways"]


@pytest.mark.parametrize("status", [403, 500, 429, None])
def test_a_fact_that_a_lower_source_tells_is_not_published_while_the_better_one_is_unread(status: int | None) -> None:
    worse = found(networks.without(cluster(), "BGPPeer"), unread("bgppeers", status))
    with pytest.raises(ClusterError, match="gateways") as caught:
        check_not_worse(worse, published(cluster()))
    assert "bgppeers" in caught.value.why
    assert f"list bgppeers.{CRD}" in caught.value.next_step
    assert "--overwrite" in caught.value.next_step
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("missing", [[], [unread("bgppeers", 404)]])
def test_where_all_was_read_the_cluster_may_have_changed(missing: list[Unread]) -> None:
    check_not_worse(found(networks.without(cluster(), "BGPPeer"), *missing), published(cluster()))


@pytest.mark.parametrize("status", [403, 500])
def test_what_is_published_already_may_be_published_again(status: int) -> None:
    check_not_worse(found(cluster(), unread("bgpfilters", status)), published(cluster()))


@pytest.mark.parametrize("status", [400, 403])
def test_an_account_that_is_always_refused_something_still_publishes_nodes_that_came(status: int) -> None:
    before, after = published(cluster("n40")), found(cluster("n40", "n41"), unread("bgpfilters", status))
    assert after.profile is not None
    assert after.profile.spec.nodes != before.spec.nodes
    check_not_worse(after, before)


def test_pools_of_other_names_are_the_same_kind_of_source() -> None:
    renamed = [
        networks.pool("10.20.0.0/16", name="new", ipipMode="CrossSubnet") if each["kind"] == "IPPool" else each
        for each in networks.network_a()
    ]
    wider = [*renamed, networks.pool("10.21.0.0/16", name="more")]
    before, after = published(networks.network_a()), found(wider, unread("bgpfilters", 403))
    assert after.profile is not None
    assert after.profile.spec.pods != before.spec.pods
    check_not_worse(after, before)


@pytest.mark.parametrize("status", [None, 429, 500, 503])
def test_after_a_failure_that_passes_nothing_is_changed_at_all(status: int | None) -> None:
    with pytest.raises(ClusterError, match="nodes") as caught:
        check_not_worse(found(cluster("n40", "n41"), unread("bgpfilters", status)), published(cluster("n40")))
    assert caught.value.next_step.startswith("Try again")


@pytest.mark.parametrize("key", ["mtu", "services"])
@pytest.mark.parametrize("is_lost", [True, False])
def test_a_fact_that_is_lost_or_new_is_not_published_by_who_may_not_read_all(key: str, is_lost: bool) -> None:
    whole = published(cluster())
    spec = dataclasses.replace(whole.spec, mtu=None)
    if key == "services":
        spec = dataclasses.replace(whole.spec, services=None)
    lacking = dataclasses.replace(whole, spec=spec)
    before, after = (whole, lacking) if is_lost else (lacking, whole)
    discovery = Discovery(profile=after, findings=(), unread=(unread("felixconfigurations", 403),))
    with pytest.raises(ClusterError, match=key):
        check_not_worse(discovery, before)


MANY = Fact(value=1, source=", ".join(f"ippools.projectcalico.org/pool-number-{n}" for n in range(40)))
SOURCES = [
    ("ippools.crd.projectcalico.org/old", "ippools.projectcalico.org/new, ippools.projectcalico.org/more", True),
    ("nodes/n1 (k3s.io/node-args)", "nodes/n2 (k3s.io/node-args)", True),
    ("ippools.projectcalico.org/a", "ippools.projectcalico.org/a, what nodes have of it", True),
    (MANY.provenance, Fact(value=1, source=f"ippools.projectcalico.org/one-more, {MANY.source}").provenance, True),
    ("the addresses of 12 running pods", "the addresses of 7 running pods", True),
    ("guess: the addresses of 12 running pods", "the addresses of 12 running pods", False),
    ("bgppeers.crd.projectcalico.org/a", "nodes (any of them forwards)", False),
    ("configmaps/kube-system/kubeadm-config (podSubnet)", "nodes (spec.podCIDRs)", False),
    ("", "nodes (spec.podCIDRs)", False),
]


@pytest.mark.parametrize(("one", "other", "is_same"), SOURCES)
def test_sources_are_of_one_kind_whatever_their_objects_are_called(one: str, other: str, is_same: bool) -> None:
    whole = published(networks.network_a())
    before = dataclasses.replace(whole, provenance={**whole.provenance, "mtu": one})
    spec = dataclasses.replace(whole.spec, mtu=1400)
    after = dataclasses.replace(whole, spec=spec, provenance={**whole.provenance, "mtu": other})
    discovery = Discovery(profile=after, findings=(), unread=(unread("felixconfigurations", 403),))
    with contextlib.nullcontext() if is_same else pytest.raises(ClusterError, match="mtu"):
        check_not_worse(discovery, before)


@pytest.mark.parametrize(
    ("key", "line", "changed"),
    [
        ("dns.servers", "10.254.0.2", "10.254.0.3"),
        ("dns.domain", "cluster.local", "cluster.example"),
        ("pods", "10.20.0.0/16", "10.20.0.0/15"),
        ("services", "10.254.0.0/16", "10.254.0.0/15"),
        ("gateways", "role: route-reflector", "role: gateway"),
        ("nodes", "10.20.73.64/26", "10.20.73.0/26"),
        ("mtu", "mtu: 1480", "mtu: 1450"),
        ("identity.ca", "routing: auto", f"identity: {{ca: {json.dumps(pem())}}}"),
    ],
)
def test_every_fact_is_compared(key: str, line: str, changed: str) -> None:
    assert line in SAMPLE
    after = decode_profile(SAMPLE.replace(line, changed))
    discovery = Discovery(profile=after, findings=(), unread=(unread("ippools", 500),))
    with pytest.raises(ClusterError, match=re.escape(f"({key})")):
        check_not_worse(discovery, QA)


@pytest.mark.parametrize(("line", "changed"), [("transport: auto", "transport: tcp"), ("[default, qa]", "[qa]")])
def test_what_people_wish_for_is_no_fact_of_the_api(line: str, changed: str) -> None:
    after = decode_profile(SAMPLE.replace(line, changed))
    check_not_worse(Discovery(profile=after, findings=(), unread=(unread("ippools", 500),)), QA)


def test_configmaps_are_told_apart_by_their_names() -> None:
    whole = published(networks.network_a())
    by = {name: {**whole.provenance, "services": f"configmaps/kube-system/{name} (x)"} for name in ("one", "other")}
    before = dataclasses.replace(whole, provenance=by["one"])
    spec = dataclasses.replace(whole.spec, services=(ipaddress.ip_network("10.253.0.0/16"),))
    for name, is_same in (("one", True), ("other", False)):
        after = dataclasses.replace(whole, spec=spec, provenance=by[name])
        discovery = Discovery(profile=after, findings=(), unread=(unread("servicecidrs", 403),))
        if is_same:
            check_not_worse(discovery, before)
        else:
            with pytest.raises(ClusterError, match="services"):
                check_not_worse(discovery, before)


@pytest.mark.parametrize("status", [403, 500])
def test_what_a_person_gives_comes_from_no_source_that_could_be_unread(status: int) -> None:
    after = found(cluster(), unread("bgppeers", status), gateways=(NINE,))
    assert after.profile is not None
    assert after.profile.spec.gateways == (Gateway(address=NINE, role="gateway", priority=10),)
    check_not_worse(after, published(cluster()))


def test_a_profile_of_another_name_is_another_matter() -> None:
    other = dataclasses.replace(QA, metadata=dataclasses.replace(QA.metadata, name="other"))
    check_not_worse(found(cluster(), unread("bgppeers", 500)), other)


def test_pods_of_the_dns_that_come_and_go_never_keep_anything_from_being_published() -> None:
    before = decode_profile(SAMPLE.replace("reverse: true", "endpoints: [10.20.0.9]"))
    for after in (SAMPLE, SAMPLE.replace("reverse: true", "endpoints: [10.20.0.10]")):
        found = decode_profile(after)
        assert not publication.is_same(found, before), "it is published all the same"
        check_not_worse(Discovery(profile=found, findings=(), unread=(unread("endpointslices", 500),)), before)
