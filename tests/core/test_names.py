"""Domain names: labels, limits, suffixes, reverse zones."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.names import MAX_NAME, DomainName, reverse_prefix, reverse_zones
from devlink.core.prefixes import IPNetwork, overlap

LABELS = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,20}[A-Za-z0-9_])?", fullmatch=True)
NAMES = st.lists(LABELS, max_size=6).map(lambda labels: DomainName.parse(".".join(labels)))
V4 = st.builds(
    lambda number, length: ipaddress.IPv4Network((number, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)
V6 = st.builds(
    lambda number, length: ipaddress.IPv6Network((number, length), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(1, 128),
)


@given(NAMES)
def test_a_name_survives_being_written_and_read(name: DomainName) -> None:
    assert DomainName.parse(str(name)) == name
    assert DomainName.parse(str(name).upper()) == name


@given(NAMES)
def test_the_wire_form_is_one_length_octet_before_each_label_and_the_root_at_the_end(name: DomainName) -> None:
    wire, labels = name.wire, []
    while wire[0]:
        labels.append(wire[1 : 1 + wire[0]])
        wire = wire[1 + wire[0] :]
    assert wire == b"\0"
    assert tuple(labels) == name.labels
    assert len(name.wire) <= MAX_NAME


@given(NAMES, NAMES)
def test_a_name_is_within_another_exactly_if_it_ends_with_its_whole_labels(a: DomainName, b: DomainName) -> None:
    assert a.is_within(b) == f".{a}.".endswith(f".{b}." if b.labels else "")
    assert a.is_within(DomainName(()))


def test_half_a_label_does_not_match() -> None:
    assert not DomainName.parse("xcluster.local").is_within(DomainName.parse("cluster.local"))
    assert DomainName.parse("x.CLUSTER.local.").is_within(DomainName.parse("cluster.local"))


def test_a_child_stands_before_its_parent() -> None:
    assert str(DomainName.parse("cluster.local").child("kubernetes.default.svc")) == (
        "kubernetes.default.svc.cluster.local"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a..b", "empty label"),
        (".a", "empty label"),
        ("a b", "character"),
        ("cluster.lokäl", "character"),
        ("a\\046b", "character"),
        ("-a.b", "hyphen"),
        ("a-.b", "hyphen"),
        ("a" * 64 + ".b", "63"),
        (".".join(["a" * 63] * 4), "253"),
    ],
)
def test_what_is_no_name_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        DomainName.parse(text)


def test_the_longest_names_are_names() -> None:
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(longest) == 253
    assert len(DomainName.parse(longest).wire) == MAX_NAME


@given(st.one_of(V4, V6))
def test_the_reverse_zones_of_a_prefix_hold_exactly_its_addresses(prefix: IPNetwork) -> None:
    zones = reverse_zones(prefix)
    back = [reverse_prefix(zone) for zone in zones]
    assert all(p is not None for p in back)
    assert sum(p.num_addresses for p in back if p) == prefix.num_addresses
    assert all(overlap(p, prefix) for p in back if p)
    assert len(set(zones)) == len(zones)


def test_reverse_zones_as_they_are_written() -> None:
    def zones(text: str) -> list[str]:
        return [str(zone) for zone in reverse_zones(ipaddress.ip_network(text))]

    assert zones("10.254.0.0/16") == ["254.10.in-addr.arpa"]
    assert zones("10.96.0.0/15") == ["96.10.in-addr.arpa", "97.10.in-addr.arpa"]
    assert zones("fd00:10::/32") == ["0.1.0.0.0.0.d.f.ip6.arpa"]


@pytest.mark.parametrize(
    "text", ["cluster.local", "256.10.in-addr.arpa", "x.10.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "10.0.ip6.arpa"]
)
def test_what_is_no_reverse_zone_stands_for_no_prefix(text: str) -> None:
    assert reverse_prefix(DomainName.parse(text)) is None
