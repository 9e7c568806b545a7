"""The cluster's zones follow the Kubernetes specification, and the stand-in answers as CoreDNS does."""

import dnslib
import pytest

from devlink import lab
from devlink.lab import ClusterDnsProgram, World, WorldSpec
from devlink.lab.standin_dns import PLAIN_UDP, Zones, respond
from devlink.lab.zones import cluster_zones, upstream_zone
from tests.lab.by_hand import route_per_node

SPEC = lab.network_a(ipv6=True)
CLUSTER = Zones(cluster_zones(SPEC))
WEB = "web.default.svc.cluster.local"
NODATA_AND_NXDOMAIN = [
    (WEB, "TXT"),
    ("default.svc.cluster.local", "A"),
    ("_tcp." + WEB, "SRV"),
    ("nowhere.default.svc.cluster.local", "A"),
    ("web.default.svc.cluster.local.corp.example", "A"),
    ("99.0.254.10.in-addr.arpa", "PTR"),
    ("0.254.10.in-addr.arpa", "PTR"),
    (WEB, "DS"),
]
POSITIVE = [
    (WEB, "A"),
    (WEB, "AAAA"),
    (WEB.upper(), "A"),
    (f"_http._tcp.{WEB}", "SRV"),
    ("peers.default.svc.cluster.local", "A"),
    ("peers.default.svc.cluster.local", "AAAA"),
    ("web-0.peers.default.svc.cluster.local", "A"),
    ("_http._tcp.peers.default.svc.cluster.local", "SRV"),
    ("10.0.254.10.in-addr.arpa", "PTR"),
    ("67.73.20.10.in-addr.arpa", "PTR"),
    ("10-20-73-67.default.pod.cluster.local", "A"),
    ("dns-version.cluster.local", "TXT"),
    ("cluster.local", "SOA"),
    ("docs.default.svc.cluster.local", "CNAME"),
    ("docs.default.svc.cluster.local", "A"),
]


def ask(zones: Zones, name: str, qtype: str = "A") -> dnslib.DNSRecord:
    reply = respond(zones, bytes(dnslib.DNSRecord.question(name, qtype).pack()), limit=None, note=lambda _: None)
    assert reply is not None
    return dnslib.DNSRecord.parse(reply)


def test_a_service_has_its_cluster_ips_in_both_families() -> None:
    assert [str(rr.rdata) for rr in ask(CLUSTER, WEB, "A").rr] == ["10.254.0.10"]
    assert [str(rr.rdata) for rr in ask(CLUSTER, WEB, "AAAA").rr] == ["fd00:10:254::10"]


def test_a_headless_service_has_its_pods_and_srv_records_with_their_addresses() -> None:
    pods = {str(SPEC.pod(name).address) for name in ("web-0", "api-0")}
    assert {str(rr.rdata) for rr in ask(CLUSTER, "peers.default.svc.cluster.local").rr} == pods
    reply = ask(CLUSTER, "_http._tcp.peers.default.svc.cluster.local", "SRV")
    assert len(reply.rr) == 2
    assert {str(rr.rdata) for rr in reply.ar if rr.rtype == dnslib.QTYPE.A} == pods


def test_a_name_without_that_type_is_nodata_and_an_unknown_one_does_not_exist() -> None:
    for name, rcode in (("default.svc.cluster.local", "NOERROR"), ("x.default.svc.cluster.local", "NXDOMAIN")):
        reply = ask(CLUSTER, name)
        assert (dnslib.RCODE[reply.header.rcode], len(reply.rr)) == (rcode, 0)
        (soa,) = reply.auth
        assert (dnslib.QTYPE[soa.rtype], str(soa.rname)) == ("SOA", "cluster.local.")


