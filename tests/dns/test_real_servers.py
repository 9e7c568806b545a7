"""Real servers behind the forwarder and real clients before it: everything arrives as it was sent."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.zone
import pytest

from devlink.core.plan import ForwarderConfig, Zone
from tests.dns import real_servers
from tests.dns.asking import forwarding
from tests.dns.forwarder_process import PATIENCE, Forwarder
from tests.dns.messages import name, upstream
from tests.dns.real_servers import HOST, Zones
from tests.kit import peers

SERVERS = [
    pytest.param("nsd", marks=pytest.mark.peers),
    pytest.param("unbound", marks=pytest.mark.peers),
    pytest.param("coredns", marks=[pytest.mark.peers, pytest.mark.cluster]),
]
"""All zones are signed with a tool of the peers'."""
SIGNED_NAMES = [
    ("www.{}", "A"), ("www.{}", "AAAA"), ("www.{}", "TXT"), ("alias.{}", "A"), ("nowhere.{}", "A"), ("{}", "DNSKEY"),
    ("{}", "SOA"), ("x.y.wild.{}", "A"), ("x.wild.{}", "AAAA"), ("{}", "DS"), ("www.{}", "RRSIG"),
]  # fmt: skip
ABSENT = ["nowhere", "below.one", "empty.non.terminal", "deep.empty.non.terminal", "x.unknown", "_tcp.web"]
ELSEWHERE = ["anything.wild", "a.b.c.wild", "leaf.tree", "nowhere.tree", "host.child", "child", "WWW.CHILD", "cHaIn"]
"""Names that are in the zone without a line of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a client asks."""

    tcp: bool = False
    payload: int | None = None
    do: bool = False
    flags: int = dns.flags.RD

    def query(self, qname: dns.name.Name | str, qtype: str) -> dns.message.QueryMessage:
        return dns.message.make_query(
            qname, qtype, flags=self.flags, use_edns=None if self.payload is None else 0, want_dnssec=self.do,
            payload=self.payload,
        )  # fmt: skip

    def ask(self, query: dns.message.Message, port: int) -> dns.message.Message:
        exchange = dns.query.tcp if self.tcp else dns.query.udp
        return exchange(query, HOST, port=port, timeout=PATIENCE)

    @property
    def limit(self) -> int:
        return 65535 if self.tcp else self.payload or 512


WAYS = (
    Ways(),
    Ways(payload=1232),
    Ways(payload=4096, do=True),
    Ways(tcp=True),
    Ways(tcp=True, payload=1232, do=True, flags=dns.flags.RD | dns.flags.CD),
    Ways(payload=1232, flags=dns.flags.RD | dns.flags.AD),
    Ways(payload=512, do=True),
    Ways(payload=1232, flags=0),
)


def questions(zones: Zones) -> list[tuple[dns.name.Name, str]]:
    """Each name with each of its types, with a type that it lacks, and names that do not exist."""
    found: list[tuple[dns.name.Name, str]] = []
    for origin in ("zoo.test", "1.10.in-addr.arpa"):
        zone = dns.zone.from_file(str(zones.files[origin]), origin, relativize=False)
        for owner, node in zone.nodes.items():
            types = [dns.rdatatype.to_text(rdataset.rdtype) for rdataset in node.rdatasets]
            found += [(owner, qtype) for qtype in dict.fromkeys((*types, "AAAA", "HTTPS"))]
    zoo = dns.name.from_text("zoo.test")
    found += [(dns.name.from_text(each, zoo), qtype) for each in (*ABSENT, *ELSEWHERE) for qtype in ("A", "TXT")]
    found += [(dns.name.from_text(each, zoo), "ANY") for each in ("both", "text", "many", "nowhere", "chain", "@")]
    for origin in ("signed.test", "bogus.test"):
        found += [(dns.name.from_text(each.format(origin)), qtype) for each, qtype in SIGNED_NAMES]
    return found


Content = dict[str, dict[tuple[str, str, object], int]]


def content(message: dns.message.Message) -> Content:
    """Each section's records as a set, with their TTLs."""
    return {
        section: {
            (str(rrset.name).lower(), dns.rdatatype.to_text(rrset.rdtype), rdata): rrset.ttl
            for rrset in rrsets
            for rdata in rrset
        }
        for section, rrsets in (
            ("answer", message.answer), ("authority", message.authority), ("additional", message.additional),
        )
    }  # fmt: skip


def flags(message: dns.message.Message) -> str:
    return dns.flags.to_text(message.flags & ~(dns.flags.AA | dns.flags.TC))


def errors(message: dns.message.Message) -> set[int]:
    return {int(option.code) for option in message.extended_errors()}


