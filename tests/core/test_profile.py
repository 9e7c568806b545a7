"""What makes a profile wrong: each fault with its path and a hint, all at once, for both families."""

import ipaddress
from dataclasses import replace
from typing import Any

import pytest

from devlink.core.checks import DecodeError
from devlink.core.names import DomainName
from devlink.core.profile import ClusterDns, DnsServer, Gateway, Identity, Metadata, Node, Spec
from devlink.core.profile_document import decode_profile
from devlink.errors import ProfileError
from tests.core.profiles import SAMPLE, pem

V4 = ipaddress.ip_address("172.16.0.13")


def faults(*changes: tuple[str, str]) -> list[str]:
    """The faults of the sample after replacing the first of each pair by the second; each must be there."""
    text = SAMPLE
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    try:
        decode_profile(text)
    except ProfileError as error:
        return list(error.faults)
    return []


QA = "namespaces: [default, qa]"
PODS = 'pods: [10.20.0.0/16, "fd00:20::/48"]'
SERVICES = 'services: [10.254.0.0/16, "fd00:254::/112"]'


def test_the_sample_is_valid() -> None:
    assert faults() == []


@pytest.mark.parametrize(
    ("old", "new", "path", "problem", "hint"),
    [
        ("devlink/v1alpha1", "devlink/v2", "apiVersion", "'devlink/v2' is not devlink/v1alpha1", "another devlink"),
        ("kind: BridgeProfile", "kind: Bridge", "kind", "'Bridge' is not BridgeProfile", ""),
        ("name: qa", "name: QA", "metadata.name", "'QA' is not a DNS label", "such as qa"),
        ("name: qa", "name: ../qa", "metadata.name", "is not a DNS label", ""),
        ("name: qa", "name: " + "a" * 64, "metadata.name", "is not a DNS label", ""),
        ("name: qa", 'name: "qa\\n"', "metadata.name", "is not a DNS label", ""),
        ("name: qa, ", "", "metadata.name", "missing", "such as qa"),
        ('"2026-11-20T09:00:00Z"', '"\\e[2J"', "metadata.revision", "is not one line of text", "a time"),
        (PODS, "pods: []", "spec.pods", "an empty list", "leave the key out to say none"),
        (SERVICES, "services: []", "spec.services", "an empty list", "leave the key out to say none"),
        ("[default, qa]", "[]", "spec.dns.namespaces", "an empty list", "left out: all"),
        ("10.20.0.0/16", "172.27.0.208/22", "spec.pods[0]", "has host bits set", "172.27.0.0/22"),
        ("10.20.0.0/16", "10.20.0.0/16 255.255.0.0", "spec.pods[0]", "a prefix length and a mask", "alone"),
        ("10.254.0.0/16", "0.0.0.0/0", "spec.services[0]", "shorter than /8", "never routes"),
        ("10.254.0.0/16", "0.0.0.0/1", "spec.services[0]", "shorter than /8", "never routes"),
        ("10.254.0.0/16", "0.0.0.0/8", "spec.services[0]", '"this network"', "never routes"),
        ("10.254.0.0/16", "127.0.0.0/8", "spec.services[0]", "loopback", "never routes"),
        ("10.254.0.0/16", "127.1.0.0/16", "spec.services[0]", "loopback", "never routes"),
        ("10.254.0.0/16", "169.254.20.0/24", "spec.services[0]", "link-local", "never routes"),
        ("10.254.0.0/16", "239.0.0.0/8", "spec.services[0]", "multicast", "never routes"),
        ("10.254.0.0/16", "255.255.255.255/32", "spec.services[0]", "reserved", "never routes"),
        ("fd00:254::/112", "::/0", "spec.services[1]", "shorter than /16", "never routes"),
        ("fd00:254::/112", "::1/128", "spec.services[1]", "loopback", "never routes"),
        ("fd00:254::/112", "fe80::/64", "spec.services[1]", "link-local", "never routes"),
        ("fd00:254::/112", "ff00::/16", "spec.services[1]", "multicast", "never routes"),
        ("fd00:254::/112", "::ffff:10.0.0.0/104", "spec.services[1]", "IPv4 in IPv6", "never routes"),
        ("10.254.0.0/16", "10.20.128.0/17", "spec.services[0]", "lies in 10.20.0.0/16 of pods[0]", "check both"),
        ("10.254.0.0/16", "10.20.0.0/16", "spec.services[0]", "stands also as pods[0]", "check both"),
        ("10.254.0.0/16", "10.20.0.0/15", "spec.pods[0]", "lies in 10.20.0.0/15 of services[0]", "check both"),
        ("fd00:254::/112", "fd00:20:0:1::/112", "spec.services[1]", "lies in fd00:20::/48 of pods[1]", "check both"),
        ("10.20.0.0/16,", "10.20.0.0/16, 10.20.1.0/24,", "spec.pods[1]", "lies in 10.20.0.0/16 of pods[0]", "out"),
        ("10.254.0.0/16,", "10.254.0.0/16, 10.254.0.0/16,", "spec.services[1]", "stands also as services[0]", "out"),
        ("172.16.0.13, role", "10.20.0.1, role", "spec.gateways[0].address", "lies in pods 10.20.0.0/16", "own"),
        ("172.16.0.13, role", "10.254.0.1, role", "spec.gateways[0].address", "lies in services 10.254", "own"),
        ('"fd00:16::13", role', '"fd00:20::1", role', "spec.gateways[1].address", "lies in pods fd00:20::/48", "own"),
        ("172.16.0.13, role", "127.0.0.1, role", "spec.gateways[0].address", "loopback", "can reach"),
        (
            "172.16.0.13, role",
            "172.16.0.13/32, role",
            "spec.gateways[0].address",
            "a prefix where one address",
            "slash",
        ),
        ("172.16.0.13, role", "rr.example, role", "spec.gateways[0].address", "is not an IP address", "a name"),
        ('"fd00:16::13", role', '"fe80::1", role', "spec.gateways[1].address", "link-local", ""),
        ('"fd00:16::13", role', '"fe80::1%eth0", role', "spec.gateways[1].address", "fe80::/10", "link-local"),
        ('"fd00:16::13", role', "172.16.0.13, role", "spec.gateways[1].address", "stands also as gateways[0]", "out"),
        ("priority: 10}", "priority: -1}", "spec.gateways[0].priority", "-1 is less than 0", "lower goes first"),
        ("priority: 10}", "priority: 65536}", "spec.gateways[0].priority", "more than 65535", "lower goes first"),
        ("role: route-reflector, priority: 10", 'role: "a b"', "spec.gateways[0].role", "is not a DNS label", ""),
        ("172.16.0.13, pods", "10.20.73.65, pods", "spec.nodes[0].address", "lies in pods 10.20.0.0/16", "own"),
        ('"fd00:16::13", pods', '"fd00:254::5", pods', "spec.nodes[1].address", "lies in services fd00:254", "own"),
        ("[10.20.73.64/26]", "[10.21.0.0/26]", "spec.nodes[0].pods[0]", "10.21.0.0/26 is outside pods", "add"),
        ("[10.20.73.64/26]", "[10.20.0.0/15]", "spec.nodes[0].pods[0]", "10.20.0.0/15 is outside pods", "add"),
        ("[10.20.73.64/26]", "[]", "spec.nodes[0].pods", "an empty list", "no entry"),
        ("[10.20.73.64/26]", "[10.20.1.0/24, 10.20.1.0/26]", "spec.nodes[0].pods[1]", "lies in 10.20.1.0/24 of", "one"),
        ('["fd00:20:0:73::/64"]', "[10.20.9.0/24]", "spec.nodes[1].pods[0]", "not the same IP version", "IPv4"),
        (PODS, "", "spec.nodes", "pod blocks without pods", "leave nodes out"),
        ("routing: auto", "routing: direct", "spec.routing", "'direct' is none of auto, per-node", ""),
        ("routing: auto", "routing: Router", "spec.routing", "is none of auto", "did you mean router?"),
        ("mtu: 1480", "mtu: 575", "spec.mtu", "575 is less than 576", "octets"),
        ("mtu: 1480", "mtu: 65536", "spec.mtu", "65536 is more than 65535", "octets"),
        ("mtu: 1480", "mtu: 1279", "spec.mtu", "1279 is less than 1280", "IPv6"),
        ("cluster.local", "local", "spec.dns.domain", "one label", "cluster.local"),
        ("cluster.local", ".", "spec.dns.domain", "the root", "cluster.local"),
        ("cluster.local", "10.in-addr.arpa", "spec.dns.domain", "a reverse zone", "reverse: true"),
        ("cluster.local", "10.20.0.0", "spec.dns.domain", "ends in a number", "cluster.local"),
        ("cluster.local", "clus ter.local", "spec.dns.domain", "character", "cluster.local"),
        ("cluster.local", "cluster..local", "spec.dns.domain", "empty label", "cluster.local"),
        ("10.254.0.2", "127.0.0.53", "spec.dns.servers[0].address", "loopback", "can reach"),
        ("10.254.0.2", "169.254.20.10", "spec.dns.servers[0].address", "link-local", "nodelocaldns"),
        ('"fd00:254::2"', "10.254.0.2", "spec.dns.servers[1].address", "stands also as servers[0].address", "out"),
        ("transport: tcp", "transport: tls", "spec.dns.servers[1].transport", "'tls' is none of udp, tcp, auto", ""),
        ("[default, qa]", "[default, default]", "spec.dns.namespaces[1]", "stands also as namespaces[0]", "out"),
        ("[default, qa]", "[default, Qa]", "spec.dns.namespaces[1]", "is not a DNS label", "as in the cluster"),
        ("[default, qa]", '["default.svc"]', "spec.dns.namespaces[0]", "is not a DNS label", "as in the cluster"),
        (QA, f"{QA}\n    search: []", "spec.dns.search", "an empty list", "left out: none"),
        (QA, f"{QA}\n    search: [Qa]", "spec.dns.search[0]", "is not a DNS label", "as in the cluster"),
        (QA, f"{QA}\n    search: [qa.svc]", "spec.dns.search[0]", "is not a DNS label", "as in the cluster"),
        (QA, f"{QA}\n    search: [qa, qa]", "spec.dns.search[1]", "stands also as search[0]", "out"),
        (QA, f"{QA}\n    search: [qa, dev]", "spec.dns.search[1]", "dev is not in namespaces", "add it"),
        (QA, f"{QA}\n    endpoints: []", "spec.dns.endpoints", "an empty list", "say none"),
        (QA, f"{QA}\n    endpoints: [10.20.0.9, 127.0.0.1]", "spec.dns.endpoints[1]", "loopback", "DNS's pods"),
        (
            QA,
            f"{QA}\n    endpoints: [10.20.0.9, 192.0.2.53]",
            "spec.dns.endpoints[1]",
            "is outside pods",
            "network to pods",
        ),
        (QA, f"{QA}\n    endpoints: [10.20.0.9, 10.20.0.9]", "spec.dns.endpoints[1]", "also as endpoints[0]", "out"),
        (QA, "search: [qa, com]", "spec.dns.search[1]", "com is a top-level domain", "whole names"),
        ("  mtu: 1480", "  MTU: 1480", "spec.MTU", "unknown key", "did you mean mtu?"),
        ("gateways:\n", "gateway:\n", "spec.gateway", "unknown key", "did you mean gateways?"),
        ("{pods: ", '{"a b": ', "provenance", "'a b' is not a path in spec", "such as pods"),
        ("/default-ipv4-ippool", "x" * 2000, "provenance.pods", "is not one line of at most 1024", ""),
        ("mtu: 1480", "identity: {ca: none}", "spec.identity.ca", "no PEM certificate in it", "-----BEGIN"),
        ("mtu: 1480", "identity: {}", "spec.identity.ca", "missing", ""),
    ],
)
def test_one_change_makes_one_fault_with_its_path_and_a_hint(
    old: str, new: str, path: str, problem: str, hint: str
) -> None:
    (found,) = faults((old, new))
    assert found.startswith(f"{path}: ")
    assert problem in found
    assert hint in found


