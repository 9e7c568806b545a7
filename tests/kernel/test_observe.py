"""The observed network beside what `ip` tells of the same kernel."""

import ipaddress
from typing import Any

import pytest

from devlink.core.neighbours import Neighbours
from devlink.core.network import ObservedRoute, Path
from devlink.kernel.observe import link_kind, observe, observe_paths, observe_ways, ways_off
from devlink.kernel.rtnetlink import KINDS
from tests.core.model_kernel import ours_of
from tests.kernel.private_network import in_private_network, ip, ip_json, make_links

pytestmark = pytest.mark.lab


def as_ip_tells(shown: dict[str, Any], version: int) -> tuple[object, ...]:
    text = shown["dst"]
    if text == "default":
        text = "0.0.0.0/0" if version == 4 else "::/0"
    hop = shown["nexthops"][0] if "nexthops" in shown else shown
    table = shown.get("table", 254)
    gateway = hop.get("gateway") or hop.get("via", {}).get("host")
    kind, protocol = KINDS[int(shown["type"])], int(shown["protocol"])
    destination = str(ipaddress.ip_network(text))
    metric, source = shown.get("metric", 0), shown.get("prefsrc")
    return (destination, gateway, hop.get("dev"), metric, int(table), protocol, kind, source)


def as_we_tell(route: ObservedRoute) -> tuple[object, ...]:
    hop = str(route.next_hop) if route.next_hop is not None else None
    source = str(route.source) if route.source is not None else None
    return (str(route.destination), hop, route.oif, route.metric, route.table, route.protocol, route.kind, source)


def everything_ip_knows() -> list[tuple[object, ...]]:
    told = []
    for version in (4, 6):
        shown = ip_json(f"-{version}", "-d", "-N", "route", "show", "table", "all")
        told += [as_ip_tells(route, version) for route in shown]
    return sorted(told, key=str)


def test_all_routes_of_all_tables_and_both_families_are_told_as_ip_tells_them() -> None:
    def body() -> None:
        make_links()
        ip("route", "add", "default", "via", "192.0.2.254")
        ip("route", "add", "10.1.0.0/16", "via", "192.0.2.9", "proto", "186", "metric", "7", "mtu", "1400")
        ip("route", "add", "10.2.0.0/16", "dev", "v0", "table", "5230", "proto", "231", "src", "192.0.2.1")
        ip("route", "add", "10.3.0.0/16", "nexthop", "via", "192.0.2.9", "nexthop", "via", "192.0.2.10")
        ip("route", "add", "10.4.0.0/16", "via", "inet6", "2001:db8::9")
        ip("route", "add", "10.5.0.0/16", "tos", "0x10", "via", "192.0.2.9")
        for kind in ("blackhole", "unreachable", "prohibit", "throw"):
            ip("route", "add", kind, f"10.{len(kind)}.1.0/24")
        ip("-6", "route", "add", "2001:db8:1::/48", "via", "2001:db8::9", "proto", "231", "metric", "50")
        ip("-6", "route", "add", "2001:db8:2::/48", "nexthop", "via", "2001:db8::9", "nexthop", "via", "2001:db8::a")
        ip("-6", "route", "add", "unreachable", "2001:db8:3::/48")
        observed = observe()
        assert sorted((as_we_tell(r) for r in observed.routes), key=str) == everything_ip_knows()
        (one,) = (r for r in observed.routes if str(r.destination) == "10.1.0.0/16")
        assert one.mtu == 1400
        assert [str(r.destination) for r in ours_of(observed)] == ["10.2.0.0/16", "2001:db8:1::/48"]
        assert ipaddress.ip_address("192.0.2.254") in observed.default_gateways

    in_private_network(body)