def difference(direct: dns.message.Message, got: dns.message.Message, ways: Ways, elapsed: float) -> str | None:
    """What is different at the client from what the server said, or None."""
    if got.rcode() != direct.rcode():
        return f"rcode {dns.rcode.to_text(got.rcode())}"
    direct.flags |= dns.flags.RA  # the forwarder's own: it looks up what it is asked
    if flags(got) != flags(direct):
        return f"flags {flags(got)}, and {flags(direct)} directly"
    if ways.payload is not None and not errors(direct) <= errors(got):
        return f"extended errors {errors(got)}, and {errors(direct)} directly"
    if (got.edns >= 0) != (ways.payload is not None) or bool(got.ednsflags & dns.flags.DO) != ways.do:
        return f"EDNS {got.edns} {got.ednsflags:#x}"
    if got.flags & dns.flags.TC:
        assert direct.wire is not None
        size = len(direct.wire)
        if ways.tcp or size <= ways.limit - 11:
            return f"truncated, and it is {size} octets"
        return "truncated, with records" if got.answer else None
    theirs, ours = content(direct), content(got)
    for section, records in theirs.items():
        if ours[section].keys() != records.keys():
            return f"{section} {ours[section]}, and {records} directly"
        for record, ttl in records.items():
            # Whoever keeps answers counts whole seconds, and two who do not begin them at the same time.
            if not ttl - elapsed - 2 <= ours[section][record] <= ttl + 1:
                return (
                    f"{record} with TTL {ours[section][record]}, and {ttl} directly, kept for {elapsed:.1f} s at most"
                )
    return None


@contextmanager
def serving(server: str, folder: Path, zones: Zones) -> Iterator[int]:
    """One of SERVERS; its port."""
    if server == "coredns":
        with real_servers.coredns(folder, zones) as port:
            yield port
        return
    with real_servers.nsd(folder, zones) as authority:
        if server == "nsd":
            yield authority
            return
        with real_servers.unbound(folder, zones, authority) as port:
            yield port


def config(kind: str, port: int) -> ForwarderConfig:
    servers = (upstream(HOST, port=port),)
    if kind == "ordinary":
        return ForwarderConfig(upstreams=servers)
    suffixes = ("test", "1.10.in-addr.arpa")
    return ForwarderConfig(zones=tuple(Zone(suffix=name(suffix), servers=servers) for suffix in suffixes))


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Zones:
    return real_servers.write_zones(tmp_path_factory.mktemp("zones"))


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("kind", ["cluster", pytest.param("ordinary", marks=pytest.mark.matrix)])
def test_every_answer_arrives_as_the_server_gave_it(kind: str, server: str, zones: Zones, tmp_path: Path) -> None:
    """First from the server and then, asked in every way, perhaps from the cache."""
    wrong = []
    with serving(server, tmp_path, zones) as port, forwarding(config(kind, port)) as forwarder:
        # What is kept may be as old as the first question, also where the server has renewed its own copy since.
        before = time.monotonic()
        for qname, qtype in questions(zones):
            for ways in WAYS:
                if qtype == "ANY" and server != "nsd":
                    continue  # what they say to ANY depends on what they were asked before
                asked = Ways(payload=1232, do=ways.do, flags=ways.flags).query(qname, qtype)
                direct, _ = dns.query.udp_with_fallback(asked, HOST, port=port, timeout=PATIENCE)
                for turn in ("first", "again"):
                    got = ways.ask(ways.query(qname, qtype), forwarder.port)
                    found = difference(direct, got, ways, time.monotonic() - before)
                    if found is not None:
                        wrong.append(f"{qname} {qtype} {ways} {turn}: {found}")
    assert wrong == []