def test_the_api_is_the_first_address_of_the_first_services_network() -> None:
    spec = decode_profile(SAMPLE).spec
    assert str(spec.api) == "10.254.0.1"
    assert str(replace(spec, services=(spec.services or ())[::-1]).api) == "fd00:254::1"
    assert replace(spec, services=None).api is None


def test_all_faults_are_named_at_once() -> None:
    found = faults(
        ("kind: BridgeProfile", "kind: Bridge"),
        ("name: qa", "name: Qa"),
        ("10.254.0.0/16", "10.254.0.1/16"),
        ("172.16.0.13, role", "10.20.0.1, role"),
        ("10.20.73.64/26", "10.30.0.0/26"),
        ("mtu: 1480", "mtu: 1"),
        ("cluster.local", "local"),
        ("[default, qa]", "[]"),
        ("reverse: true", "revers: true"),
    )
    paths = {line.partition(": ")[0] for line in found}
    assert paths >= {
        "kind", "metadata.name", "spec.services[0]", "spec.mtu", "spec.nodes[0].pods[0]", "spec.dns.domain",
        "spec.dns.namespaces", "spec.dns.revers",
    }  # fmt: skip
    assert len(found) == len(paths)


def test_a_fault_in_a_list_moves_no_other_faults_path() -> None:
    found = faults(("gateways:\n", "gateways:\n  - {address: bad}\n  - {address: 127.0.0.1}\n"))
    assert [line.partition(": ")[0] for line in found] == ["spec.gateways[0].address", "spec.gateways[1].address"]


