"""Real name servers on loopback: NSD with a zone of every kind of record, unbound before it, and CoreDNS."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode

from devlink.lab import kit
from tests.dns.forwarder_process import wait_until
from tests.kit import peers

HOST = "127.0.0.1"
ZOO = (
    r"""
$ORIGIN zoo.test.
$TTL 300
@ SOA ns hostmaster 2026112101 3600 600 86400 60
@ NS ns
@ NS ns2
@ MX 10 mail
@ CAA 0 issue "ca.example"
ns A 10.1.0.1
ns2 A 10.1.0.2
mail A 10.1.0.3
one A 10.1.1.1
both A 10.1.1.2
both AAAA fd00::1:2
six AAAA fd00::6
set A 10.1.2.1
set A 10.1.2.2
set A 10.1.2.3
zero 0 A 10.1.1.9
$TTL 77
short A 10.1.1.77
$TTL 300
_http._tcp.web SRV 10 50 8080 web-0.web
_http._tcp.web SRV 10 50 8080 web-1.web
_http._tcp.far SRV 0 0 53 server.elsewhere.example.
web-0.web A 10.1.3.1
web-0.web AAAA fd00::3:1
web-1.web A 10.1.3.2
text TXT "one string"
text TXT "two" "strings" "with \"quotes\" and \200\201 octets"
empty TXT ""
https HTTPS 1 . alpn="h2,h3" ipv4hint=10.1.1.1 ipv6hint=fd00::1
alias HTTPS 0 https
svcb SVCB 2 one mandatory=port port=8443
chain CNAME chain1
chain1 CNAME chain2
chain2 CNAME chain3
chain3 CNAME chain4
chain4 CNAME one
dangling CNAME not-there
away CNAME www.elsewhere.example.
loop CNAME pool
pool CNAME loop
naptr NAPTR 100 10 "S" "SIP+D2U" "" _sip._udp.far
sshfp SSHFP 4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789
tlsa TLSA 3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971
uri URI 10 1 "https://one.zoo.test/"
hinfo HINFO "cpu" "os"
rp RP hostmaster text
loc LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
unknown TYPE65280 \# 7 00112233445566
unknown TYPE65281 \# 0
*.wild A 10.1.4.1
*.wild TXT "wild"
a.deep.empty.non.terminal A 10.1.5.1
tree DNAME other
leaf.other A 10.1.6.1
child NS ns.child
ns.child A 10.1.7.1
UPPER.Case A 10.1.8.1
x.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa A 10.1.9.1
odd\046label A 10.1.9.2
spa\032ce\000nul\255 A 10.1.9.3
under_score A 10.1.9.4
"""
    + "".join(f"many A 10.2.{i >> 8}.{i & 255}\n" for i in range(300))
    + (
        "big TXT " + " ".join(f'"{i:03d}{"x" * 252}"' for i in range(16)) + "\n"
        "medium TXT " + " ".join(f'"{i:03d}{"y" * 200}"' for i in range(4)) + "\n"
    )
)
REVERSE = """
$ORIGIN 1.10.in-addr.arpa.
$TTL 300
@ SOA ns.zoo.test. hostmaster.zoo.test. 1 3600 600 86400 60
@ NS ns.zoo.test.
1.1 PTR one.zoo.test.
2.1 PTR both.zoo.test.
2.1 PTR also.zoo.test.
"""
SIGNED = """
$ORIGIN {0}.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 10.3.0.1
www A 10.3.0.2
www AAAA fd00::3
alias CNAME www
text TXT "signed"
*.wild A 10.3.0.4
"""
TAMPERED = ("10.3.0.2", "10.3.6.6")
"""What is changed in the zone `bogus.test` after it was signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zones:
    """Zone files."""

    files: Mapping[str, Path]
    """By origin, as text without the final dot."""
    anchor: Path
    """The DNSKEY records that vouch for signed.test and bogus.test, as a zone file."""

    def delv_anchors(self) -> str:
        """The same, as delv(1) wants them."""
        keys = [line.split("DNSKEY") for line in self.anchor.read_text().splitlines() if "DNSKEY" in line]
        lines = []
        for before, after in keys:
            flags, protocol, algorithm, *key = after.partition(";")[0].split()
            lines.append(f'{before.split()[0]} static-key {flags} {protocol} {algorithm} "{"".join(key)}";')
        return "trust-anchors {\n" + "\n".join(lines) + "\n};\n"


