"""Whose route it is, in words."""

import ipaddress

import pytest

from devlink.core.network import ObservedRoute
from devlink.kernel.owners import as_ip_route, owner


def route(*, oif: str | None = "eth0", protocol: int = 4, table: int = 254) -> ObservedRoute:
    return ObservedRoute(
        destination=ipaddress.ip_network("10.20.0.0/16"), oif=oif, protocol=protocol, table=table, metric=50
    )


@pytest.mark.parametrize(
    ("observed", "kind", "word"),
    [
        (route(protocol=12), "", "BIRD"),
        (route(protocol=16), "", "DHCP"),
        (route(protocol=231), "", "devlink"),
        (route(oif="docker0", protocol=2), "bridge", "Docker"),
        (route(oif="br-0123456789ab", protocol=2), "bridge", "Docker"),
        (route(oif="office", protocol=3), "wireguard", "WireGuard"),
        (route(oif="tailscale0", table=52), "tun", "Tailscale"),
        (route(oif=None, table=52), "", "Tailscale"),
        (route(oif="corp", protocol=3), "tun", "a VPN"),
        (route(protocol=2), "", "interface eth0"),
        (route(protocol=3), "", "ip route"),
        (route(protocol=4), "", "static"),
        (route(oif=None, protocol=77), "", "77"),
        (route(table=255, protocol=2), "", "own addresses"),
    ],
)
def test_the_owner_of_a_route_is_named(observed: ObservedRoute, kind: str, word: str) -> None:
    assert word in owner(observed, kind)


def test_a_lan_bridge_is_not_taken_for_dockers() -> None:
    assert "Docker" not in owner(route(oif="br-lan", protocol=2), "bridge")


def test_a_foreign_route_is_written_as_ip_route_writes_it() -> None:
    assert as_ip_route(route(table=52)) == "10.20.0.0/16 dev eth0 proto static metric 50 table 52"