def test_a_profile_for_nothing_is_a_fault() -> None:
    text = "apiVersion: devlink/v1alpha1\nkind: BridgeProfile\nmetadata: {name: qa}\nspec: {mtu: 1480}\n"
    with pytest.raises(ProfileError) as caught:
        decode_profile(text)
    assert caught.value.faults[0].startswith("spec: neither pods, services nor dns")


@pytest.mark.parametrize(
    ("routing", "drop", "fault"),
    [
        ("per-node", "nodes", "spec.routing: per-node without nodes"),
        ("gateway", "gateways", "spec.routing: gateway without gateways"),
        ("relay", "gateways", None),
        ("router", "gateways", None),
        ("auto", "gateways", None),
        ("per-node", None, None),
        ("gateway", None, None),
    ],
)
def test_a_mode_asked_for_by_name_needs_its_next_hops(routing: str, drop: str | None, fault: str | None) -> None:
    lines = SAMPLE.splitlines()
    if drop:
        start = lines.index(f"  {drop}:")
        del lines[start : start + 3]
    text = "\n".join(lines).replace("routing: auto", f"routing: {routing}")
    found: tuple[str, ...] = ()
    try:
        decode_profile(text)
    except ProfileError as error:
        found = error.faults
    assert bool(found) == bool(fault)
    assert all(line.startswith(str(fault)) for line in found)