def write_zones(folder: Path) -> Zones:
    """All zones; the two signed ones with new keys."""
    files = {"zoo.test": folder / "zoo.test", "1.10.in-addr.arpa": folder / "1.10.in-addr.arpa"}
    files["zoo.test"].write_text(ZOO)
    files["1.10.in-addr.arpa"].write_text(REVERSE)
    anchors = ""
    for origin in ("signed.test", "bogus.test"):
        (folder / f"{origin}.plain").write_text(SIGNED.format(origin))
        key = _run(folder, "ldns-keygen", "-a", "ECDSAP256SHA256", "-k", origin).strip()
        _run(folder, "ldns-signzone", "-o", origin, "-f", origin, f"{origin}.plain", key)
        files[origin] = folder / origin
        anchors += (folder / f"{key}.key").read_text()
    files["bogus.test"].write_text(files["bogus.test"].read_text().replace(*TAMPERED))
    anchor = folder / "anchors"
    anchor.write_text(anchors)
    return Zones(files=files, anchor=anchor)


def _run(folder: Path, program: str, *arguments: str) -> str:
    done = subprocess.run(
        [peers.program(program), *arguments], cwd=folder, env=peers.environment(), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{program}: {done.stderr}"
    return done.stdout


def free_port() -> int:
    """One that nobody uses, UDP or TCP; the kernel gives a port that was free just now to nobody else soon."""
    while True:
        with socket.create_server((HOST, 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            return int(tcp.getsockname()[1])


@contextmanager
def _running(command: list[str], folder: Path, port: int, zone: str) -> Iterator[int]:
    """A server in the foreground; goes on when it answers for `zone` over UDP and TCP. Gives its port."""
    log = folder / f"{Path(command[0]).name}-{port}.log"
    with log.open("wb") as out:
        # A group of its own: NSD has children, which end with it, or with their group where it cannot tell them.
        process = subprocess.Popen(
            command, cwd=folder, env=peers.environment(), stdout=out, stderr=out, process_group=0
        )
    try:

        def answers() -> bool:
            assert process.poll() is None, f"{command[0]} has ended: {log.read_text()}"
            query = dns.message.make_query(zone, "SOA")
            try:
                for ask in (dns.query.udp, dns.query.tcp):
                    if ask(query, HOST, port=port, timeout=1).rcode() != dns.rcode.NOERROR:
                        return False
            except (OSError, dns.exception.DNSException):
                return False
            return True

        wait_until(answers)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)


@contextmanager
def nsd(folder: Path, zones: Zones) -> Iterator[int]:
    port = free_port()
    conf = folder / "nsd.conf"
    conf.write_text(
        f"server:\n ip-address: {HOST}@{port}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{folder}\"\n"
        f" pidfile: \"{folder}/nsd.pid\"\n database: \"\"\n"
        f" xfrdfile: \"{folder}/xfrd\"\n zonelistfile: \"{folder}/list\"\n"
        f" server-count: 1\n tcp-count: 100\n xfrdir: \"{folder}\"\n rrl-ratelimit: 0\n"
        "remote-control:\n control-enable: no\n"
        + "".join(f"zone:\n name: {origin}\n zonefile: \"{path}\"\n" for origin, path in zones.files.items())
    )  # fmt: skip
    with _running([peers.program("nsd"), "-d", "-c", str(conf)], folder, port, "zoo.test") as at:
        yield at


@contextmanager
def unbound(folder: Path, zones: Zones, authority: int) -> Iterator[int]:
    """A validating resolver that asks the server at that port."""
    port = free_port()
    conf = folder / "unbound.conf"
    local = "".join(f' local-zone: "{zone}" nodefault\n' for zone in ("test.", "10.in-addr.arpa."))
    # All names go to NSD, also those it does not know: nothing leaves this machine.
    conf.write_text(
        f'server:\n interface: {HOST}\n port: {port}\n username: ""\n chroot: ""\n directory: "{folder}"\n'
        f' pidfile: ""\n use-syslog: no\n do-daemonize: no\n do-not-query-localhost: no\n num-threads: 1\n'
        f' do-ip6: no\n ede: yes\n trust-anchor-file: "{zones.anchor}"\n minimal-responses: no\n{local}'
        f"remote-control:\n control-enable: no\nforward-zone:\n name: .\n forward-addr: {HOST}@{authority}\n"
    )
    with _running([peers.program("unbound"), "-d", "-c", str(conf)], folder, port, "zoo.test") as at:
        yield at


@contextmanager
def coredns(folder: Path, zones: Zones) -> Iterator[int]:
    port = free_port()
    program = kit.coredns()
    assert program is not None
    blocks = "".join(
        f"{origin}:{port} {{\n bind {HOST}\n errors\n file {path}\n}}\n" for origin, path in zones.files.items()
    )
    (folder / "Corefile").write_text(blocks)
    with _running([str(program), "-conf", str(folder / "Corefile")], folder, port, "zoo.test") as at:
        yield at
