"""What makes the place where a laptop is: another router, another address, or a neighbour whom nobody knows."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from devlink.agent import surroundings as module
from devlink.agent.surroundings import Surroundings, look_around
from devlink.core.network import Link, ObservedNetwork, Path
from devlink.core.prefixes import IPAddress
from devlink.core.profile_document import decode_profile
from tests.core.profiles import SAMPLE

PROFILE = decode_profile(SAMPLE)
ROUTER = ip_address("172.16.0.1")
ETH0 = Link(index=2, name="eth0", mtu=1500, up=True, addresses=((ip_address("172.16.0.100"), 24),))
WG0 = Link(index=3, name="wg0", mtu=1420, up=True, noarp=True, addresses=((ip_address("10.9.9.2"), 32),))
DOCKER = Link(index=4, name="docker0", mtu=1500, up=False, addresses=((ip_address("172.17.0.1"), 16),))


class Laptop:
    """Its links, the one way that it has, and who says to be next on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.links: tuple[Link, ...] = (ETH0, WG0, DOCKER)
        self.path = Path(oif="eth0", next_hop=ROUTER)
        self.neighbour = "02:00:00:00:00:01"
        monkeypatch.setattr(module, "observe", self._observe)
        monkeypatch.setattr(module, "link_address_toward", self._link_address_toward)

    def _observe(self, addresses: Iterable[IPAddress]) -> ObservedNetwork:
        return ObservedNetwork(links=self.links, paths=dict.fromkeys(addresses, self.path))

    def _link_address_toward(self, _: IPAddress, path: Path, *, ask: bool) -> str:
        assert ask, "after each loss of the carrier the kernel knows nobody"
        return self.neighbour if path.oif == "eth0" else ""

    def look(self) -> Surroundings:
        return look_around(PROFILE)[1]


@pytest.fixture
def laptop(monkeypatch: pytest.MonkeyPatch) -> Laptop:
    return Laptop(monkeypatch)


def test_what_is_not_on_the_way_to_the_cluster_makes_no_other_place(laptop: Laptop) -> None:
    before = laptop.look()
    assert before.is_known
    laptop.links = (ETH0, replace(WG0, up=False), replace(DOCKER, up=True))
    assert laptop.look() == before


@pytest.mark.parametrize("change", ["another router", "the same router's address", "another link", "another address"])
def test_another_way_or_another_neighbour_is_another_place(laptop: Laptop, change: str) -> None:
    before = laptop.look()
    match change:
        case "another router":
            laptop.path = replace(laptop.path, next_hop=ip_address("172.16.0.2"))
        case "the same router's address":
            laptop.neighbour = "02:00:00:00:66:66"
        case "another link":
            laptop.path = replace(laptop.path, oif="wg0")
        case "another address":
            laptop.links = (replace(ETH0, addresses=((ip_address("10.66.0.9"), 24),)), WG0)
    assert laptop.look() != before


def test_where_nobody_answers_the_place_is_not_known(laptop: Laptop) -> None:
    laptop.neighbour = ""
    assert not laptop.look().is_known


def test_a_place_behind_a_tunnel_is_known_by_the_tunnel_which_has_no_neighbours(laptop: Laptop) -> None:
    laptop.path = Path(oif="wg0")
    assert laptop.look().is_known
    laptop.links = (replace(WG0, noarp=False),)
    assert not laptop.look().is_known


@pytest.mark.parametrize(
    ("path", "up", "is_offline"),
    [(Path(), True, True), (Path(oif="eth0"), False, True), (Path(oif="eth0"), True, False)],
)
def test_without_a_way_or_with_its_link_down_it_is_offline(
    laptop: Laptop, path: Path, up: bool, is_offline: bool
) -> None:
    laptop.path, laptop.links = path, (replace(ETH0, up=up),)
    assert laptop.look().is_offline is is_offline