def test_the_gateways_must_serve_every_family_when_they_are_the_only_way() -> None:
    only_v4 = ('  - {address: "fd00:16::13", role: route-reflector, priority: 20}\n', "")
    assert faults(only_v4) == []
    assert faults(only_v4, ("routing: auto", "routing: gateway")) == [
        "spec.gateways: none has an IPv6 address, and there are IPv6 prefixes (add one)"
    ]


def test_ipv4_alone_may_have_a_small_mtu() -> None:
    only_v4 = [
        (', "fd00:20::/48"', ""),
        (', "fd00:254::/112"', ""),
        ('  - {address: "fd00:16::13", pods: ["fd00:20:0:73::/64"]}\n', ""),
    ]
    assert faults(*only_v4, ("mtu: 1480", "mtu: 576")) == []


def test_two_nodes_that_own_the_same_block_are_a_fault() -> None:
    node = "  - {address: 172.16.0.13, pods: [10.20.73.64/26]}\n"
    other = "  - {address: 172.16.0.14, pods: [10.20.73.64/27]}\n"
    assert faults((node, node + other)) == [
        "spec.nodes[1].pods[0]: 10.20.73.64/27 lies in 10.20.73.64/26 of nodes[0].pods[0] (a block has one owner)"
    ]
    assert faults((node, node + node.replace("73.64", "80.0"))) == [
        "spec.nodes[1].address: 172.16.0.13 stands also as nodes[0].address (put the blocks into one list)"
    ]