def test_routes_by_nexthop_objects_are_told_with_their_hop() -> None:
    def body() -> None:
        make_links()
        ip("nexthop", "add", "id", "1", "via", "192.0.2.9", "dev", "v0")
        ip("nexthop", "add", "id", "2", "via", "192.0.2.10", "dev", "v0")
        ip("nexthop", "add", "id", "3", "group", "1/2")
        ip("route", "add", "10.1.0.0/16", "nhid", "1")
        ip("route", "add", "10.2.0.0/16", "nhid", "3")
        hops = {str(r.destination): (str(r.next_hop), r.oif) for r in observe().routes}
        assert hops["10.1.0.0/16"] == ("192.0.2.9", "v0")
        assert hops["10.2.0.0/16"] == ("192.0.2.9", "v0")

    in_private_network(body)


def test_links_are_told_with_their_addresses_and_state() -> None:
    def body() -> None:
        make_links()
        ip("address", "add", "203.0.113.1", "peer", "203.0.113.2", "dev", "v0")
        ip("link", "add", "wide", "mtu", "1380", "type", "bridge")
        ip("link", "set", "v1", "arp", "off")
        links = {link.name: link for link in observe().links}
        for shown in ip_json("-d", "address", "show"):
            link = links.pop(shown["ifname"])
            assert (link.index, link.mtu) == (shown["ifindex"], shown["mtu"])
            assert link.noarp == ("NOARP" in shown["flags"])
            assert link.up == ("LOWER_UP" in shown["flags"] and "UP" in shown["flags"])
            told = [(a["local"], a["prefixlen"]) for a in shown["addr_info"]]
            assert sorted((str(address), length) for address, length in link.addresses) == sorted(told)
            assert link_kind(link.name) == shown.get("linkinfo", {}).get("info_kind", "")
        assert not links
        assert link_kind("gone") == ""

    in_private_network(body)


def test_a_bridge_leads_off_this_machine_by_whatever_is_no_guests() -> None:
    def body() -> None:
        make_links()
        ip("link", "add", "br0", "type", "bridge")
        ip("link", "set", "v0", "master", "br0")
        assert ways_off("br0") == ()
        ip("link", "add", "lan", "type", "vxlan", "id", "7", "dstport", "4789", "dev", "v1")
        assert ways_off("br0") == (), "it is no port of it"
        ip("link", "set", "lan", "master", "br0")
        assert ways_off("br0") == ("lan",)
        assert ways_off("gone") == ()

    in_private_network(body)


def test_the_way_to_an_address_follows_the_policy_rules() -> None:
    def body() -> None:
        make_links()
        ip("route", "add", "10.1.0.0/16", "via", "192.0.2.9")
        ip("route", "add", "10.1.0.0/16", "via", "192.0.2.10", "table", "77")
        ip("rule", "add", "to", "10.1.2.0/24", "table", "77")
        ip("route", "add", "blackhole", "10.9.0.0/16")
        ip("route", "add", "prohibit", "10.8.0.0/16")
        ip("-6", "route", "add", "unreachable", "2001:db8:3::/48")
        asked = [
            ipaddress.ip_address(text)
            for text in ("10.1.1.1", "10.1.2.1", "192.0.2.7", "192.0.2.1", "10.9.0.1", "10.8.0.1", "198.51.100.1",
                         "2001:db8::7", "2001:db8::1", "2001:db8:3::1", "2001:db8:9::1")
        ]  # fmt: skip
        paths = {str(address): path for address, path in observe(asked).paths.items()}
        source = ipaddress.ip_address("192.0.2.1")
        assert paths["10.1.1.1"] == Path(oif="v0", next_hop=ipaddress.ip_address("192.0.2.9"), source=source)
        assert paths["10.1.2.1"] == Path(oif="v0", next_hop=ipaddress.ip_address("192.0.2.10"), source=source)
        assert paths["192.0.2.7"] == Path(oif="v0", source=source)
        assert paths["192.0.2.7"].is_on_link
        assert (paths["192.0.2.1"].kind, paths["192.0.2.1"].oif) == ("local", "lo")
        assert paths["2001:db8::7"].is_on_link
        assert paths["2001:db8::1"].kind == "local"
        for nowhere in ("10.9.0.1", "10.8.0.1", "198.51.100.1", "2001:db8:3::1", "2001:db8:9::1"):
            assert paths[nowhere] == Path()

    in_private_network(body)


