"""What doctor says of the way to the cluster, each broken in one place; and that mended it says nothing.

The symptoms of facts/packet-path.md, and the test that shows what is said of each:

    "invalid gateway"                          test_off_the_node_lan_...
    `ip route get POD` leaves by a VPN         test_routes_and_rules_of_others_...
    connect OK, read hangs; some pods only     test_what_does_not_come_back_... (a pod elsewhere hangs)
    pod OK, ClusterIP times out;
      a reply comes from a pod IP              test_what_does_not_come_back_... (no masquerade)
    pod times out, ClusterIP OK                test_what_does_not_come_back_... (a pod is silent)
    everything times out                       test_what_does_not_come_back_... (not forwarding)
    UDP 53 dead, TCP 53 OK                     test_what_does_not_come_back_... (UDP)
    large transfers hang                       test_what_does_not_come_back_... (small packets only)
    dig works, getent fails                    tests/e2e/test_doctor_names.py
    NXDOMAIN for a service that exists         test_a_domain_that_the_cluster_does_not_have_...
    connection refused on a ClusterIP          test_what_does_not_come_back_... (no endpoints)
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from devlink import lab
from devlink.lab.spec import Address, Interface
from devlink.lab.worlds.common import interface, ips, route
from tests.certificates import Authority
from tests.e2e.breakages import (
    DNS_POD,
    GATEWAY,
    R2,
    R4,
    UDP_53,
    WORKER,
    api,
    changed,
    dropping,
    narrow,
    not_forwarding,
    shell,
    stranger,
    without_endpoints,
    without_snat,
)
from tests.e2e.doctor import assert_names, assert_silent
from tests.e2e.link import PROFILE, Link, linked

pytestmark = pytest.mark.lab
CLUSTER = Authority()
ONE, TWO = "one", "two"
"""Profiles with that many gateways; all packets go by the first."""
NEAR_UPSTREAM = "10.20.0.53"
"""An ordinary DNS server inside the prefix of the cluster's pods."""


def two_links() -> lab.WorldSpec:
    """Network A with two gateways and the DNS on neither. The laptop is on the node LAN by cable, and on the internet
    by a network that the first gateway is in as well; one of its ordinary DNS servers has a number of the cluster's."""
    spec = lab.network_a(reflectors=2, dns_nodes=(WORKER,))
    by_wifi = {lab.LAPTOP: "10.99.0.100/24", GATEWAY: "10.99.0.13/24", lab.ROUTER: "10.99.0.1/24"}
    hosts = {host.name: host for host in spec.hosts}
    for name, address in by_wifi.items():
        hosts[name] = replace(hosts[name], interfaces=(*hosts[name].interfaces, interface("wifi", address)))
    laptop, upstream, router = hosts[lab.LAPTOP], hosts[lab.UPSTREAM], hosts[lab.ROUTER]
    assert laptop.resolver is not None
    hosts[lab.LAPTOP] = replace(
        laptop,
        routes=(route("0.0.0.0/0", "10.99.0.1", "eth1"),),
        resolver=replace(laptop.resolver, nameservers=(*laptop.resolver.nameservers, *ips(NEAR_UPSTREAM))),
    )
    near = Address(address=ip_address(NEAR_UPSTREAM), length=32)
    internet = Interface(network="internet", addresses=(*upstream.interfaces[0].addresses, near))
    hosts[lab.UPSTREAM] = replace(upstream, interfaces=(internet,))
    to_near = route(f"{NEAR_UPSTREAM}/32", str(upstream.address), "eth2")
    hosts[lab.ROUTER] = replace(router, routes=(*router.routes, to_near))
    return replace(spec, networks=(*spec.networks, "wifi"), hosts=tuple(hosts.values()))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """The laptop there, with the first gateway's session up."""

    def by(count: int) -> Callable[[dict[str, Any]], None]:
        def change(spec: dict[str, Any]) -> None:
            spec.update(routing="gateway", identity={"ca": CLUSTER.pem}, gateways=spec["gateways"][:count])

        return change

    with (
        linked(two_links(), tmp_path_factory.mktemp("path") / "helper.log") as link,
        api(link, WORKER, CLUSTER.issue("kubernetes.default.svc")),
    ):
        for name, count in ((ONE, 1), (TWO, 2)):
            link.write_profile(name, by(count))
        link.up(path_of(ONE))
        yield link


def path_of(profile: str) -> str:
    return f"/root/{profile}.yaml"


def assert_well(link: Link, profile: str = ONE) -> None:
    """What was broken is mended: when the session knows it, doctor says nothing."""
    link.wait_until(
        lambda: link.states() == {profile: "up"}, "the session is well again", meanwhile=lambda: knock(link)
    )
    assert_silent(link)


