"""What stands for addresses and names in an anonymized report: consistent, of the same kind, and not the real one."""

import ipaddress
import json
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.doctor.report.anonymizing import ALTERED, KEPT, Anonymizer

NAMES = ("laptop", "alice", "qa-context", "admin@qa", "Corp WiFi")
ANONYMIZER = Anonymizer(b"0123456789abcdef", NAMES, keep=("devlink.agent.server",))
OTHER = Anonymizer(b"another key", NAMES)
ADDRESSES = st.ip_addresses()
LABEL = st.from_regex(r"[a-z][a-z0-9-]{5,14}[a-z0-9]", fullmatch=True)


def anonymize(text: str) -> str:
    return ANONYMIZER.anonymize(text)


@given(one=ADDRESSES, shared=st.integers(0, 128), other=st.integers(0))
def test_two_addresses_share_as_many_first_bits_as_before(
    one: IPv4Address | IPv6Address, shared: int, other: int
) -> None:
    width = one.max_prefixlen
    free = width - min(shared, width)
    two = type(one)(int(one) >> free << free | other % (1 << free))
    if _embeds(one) or _embeds(two):
        return  # what is in there has bits of its own
    assert _common(one, two) == _common(ANONYMIZER.address(one), ANONYMIZER.address(two))


@given(address=ADDRESSES)
def test_an_address_stays_of_its_kind(address: IPv4Address | IPv6Address) -> None:
    altered = ANONYMIZER.address(address)
    for block in (*KEPT, *ALTERED):
        if block.version == address.version:
            assert (address in block) == (altered in block)


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0", "0.0.0.0/0", "127.0.0.53", "255.255.255.0", "169.254.53.53", "224.0.0.251", "::", "::/0",
     "::1", "fe80::1", "ff02::fb", "fd00:5353::53", "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"],
)  # fmt: skip
def test_what_is_the_same_on_every_laptop_stays(text: str) -> None:
    assert anonymize(f"x {text} y") == f"x {text} y"


@given(prefix=st.integers(8, 30), host=st.integers(1, 3))
def test_a_network_contains_what_it_contained(prefix: int, host: int) -> None:
    network = ip_network(f"10.20.73.64/{prefix}", strict=False)
    shown, inside = anonymize(f"{network} {network[host]}").split()
    assert ip_address(inside) in ip_network(shown)
    assert ip_network(shown).prefixlen == prefix


CARRIERS = (
    "{}", "via {} dev eth0", "[{}]:53", '"{}"', "{}/24", "nameserver {}\\n{}", "from {}: lost", "({})", "={},{}",
    "https://{}/x", "{}%eth0", "{}#53", "{}.",
)  # fmt: skip


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(
    "address", ["172.16.0.13", "93.184.216.34", "fd00:172:16::13", "2a00:1450::5", "fe80::5054:ff:fe12:3456"]
)
def test_no_address_is_left_wherever_it_stands(carrier: str, address: str) -> None:
    shown = anonymize(carrier.replace("{}", address))
    assert address not in shown
    assert str(ANONYMIZER.address(ip_address(address))) in shown


def test_addresses_inside_names_are_the_same_addresses() -> None:
    four = ANONYMIZER.address(ip_address("10.20.73.66"))
    six = ANONYMIZER.address(ip_address("fd00:10:20::1"))
    shown = anonymize(
        "10-20-73-66.default.pod.cluster.local 66.73.20.10.in-addr.arpa ::ffff:10.20.73.66 "
        f"{ip_address('fd00:10:20::1').reverse_pointer} 20.10.in-addr.arpa"
    )
    dashed, pointer, mapped, pointer6, zone = shown.split()
    assert dashed == f"{str(four).replace('.', '-')}.default.pod.cluster.local"
    assert (pointer, pointer6) == (four.reverse_pointer, six.reverse_pointer)
    assert mapped == f"::ffff:{four}"
    assert pointer.endswith(zone)


