"""What the forwarder is told: whose upstreams, which networks no ordinary name may point into, which certificates."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from devlink.core.codec import decode, encode
from devlink.core.names import DomainName
from devlink.core.plan import ForwarderConfig, ProofRecord, Upstream, Zone
from devlink.dns.tls import context_of
from devlink.errors import HelperError
from devlink.helper import forwarding
from devlink.helper.forwarding import Certificates, forwarder_config, ordinary_upstreams, protected_ways
from devlink.helper.policy import DnsPolicy, NamedUpstream, Policy
from tests.certificates import Authority

SYSTEM = (Upstream(address=ip_address("192.0.2.1")), Upstream(address=ip_address("192.0.2.2")))
QUAD9 = NamedUpstream(address=ip_address("9.9.9.9"), tls_name="dns.quad9.net")
SERVER = Upstream(address=ip_address("10.254.0.2"))
ZONES = (
    Zone(suffix=DomainName.parse("cluster.local"), servers=(SERVER,), search=("default",)),
    Zone(suffix=DomainName.parse("254.10.in-addr.arpa"), servers=(SERVER,)),
)
PEM = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"


def told(dns: DnsPolicy, *networks: str) -> ForwarderConfig:
    return forwarder_config(
        Policy(dns=dns),
        zones=ZONES,
        networks=[ip_network(network) for network in networks],
        upstreams=SYSTEM,
        proofs=(ProofRecord(name=DomainName.parse("proof.cluster.local"), address=ip_address("192.0.2.231")),),
        tls_ca="",
    )


def test_the_operating_systems_servers_are_asked_unless_the_policy_names_others() -> None:
    assert ordinary_upstreams(Policy(), SYSTEM) == SYSTEM
    assert ordinary_upstreams(Policy(dns=DnsPolicy(upstreams=(QUAD9,))), SYSTEM) == (
        Upstream(address=ip_address("9.9.9.9"), port=853, tls_name="dns.quad9.net"),
    )


def test_the_forwarder_is_never_its_own_upstream_and_nobody_stands_twice() -> None:
    itself = Upstream(address=Policy().nameserver)
    assert ordinary_upstreams(Policy(), (itself, *SYSTEM, SYSTEM[0])) == SYSTEM


def test_the_ways_of_the_policys_servers_are_protected_beside_the_systems() -> None:
    policy = Policy(dns=DnsPolicy(upstreams=(QUAD9, NamedUpstream(address=SYSTEM[0].address))))
    assert protected_ways(policy, [SYSTEM[0].address, SYSTEM[1].address]) == (
        ip_address("9.9.9.9"),
        ip_address("192.0.2.1"),
        ip_address("192.0.2.2"),
    )
    assert protected_ways(Policy(), [SYSTEM[0].address]) == (SYSTEM[0].address,)


def test_nothing_is_private_unless_the_policy_asks_for_protection() -> None:
    assert told(DnsPolicy(), "10.20.0.0/16").private == ()


def test_protected_is_where_routes_lead_and_what_reverse_zones_cover() -> None:
    config = told(DnsPolicy(rebinding_protection=True), "10.20.0.0/17", "10.20.128.0/17", "fd00:20::/48")
    assert set(config.private) == {ip_network("10.20.0.0/16"), ip_network("10.254.0.0/16"), ip_network("fd00:20::/48")}


def test_the_options_are_the_policys_and_cross_the_socket() -> None:
    config = told(DnsPolicy(case_randomization=True, cache_bytes=0, rebinding_protection=True), "10.20.0.0/16")
    assert (config.case_randomization, config.cache_bytes) == (True, 0)
    assert decode(ForwarderConfig, encode(config)) == config


# Certificates


def vouching(path: Path | str) -> Certificates:
    return Certificates(DnsPolicy(upstreams=(QUAD9,), tls_ca=str(path)))


def test_without_an_upstream_over_tls_no_file_is_read(tmp_path: Path) -> None:
    plain = DnsPolicy(upstreams=(NamedUpstream(address=ip_address("9.9.9.9")),), tls_ca=str(tmp_path / "missing"))
    assert Certificates(plain).read() == ""
    assert Certificates(DnsPolicy(tls_ca=str(tmp_path / "missing"))).read() == ""


def test_the_named_file_is_read_each_time(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(PEM)
    certificates = vouching(path)
    assert certificates.read() == PEM
    path.write_text(PEM + PEM)
    assert certificates.read() == PEM + PEM


def test_a_comment_that_is_not_ascii_does_not_hinder_those_who_take_the_certificates(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(f"# Főtanúsítvány\n{Authority('resolvers').pem}", encoding="utf-8")
    assert len(context_of(vouching(path).read()).get_ca_certs()) == 1


def test_the_first_of_the_systems_places_that_is_there_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = tmp_path / "debian", tmp_path / "fedora", tmp_path / "suse"
    monkeypatch.setattr(forwarding, "SYSTEM_CA", tuple(map(str, places)))
    with pytest.raises(HelperError, match=r"debian or .*fedora or .*suse") as error:
        vouching("").read()
    assert "tls_ca" in error.value.next_step
    places[1].write_text(PEM)
    assert vouching("").read() == PEM


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "no such file"), (b"key", "no certificate in it"), (b"x" * (forwarding.MAX_CA + 1), "more than 2 MiB")],
)
def test_a_file_that_vouches_for_nothing_is_an_error_that_names_it(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HelperError, match=str(path)) as error:
        vouching(path).read()
    assert why in error.value.why
    assert "restart the helper" in error.value.next_step


def test_a_folder_in_its_place_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(HelperError, match=str(tmp_path)):
        vouching(tmp_path).read()


def test_what_could_be_read_once_goes_on_to_hold(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(PEM)
    certificates = vouching(path)
    certificates.read()
    path.unlink()
    assert certificates.read() == PEM