def knock(link: Link) -> None:
    """Traffic: only that has the agent ask again."""
    link.run("bash", "-c", f"echo > /dev/udp/{DNS_POD}/9")


def test_where_all_is_well_it_is_silent(up: Link) -> None:
    assert_silent(up)


# What comes back


@pytest.mark.parametrize(
    ("broken", "code", "evidence", "fix"),
    [
        (lambda link: dropping(link, R2), "DL-POD-HANGS", f"{DNS_POD} (on 172.16.0.19", "tcpBeLiberal"),
        (lambda link: dropping(link, R4), "DL-POD-SILENT", f"{DNS_POD} (on 172.16.0.19", "rp_filter=2"),
        (without_snat, "DL-SERVICE-NO-RETURN", f"answered by {DNS_POD}", "clusterCIDR"),
        (not_forwarding, "DL-NOT-FORWARDING", "TCP no answer", "On 172.16.0.13: is net.ipv4.ip_forward 1"),
        (lambda link: dropping(link, UDP_53), "DL-UDP53-BLOCKED", "TCP answered, UDP no answer", "transport: tcp"),
        (lambda link: narrow(link, 1300), "DL-MTU", "1480 octets are lost, and those of 1300 arrive", "mtu: 1300"),
        (without_endpoints, "DL-SERVICE-REFUSED", "TCP refused, UDP refused", "endpointslices"),
    ],
    ids=["a pod elsewhere hangs", "a pod is silent", "no masquerade", "not forwarding", "UDP", "small packets only",
         "no endpoints"],
)  # fmt: skip
def test_what_does_not_come_back_is_named_with_its_cause_and_cure(
    up: Link, broken: Callable[[Link], AbstractContextManager[None]], code: str, evidence: str, fix: str
) -> None:
    with broken(up):
        found = assert_names(up, code)
    assert evidence in found["evidence"]
    assert fix in found["fix"]
    assert_silent(up)


def test_another_cluster_behind_the_gateway_is_named(up: Link) -> None:
    with stranger(up, GATEWAY):
        assert "not the cluster of profile one" in assert_names(up, "DL-IDENTITY")["title"]
    assert_silent(up)


# This laptop's kernel

VPN = "ip link add tun0 type bridge; ip link set tun0 up;"
NO_VPN = "ip link del tun0"


@pytest.mark.parametrize(
    ("routes", "gone", "code"),
    [
        ("ip route add 10.20.120.0/24 dev tun0", "", "DL-ROUTE-KEPT"),
        ("ip route add 10.20.0.0/16 dev tun0 metric 5", "", "DL-ROUTE-TAKEN"),
        ("ip route add 10.0.0.0/8 dev tun0 table 77; ip rule add pref 100 lookup 77", "ip rule del pref 100;",
         "DL-POLICY-WINS"),
    ],
    ids=["inside", "the same", "by a rule"],
)  # fmt: skip
def test_routes_and_rules_of_others_are_named_with_their_owner(up: Link, routes: str, gone: str, code: str) -> None:
    with changed(up, lab.LAPTOP, VPN + routes, gone + NO_VPN):
        found = assert_names(up, code)
        assert "belongs to a VPN (interface tun0)" in found["evidence"]
        assert f"{'--exclude' if gone else '--override'} 10.20." in found["fix"], "a line to paste"
    assert_well(up)


@contextmanager
def fought(link: Link, route: str) -> Iterator[None]:
    """A program that takes a route away as often as it comes back, until it is left alone; then all is put back."""

    def is_given_up() -> bool:
        codes = {finding["code"] for session in link.status()["sessions"] for finding in session["findings"]}
        return "DL-ROUTES-FOUGHT" in codes

    again = f"for i in 1 2 3 4 5; do ip route del {route} proto 231 2> /dev/null || :; sleep 0.02; done"
    link.wait_until(is_given_up, "it is left alone", meanwhile=lambda: shell(link, lab.LAPTOP, again))
    try:
        yield
    finally:
        link.up(path_of(ONE))


def test_a_route_that_another_program_keeps_away_is_named(up: Link) -> None:
    with fought(up, "10.20.0.0/16"):
        assert "10.20.0.0/16" in assert_names(up, "DL-ROUTES-FOUGHT")["evidence"]
    assert_well(up)


def test_an_ordinary_server_that_is_sent_into_the_cluster_is_named(up: Link) -> None:
    with fought(up, f"{NEAR_UPSTREAM}/32"):
        assert f"{NEAR_UPSTREAM} (a server that" in assert_names(up, "DL-ROUTED-AWAY")["evidence"]
    assert_well(up)


