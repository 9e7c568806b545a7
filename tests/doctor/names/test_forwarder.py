"""What doctor says of the forwarder, from what it answers over each transport; which names it asks for."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from devlink.core.findings import Severity
from devlink.core.network import ObservedNetwork
from devlink.core.plan import make_plan
from devlink.core.profile_document import decode_profile
from devlink.doctor.case import Case, Subject
from devlink.doctor.names.forwarder import Asked, domain_of, has_names, judge, known_name
from tests.core.profiles import SAMPLE

ADDRESS = ip_address("127.0.0.231")
UDP, TCP = Asked(transport="udp", is_ours=True), Asked(transport="tcp", is_ours=True)


def subject(state: str, *, namespaces: tuple[str, ...] | None = None, names: bool = True) -> Subject:
    sample = decode_profile(SAMPLE)
    assert sample.spec.dns is not None
    profile = replace(sample, spec=replace(sample.spec, dns=replace(sample.spec.dns, namespaces=namespaces)))
    plan = make_plan(profile, ObservedNetwork(), with_routes=False, with_dns=names)
    return Subject(profile=profile, plan=plan, session={"state": state} if state else None)


def test_one_that_answers_over_both_is_well() -> None:
    seen = judge(ADDRESS, [UDP, TCP])
    assert (seen.text, seen.findings) == ("127.0.0.231 answers over UDP and TCP", ())


@pytest.mark.parametrize(
    ("asked", "code", "severity"),
    [
        ([Asked(transport="udp", said="no answer"), TCP], "DL-FORWARDER-SILENT", Severity.ERROR),
        ([UDP, Asked(transport="tcp", said="refused")], "DL-FORWARDER-SILENT", Severity.WARNING),
        ([Asked(transport="udp", said="NXDOMAIN", is_anothers=True), TCP], "DL-DNS-INTERCEPTED", Severity.ERROR),
        ([UDP, Asked(transport="tcp", said="NXDOMAIN", is_anothers=True)], "DL-DNS-INTERCEPTED", Severity.WARNING),
    ],
)
def test_without_udp_nothing_works_and_without_tcp_only_what_is_long(
    asked: list[Asked], code: str, severity: Severity
) -> None:
    (finding,) = judge(ADDRESS, asked).findings
    assert (finding.code, finding.severity) == (code, severity)
    assert next(each.said for each in asked if not each.is_ours) in finding.evidence


@pytest.mark.parametrize(
    ("one", "domain", "name"),
    [
        (subject("up"), "cluster.local", "kubernetes.default.svc.cluster.local"),
        (subject("degraded"), "cluster.local", "kubernetes.default.svc.cluster.local"),
        (subject("up", namespaces=("default", "qa")), "cluster.local", "kubernetes.default.svc.cluster.local"),
        (subject("up", namespaces=("qa",)), "cluster.local", "None"),
        (subject("up", names=False), "None", "None"),
        (subject("suspended"), "None", "None"),
        (subject(""), "None", "None"),
    ],
)
def test_a_name_is_asked_for_only_where_it_is_to_be_answered(one: Subject, domain: str, name: str) -> None:
    assert (str(domain_of(one)), str(known_name(one))) == (domain, name)
    assert has_names(Case(subjects=(one,))) == (domain != "None")
