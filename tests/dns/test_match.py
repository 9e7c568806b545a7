"""Whose a name is: whole labels, letters of either case, the longest suffix."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.names import DomainName
from devlink.dns.match import ClaimedDomains, SuffixTable, is_excluded, label_at
from devlink.dns.wire import Query, name_of, parse_query
from tests.dns.messages import question

Name = tuple[bytes, tuple[int, ...]]
"""Octets, and where the labels begin."""


def name(text: str) -> Name:
    query = parse_query(question(text))
    assert isinstance(query, Query)
    return query.octets, query.offsets


def name_with(labels: tuple[bytes, ...]) -> Name:
    offsets, at = [], 0
    for label in labels:
        offsets.append(at)
        at += len(label) + 1
    return DomainName(labels).wire, tuple(offsets)


ZONES = ("cluster.local", "default.svc.cluster.local", "cluster.kube", "20.10.in-addr.arpa", "0.8.e.f.ip6.arpa")
TABLE = SuffixTable([(name_of(text), text) for text in ZONES])


@pytest.mark.parametrize(
    ("qname", "expected"),
    [
        ("cluster.local", ("cluster.local", 0)),
        ("web.qa.svc.cluster.local", ("cluster.local", 3)),
        ("web.default.svc.cluster.local", ("default.svc.cluster.local", 1)),
        ("WEB.Default.SVC.CLUSTER.local", ("default.svc.cluster.local", 1)),
        ("xcluster.local", None),
        ("x.cluster.localx", None),
        ("local", None),
        ("cluster", None),
        (".", None),
        ("cluster.local.example", None),
        ("a.cluster.kube", ("cluster.kube", 1)),
        ("7.0.20.10.in-addr.arpa", ("20.10.in-addr.arpa", 2)),
        ("7.0.120.10.in-addr.arpa", None),
        ("1.0.8.e.f.ip6.arpa", ("0.8.e.f.ip6.arpa", 1)),
    ],
)
def test_the_longest_suffix_of_whole_labels_wins(qname: str, expected: object) -> None:
    assert TABLE.find(*name(qname)) == expected


def test_the_root_holds_every_name() -> None:
    table = SuffixTable([(b"\0", "all"), (name_of("cluster.local"), "some")])
    assert table.find(*name(".")) == ("all", 0)
    assert table.find(*name("www.example")) == ("all", 2)
    assert table.find(*name("a.cluster.local")) == ("some", 1)


def test_of_two_entries_for_one_domain_the_first_counts() -> None:
    assert SuffixTable([(name_of("a.b"), 1), (name_of("a.b"), 2)]).find(*name("x.a.b")) == (1, 1)


def test_a_label_with_a_dot_in_it_is_one_label() -> None:
    """On the wire `x.cluster` may be one label; printed it looks like two."""
    packet = question("x.local")[:12] + b"\x09x.cluster\x05local\0" + question("x")[-4:]
    query = parse_query(packet)
    assert isinstance(query, Query)
    assert TABLE.find(query.octets, query.offsets) is None


LABELS = st.lists(st.sampled_from([b"a", b"b", b"aa", b"svc", b"\x01a", b"a.b", b"\xff"]), max_size=6).map(tuple)


@given(st.lists(LABELS, max_size=6), LABELS)
def test_the_table_agrees_with_comparing_labels(suffixes: list[tuple[bytes, ...]], labels: tuple[bytes, ...]) -> None:
    found = SuffixTable([(DomainName(s).wire, s) for s in suffixes]).find(*name_with(labels))
    holding = [s for s in suffixes if DomainName(labels).is_within(DomainName(s))]
    longest = max(holding, key=len, default=None)
    assert found == (None if longest is None else (longest, len(labels) - len(longest)))


CLAIMED = ClaimedDomains([name_of(text) for text in ZONES])


@pytest.mark.parametrize(
    ("qname", "expected"),
    [
        ("x.svc.cluster.local.corp.example", True),
        ("cluster.local.corp.example", True),
        ("CLUSTER.LOCAL.corp.example", True),
        ("a.b.cluster.kube.corp", True),
        ("x.xcluster.local.corp.example", False),
        ("x.cluster.localx.corp.example", False),
        ("www.example", False),
        ("cluster.example", False),
        ("20.10.in-addr.arpa.corp.example", False),
        ("example", False),
        (".", False),
    ],
)
def test_a_claimed_domain_inside_of_an_ordinary_name_is_found(qname: str, expected: bool) -> None:
    octets, offsets = name(qname)
    assert CLAIMED.stands_before_the_end(octets, offsets, len(offsets)) is expected


@given(st.lists(LABELS.filter(len), max_size=4), LABELS, st.data())
def test_claimed_domains_agree_with_comparing_labels(
    claims: list[tuple[bytes, ...]], labels: tuple[bytes, ...], data: st.DataObject
) -> None:
    before = data.draw(st.integers(0, len(labels)))
    wanted = any(
        labels[start : start + len(claim)] == claim for claim in claims for start in range(before - len(claim) + 1)
    )
    claimed = ClaimedDomains([DomainName(claim).wire for claim in claims])
    assert claimed.stands_before_the_end(*name_with(labels), before) is wanted


def test_the_root_is_no_claim() -> None:
    octets, offsets = name("www.example")
    assert not ClaimedDomains([b"\0"]).stands_before_the_end(octets, offsets, 2)


def test_one_label_of_a_name_is_found_by_its_number() -> None:
    octets, offsets = name("Web.default.svc")
    assert [label_at(octets, offsets, index) for index in range(3)] == [b"web", b"default", b"svc"]
    assert label_at(octets, offsets, -1) == b"svc"


@pytest.mark.parametrize(
    ("qname", "before", "excluded"),
    [
        ("web.default.svc.cluster.local", 3, False),
        ("web.DEFAULT.svc.cluster.local", 3, False),
        ("web.kube-system.svc.cluster.local", 3, True),
        ("web.kube-system.SVC.cluster.local", 3, True),
        ("_http._tcp.web.kube-system.svc.cluster.local", 5, True),
        ("kube-system.svc.cluster.local", 2, True),
        ("10-20-0-1.kube-system.pod.cluster.local", 3, True),
        ("10-20-0-1.default.pod.cluster.local", 3, False),
        ("dns-version.cluster.local", 1, False),
        ("svc.cluster.local", 1, False),
        ("cluster.local", 0, False),
        ("a.b.node.cluster.local", 3, False),
    ],
)
def test_services_and_pods_of_other_namespaces_are_excluded(qname: str, before: int, excluded: bool) -> None:
    assert is_excluded(*name(qname), before, frozenset({b"default"})) is excluded
