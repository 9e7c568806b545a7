"""policy.toml: what it may say, and each way in which it can be wrong."""

import re
from ipaddress import ip_address
from pathlib import Path

import pytest

from devlink.core.plan import ForwarderConfig, Upstream
from devlink.errors import HelperError
from devlink.helper.policy import (
    DnsPolicy,
    NamedUpstream,
    Paths,
    Policy,
    QueryLogPolicy,
    RoutesPolicy,
    TrustPolicy,
    read_policy,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


def test_without_a_file_the_defaults_hold(path: Path) -> None:
    policy = read_policy(path)
    assert policy == Policy()
    assert (policy.lease_grace, policy.trust, policy.group) == (10.0, TrustPolicy.RECORDS, "devlink")
    assert policy.nameserver.is_loopback


def test_all_that_it_may_say(path: Path) -> None:
    path.write_text('lease_grace = 0.3\ntrust = "group"\ngroup = "staff"\nnameserver = "127.0.0.9"\n')
    assert read_policy(path) == Policy(
        lease_grace=0.3, trust=TrustPolicy.GROUP, group="staff", nameserver=ip_address("127.0.0.9")
    )
    path.write_text("lease_grace = 3\n")
    assert read_policy(path).lease_grace == 3.0


def test_all_that_it_may_say_of_routes(path: Path) -> None:
    assert read_policy(path).routes == RoutesPolicy(nexthop_objects=True)
    path.write_text("[routes]\nnexthop_objects = false\n")
    assert read_policy(path).routes == RoutesPolicy(nexthop_objects=False)


def test_all_that_it_may_say_of_names(path: Path) -> None:
    assert read_policy(path).dns == DnsPolicy()
    assert DnsPolicy().cache_bytes == ForwarderConfig().cache_bytes
    path.write_text(
        """
        [dns]
        query_log = "all"
        rebinding_protection = true
        case_randomization = true
        tls_ca = "/etc/devlink/resolver-ca.pem"
        cache_bytes = 0
        upstreams = [
          {address = "9.9.9.9", tls_name = "dns.quad9.net"},
          {address = "2620:fe::fe", port = 8853, tls_name = "2620:fe::fe"},
          {address = "192.0.2.53"},
          {address = "127.0.0.1", port = 5353},
        ]
        """
    )
    assert read_policy(path).dns == DnsPolicy(
        query_log=QueryLogPolicy.ALL,
        rebinding_protection=True,
        case_randomization=True,
        tls_ca="/etc/devlink/resolver-ca.pem",
        cache_bytes=0,
        upstreams=(
            NamedUpstream(address=ip_address("9.9.9.9"), tls_name="dns.quad9.net"),
            NamedUpstream(address=ip_address("2620:fe::fe"), port=8853, tls_name="2620:fe::fe"),
            NamedUpstream(address=ip_address("192.0.2.53")),
            NamedUpstream(address=ip_address("127.0.0.1"), port=5353),
        ),
    )
    assert [each.upstream for each in read_policy(path).dns.upstreams or ()] == [
        Upstream(address=ip_address("9.9.9.9"), port=853, tls_name="dns.quad9.net"),
        Upstream(address=ip_address("2620:fe::fe"), port=8853, tls_name="2620:fe::fe"),
        Upstream(address=ip_address("192.0.2.53"), port=53),
        Upstream(address=ip_address("127.0.0.1"), port=5353),
    ]


def test_the_name_of_a_certificate_may_be_written_with_its_final_dot(path: Path) -> None:
    path.write_text(dns('upstreams = [{address = "9.9.9.9", tls_name = "dns.quad9.net."}]'))
    assert read_policy(path).dns.upstreams == (
        NamedUpstream(address=ip_address("9.9.9.9"), tls_name="dns.quad9.net"),
    ), "OpenSSL takes it for another name"


def dns(line: str) -> str:
    return f"[dns]\n{line}"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (dns('query_log = "mine"'), "dns.query_log: 'mine' is none of own, all, off"),
        (dns('query_logs = "own"'), "did you mean query_log?"),
        (dns("rebinding_protection = 1"), "dns.rebinding_protection"),
        (dns("upstreams = []"), "upstreams"),
        (dns('upstreams = ["9.9.9.9"]'), "dns.upstreams[0]: '9.9.9.9' is not a mapping"),
        (dns('upstreams = [{address = "resolver"}]'), "dns.upstreams[0].address: 'resolver' is not an IP address"),
        (dns('upstreams = [{address = "0.0.0.0"}]'), "0.0.0.0 is not the address of a server"),
        (dns('upstreams = [{address = "ff02::fb"}]'), "ff02::fb is not the address of a server"),
        (dns('upstreams = [{address = "fe80::1"}]'), "which must be named: fe80::1%eth0"),
        (dns('upstreams = [{address = "::ffff:127.0.0.231"}]'), "in the form of IPv6: write 127.0.0.231"),
        (dns('upstreams = [{address = "9.9.9.9", port = 0}]'), "from 1 to 65535"),
        (dns('upstreams = [{address = "9.9.9.9", tls_name = "a b"}]'), "that the server's certificate is for"),
        (dns('upstreams = [{address = "9.9.9.9", tls_name = "."}]'), "that the server's certificate is for"),
        (dns('upstreams = [{address = "127.0.0.231"}]'), "127.0.0.231 is the forwarder itself"),
        (dns("upstreams = [" + '{address = "9.9.9.9"},' * 9 + "]"), "1 to 8 servers"),
        (dns('tls_ca = "ca.pem"'), "tls_ca is the absolute path of a file"),
        (dns("cache_bytes = -1"), "cache_bytes is a number of octets"),
        (dns("cache_bytes = 2_000_000_000"), "cache_bytes is a number of octets"),
        ("lease_grace", "Expected '='"),
        ("lease_grace = -1", "from 0 to 3600"),
        ("lease_grace = 3601", "from 0 to 3600"),
        ("lease_grace = nan", "from 0 to 3600"),
        ("lease_grace = inf", "from 0 to 3600"),
        ("lease_grace = true", "lease_grace: True is not a number"),
        ('lease_grace = "1"', "lease_grace: '1' is not a number"),
        ('trust = "groups"', "did you mean group?"),
        ("trust = []", "none of records, group"),
        ("group = 5", "group: 5 is not a text"),
        ('nameserver = "192.0.2.1"', "must be a loopback address"),
        ('nameserver = "localhost"', "is not an IP address"),
        ('trusts = "group"', "did you mean trust?"),
        ("[lease]\ngrace = 1", "unknown key"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(path: Path, text: str, fault: str) -> None:
    path.write_text(text)
    with pytest.raises(HelperError, match=re.escape(str(path))) as error:
        read_policy(path)
    assert fault in error.value.why
    assert "restart the helper" in error.value.next_step


def test_a_file_that_cannot_be_read_is_an_error_and_not_the_defaults(path: Path) -> None:
    path.write_bytes(b"\xff")
    with pytest.raises(HelperError, match=re.escape(str(path))):
        read_policy(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(HelperError, match=re.escape(str(path))):
        read_policy(path)


def test_the_places_are_those_of_the_system() -> None:
    paths = Paths()
    assert str(paths.socket) == "/run/devlink/helper"
    assert str(paths.policy) == "/etc/devlink/policy.toml"
    assert str(paths.trust_config) == "/etc/devlink/trust.d"
    assert paths.trust.is_relative_to(paths.state)
    assert paths.journal.is_relative_to(paths.state)
    assert paths.lock.is_relative_to(paths.run)
