"""What devlink does with a name, what its forwarder and libc said, and what that means together."""

import asyncio
import socket
import threading
from ipaddress import ip_address

import pytest

from devlink.core.names import DomainName
from devlink.core.plan import Upstream, Zone
from devlink.dns.client import Answer
from devlink.doctor.explain import naming
from devlink.doctor.explain.naming import (
    Rule,
    Told,
    ask_forwarder,
    judge_answers,
    judge_libc,
    rule_for,
    types_of,
)
from devlink.doctor.names.libc import Found
from tests.dns.forwarder_process import FakeServer

SERVER = Upstream(address=ip_address("10.254.0.2"))
ZONES = [
    ("qa", Zone(suffix=DomainName.parse("cluster.local"), servers=(SERVER,), namespaces=("default", "qa"),
                search=("default",))),
    ("qa", Zone(suffix=DomainName.parse("254.10.in-addr.arpa"), servers=(SERVER,))),
    ("lab", Zone(suffix=DomainName.parse("lab.cluster.local"), servers=(SERVER,))),
]  # fmt: skip
WEB = DomainName.parse("web.default.svc.cluster.local")
ADDRESS, OTHER = ip_address("10.254.0.10"), ip_address("10.9.9.9")


@pytest.mark.parametrize(
    ("name", "session", "zone"),
    [
        ("web.default.svc.cluster.local", "qa", "cluster.local"),
        ("web.default.svc.lab.cluster.local", "lab", "lab.cluster.local"),
        ("cluster.local", "qa", "cluster.local"),
        ("10.0.254.10.in-addr.arpa", "qa", "254.10.in-addr.arpa"),
        ("www.example.com", "", "."),
        ("web.qa", "", "."),
        ("local", "", "."),
    ],
)
def test_a_name_goes_by_the_longest_zone_or_is_ordinary(name: str, session: str, zone: str) -> None:
    rule = rule_for(DomainName.parse(name), ZONES)
    assert (rule.session, rule.zone, rule.finding) == (session, zone, None)
    assert rule.servers == ((SERVER.address,) if session else ())


def test_a_name_of_two_labels_is_short_for_one_of_a_searched_namespace() -> None:
    rule = rule_for(DomainName.parse("web.default"), ZONES)
    assert (rule.long, rule.session) == (WEB, "qa")
    assert rule_for(WEB, ZONES).long is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("web.secret.svc.cluster.local", "DL-NAME-EXCLUDED"),
        ("web.default.svc.cluster.local.corp.example", "DL-NAME-EXPANDED"),
    ],
)
def test_what_the_forwarder_refuses_is_a_finding(name: str, code: str) -> None:
    finding = rule_for(DomainName.parse(name), ZONES).finding
    assert finding is not None
    assert finding.code == code
    assert name in finding.title


def test_where_nothing_is_up_every_name_is_ordinary() -> None:
    assert rule_for(WEB, []).is_ordinary


# What the forwarder said

CLUSTER = Rule(zone="cluster.local", session="qa", servers=(SERVER.address,))
TRACE = {"zone": "cluster.local", "source": "upstream", "server": "10.254.0.2#53", "transport": "udp", "ms": 1.25,
         "reason": ""}  # fmt: skip


def test_an_answer_is_told_with_its_story() -> None:
    answers = [Answer(rcode="NOERROR", addresses=(ADDRESS,), trace=TRACE), Answer(rcode="NOERROR", is_nodata=True)]
    told = judge_answers(WEB, CLUSTER, answers)
    assert told == Told(text="10.254.0.10; asked just now 10.254.0.2#53 over UDP, 1.2 ms", addresses=(ADDRESS,))


@pytest.mark.parametrize(
    ("rule", "rcodes", "code", "is_failure"),
    [
        (CLUSTER, ("NXDOMAIN", "NXDOMAIN"), "DL-NAME-UNKNOWN", False),
        (CLUSTER, ("NOERROR", "NOERROR"), "DL-NAME-UNKNOWN", False),
        (CLUSTER, ("SERVFAIL", "SERVFAIL"), "DL-DNS-SILENT", True),
        (Rule(), ("SERVFAIL", "SERVFAIL"), "DL-DNS-ORDINARY", True),
        (Rule(), ("NXDOMAIN", "NXDOMAIN"), "DL-NAME-UNKNOWN", False),
        (CLUSTER, ("NOERROR", "SERVFAIL"), "DL-DNS-SILENT", True),
    ],
)
def test_an_answer_without_an_address_is_a_finding(
    rule: Rule, rcodes: tuple[str, ...], code: str, is_failure: bool
) -> None:
    told = judge_answers(WEB, rule, [Answer(rcode=rcode) for rcode in rcodes])
    assert told.finding is not None
    assert (told.finding.code, told.is_failure) == (code, is_failure)


def test_the_cure_for_an_unknown_service_names_its_namespace() -> None:
    finding = judge_answers(WEB, CLUSTER, [Answer(rcode="NXDOMAIN")]).finding
    assert finding is not None
    assert finding.fix.startswith("kubectl -n default get service,endpointslices: is there one of the name web, ")


