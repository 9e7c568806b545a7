"""By which route the kernel sends, where only its next hop is known."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from devlink.core.network import OVERRIDE_TABLE, PROTOCOL, ObservedNetwork, Path
from devlink.doctor.following import winner_of
from tests.core.plans import theirs

POD, ROUTER, NODE = ip_address("10.20.73.70"), ip_address("172.16.0.1"), ip_address("172.16.0.13")
DEFAULT = theirs("0.0.0.0/0", next_hop=ROUTER)
OURS = theirs("10.20.0.0/16", next_hop=NODE, protocol=PROTOCOL)
BRIDGE = theirs("10.20.73.0/24", oif="br0", protocol=2)


@pytest.fixture(autouse=True)
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devlink.kernel.owners.link_kind", lambda _: "")


@pytest.mark.parametrize(
    ("path", "shown", "owner"),
    [
        (Path(oif="eth0", next_hop=NODE), "10.20.0.0/16 via 172.16.0.13 dev eth0 proto 231", "devlink"),
        (Path(oif="br0"), "10.20.73.0/24 dev br0 proto kernel", "the kernel (the network that interface br0 is on)"),
        (Path(oif="tun7"), "dev tun7", "a VPN (interface tun7)"),
    ],
)
def test_the_route_that_fits_the_kernels_word_is_named_with_its_owner(path: Path, shown: str, owner: str) -> None:
    observed = ObservedNetwork(routes=(DEFAULT, OURS, BRIDGE))
    winner = winner_of(POD, path, observed, 1000)
    assert winner is not None
    assert (winner.shown, winner.owner) == (shown, owner)


def test_of_two_that_fit_the_overriding_one_counts_then_the_narrower() -> None:
    wide = replace(OURS, destination=DEFAULT.destination)
    observed = ObservedNetwork(routes=(wide, OURS, replace(wide, table=OVERRIDE_TABLE)))
    winner = winner_of(POD, Path(oif="eth0", next_hop=NODE), observed, 1000)
    assert winner is not None
    assert winner.route.table == OVERRIDE_TABLE
    winner = winner_of(POD, Path(oif="eth0", next_hop=NODE), ObservedNetwork(routes=(wide, OURS)), 1000)
    assert winner is not None
    assert winner.route == OURS


def test_where_nothing_is_sent_nobody_wins() -> None:
    assert winner_of(POD, Path(), ObservedNetwork(routes=(DEFAULT, OURS)), 1000) is None
