"""What is answered here, and what goes to whom."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from devlink.core.plan import ForwarderConfig, ProofRecord
from devlink.dns.rules import MAX_SERVERS, ORDINARY, Alias, Destination, Rules, Verdict
from devlink.dns.wire import Ede, Query, Rcode, name_of, parse_query
from tests.dns.messages import CLUSTER, SPLIT, name, question, upstream, zone
from tests.dns.moved_engine import config_of, query


def rules(config: ForwarderConfig, *own: tuple[str, int]) -> Rules:
    return Rules(config_of(config), frozenset(own))


def decide(rules: Rules, qname: str, qtype: str = "A") -> Destination | Verdict | Alias:
    query = parse_query(question(qname, qtype))
    assert isinstance(query, Query)
    return rules.decide(query)


@pytest.mark.parametrize(
    ("qname", "destination"),
    [
        ("web.default.svc.cluster.local", "cluster.local"),
        ("Cluster.Local", "cluster.local"),
        ("7.0.254.10.in-addr.arpa", "254.10.in-addr.arpa"),
        ("www.example", ORDINARY),
        ("xcluster.local", ORDINARY),
        ("7.0.0.10.in-addr.arpa", ORDINARY),
        ("a.proof.devlink.example", ORDINARY),
        (".", ORDINARY),
    ],
)
def test_a_name_has_one_destination(qname: str, destination: str) -> None:
    decision = decide(rules(SPLIT), qname)
    assert isinstance(decision, Destination)
    assert decision.zone == destination
    assert decision.is_cluster is (destination != ORDINARY)
    servers = {each.server.host for each in decision.upstreams}
    assert servers.isdisjoint({CLUSTER}) == (destination == ORDINARY)


@pytest.mark.parametrize(
    "qname", ["x.svc.cluster.local.corp.example", "cluster.local.corp.example", "a.cluster.local.b"]
)
def test_a_searched_cluster_name_is_no_name(qname: str) -> None:
    decision = decide(rules(SPLIT), qname)
    assert isinstance(decision, Verdict)
    assert decision.rcode is Rcode.NXDOMAIN
    assert decision.ede is Ede.PROHIBITED


def test_a_name_of_one_cluster_does_not_reach_another_by_a_search_domain() -> None:
    config = ForwarderConfig(zones=(zone("cluster.local"), zone("cluster.kube", "10.1.0.2")))
    decision = decide(rules(config), "web.default.svc.cluster.kube.cluster.local")
    assert isinstance(decision, Verdict)
    assert (decision.rcode, decision.zone) == (Rcode.NXDOMAIN, "cluster.local")


def test_a_zone_whose_suffix_contains_another_claimed_domain_is_served() -> None:
    config = ForwarderConfig(zones=(zone("prod.example"), zone("k8s.prod.example.corp", "10.1.0.2")))
    decision = decide(rules(config), "web.k8s.prod.example.corp")
    assert isinstance(decision, Destination)
    assert decision.zone == "k8s.prod.example.corp"


def test_a_zone_that_ends_inside_of_a_claimed_domain_is_served() -> None:
    config = ForwarderConfig(zones=(zone("cluster.local"), zone("local.corp", "10.1.0.2")))
    decision = decide(rules(config), "x.cluster.local.corp")
    assert isinstance(decision, Destination)
    assert decision.zone == "local.corp"


@pytest.mark.parametrize("namespaces", [("default", "qa"), ("Default", "QA"), ()])
def test_an_excluded_namespace_is_refused_and_the_others_are_asked_for(namespaces: tuple[str, ...]) -> None:
    compiled = rules(ForwarderConfig(zones=(zone("cluster.local", namespaces=namespaces),)))
    refused = decide(compiled, "web.kube-system.svc.cluster.local")
    assert isinstance(refused, Verdict)
    assert (refused.rcode, refused.ede) == (Rcode.REFUSED, Ede.PROHIBITED)
    assert isinstance(decide(compiled, "web.qa.svc.cluster.local"), Destination if namespaces else Verdict)


@pytest.mark.parametrize(
    ("address", "qtype", "count"),
    [
        ("127.0.0.77", "A", 1),
        ("127.0.0.77", "AAAA", 0),
        ("127.0.0.77", "ANY", 1),
        ("127.0.0.77", "TXT", 0),
        ("::77", "AAAA", 1),
        ("::77", "A", 0),
    ],
)
def test_the_proof_name_has_its_address_and_no_other_type(address: str, qtype: str, count: int) -> None:
    proof = ProofRecord(name=name("n0nce.cluster.local"), address=ip_address(address))
    decision = decide(rules(replace(SPLIT, proofs=(proof,))), "N0NCE.cluster.local", qtype)
    assert isinstance(decision, Verdict)
    assert (decision.rcode, len(decision.records)) == (Rcode.NOERROR, count)


@pytest.mark.parametrize("qtype", ["AXFR", "IXFR"])
def test_transfers_are_refused(qtype: str) -> None:
    decision = decide(rules(SPLIT), "cluster.local", qtype)
    assert isinstance(decision, Verdict)
    assert decision.rcode is Rcode.REFUSED


@pytest.mark.parametrize("rdclass", ["CH", "HS", "ANY", "NONE"])
def test_other_classes_are_refused(rdclass: str) -> None:
    parsed = parse_query(query("version.bind", "TXT", rdclass=rdclass))
    assert isinstance(parsed, Query)
    decision = rules(SPLIT).decide(parsed)
    assert isinstance(decision, Verdict)
    assert decision.rcode is Rcode.REFUSED


def test_our_own_socket_is_no_server_of_anything() -> None:
    own = ("127.0.0.53", 53)
    servers = (upstream("127.0.0.53"), upstream("127.0.0.53", port=5353), upstream("127.0.0.1"))
    config = ForwarderConfig(upstreams=servers, zones=(replace(zone("cluster.local"), servers=servers),))
    for qname in ("www.example", "web.cluster.local"):
        decision = decide(rules(config, own), qname)
        assert isinstance(decision, Destination)
        found = [(each.server.host, each.server.port) for each in decision.upstreams]
        assert found == [("127.0.0.53", 5353), ("127.0.0.1", 53)]
    verdict = decide(rules(ForwarderConfig(upstreams=servers[:1]), own), "www.example")
    assert isinstance(verdict, Verdict)
    assert (verdict.rcode, verdict.ede) == (Rcode.SERVFAIL, Ede.NO_REACHABLE_AUTHORITY)


def test_a_zone_without_servers_is_a_failure_and_not_an_ordinary_name() -> None:
    config = replace(SPLIT, zones=(replace(zone("cluster.local"), servers=(), search=("default",)),))
    for qname in ("web.cluster.local", "redis.default"):
        decision = decide(rules(config), qname)
        assert isinstance(decision, Verdict)
        assert (decision.rcode, decision.zone) == (Rcode.SERVFAIL, "cluster.local")


def test_the_same_server_is_asked_once_and_few_are_asked() -> None:
    servers = tuple(upstream(f"192.0.2.{number}") for number in (1, 1, 2, 3, 4, 5, 6))
    decision = decide(rules(ForwarderConfig(upstreams=servers)), "www.example")
    assert isinstance(decision, Destination)
    assert [each.server.host for each in decision.upstreams] == [f"192.0.2.{n}" for n in range(1, 1 + MAX_SERVERS)]
    assert decision.servers == "192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4"


def test_zones_with_the_same_servers_are_one_group() -> None:
    compiled = rules(replace(SPLIT, zones=(*SPLIT.zones, zone("cluster.kube", "10.1.0.2"))))
    groups = {text: each.group for text, each in compiled.destinations.items()}
    assert groups["cluster.local"] == groups["254.10.in-addr.arpa"]
    assert len(set(groups.values())) == compiled.groups == 3
    assert max(groups.values()) < compiled.groups


SEARCH = ForwarderConfig(
    zones=(
        replace(zone("cluster.local"), search=("default", "QA")),
        replace(zone("cluster.kube", "10.1.0.2"), search=("dev", "default")),
    ),
    upstreams=SPLIT.upstreams,
)


@pytest.mark.parametrize(
    ("qname", "target"),
    [
        ("redis.default", "redis.default.svc.cluster.local"),
        ("ReDis.Default", "redis.default.svc.cluster.local"),
        ("redis.qa", "redis.qa.svc.cluster.local"),
        ("redis.dev", "redis.dev.svc.cluster.kube"),
    ],
)
def test_two_labels_that_end_in_a_searched_namespace_are_short_for_a_service(qname: str, target: str) -> None:
    decision = decide(rules(SEARCH), qname)
    assert isinstance(decision, Alias)
    assert decision.octets == name_of(target)
    assert decision.destination.zone == ".".join(target.split(".")[-2:])


@pytest.mark.parametrize(
    "qname", ["redis.other", "default", "a.redis.default", "redis.default.svc", "redis.xdefault", "."]
)
def test_nothing_else_is(qname: str) -> None:
    decision = decide(rules(SEARCH), qname)
    assert isinstance(decision, Destination)
    assert decision.zone == ORDINARY


def test_a_short_name_that_would_be_too_long_in_full_is_an_ordinary_one() -> None:
    suffix = ".".join(["x" * 60] * 3 + ["y" * 20])
    for length in range(30, 64):
        config = ForwarderConfig(zones=(replace(zone(suffix), search=("default",)),), upstreams=SPLIT.upstreams)
        decision = decide(rules(config), f"{'n' * length}.default")
        full = f"{'n' * length}.default.svc.{suffix}"
        fits = len(full) + 2 <= 255
        assert isinstance(decision, Alias) is fits
        if isinstance(decision, Alias):
            assert decision.octets == name_of(full)


def test_an_address_is_private_by_its_prefix() -> None:
    prefixes = ("10.20.0.0/16", "fd00:20::/32", "192.0.2.7/32", "10.128.0.0/9")
    compiled = rules(replace(SPLIT, private=tuple(ip_network(prefix) for prefix in prefixes)))
    assert compiled.has_private
    assert not rules(SPLIT).has_private
    for text in ("10.20.0.0", "10.20.255.255", "10.19.255.255", "10.21.0.0", "192.0.2.7", "192.0.2.8", "10.128.0.0",
                 "10.127.255.255", "fd00:20::", "fd00:20:ffff::1", "fd00:21::", "a14:1::"):  # fmt: skip
        address = ip_address(text)
        wanted = any(address in ip_network(prefix) for prefix in prefixes)
        assert compiled.is_private(address.packed) is wanted, text
    for text in ("::ffff:{}", "::{}", "64:ff9b::{}"):  # mapped, compatible, NAT64
        assert compiled.is_private(ip_address(text.format("10.20.0.1")).packed), text
        assert not compiled.is_private(ip_address(text.format("10.21.0.1")).packed), text
    assert compiled.is_private(ip_address("2002:a14:1::9").packed), "6to4"
    assert not compiled.is_private(ip_address("2002:a15:1::9").packed)


def test_the_rules_zones_are_told_by_name_and_hold_their_servers() -> None:
    compiled = rules(SPLIT)
    assert list(compiled.destinations) == ["cluster.local", "254.10.in-addr.arpa", ORDINARY]
