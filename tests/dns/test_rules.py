"""What is answered here, what goes where, and when which server is asked."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.plan import ForwarderConfig, ProofRecord
from devlink.core.profile import Transport
from devlink.dns.rules import BUDGET, ORDINARY, Destination, Rules, Server, Verdict, steps_for
from devlink.dns.wire import Ede, Query, Rcode, parse_query
from tests.dns.messages import CLUSTER, SPLIT, name, question, upstream, zone


def decide(rules: Rules, qname: str, qtype: str = "A") -> Destination | Verdict:
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
    decision = decide(Rules(SPLIT), qname)
    assert isinstance(decision, Destination)
    assert decision.name == destination
    servers = {step.server.host for step in decision.steps}
    assert servers.isdisjoint({CLUSTER}) == (destination == ORDINARY)


@pytest.mark.parametrize(
    "qname", ["x.svc.cluster.local.corp.example", "cluster.local.corp.example", "a.cluster.local.b"]
)
def test_a_searched_cluster_name_is_no_name(qname: str) -> None:
    decision = decide(Rules(SPLIT), qname)
    assert isinstance(decision, Verdict)
    assert decision.rcode is Rcode.NXDOMAIN


def test_a_name_of_one_cluster_does_not_reach_another_by_a_search_domain() -> None:
    rules = Rules(ForwarderConfig(zones=(zone("cluster.local"), zone("cluster.kube", "10.1.0.2"))))
    decision = decide(rules, "web.default.svc.cluster.kube.cluster.local")
    assert isinstance(decision, Verdict)
    assert decision.rcode is Rcode.NXDOMAIN


def test_a_zone_whose_suffix_contains_another_claimed_domain_is_served() -> None:
    rules = Rules(ForwarderConfig(zones=(zone("prod.example"), zone("k8s.prod.example.corp", "10.1.0.2"))))
    decision = decide(rules, "web.k8s.prod.example.corp")
    assert isinstance(decision, Destination)
    assert decision.name == "k8s.prod.example.corp"


def test_a_zone_that_ends_inside_of_a_claimed_domain_is_served() -> None:
    rules = Rules(ForwarderConfig(zones=(zone("cluster.local"), zone("local.corp", "10.1.0.2"))))
    decision = decide(rules, "x.cluster.local.corp")
    assert isinstance(decision, Destination)
    assert decision.name == "local.corp"


def test_an_excluded_namespace_is_refused_and_the_others_are_asked_for() -> None:
    rules = Rules(ForwarderConfig(zones=(zone("cluster.local", namespaces=("default", "qa")),)))
    refused = decide(rules, "web.kube-system.svc.cluster.local")
    assert isinstance(refused, Verdict)
    assert (refused.rcode, refused.ede) == (Rcode.REFUSED, Ede.PROHIBITED)
    assert isinstance(decide(rules, "web.qa.svc.cluster.local"), Destination)


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
    decision = decide(Rules(replace(SPLIT, proofs=(proof,))), "N0NCE.cluster.local", qtype)
    assert isinstance(decision, Verdict)
    assert (decision.rcode, len(decision.records)) == (Rcode.NOERROR, count)


@pytest.mark.parametrize("qtype", ["AXFR", "IXFR"])
def test_transfers_are_refused(qtype: str) -> None:
    decision = decide(Rules(SPLIT), "cluster.local", qtype)
    assert isinstance(decision, Verdict)
    assert decision.rcode is Rcode.REFUSED


def test_other_classes_are_refused() -> None:
    query = parse_query(question("version.bind", "TXT")[:-1] + b"\3")
    assert isinstance(query, Query)
    decision = Rules(SPLIT).decide(query)
    assert isinstance(decision, Verdict)
    assert decision.rcode is Rcode.REFUSED


def test_our_own_socket_is_no_upstream() -> None:
    own = frozenset({Server("127.0.0.53", 53)})
    upstreams = (upstream("127.0.0.53"), upstream("127.0.0.53", port=5353), upstream("127.0.0.1"))
    assert {step.server for step in steps_for(upstreams, own)} == {
        Server("127.0.0.53", 5353),
        Server("127.0.0.1", 53),
    }
    decision = decide(Rules(ForwarderConfig(upstreams=upstreams[:1]), own), "www.example")
    assert isinstance(decision, Verdict)
    assert (decision.rcode, decision.ede) == (Rcode.SERVFAIL, Ede.NO_REACHABLE_AUTHORITY)


def test_udp_goes_before_tcp_and_tcp_only_where_it_may() -> None:
    auto, udp, tcp = (
        upstream(f"10.0.0.{i}", transport=t) for i, t in enumerate((Transport.AUTO, *list(Transport)[:2]))
    )
    tries = [(step.server.host, step.tcp) for step in steps_for((auto, udp, tcp))]
    assert tries == [("10.0.0.0", False), ("10.0.0.1", False), ("10.0.0.2", True), ("10.0.0.0", True)]
    assert [step.tcp for step in steps_for((udp,))] == [False, False]
    assert [step.tcp for step in steps_for((tcp,))] == [True]
    assert [step.tcp for step in steps_for((auto,))] == [False, False, True]


@given(st.lists(st.sampled_from(list(Transport)), max_size=12))
def test_all_steps_fit_into_the_budget(transports: list[Transport]) -> None:
    steps = steps_for(tuple(upstream(f"10.0.0.{i}", transport=t) for i, t in enumerate(transports)))
    assert sum(step.wait for step in steps) <= BUDGET + 1e-9
    assert bool(steps) == bool(transports)