def test_the_way_to_an_address_with_a_zone_is_its_link() -> None:
    def body() -> None:
        make_links()
        ip("address", "add", "fe80::1/64", "dev", "v1", "nodad")
        here, nowhere = ipaddress.ip_address("fe80::9%v1"), ipaddress.ip_address("fe80::9%gone0")
        paths = observe([here, nowhere]).paths
        assert (paths[here].oif, paths[here].is_on_link) == ("v1", True)
        assert paths[nowhere] == Path()

    in_private_network(body)


@pytest.mark.parametrize("zone", ["a\0b", "\ud800", "x" * 500])
def test_there_is_no_way_by_a_link_that_cannot_have_that_name(zone: str) -> None:
    address = ipaddress.ip_address(f"fe80::1%{zone}")
    assert observe_ways((address,)).paths[address].oif is None


def test_who_is_on_which_link_is_the_same_without_the_routes_of_others_beside_a_vpn_that_takes_all() -> None:
    hop = ipaddress.ip_address("2001:db8:5::9")

    def body() -> None:
        make_links()
        # As DHCPv6 and a router advertisement leave it.
        ip("-6", "address", "add", "2001:db8:5::1/128", "dev", "v0", "nodad")
        ip("-6", "route", "add", "2001:db8:5::/64", "dev", "v0", "proto", "ra")
        ip("link", "add", "tun0", "type", "veth", "peer", "name", "tun1")
        ip("link", "set", "tun1", "up")
        ip("link", "set", "tun0", "up")
        ip("-6", "route", "add", "default", "dev", "tun0", "table", "52")
        ip("-6", "rule", "add", "pref", "5270", "lookup", "52")
        whole, ways = observe((hop,)), observe_ways((hop,))
        assert whole.paths[hop].oif == "tun0"
        assert [Neighbours(each).link_to(hop) for each in (whole, ways)] == ["v0", "v0"]
        assert {route.protocol for route in ways.routes} <= {2, 9}

    in_private_network(body)


@pytest.mark.parametrize("prefix", ["default", "10.0.0.0/8"])
def test_who_is_on_no_link_is_on_none_by_whatever_way_one_looks(prefix: str) -> None:
    """Such as the gateway of a LAN that the laptop has left: what leads out of a tunnel makes it no neighbour there."""
    near, far = ipaddress.ip_address("192.0.2.9"), ipaddress.ip_address("10.77.0.9")

    def body() -> None:
        make_links()
        ip("link", "add", "tun0", "type", "veth", "peer", "name", "tun1")
        ip("link", "set", "tun1", "up")
        ip("link", "set", "tun0", "up")
        ip("route", "add", prefix, "dev", "tun0", "table", "52")
        ip("route", "add", "default", "dev", "v1")
        ip("rule", "add", "pref", "5270", "lookup", "52")
        whole, ways = observe((near, far)), observe_ways(iter((near, far)))
        assert ways.paths == whole.paths
        assert ways.paths[far].is_on_link, "as far as its packets go"
        assert [Neighbours(each).link_to(far) for each in (whole, ways)] == [None, None]
        assert [Neighbours(each).link_to(near) for each in (whole, ways)] == ["v0", "v0"]
        ip("route", "add", f"{far}/32", "dev", "v1", "table", "52")
        assert Neighbours(observe_ways((far,))).link_to(far) == "v1", "a host route says so"

    in_private_network(body)


def test_ways_alone_are_told_as_beside_all_routes() -> None:
    def body() -> None:
        make_links()
        ip("route", "add", "10.1.0.0/16", "via", "192.0.2.9")
        asked = [ipaddress.ip_address(text) for text in ("10.1.2.3", "192.0.2.9", "203.0.113.1")]
        everything, alone = observe(asked), observe_paths(asked)
        assert alone.paths == everything.paths
        assert (alone.links, alone.routes) == (everything.links, ())
        assert str(alone.paths[asked[0]].next_hop) == "192.0.2.9"

    in_private_network(body)