def test_blocks_may_lie_in_neighbouring_pod_networks_together() -> None:
    assert faults(("10.20.0.0/16", "10.20.0.0/17, 10.20.128.0/17"), ("10.20.73.64/26", "10.20.64.0/18")) == []


@pytest.mark.parametrize(
    ("ca", "problem"),
    [
        ("", "no PEM certificate"),
        (pem().replace("CERTIFICATE", "PRIVATE KEY"), "A PRIVATE KEY"),
        (pem() + pem(label="RSA PRIVATE KEY"), "A PRIVATE KEY"),
        (pem() + pem(label="PUBLIC KEY"), "another kind, 'PUBLIC KEY'"),
        (pem().replace("MIIB", "!!!!"), "damaged"),
        (pem().replace("eHh4", "", 1), "cut off"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "damaged"),
        ("x" * 300_000, "300000 characters, more than 262144"),
    ],
)
def test_an_identity_is_certificates_and_never_repeats_what_it_refuses(ca: str, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        Identity(ca=ca)
    assert any(problem in fault.problem for fault in caught.value.faults)
    assert "eHh4eHh4" not in str(caught.value)


def test_equal_certificates_are_equal_however_they_were_wrapped() -> None:
    lines = pem().splitlines()
    one_line = "\n".join([lines[0], "".join(lines[1:-1]), lines[-1]])
    assert Identity(ca=one_line) == Identity(ca=pem()) == Identity(ca="comment\n" + pem().replace("\n", "\r\n"))
    assert Identity(ca=pem() * 2) != Identity(ca=pem())


@pytest.mark.parametrize(
    ("build", "path"),
    [
        (lambda: Metadata(name="a.b"), "name"),
        (lambda: Gateway(address=V4, priority=-1), "priority"),
        (lambda: Node(address=V4, pods=()), "pods"),
        (lambda: DnsServer(address=ipaddress.ip_address("224.0.0.1")), "address"),
        (lambda: ClusterDns(domain=DomainName(()), servers=(DnsServer(address=V4),)), "domain"),
        (lambda: Spec(), ""),
        (lambda: Spec(pods=(ipaddress.ip_network("0.0.0.0/1"),)), "pods[0]"),
    ],
)
def test_what_is_made_in_code_is_checked_as_well(build: Any, path: str) -> None:
    with pytest.raises(DecodeError) as caught:
        build()
    assert [fault.path for fault in caught.value.faults] == [path]


def test_nodes_stand_in_the_order_of_their_addresses() -> None:
    pods = ipaddress.ip_network("10.20.0.0/16")
    blocks = [(ipaddress.ip_address(f"172.16.0.{n}"), ipaddress.ip_network(f"10.20.{n}.0/24")) for n in (9, 100, 10)]
    nodes = tuple(Node(address=address, pods=(block,)) for address, block in blocks)
    spec = Spec(pods=(pods,), nodes=nodes)
    assert spec == Spec(pods=(pods,), nodes=tuple(reversed(nodes)))
    assert [str(node.address) for node in spec.nodes or ()] == ["172.16.0.9", "172.16.0.10", "172.16.0.100"]