def test_answers_that_come_in_by_another_link_are_lost_only_where_the_filter_is_strict(up: Link) -> None:
    def strict() -> AbstractContextManager[None]:
        setting = "sysctl -qw net.ipv4.conf.eth1.rp_filter"
        return changed(up, lab.LAPTOP, f"{setting}=1", f"{setting}=0")

    to_laptop = "172.16.0.100/32"
    with changed(up, GATEWAY, f"ip route add {to_laptop} via 10.99.0.100 dev eth1", f"ip route del {to_laptop}"):
        assert_well(up)
        with strict():
            assert "rp_filter is 1 on eth1" in assert_names(up, "DL-RP-FILTER")["evidence"]
    with strict():
        assert_well(up)


def test_a_link_that_is_down_is_named_and_nothing_that_follows_from_it(up: Link) -> None:
    with changed(up, lab.LAPTOP, "ip link set eth0 down", "ip link set eth0 up"):
        up.wait_until(lambda: up.states() == {ONE: "suspended"}, "it waits for its network")
        assert "sudo ip link set eth0 up" in assert_names(up, "DL-LINK-DOWN")["fix"]
    assert_well(up)


# Gateways

DEAF, HEARING = "ip link set eth0 arp off", "ip link set eth0 arp on"


def test_a_gateway_that_is_silent_on_its_link_is_named(up: Link) -> None:
    with changed(up, GATEWAY, DEAF, HEARING):
        found = assert_names(up, "DL-GATEWAY-DOWN")
        assert found["severity"] == "error"
        assert "172.16.0.13 on eth0" in found["evidence"]
    assert_silent(up)


def test_one_that_is_to_take_over_and_is_silent_is_a_warning(up: Link) -> None:
    up.up(path_of(TWO), "--replace")
    try:
        with changed(up, "node3", DEAF, HEARING):
            found = assert_names(up, "DL-GATEWAY-SILENT")
            assert found["severity"] == "warning"
            assert "172.16.0.16 on eth0" in found["evidence"]
        assert_well(up, TWO)
    finally:
        up.up(path_of(ONE), "--replace")


# Where nothing is up


def test_what_up_would_meet_is_named_before(up: Link) -> None:
    up.down()
    try:
        with changed(up, lab.LAPTOP, f"{VPN} ip route add 10.20.0.0/16 dev tun0", NO_VPN):
            assert "would be refused" in assert_names(up, "DL-ROUTE-TAKEN", path_of(ONE))["title"]
        deaf = f"{DEAF}; ip neigh flush dev eth0"
        with changed(up, GATEWAY, deaf, HEARING):
            shell(up, lab.LAPTOP, "ip neigh flush dev eth0")
            assert_names(up, "DL-GATEWAY-DOWN", path_of(ONE))
        assert_silent(up, path_of(ONE))
    finally:
        up.up(path_of(ONE))


@pytest.fixture(scope="module")
def off_lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """The laptop of network A behind a router that carries nothing."""
    spec = lab.network_a(laptop=lab.LaptopPlace.BEHIND_ROUTER, router_carries=False)
    with linked(spec, tmp_path_factory.mktemp("off-lan") / "helper.log") as link:
        yield link


@contextmanager
def carried(link: Link) -> Iterator[None]:
    """Its router has the routes."""
    blocks = [
        (str(block), link.world.spec.host(n.host).address) for n in link.world.spec.cluster.nodes for block in n.pods
    ]
    blocks += [(str(prefix), link.world.spec.gateway.address) for prefix in link.world.spec.cluster.services]
    there = "; ".join(f"ip route add {prefix} via {hop}" for prefix, hop in blocks)
    gone = "; ".join(f"ip route del {prefix}" for prefix, _ in blocks)
    with changed(link, lab.ROUTER, there, gone):
        yield


def test_off_the_node_lan_it_is_said_that_no_gateway_is_on_a_link_and_what_the_router_lacks(off_lan: Link) -> None:
    found = assert_names(off_lan, "DL-R1-OFFLINK", PROFILE)
    assert "172.16.0.13" in found["evidence"]
    assert "router" in found["fix"]
    with carried(off_lan):
        assert_silent(off_lan, PROFILE)


def test_a_domain_that_the_cluster_does_not_have_is_named(off_lan: Link) -> None:
    typo = off_lan.write_profile("typo", lambda spec: spec["dns"].update(domain="typo.cluster.local"))
    with carried(off_lan):
        assert "typo.cluster.local" in assert_names(off_lan, "DL-DNS-DOMAIN", typo)["title"]
        assert_silent(off_lan, PROFILE)