def test_a_record_that_is_no_address_will_do_only_where_none_was_asked_for() -> None:
    alias = Answer(rcode="NOERROR", records=("web.  5 IN CNAME  www.example.com.",))
    finding = judge_answers(WEB, CLUSTER, [alias]).finding
    assert finding is not None
    assert (finding.code, "CNAME" in finding.evidence) == ("DL-NAME-UNKNOWN", True)
    port = DomainName.parse("_http._tcp.web.default.svc.cluster.local")
    assert judge_answers(port, CLUSTER, [alias]).finding is None


# What libc said

KNOWN = Told(text="10.254.0.10; kept", addresses=(ADDRESS,))


def code_of(
    libc: Found, told: Told | None, *, rule: Rule = CLUSTER, in_file: bool = False, mode: str = "direct"
) -> str:
    finding = judge_libc(WEB, rule, libc, told, (OTHER,) if in_file else (), mode=mode)
    return finding.code if finding is not None else ""


def test_libc_that_says_the_same_or_a_part_of_it_is_well() -> None:
    assert code_of(Found(addresses=frozenset({ADDRESS})), KNOWN) == ""
    assert code_of(Found(addresses=frozenset({ADDRESS})), Told(text="", addresses=(ADDRESS, OTHER))) == ""


@pytest.mark.parametrize("libc", [Found(), Found(is_late=True)])
def test_libc_that_finds_nothing_of_what_the_forwarder_knows_is_a_finding(libc: Found) -> None:
    assert code_of(libc, KNOWN) == "DL-LIBC-NAMES"
    assert code_of(libc, KNOWN, rule=Rule()) == "DL-LIBC-NAMES"


def test_another_address_from_libc_is_the_file_of_hosts_or_somebody_unknown() -> None:
    assert code_of(Found(), KNOWN, mode="overwritten") == "DL-RESOLVER-GONE"
    found = Found(addresses=frozenset({OTHER}))
    assert code_of(found, KNOWN, in_file=True) == "DL-HOSTS-FILE"
    assert code_of(found, KNOWN) == "DL-LIBC-DIFFERS"
    # Of a name with many addresses each may be told others.
    assert code_of(found, KNOWN, rule=Rule()) == ""


def test_what_has_been_told_of_the_forwarder_is_not_told_again_of_libc() -> None:
    told = judge_answers(WEB, CLUSTER, [Answer(rcode="SERVFAIL")])
    assert code_of(Found(), told) == ""
    assert code_of(Found(), judge_answers(WEB, CLUSTER, [Answer(rcode="NXDOMAIN")])) == ""


def test_without_a_forwarder_libc_alone_says_that_there_is_no_such_name() -> None:
    assert code_of(Found(), None, rule=Rule(), mode="") == "DL-NAME-UNKNOWN"
    # In a mode that splits, the forwarder is not asked for ordinary names either.
    assert code_of(Found(), None, rule=Rule(), mode="systemd-resolved") == "DL-NAME-UNKNOWN"
    assert code_of(Found(is_late=True), None, rule=Rule(), mode="") == "DL-DNS-ORDINARY"
    assert code_of(Found(addresses=frozenset({ADDRESS})), None, rule=Rule(), mode="") == ""


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("10.0.254.10.in-addr.arpa", ("PTR",)),
        ("8.b.d.0.1.0.0.2.ip6.arpa", ("PTR",)),
        ("arpa.example", ("A", "AAAA")),
        ("_http._tcp.web.default.svc.cluster.local", ("SRV",)),
    ],
)
def test_what_a_name_is_asked_for_depends_on_what_it_is_the_name_of(name: str, types: tuple[str, ...]) -> None:
    assert types_of(DomainName.parse(name)) == types


# A forwarder on loopback


def asked(monkeypatch: pytest.MonkeyPatch, port: int) -> Told:
    monkeypatch.setattr(naming, "PORT", port)
    monkeypatch.setattr(naming, "LIMIT", 0.2)
    return asyncio.run(ask_forwarder(ip_address("127.0.0.1"), WEB, CLUSTER))


def test_a_forwarder_that_nobody_hears_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        told = asked(monkeypatch, mute.getsockname()[1])
    assert told.finding is not None
    assert (told.finding.code, told.is_failure) == ("DL-FORWARDER-SILENT", True)


def test_who_answers_in_the_forwarders_place_is_told_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer("192.0.2.66") as another:
        told = asked(monkeypatch, another.port)
    assert told.finding is not None
    assert (told.finding.code, told.addresses, told.is_failure) == ("DL-DNS-INTERCEPTED", (), True)


def test_a_forwarder_that_still_waits_for_its_servers_is_not_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)

        def serve() -> None:
            for _ in range(3):
                packet, sender = server.recvfrom(4096)
                if b"\0\xfc\0\1" in packet:
                    server.sendto(packet[:2] + bytes((0x80, 0x05)) + packet[4:], sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        told = asked(monkeypatch, server.getsockname()[1])
        thread.join(10)
    assert told.finding is not None
    assert (told.finding.code, told.is_failure) == ("DL-DNS-SILENT", True)
