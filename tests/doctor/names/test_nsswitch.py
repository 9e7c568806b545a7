"""Where a name is lost between libc and the forwarder, from what both say and from the files in between."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from devlink.core.findings import Severity
from devlink.core.names import DomainName
from devlink.doctor.names.libc import Found
from devlink.doctor.names.nsswitch import MAX_ENTRIES, Entry, LibcSeen, _is_in, entries_of, first_stop, judge

LOCAL, OTHER = DomainName.parse("cluster.local"), DomainName.parse("k8s.example")
API, WRONG = ip_address("10.254.0.1"), ip_address("127.1.27.1")
NAME, WEB = "kubernetes.default.svc.cluster.local", "web.default.svc.cluster.local"
KNOWN = frozenset({API})
WELL = LibcSeen(name=NAME, expected=KNOWN, found=Found(addresses=KNOWN))
LOST = replace(WELL, found=Found(), by_dns=Found(addresses=KNOWN))
MDNS = ("files", "mdns4", "[NOTFOUND=return]", "dns")


def codes(seen: LibcSeen, domain: DomainName = LOCAL) -> list[str]:
    return [finding.code for finding in judge(seen, domain).findings]


@pytest.mark.parametrize(
    ("hosts", "stop"),
    [
        ("files dns", ""),
        ("files [NOTFOUND=return] dns", "files [NOTFOUND=return]"),
        ("files mdns4_minimal [notfound = return] dns", ""),  # glibc takes no blanks around =
        ("files mdns4_minimal [SUCCESS=return NOTFOUND=return] dns", "mdns4_minimal [SUCCESS=return NOTFOUND=return]"),
        ("files mymachines [!UNAVAIL=return] dns", "mymachines [!UNAVAIL=return]"),
        ("files [!NOTFOUND=return] dns", ""),
        ("files [UNAVAIL=return] [SUCCESS=merge] dns", ""),
        ("files resolve [!UNAVAIL=return] dns", ""),
        ("files dns [NOTFOUND=return] mdns4", ""),
    ],
)
def test_libc_goes_no_further_where_an_action_returns_what_is_not_found(hosts: str, stop: str) -> None:
    import re

    assert " ".join(first_stop(re.findall(r"\[[^\]]*\]|\S+", hosts))) == stop


@pytest.mark.parametrize(
    ("seen", "domain", "code"),
    [
        (WELL, LOCAL, ""),
        (replace(WELL, hosts=MDNS), LOCAL, ""),  # whatever stands there, it is found
        (replace(LOST, expected=frozenset()), LOCAL, ""),  # the cluster's DNS is silent: another's trouble
        (LOST, LOCAL, "DL-LIBC-NAMES"),
        (replace(LOST, found=Found(is_late=True)), LOCAL, "DL-LIBC-NAMES"),
        (replace(LOST, hosts=("files", "myhostname")), LOCAL, "DL-NSS-NO-DNS"),
        (replace(LOST, hosts=("files", "resolve")), LOCAL, "DL-LIBC-NAMES"),
        (replace(LOST, hosts=MDNS), LOCAL, "DL-NSS-MDNS"),
        (replace(LOST, hosts=MDNS), OTHER, "DL-LIBC-NAMES"),
        (replace(LOST, hosts=MDNS, by_dns=Found()), LOCAL, "DL-LIBC-NAMES"),  # it is lost behind it, too
    ],
)
def test_the_cause_is_named_where_it_is_seen(seen: LibcSeen, domain: DomainName, code: str) -> None:
    assert codes(seen, domain) == ([code] if code else [])


@pytest.mark.parametrize(
    ("entry", "seen", "expected"),
    [
        (Entry(name=WEB, listed=frozenset({WRONG}), known=KNOWN), WELL, [Severity.WARNING]),
        (Entry(name=WEB, listed=frozenset({WRONG, API}), known=KNOWN), WELL, []),
        (Entry(name=WEB, listed=frozenset({WRONG})), WELL, []),  # the cluster knows no such name: nothing is hidden
        (
            Entry(name=NAME, listed=frozenset({WRONG}), known=KNOWN),
            replace(LOST, found=Found(addresses=frozenset({WRONG}))),
            [Severity.ERROR],
        ),
        (Entry(name=WEB, listed=frozenset({WRONG}), known=KNOWN), LOST, [Severity.WARNING, Severity.ERROR]),
    ],
)
def test_a_line_of_the_hosts_file_is_named_where_it_hides_something(
    entry: Entry, seen: LibcSeen, expected: list[Severity]
) -> None:
    found = judge(replace(seen, entries=(entry,)), LOCAL).findings
    assert [finding.severity for finding in found] == expected
    assert [finding.code for finding in found] == ["DL-HOSTS-FILE", "DL-LIBC-NAMES"][: len(expected)]


def test_of_the_hosts_file_the_names_of_the_domain_count_and_the_one_that_is_looked_up_comes_first() -> None:
    is_in = _is_in(LOCAL)
    assert is_in(WEB)
    assert is_in("cluster.local")
    assert not any(map(is_in, ("x.notcluster.local", "web.default", "bad..cluster.local", "-x.cluster.local")))
    named = {f"{number}.default.svc.cluster.local": KNOWN for number in range(9)}
    assert [entry.name for entry in entries_of({**named, NAME: KNOWN}, NAME)] == [NAME, *named][:MAX_ENTRIES]


@pytest.mark.parametrize(
    ("hosts", "search", "leaks"),
    [
        (("files", "dns"), ("corp.example",), True),
        (("files", "dns"), (), False),
        (("files", "resolve", "[!UNAVAIL=return]", "dns"), ("corp.example",), False),
    ],
)
def test_what_leaks_with_a_search_domain_is_told_where_dns_is_asked_with_one(
    hosts: tuple[str, ...], search: tuple[str, ...], leaks: bool
) -> None:
    found = judge(replace(WELL, hosts=hosts, search=search), LOCAL).findings
    assert [(each.code, each.severity) for each in found] == [("DL-SEARCH-LEAK", Severity.INFO)] * leaks
    assert codes(replace(LOST, hosts=hosts, search=search)) == ["DL-LIBC-NAMES"], "what is lost comes first"