def told(command: list[str], port: int) -> set[tuple[str, ...]]:
    """The records that a client prints of the answer and authority sections, without TTLs, and the status."""
    done = subprocess.run(
        [*command[:1], f"@{HOST}", "-p", str(port), *command[1:]], env=peers.environment(), capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found: set[tuple[str, ...]] = set()
    section = ""
    for line in done.stdout.splitlines():
        fields = line.split()
        if "status:" in fields:
            found.add((fields[fields.index("status:") + 1],))
        elif line.startswith(";;"):
            section = line
        elif line and not line.startswith(";") and "ADDITIONAL" not in section:
            found.add((fields[0].lower(), *fields[2:]))
    assert found
    return found


TOLD = ["one.zoo.test", "_http._tcp.web.zoo.test SRV", "many.zoo.test", "big.zoo.test TXT", "chain.zoo.test AAAA",
        "nowhere.zoo.test", "unknown.zoo.test TYPE65280", "https.zoo.test TYPE65", "www.signed.test"]  # fmt: skip


@pytest.mark.peers
@pytest.mark.parametrize(
    "options",
    [
        "+tcp", "+dnssec", "+dnssec +bufsize=1232", "+tcp +dnssec +bufsize=512", "+bufsize=512", "+noedns",
        "+cookie=0011223344556677", "+subnet=10.1.0.0/16", "+nsid", "+edns=0 +ednsopt=65001:abcd", "+norecurse",
        "+cdflag +adflag", "+tcp +keepopen", "+padding=128", "+expire", "+ednsflags=0x10",
        "+nocookie +ignore +bufsize=4000",
    ],
)  # fmt: skip
def test_dig_is_told_what_the_server_says(options: str, zones: Zones, tmp_path: Path) -> None:
    """All questions in one call."""
    with serving("nsd", tmp_path, zones) as port, forwarding(config("cluster", port)) as forwarder:
        command = ["dig", *options.split()]
        for asked in TOLD:
            command += [*asked.split(), "A"][:2]
        assert told(command, forwarder.port) == told(command, port)


@pytest.mark.peers
@pytest.mark.parametrize("options", ["+notcp", "+tcp +keepopen", "+dnssec", "+tcp +dnssec +bufsize=4096", "+noedns"])
def test_kdig_is_told_what_the_server_says(options: str, zones: Zones, tmp_path: Path) -> None:
    """All questions in one call; with `+keepopen` on one connection."""
    with serving("nsd", tmp_path, zones) as port, forwarding(config("cluster", port)) as forwarder:
        command = [peers.program("kdig"), *options.split()]
        for asked in TOLD:
            qname, qtype = [*asked.split(), "A"][:2]
            command += ["-q", qname, "-t", qtype]
        assert told(command, forwarder.port) == told(command, port)


def delv(forwarder: Forwarder, anchors: Path, root: str, *asked: str) -> str:
    done = subprocess.run(
        ["delv", f"@{HOST}", "-p", str(forwarder.port), "-a", str(anchors), f"+root={root}", *asked],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.peers
@pytest.mark.parametrize("server", ["nsd", "unbound"])
def test_delv_validates_through_the_forwarder(server: str, zones: Zones, tmp_path: Path) -> None:
    """Every signature arrives, over UDP and TCP, asked for the first time or not; a broken one stays broken."""
    anchors = tmp_path / "anchors"
    anchors.write_text(zones.delv_anchors())
    with serving(server, tmp_path, zones) as port, forwarding(config("cluster", port)) as forwarder:
        for more in ([], ["+tcp"], []):
            for qname, qtype in (("www", "A"), ("alias", "AAAA"), ("x.wild", "A"), ("text", "TXT")):
                said = delv(forwarder, anchors, "signed.test", f"{qname}.signed.test", qtype, *more)
                assert "; fully validated" in said, (qname, qtype, said)
            for qname, qtype in (("nowhere", "A"), ("www", "TXT")):
                said = delv(forwarder, anchors, "signed.test", f"{qname}.signed.test", qtype, *more)
                assert "; negative response, fully validated" in said, (qname, qtype, said)
            said = delv(forwarder, anchors, "bogus.test", "www.bogus.test", "A", *more)
            assert "fully validated" not in said
            assert "resolution failed" in said


@pytest.mark.peers
def test_whoever_checks_nothing_gets_no_answer_that_was_only_for_one_who_checks(zones: Zones, tmp_path: Path) -> None:
    """unbound refuses what is bogus, but not to CD; the cache must not mix them up, nor DO, nor AD."""
    with serving("unbound", tmp_path, zones) as port, forwarding(config("ordinary", port)) as forwarder:
        for _ in range(2):
            checks = Ways(payload=1232, flags=dns.flags.RD | dns.flags.CD)
            got = checks.ask(checks.query("www.bogus.test", "A"), forwarder.port)
            assert (got.rcode(), len(got.answer)) == (dns.rcode.NOERROR, 1)
            plain = Ways(payload=1232)
            got = plain.ask(plain.query("www.bogus.test", "A"), forwarder.port)
            assert (got.rcode(), got.answer) == (dns.rcode.SERVFAIL, [])
            assert errors(got) & {6, 7, 9, 10}, "unbound's reason"
            for flag, signatures, authentic in (
                (Ways(payload=1232, do=True), 1, True),
                (Ways(payload=1232), 0, False),
                (Ways(payload=1232, flags=dns.flags.RD | dns.flags.AD), 0, True),
            ):
                got = flag.ask(flag.query("www.signed.test", "A"), forwarder.port)
                assert sum(rrset.rdtype == dns.rdatatype.RRSIG for rrset in got.answer) == signatures
                assert bool(got.flags & dns.flags.AD) == authentic
