"""What was asked for, and whose an address is."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from devlink.core.explain import Claim, Kind, parse_target, place_of
from devlink.core.plan import make_plan
from devlink.errors import UsageError
from tests.core.plans import GATEWAY, GATEWAY6, PROFILE, seen

PLAN = make_plan(PROFILE, seen(GATEWAY, GATEWAY6))
QA = Claim(profile=PROFILE, plan=PLAN)
POD, SERVICE = ip_address("10.20.73.70"), ip_address("10.254.0.10")


@pytest.mark.parametrize(
    ("text", "host", "scheme", "port", "protocol"),
    [
        ("Web.default.svc.cluster.local.", "web.default.svc.cluster.local", "", None, ""),
        ("web:8080", "web", "", 8080, ""),
        ("web:80", "web", "", 80, "http"),
        ("10.254.0.10", "10.254.0.10", "", None, ""),
        ("10.254.0.2:53", "10.254.0.2", "", 53, "dns"),
        ("fd00:254::10", "fd00:254::10", "", None, ""),
        ("[fd00:254::10]:443", "fd00:254::10", "", 443, "https"),
        ("http://web.default/path?q", "web.default", "http", 80, "http"),
        ("HTTPS://10.254.0.1:6443", "10.254.0.1", "https", 6443, "https"),
        ("web.default/path", "web.default", "http", 80, "http"),
        ("postgres://user:secret@db.qa/app", "db.qa", "postgres", 5432, ""),
        ("web.qa/login?next=http://other", "web.qa", "http", 80, "http"),
        ("::ffff:10.254.0.2", "10.254.0.2", "", None, ""),
        ("me:secret@db.qa:5432", "db.qa", "", 5432, ""),
        ("gopher://old.example", "old.example", "gopher", None, ""),
    ],
)
def test_a_target_is_a_name_an_address_or_a_url(
    text: str, host: str, scheme: str, port: int | None, protocol: str
) -> None:
    target = parse_target(text)
    assert (target.host, target.scheme, target.port, target.protocol) == (host, scheme, port, protocol)
    assert (target.name is None) == (target.address is not None)
    assert "secret" not in target.text


NONSENSE = ["", "a b", "http://", "web:99999", "web:0", "web:port", "[fd00::1", "-web", "x" * 64, "."]
NOT_ONE_HOST = [
    "224.0.0.1", "[ff02::1]:80", "0.0.0.0", "10.20.0.0/16", "fd00::1/64", "255.255.255.255", "fe80::1%eth0",
    "[fe80::1]:80",
]  # fmt: skip


@pytest.mark.parametrize("text", NONSENSE + NOT_ONE_HOST)
def test_what_is_none_of_them_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="Such as"):
        parse_target(text)


@pytest.mark.parametrize(
    ("address", "kind", "words"),
    [
        ("10.20.73.70", Kind.POD, "in the pod network of qa (10.20.0.0/16), on node 172.16.0.13"),
        ("10.20.9.9", Kind.POD, "in the pod network of qa (10.20.0.0/16)"),
        ("fd00:254::2", Kind.SERVICE, "a ClusterIP of qa (fd00:254::/112)"),
        ("172.16.0.13", Kind.NODE, "a node of qa, or one of its gateways or DNS servers: no route of its own"),
        ("192.0.2.80", Kind.OTHER, "no session's: an ordinary address"),
    ],
)
def test_an_address_is_of_the_session_that_claims_it(address: str, kind: Kind, words: str) -> None:
    place = place_of(ip_address(address), (QA,))
    assert (place.kind, str(place)) == (kind, words)


def test_of_two_sessions_the_narrower_prefix_decides() -> None:
    spec = replace(PROFILE.spec, pods=(ip_network("10.20.73.0/24"),), services=None, nodes=None, dns=None)
    other = replace(PROFILE, metadata=replace(PROFILE.metadata, name="inner"), spec=spec)
    claim = place_of(POD, (QA, replace(QA, profile=other))).claim
    assert claim is not None
    assert claim.session == "inner"


def test_what_its_user_excluded_is_the_sessions_and_not_routed() -> None:
    place = place_of(POD, (replace(QA, exclude=(ip_network("10.20.73.0/24"),)),))
    assert (place.kind, place.is_routed) == (Kind.POD, False)
    assert str(place).endswith(", excluded by you")
    assert place_of(SERVICE, (QA,), is_own=True).kind is Kind.OWN
