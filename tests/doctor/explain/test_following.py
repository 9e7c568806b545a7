"""By which route the kernel sends, where only its next hop is known."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from devlink.core.explain import Claim, place_of
from devlink.core.network import OVERRIDE_TABLE, PROTOCOL, ObservedNetwork, Path
from devlink.core.plan import make_plan
from devlink.doctor.explain.following import _way, winner_of
from tests.core.plans import GATEWAY, GATEWAY6, PROFILE, seen, theirs

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


def test_a_host_route_of_devlinks_that_is_none_of_the_sessions_keeps_a_way_and_is_not_lost() -> None:
    plan = make_plan(PROFILE, seen(GATEWAY, GATEWAY6))
    place = place_of(POD, (Claim(profile=PROFILE, plan=plan),))
    pin = theirs("10.20.73.70/32", next_hop=ROUTER, protocol=PROTOCOL)
    path = Path(oif="eth0", next_hop=ROUTER)
    link = _way(POD, place, path, ObservedNetwork(routes=(DEFAULT, pin)), 1000)
    assert (link.finding, link.text.endswith("made by devlink to keep the way that it has")) == (None, True)
    lost = _way(POD, place, path, ObservedNetwork(routes=(DEFAULT,)), 1000)
    assert lost.finding is not None
    assert lost.finding.code == "DL-ROUTES-GONE"
