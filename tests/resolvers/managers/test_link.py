"""The link of ours by which a mode tells: which addresses it has, and that it is there."""

import ipaddress
from typing import cast

import pytest

from devlink.core import network
from devlink.core.prefixes import IPAddress
from devlink.kernel.tun import Tun
from devlink.resolvers.managers import link as module
from devlink.resolvers.managers.link import OwnLink
from tests.resolvers.fake_link import Link

V4, V6 = ipaddress.ip_address("169.254.53.53"), ipaddress.ip_address("fd00:5353::53")
SPARE = ipaddress.ip_address("169.254.53.54")


class Made:
    """A link, and all that were made for it."""

    def __init__(self, *laptop: int) -> None:
        self.links: list[Link] = []
        self.laptop = laptop
        self.link = OwnLink(make=self._make, families=lambda: frozenset(self.laptop))

    def prepare(self, *cluster: int) -> list[IPAddress]:
        self.link.prepare(frozenset(cluster))
        return self.links[-1].addresses

    def _make(self) -> Tun:
        self.links.append(Link())
        return cast(Tun, self.links[-1])


@pytest.mark.parametrize(
    ("cluster", "laptop", "expected"),
    [({4}, {4, 6}, V4), ({6}, {4, 6}, V6), ({4, 6}, {4}, V4), ({4, 6}, {6}, V6), ({4, 6}, {4, 6}, V4), ({6}, {4}, V6),
     ({4, 6}, set(), V4), (set(), {6}, V4)],
)  # fmt: skip
def test_it_has_an_address_of_a_family_that_the_cluster_and_the_laptop_have(
    cluster: set[int], laptop: set[int], expected: IPAddress
) -> None:
    assert Made(*laptop).prepare(*cluster) == [expected]


def test_a_family_is_in_use_where_another_link_has_an_address_that_reaches_beyond_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def families(**links: str) -> set[int]:
        found = tuple(
            network.Link(index=index, name=name, mtu=1500, up=True, addresses=((ipaddress.ip_address(address), 24),))
            for index, (name, address) in enumerate(links.items(), 1)
        )
        monkeypatch.setattr(module, "observe_network", lambda: network.ObservedNetwork(links=found))
        return set(module.families_in_use())

    local = {"lo": "127.0.0.1", "eth0": "fe80::1", "eth1": "169.254.7.7", "devlink0": "192.0.2.1"}
    assert families(**local) == set()
    assert families(**local, eth2="192.0.2.9") == {4}
    assert families(**local, eth2="2001:db8::9") == {6}


def test_it_has_another_address_once_the_cluster_has_that_family_no_more() -> None:
    made = Made(4, 6)
    assert made.prepare(4) == [V4]
    made.laptop = (6,)
    assert made.prepare(4, 6) == [V4], "it stays while it can"
    assert made.prepare(6) == [V6]
    assert len(made.links) == 1


def test_an_address_that_others_took_is_given_again_and_the_spare_one_comes_and_goes() -> None:
    made = Made(4)
    made.prepare(4)
    made.links[0].addresses = []
    assert made.prepare(4) == [V4]
    made.link.toggle_spare()
    assert made.prepare(4) == [V4, SPARE]
    made.links[0].addresses = []
    made.link.renew_addresses()
    assert made.links[0].addresses == [V4, SPARE]
    made.link.toggle_spare()
    assert made.prepare(4) == [V4]
    assert made.link.addresses == (V4,)


def test_in_place_of_one_that_was_deleted_comes_another_and_what_is_closed_is_gone() -> None:
    made = Made(4)
    assert not made.link.is_held
    made.prepare(4)
    assert (made.link.exists(), made.link.index) == (True, made.links[0].index)
    made.links[0].there = False
    assert (made.link.exists(), made.link.is_held) == (False, True)
    made.prepare(4)
    assert (made.link.exists(), made.link.index) == (True, made.links[1].index)
    made.link.close()
    made.link.close()
    assert not made.links[1].there
    assert (made.link.exists(), made.link.is_held, made.link.index, made.link.addresses) == (False, False, 0, ())