def test_a_hardware_address_is_the_same_in_a_links_name() -> None:
    shown = anonymize("link/ether 52:54:00:12:34:56 52-54-00-12-34-56 enx525400123456 lladdr:52:54:00:12:34:56:")
    _, first, *others = shown.split()
    assert first != "52:54:00:12:34:56"
    assert others == [first.replace(":", "-"), f"enx{first.replace(':', '')}", f"lladdr:{first}:"]


@given(label=LABEL, other=LABEL)
def test_equal_names_stay_equal_and_others_differ(label: str, other: str) -> None:
    one, two, three = anonymize(f"{label}.qa.svc.cluster.local {label.upper()}.acme.com {other}.acme.com").split()
    assert label not in f"{one} {two}".lower() or len(label) < 3
    assert one.split(".")[0] == two.split(".")[0]
    assert one.endswith(".svc.cluster.local")
    assert (two == three) == (label == other)


def test_a_name_that_is_a_domain_is_seen_to_hold_the_names_below_it() -> None:
    anonymizer = Anonymizer(b"0123456789abcdef", ["corp.example", "laptop.corp.example", "corp.network"])
    domain, host, proxy, other = anonymizer.anonymize(
        ".corp.example laptop.corp.example proxy.corp.example corp.network"
    ).split()
    assert host.endswith(domain)
    assert proxy.endswith(domain)
    assert "corp" not in domain + other


@pytest.mark.parametrize(
    "carrier", ["{}", "context {}:", '"{}"', "\\n{}", "/home/{}/x", "{}.yaml", "trust/{}.json", "({})"]
)
@pytest.mark.parametrize("name", ["laptop", "alice", "qa-context"])
def test_no_name_is_left_wherever_it_stands(carrier: str, name: str) -> None:
    shown = anonymize(carrier.replace("{}", name))
    assert name not in shown
    assert ANONYMIZER.word(name) in shown


def test_names_with_blanks_and_in_json_and_paths_below_a_home_go_too() -> None:
    text = json.dumps({"a": "x\nalice\nweb.acme.com", "file": "/home/alice/.kube/acme-prod.yaml", "wifi": "Corp WiFi"})
    shown = anonymize(text)
    for name in ("alice", "web", "acme", "prod", "Corp", "WiFi"):
        assert name not in shown
    assert json.loads(shown)["file"].endswith(".yaml")
    assert "/.kube/" in shown


@pytest.mark.parametrize(
    "text",
    [
        "net.ipv4.conf.eth0.rp_filter = 2", "net.ipv6.conf.all.forwarding = 1", "/etc/resolv.conf", "Python 3.11.7",
        "systemd-resolved.service: active at 10:11:46.123", "devlink.agent.server: INFO", "GENERAL.STATE: 100",
        "kubernetes.default.svc.cluster.local", "org.freedesktop.resolve1.Manager", "sha256:abcdef (identity.ca)",
        "ippools.crd.projectcalico.org/x", "<masked certificate 0123456789ab>", "2026-11-22 10:11:46,123 took 1.5 s",
        "proto 231 metric 50 mtu 1480", "/usr/lib/python3/dist-packages/devlink/agent/server.py", "/root/.config",
    ],
)  # fmt: skip
def test_what_is_no_name_can_be_read(text: str) -> None:
    assert anonymize(text) == text


def test_another_archive_shows_others() -> None:
    text = "172.16.0.13 laptop 52:54:00:12:34:56 wiki.acme.com"
    assert not {*anonymize(text).split()} & {*OTHER.anonymize(text).split()}


def _embeds(address: IPv4Address | IPv6Address) -> bool:
    return any(
        address in ipaddress.ip_network(block) for block in ("::ffff:0:0/96", "64:ff9b::/96") if address.version == 6
    )


def _common(one: IPv4Address | IPv6Address, two: IPv4Address | IPv6Address) -> int:
    return one.max_prefixlen - (int(one) ^ int(two)).bit_length()
