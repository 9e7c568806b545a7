"""Who is on which link, as far as a next hop must be: beside VPNs that take all, and beside routers."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from devlink.core.detours import kept
from devlink.core.neighbours import Neighbours
from devlink.core.network import MAIN_TABLE, OVERRIDE_TABLE, Link, ObservedNetwork, ObservedRoute, Path, Rule
from devlink.core.overrides import ALL
from devlink.core.plan import make_plan
from devlink.core.profile import RoutingMode
from tests.core.plans import GATEWAY, altered, theirs

ETH0 = Link(index=2, name="eth0", mtu=1500, up=True, addresses=((ip_address("172.16.0.100"), 24),))
DOWN = Link(index=2, name="eth0", mtu=1500, up=False, addresses=((ip_address("172.16.0.100"), 24),))
WLAN0 = Link(index=3, name="wlan0", mtu=1500, up=True, addresses=((ip_address("172.16.0.101"), 24),))
TUN0 = Link(index=9, name="tun0", mtu=1420, up=True, addresses=((ip_address("100.64.0.2"), 32),))
LAN = theirs("172.16.0.0/24", protocol=2)
PEER = theirs("172.16.0.13/32", protocol=2, oif="ppp0")
EXIT = theirs("0.0.0.0/0", oif="tun0", table=52)
INTO_TUNNEL = Path(oif="tun0")


@pytest.mark.parametrize(
    ("path", "links", "routes", "expected", "why"),
    [
        (Path(oif="eth0"), (ETH0,), (LAN,), "eth0", "its network is there"),
        (Path(oif="eth0"), (), (LAN,), "eth0", "a connected route says so"),
        (Path(oif="eth0"), (ETH0,), (), "eth0", "an address says so, where routes are not known"),
        (Path(oif="ppp0"), (), (PEER,), "ppp0", "the peer of an address"),
        (Path(oif="eth0"), (), (theirs("172.16.0.13/32", protocol=4),), "eth0", "a route for this host alone"),
        (Path(oif="eth0"), (ETH0, WLAN0), (LAN,), "eth0", "of two networks that hold it, the kernel's choice"),
        (Path(oif="eth0"), (), (), "eth0", "nothing is known against it"),
        (INTO_TUNNEL, (ETH0, TUN0), (LAN, EXIT), "eth0", "the VPN takes our own packets only"),
        (INTO_TUNNEL, (ETH0, TUN0), (), "eth0", "the same, where routes are not known"),
        (Path(oif="tun0", next_hop=ip_address("10.8.0.1")), (ETH0, TUN0), (LAN,), "eth0", "a VPN with a router"),
        (Path(oif="tun0"), (ETH0,), (LAN, theirs("172.16.0.13/32", oif="tun0", protocol=3)), "eth0", "narrower"),
        (INTO_TUNNEL, (TUN0,), (EXIT,), None, "a default route makes nobody a neighbour"),
        (INTO_TUNNEL, (TUN0,), (theirs("172.16.0.0/12", oif="tun0", protocol=3),), None, "nor does a VPN's wide one"),
        (INTO_TUNNEL, (TUN0,), (theirs("0.0.0.0/0", oif="ppp0"), EXIT), None, "nor the second of two default routes"),
        (INTO_TUNNEL, (TUN0,), (theirs("0.0.0.0/0", oif="ppp0"),), None, "nor the unknown hop of one with several"),
        (INTO_TUNNEL, (DOWN, TUN0), (EXIT,), None, "the link is down"),
        (INTO_TUNNEL, (DOWN, TUN0), (LAN, EXIT), None, "the link is down, and its network still there"),
        (Path(oif="eth0", next_hop=ip_address("172.16.0.1")), (ETH0,), (LAN,), None, "a router on its own link"),
        (Path(oif="eth0", next_hop=ip_address("10.0.0.1")), (), (), None, "behind a router"),
        (Path(oif="lo", kind="local"), (ETH0,), (LAN,), None, "the laptop itself"),
        (Path(), (ETH0,), (LAN,), None, "no way at all"),
    ],
)  # fmt: skip
def test_a_next_hop_is_on_the_link_whose_network_holds_it_whatever_a_vpn_routes(
    path: Path, links: tuple[Link, ...], routes: tuple[ObservedRoute, ...], expected: str | None, why: str
) -> None:
    observed = ObservedNetwork(paths={GATEWAY: path}, links=links, routes=routes)
    assert Neighbours(observed).link_to(GATEWAY) == expected, why


@pytest.mark.parametrize(
    ("path", "routes", "expected"),
    [
        (Path(oif="eth0"), (LAN,), False),
        (INTO_TUNNEL, (LAN,), False),
        (INTO_TUNNEL, (), True),
        (Path(oif="tun0", next_hop=ip_address("10.8.0.1")), (), False),
        (Path(oif="lo", kind="local"), (), False),
        (Path(), (), False),
    ],
)
def test_only_what_leaves_without_a_router_by_a_link_without_its_network_depends_on_the_routes_of_others(
    path: Path, routes: tuple[ObservedRoute, ...], expected: bool
) -> None:
    links = (replace(ETH0, addresses=()), TUN0)
    assert Neighbours(ObservedNetwork(paths={GATEWAY: path}, links=links, routes=routes)).is_open(GATEWAY) is expected


def test_who_was_not_asked_for_is_on_no_link() -> None:
    assert Neighbours(ObservedNetwork(links=(ETH0,))).link_to(GATEWAY) is None


def test_a_link_local_next_hop_is_on_the_link_that_the_kernel_says_and_on_no_other() -> None:
    router, every = ip_address("fe80::13"), (theirs("fe80::/64", protocol=2), theirs("fe80::/64", protocol=2, oif="w"))
    links = (Link(index=2, name="w", mtu=1500, up=True, addresses=((ip_address("fe80::5"), 64),)),)
    for path, expected in ((Path(oif="eth0"), "eth0"), (Path(oif="tun0", next_hop=ip_address("fe80::1")), None)):
        observed = ObservedNetwork(paths={router: path}, links=links, routes=every)
        assert Neighbours(observed).link_to(router) == expected


def test_beside_an_exit_node_an_override_leads_to_the_gateway_and_not_into_the_vpn() -> None:
    profile = altered(nodes=None)
    rules = tuple(Rule(version=4, priority=p, table=t) for p, t in ((0, 255), (5270, 52), (32766, MAIN_TABLE)))
    observed = ObservedNetwork(
        paths={GATEWAY: INTO_TUNNEL}, links=(ETH0, TUN0), routes=(LAN, EXIT, theirs("0.0.0.0/0")), rules=rules
    )
    plan = make_plan(profile, observed, override=ALL)
    assert {(r.oif, r.table) for r in plan.desired.routes} == {("eth0", OVERRIDE_TABLE)}
    assert kept(plan, plan, observed) == plan
    away = ObservedNetwork(paths={GATEWAY: INTO_TUNNEL}, links=(TUN0,), routes=(EXIT,), rules=rules)
    elsewhere = make_plan(profile, away, override=ALL)
    assert elsewhere.mode is RoutingMode.ROUTER
    assert "tun0" in elsewhere.reason
    assert ip_network("10.20.0.0/16") not in {r.destination for r in elsewhere.desired.routes}
