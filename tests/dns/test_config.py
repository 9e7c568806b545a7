"""The tree that the helper sends, read as what the codec wrote."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from devlink.core.codec import encode
from devlink.core.plan import ForwarderConfig, ProofRecord, Upstream
from devlink.core.profile import Transport
from devlink.dns.config import CACHE_BYTES, Config, Server, read_config
from devlink.dns.wire import name_of
from devlink.errors import ProtocolError
from tests.dns.messages import SPLIT, name, upstream, zone

FULL = ForwarderConfig(
    zones=(
        replace(zone("Cluster.LOCAL", "10.254.0.2", namespaces=("default", "QA")), search=("default",)),
        replace(zone("0.8.e.f.ip6.arpa"), servers=(upstream("fe80::1", port=5353, transport=Transport.TCP),)),
    ),
    upstreams=(
        upstream("192.0.2.1", transport=Transport.UDP),
        Upstream(address=ip_address("9.9.9.9"), port=853, tls_name="dns.example"),
    ),
    proofs=(
        ProofRecord(name=name("Proof.example"), address=ip_address("127.0.0.77")),
        ProofRecord(name=name("proof6.example"), address=ip_address("fd00::77")),
    ),
    tls_ca="PEM",
    case_randomization=True,
    private=(ip_network("10.20.0.0/16"), ip_network("fd00::/8"), ip_network("192.0.2.7/32"), ip_network("0.0.0.0/0")),
    cache_bytes=12345,
)


def test_what_the_codec_writes_is_what_is_read() -> None:
    config = read_config(encode(FULL))
    cluster, reverse = config.zones
    assert (cluster.suffix, cluster.text) == (name_of("cluster.local"), str(FULL.zones[0].suffix))
    assert (cluster.namespaces, cluster.search) == (frozenset((b"default", b"qa")), frozenset((b"default",)))
    assert (reverse.namespaces, reverse.search) == (None, frozenset())
    assert [(each.server, each.transport) for each in (*cluster.servers, *reverse.servers)] == [
        (Server("10.254.0.2", 53), "auto"),
        (Server("fe80::1", 5353), "tcp"),
    ]
    assert [(each.server, each.transport) for each in config.upstreams] == [
        (Server("192.0.2.1", 53), "udp"),
        (Server("9.9.9.9", 853, "dns.example"), "auto"),
    ]
    assert config.proofs == (
        (name_of("proof.example"), ip_address("127.0.0.77").packed),
        (name_of("proof6.example"), ip_address("fd00::77").packed),
    )
    assert [(p.size, p.network, p.shift) for p in config.private] == [
        (4, 0x0A14, 16),
        (16, 0xFD, 120),
        (4, 0xC0000207, 0),
        (4, 0, 32),
    ]
    assert (config.tls_ca, config.case_randomization, config.cache_bytes) == ("PEM", True, 12345)


def test_defaults_may_be_left_out_or_written() -> None:
    written: dict[str, Any] = {
        "zones": [], "upstreams": [], "proofs": [], "tls_ca": "", "case_randomization": False, "private": [],
        "cache_bytes": 8 << 20,
    }  # fmt: skip
    nulls = dict.fromkeys(written)
    for tree in ({}, written, nulls, encode(ForwarderConfig())):
        assert read_config(tree) == Config()
    assert Config().cache_bytes == CACHE_BYTES == ForwarderConfig().cache_bytes
    plain = {"address": "192.0.2.1"}
    for more in ({}, {"port": 53}, {"port": None, "transport": None, "tls_name": None}, {"transport": "auto"}):
        (read,) = read_config({"upstreams": [plain | more]}).upstreams
        assert (read.server, read.transport) == (Server("192.0.2.1", 53, ""), "auto")
    zones: dict[str, Any] = {"suffix": "a.b", "servers": [plain]}
    silent: list[dict[str, Any]] = [{}, {"namespaces": None, "search": None}, {"search": []}]
    for each in silent:
        (read_zone,) = read_config({"zones": [zones | each]}).zones
        assert (read_zone.namespaces, read_zone.search) == (None, frozenset())
    (closed,) = read_config({"zones": [zones | {"namespaces": []}]}).zones
    assert closed.namespaces == frozenset(), "nothing allowed is not the same as nothing said"
    assert read_config({"cache_bytes": 0}).cache_bytes == 0


def test_two_readings_of_one_tree_are_equal_and_differ_where_the_tree_does() -> None:
    assert read_config(encode(SPLIT)) == read_config(encode(SPLIT))
    assert read_config(encode(SPLIT)) != read_config(encode(replace(SPLIT, proofs=())))


def test_a_link_local_server_keeps_its_link() -> None:
    (read,) = read_config({"upstreams": [{"address": "fe80::1%eth0"}]}).upstreams
    assert read.server.host == "fe80::1%eth0"


@pytest.mark.parametrize(
    ("server", "text"),
    [
        (Server("10.254.0.2"), "10.254.0.2#53"),
        (Server("fd00::1", 5353), "fd00::1#5353"),
        (Server("9.9.9.9", 853, "dns.example"), "9.9.9.9#853 tls"),
    ],
)
def test_a_server_has_a_name_for_people(server: Server, text: str) -> None:
    assert str(server) == text


@pytest.mark.parametrize(
    "tree",
    [
        {"zone": []},
        {"zones": {}, "upstreams": 5},
        {"zones": [{"servers": []}]},
        {"zones": [{"suffix": "a.b"}]},
        {"zones": [{"suffix": "a..b", "servers": []}]},
        {"zones": [{"suffix": 5, "servers": []}]},
        {"zones": [{"suffix": "a.b", "servers": [], "namespaces": ["ä"]}]},
        {"zones": [{"suffix": "a.b", "servers": [], "namespaces": [5]}]},
        {"upstreams": [{}]},
        {"upstreams": [{"address": "dns.example"}]},
        {"upstreams": [{"address": "192.0.2.1", "transport": "quic"}]},
        {"upstreams": [{"address": "192.0.2.1", "port": "x"}]},
        {"proofs": [{"name": "a.b"}]},
        {"proofs": [{"name": "a.b", "address": "x"}]},
        {"private": ["10.0.0.0"]},
        {"private": ["10.0.0.0/x"]},
        {"private": ["10.0.0.0/40"]},
        {"cache_bytes": "much"},
    ],
)
def test_another_language_is_refused_with_what_to_do(tree: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_config(tree)
    assert caught.value.next_step
    assert "version" in str(caught.value.why)
