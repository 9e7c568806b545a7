"""`devlink up --override`: it wins over VPNs' tables and bridges in a real kernel, and `down` leaves nothing of it."""

from collections.abc import Iterator

import pytest

from devlink import lab
from tests.e2e.link import PROFILE, Link, linked

pytestmark = pytest.mark.lab

POD = "10.20.120.200"
"""An address of the pod network, in nobody's block."""


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    with linked(lab.network_a(), tmp_path_factory.mktemp("override") / "helper.log") as made:
        yield made


def shell(link: Link, script: str) -> str:
    return link.run("sh", "-ec", script)


def way(link: Link, address: str) -> str:
    return shell(link, f"ip route get {address}")


def won(link: Link, *override: str) -> None:
    """Up with that override, as the dry run says it; and every route of ours in its table leads to a node."""
    options = [word for each in override for word in ("--override", each)]
    dry = link.up(PROFILE, "--dry-run", *options)
    link.up(PROFILE, *options)
    planned = [line.split()[3] for line in dry.splitlines() if line.startswith("ip route add") and "table 5230" in line]
    table = shell(link, "ip route show table 5230")
    assert sorted(planned) == sorted(line.split()[0] for line in table.splitlines() if not line.startswith("throw")) + (
        ["throw"] * table.count("throw")
    )


TABLE_52 = (
    "ip link add vpn0 type veth peer name vpn1; ip link set vpn1 up; ip link set vpn0 up;"
    " ip addr add 100.64.0.2/32 dev vpn0; ip route add default dev vpn0 table 52; ip rule add pref 5270 lookup 52"
)
WIREGUARD = (
    "ip link add vpn0 type veth peer name vpn1; ip link set vpn1 up; ip link set vpn0 up;"
    " ip addr add 10.99.0.2/32 dev vpn0; ip route add default dev vpn0 table 51820;"
    " ip rule add pref 32765 not fwmark 0xca6c lookup 51820"
)


@pytest.mark.parametrize(
    ("vpn", "rule"), [(TABLE_52, "5270"), (WIREGUARD, "32765")], ids=["exit node", "wg without its look at main"]
)
def test_against_a_vpn_that_takes_all_an_override_leads_to_the_nodes(link: Link, vpn: str, rule: str) -> None:
    clean = link.world.snapshot()
    shell(link, vpn)
    try:
        before = link.world.snapshot()
        assert "dev vpn0" in way(link, "172.16.0.13")
        assert "--override" in link.up(expect=5)
        won(link, "all")
        assert "via 172.16.0.13 dev eth0" in way(link, POD)
        assert "dev vpn0" in way(link, "198.51.100.7")
        link.down()
        link.await_equal(before)
    finally:
        link.devlink("down", "--all")
        shell(link, f"ip rule del pref {rule}; ip link del vpn0")
    link.await_equal(clean)


@pytest.mark.parametrize(
    ("network", "inside", "named"),
    [
        ("10.20.0.1/16", "10.20.120.200", ""),
        ("10.20.120.1/24", "10.20.120.200", "10.20.120.0/24"),
        ("10.20.200.1/24", "10.20.200.9", ""),
    ],
    ids=["equal", "around a block", "narrower"],
)
def test_a_bridge_keeps_its_network_under_override_all_unless_it_is_named(
    link: Link, network: str, inside: str, named: str
) -> None:
    clean = link.world.snapshot()
    # Without an address that it makes itself: that is tentative for a second, and would be another one afterwards.
    made = "ip link add br0 type bridge; ip link set br0 addrgenmode none"
    shell(link, f"{made}; ip addr add {network} dev br0; ip link set br0 up")
    try:
        before = link.world.snapshot()
        won(link, "all")
        assert "dev br0" in way(link, inside)
        assert "via 172.16.0.13 dev eth0" in way(link, "10.254.0.9")
        assert "DL-ROUTE-KEPT" in {finding["code"] for finding in link.status()["sessions"][0]["findings"]}
        link.down()
        if named:
            won(link, "all", named)
            assert "dev eth0" in way(link, inside)
            link.down()
        link.await_equal(before)
    finally:
        link.devlink("down", "--all")
        shell(link, "ip link del br0")
    link.await_equal(clean)