def test_addresses_of_services_and_of_headless_endpoints_have_names() -> None:
    assert [str(rr.rdata) for rr in ask(CLUSTER, "10.0.254.10.in-addr.arpa", "PTR").rr] == [f"{WEB}."]
    address = SPEC.pod("web-0").addresses[1]
    assert [str(rr.rdata) for rr in ask(CLUSTER, address.reverse_pointer, "PTR").rr] == [
        "web-0.peers.default.svc.cluster.local."
    ]


def test_names_of_other_zones_are_refused() -> None:
    assert ask(CLUSTER, lab.ORDINARY_NAME).header.rcode == dnslib.RCODE.REFUSED


def test_the_upstream_knows_its_names_and_no_others() -> None:
    upstream = Zones([upstream_zone(SPEC)])
    assert [str(rr.rdata) for rr in ask(upstream, lab.ORDINARY_NAME).rr] == ["192.0.2.80"]
    assert ask(upstream, WEB).header.rcode == dnslib.RCODE.NXDOMAIN
    assert ask(upstream, "corp.example").header.rcode == dnslib.RCODE.NOERROR


def test_an_answer_over_the_limit_is_truncated_unless_the_query_allows_more() -> None:
    query = dnslib.DNSRecord.question("peers.default.svc.cluster.local")
    for _ in range(40):
        query.add_ar(dnslib.RR("pad.example", rdata=dnslib.A("192.0.2.1")))
    zones = Zones(cluster_zones(SPEC))
    small = respond(zones, bytes(query.pack()), limit=30, note=lambda _: None)
    assert small is not None
    assert dnslib.DNSRecord.parse(small).header.tc == 1
    query.add_ar(dnslib.EDNS0(udp_len=1232))
    large = respond(zones, bytes(query.pack()), limit=30, note=lambda _: None)
    assert large is not None
    assert dnslib.DNSRecord.parse(large).header.tc == 0


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00" * 11, b"\xff" * 40, bytes(dnslib.DNSRecord.question("a.").reply().pack())],
    ids=["nothing", "a part of a header", "noise", "a reply"],
)
def test_what_is_no_query_gets_no_answer(data: bytes) -> None:
    assert respond(CLUSTER, data, limit=PLAIN_UDP, note=lambda _: None) is None


def _answers(spec: WorldSpec) -> dict[tuple[str, str], tuple[str, list[str], list[str], list[str]]]:
    with World.start(spec) as world:
        route_per_node(world)
        found = {}
        for name, qtype in (*POSITIVE, *NODATA_AND_NXDOMAIN):
            for transport in ("+notcp", "+tcp"):
                said = world.run(
                    lab.LAPTOP,
                    ["dig", transport, "+tries=1", "+noall", "+comments", "+answer", "+authority", "+additional",
                     "+nocookie", f"@{spec.cluster_dns.address}", name, qtype], check=True,
                ).stdout  # fmt: skip
                found[f"{transport} {name}", qtype] = _essence(said)
        return found


def _essence(said: str) -> tuple[str, list[str], list[str], list[str]]:
    """Status and flags, and the sorted records of each section, as dig shows them."""
    status = said.split("status: ")[1].split(",")[0] + said.split("flags:")[1].split(";")[0]
    sections: dict[str, list[str]] = {"ANSWER": [], "AUTHORITY": [], "ADDITIONAL": []}
    section: list[str] = []
    for line in said.splitlines():
        if line.startswith(";; ") and line.endswith(" SECTION:"):
            section = sections[line.split()[1]]
        elif line and not line.startswith(";"):
            section.append(" ".join(line.split()))
    return (status, sorted(sections["ANSWER"]), sorted(sections["AUTHORITY"]), sorted(sections["ADDITIONAL"]))


@pytest.mark.lab
@pytest.mark.cluster
def test_the_standin_answers_as_coredns_does() -> None:
    assert _answers(lab.network_a(ipv6=True, dns_program=ClusterDnsProgram.STANDIN)) == _answers(
        lab.network_a(ipv6=True, dns_program=ClusterDnsProgram.COREDNS)
    )
