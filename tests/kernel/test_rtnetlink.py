"""rtnetlink's messages: round trips, and pyroute2's decoder as the oracle."""

import ipaddress
import socket
import struct

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from devlink.core.network import ObservedRoute, Route
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.kernel import nexthops, rtnetlink
from devlink.kernel.netlink import Request, attribute, attribute_u32, pack_message
from devlink.kernel.nexthops import Hop, NexthopMessage
from tests.core.model_kernel import as_route

ADDRESSES: st.SearchStrategy[IPAddress] = st.ip_addresses()


@st.composite
def routes(draw: st.DrawFn) -> Route:
    destination = draw(prefixes())
    version = destination.version
    return Route(
        destination=destination,
        next_hop=draw(st.none() | st.ip_addresses(v=version)),
        oif="v0",
        metric=draw(st.integers(1, 2**32 - 1)),
        table=draw(st.integers(1, 2**32 - 1)),
        mtu=draw(st.none() | st.integers(1280, 65535)),
        source=draw(st.none() | st.ip_addresses(v=version)),
    )


@st.composite
def prefixes(draw: st.DrawFn) -> IPNetwork:
    address = draw(ADDRESSES)
    length = draw(st.integers(0, address.max_prefixlen))
    return ipaddress.ip_network((address.packed, length), strict=False)


@given(routes())
def test_a_route_comes_back_as_it_was_encoded(route: Route) -> None:
    message = rtnetlink.decode_route(rtnetlink.encode_route(route, 7))
    observed = rtnetlink.to_observed(message, message.hop, {7: "v0"})
    assert observed.is_ours
    assert observed.kind == "unicast"
    assert as_route(observed) == route


def parsed(text: str | None) -> IPAddress | None:
    return ipaddress.ip_address(text) if text is not None else None


@given(routes())
def test_pyroute2_reads_the_same_route(route: Route) -> None:
    message = rtmsg(pack_message(Request(rtnetlink.RTM_NEWROUTE, 0, rtnetlink.encode_route(route, 7)), 1))
    message.decode()
    assert message["dst_len"] == route.destination.prefixlen
    assert message["proto"] == 231
    assert ipaddress.ip_address(message.get("dst")) == route.destination.network_address
    assert parsed(message.get("gateway")) == route.next_hop
    assert (message.get("oif"), message.get("priority")) == (7, route.metric)
    assert message.get("table") == route.table
    assert parsed(message.get("prefsrc")) == route.source
    metrics = message.get("metrics")
    assert (metrics.get("mtu") if metrics else None) == route.mtu


@given(st.binary(max_size=120))
def test_any_attributes_behind_a_route_header_do_no_harm(data: bytes) -> None:
    header = struct.pack("=8BI", socket.AF_INET, 24, 0, 0, 254, 2, 0, 1, 0)
    try:
        rtnetlink.decode_route(header + data)
    except struct.error:
        pass  # an attribute of another size than the kernel ever sends


def test_an_ipv4_route_by_an_ipv6_gateway_is_encoded_as_via() -> None:
    gateway = ipaddress.ip_address("2001:db8::2")
    route = Route(destination=ipaddress.ip_network("10.20.0.0/16"), next_hop=gateway, oif="v0")
    message = rtnetlink.decode_route(rtnetlink.encode_route(route, 7))
    assert message.hop == Hop(oif=7, gateway=gateway.packed)


def multipath_route() -> bytes:
    header = struct.pack("=8BI", socket.AF_INET, 16, 0, 0, 254, 186, 0, 1, 0)
    hops = b""
    for index, gateway in ((3, "192.0.2.2"), (4, "192.0.2.3")):
        inner = attribute(rtnetlink.RTA_GATEWAY, socket.inet_aton(gateway))
        hops += struct.pack("=HBBi", 8 + len(inner), 0, 0, index) + inner
    return header + attribute(rtnetlink.RTA_DST, socket.inet_aton("10.20.0.0")) + attribute(9, hops)


def test_of_a_multipath_route_the_first_hop_is_told() -> None:
    message = rtnetlink.decode_route(multipath_route())
    assert rtnetlink.to_observed(message, message.hop, {3: "v0", 4: "v1"}) == ObservedRoute(
        destination=ipaddress.ip_network("10.20.0.0/16"),
        next_hop=ipaddress.ip_address("192.0.2.2"),
        oif="v0",
        protocol=186,
    )


def test_a_nexthop_object_is_read_with_its_hop() -> None:
    body = (
        struct.pack("=4BI", socket.AF_INET, 0, 231, 0, 0)
        + attribute_u32(nexthops.NHA_ID, 9)
        + attribute_u32(nexthops.NHA_OIF, 3)
        + attribute(nexthops.NHA_GATEWAY, socket.inet_aton("192.0.2.2"))
    )
    hop = Hop(oif=3, gateway=socket.inet_aton("192.0.2.2"))
    assert nexthops.decode_nexthop(body) == NexthopMessage(id=9, hop=hop, members=(), protocol=231)


def test_a_route_by_a_nexthop_group_takes_the_groups_first_member() -> None:
    body = struct.pack("=8BI", socket.AF_INET, 16, 0, 0, 254, 12, 0, 1, 0) + attribute_u32(rtnetlink.RTA_NH_ID, 100)
    message = rtnetlink.decode_route(body)
    hop = Hop(oif=3, gateway=socket.inet_aton("192.0.2.2"))
    group = struct.pack("=4BI", 0, 0, 0, 0, 0) + attribute_u32(nexthops.NHA_ID, 100)
    group += attribute(nexthops.NHA_GROUP, struct.pack("=IBBH", 9, 0, 0, 0) + struct.pack("=IBBH", 8, 0, 0, 0))
    objects = {100: nexthops.decode_nexthop(group), 9: NexthopMessage(id=9, hop=hop, members=())}
    assert rtnetlink.resolve_hop(message, objects) == hop
    assert rtnetlink.resolve_hop(message, {}) == Hop()


def test_a_way_that_drops_packets_is_no_way() -> None:
    body = struct.pack("=8BI", socket.AF_INET6, 128, 0, 0, 254, 0, 0, 7, 0) + attribute_u32(rtnetlink.RTA_OIF, 1)
    assert rtnetlink.to_path(rtnetlink.decode_route(body), {1: "lo"}).oif is None
