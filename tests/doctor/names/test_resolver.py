"""What doctor says of the operating system's resolver, from what that is told and says."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from devlink.core.findings import Severity
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress
from devlink.doctor.names.resolver import Lookup, ResolvedSeen, judge_file, judge_local, judge_resolved
from devlink.resolvers.resolv_conf import MORE

FORWARDER, API, OTHER = (ip_address(text) for text in ("127.0.0.231", "10.254.0.1", "192.0.2.1"))
NAME = DomainName.parse("kubernetes.default.svc.cluster.local")
FOUND = Lookup(name=NAME, expected=frozenset({API}), found=frozenset({API}))
LOST = replace(FOUND, found=frozenset(), error="It said: no answer.")
WELL = ResolvedSeen(servers=(FORWARDER,), domains=frozenset({"cluster.local", "254.10.in-addr.arpa"}), lookups=(FOUND,))


@pytest.mark.parametrize(
    ("named", "is_well"),
    [
        ((FORWARDER,) * 3, True),
        ((FORWARDER,) * 3 + (OTHER,), True),  # behind what libc asks, for containers
        ((FORWARDER,), True),
        ((FORWARDER, *MORE, OTHER), True),  # where a program names no server twice
        ((*MORE, FORWARDER), False),
        ((FORWARDER, OTHER), False),
        ((OTHER, FORWARDER), False),
        ((), False),
    ],
)
def test_a_file_must_name_the_forwarder_wherever_libc_looks(named: tuple[object, ...], is_well: bool) -> None:
    found = [finding.code for finding in judge_file(FORWARDER, named).findings]  # type: ignore[arg-type]
    assert found == ([] if is_well else ["DL-RESOLVER-GONE"])


@pytest.mark.parametrize(
    ("seen", "code", "evidence"),
    [
        (WELL, "", ""),
        (replace(WELL, servers=(ip_address("169.254.53.53"),)), "", ""),
        (replace(WELL, servers=None), "DL-RESOLVER-GONE", "there is none"),
        (replace(WELL, servers=()), "DL-RESOLVER-GONE", "the servers none"),
        (replace(WELL, domains=frozenset({"254.10.in-addr.arpa"})), "DL-RESOLVER-GONE", "it lacks cluster.local"),
        (replace(WELL, lookups=(LOST,)), "DL-RESOLVED-ASTRAY", "It said: no answer."),
        (replace(WELL, lookups=(replace(FOUND, found=frozenset({OTHER})),)), "DL-RESOLVED-ASTRAY", "192.0.2.1"),
        (replace(WELL, elsewhere=(("tun0", "cluster.local"),)), "DL-DOMAIN-SHARED", "tun0 has cluster.local"),
        (replace(WELL, elsewhere=(("tun0", "svc.Cluster.local."),)), "DL-DOMAIN-SHARED", "tun0 has svc."),
        (replace(WELL, elsewhere=(("", "cluster.local"),)), "DL-DOMAIN-SHARED", "resolved.conf"),
        (replace(WELL, elsewhere=(("tun0", "."), ("tun1", "local"), ("tun2", "mycluster.local"))), "", ""),
    ],
)
def test_what_is_not_as_it_was_told_is_named(seen: ResolvedSeen, code: str, evidence: str) -> None:
    found = judge_resolved(FORWARDER, ["cluster.local"], seen).findings
    assert [finding.code for finding in found] == ([code] if code else [])
    assert all(evidence in finding.evidence for finding in found)


@pytest.mark.parametrize(("lookup", "severity"), [(FOUND, Severity.WARNING), (LOST, Severity.ERROR)])
def test_a_shared_domain_is_an_error_once_names_are_lost_by_it(lookup: Lookup, severity: Severity) -> None:
    seen = replace(WELL, elsewhere=(("tun0", "cluster.local"),), lookups=(lookup,))
    (finding,) = judge_resolved(FORWARDER, ["cluster.local"], seen).findings
    assert finding.severity is severity


@pytest.mark.parametrize(
    ("expected", "found", "is_well"),
    [({API}, {API}, True), ({API}, set(), False), ({API}, {OTHER}, False), (set(), set(), True)],
)
def test_a_local_resolver_must_say_what_the_forwarder_does(
    expected: set[IPAddress], found: set[IPAddress], is_well: bool
) -> None:
    asked = ((frozenset({API}), frozenset({API})), (frozenset(expected), frozenset(found)))
    seen = judge_local("NetworkManager-dnsmasq", ip_address("127.0.0.1"), asked)
    assert [finding.code for finding in seen.findings] == ([] if is_well else ["DL-RESOLVER-GONE"])
