"""Worlds with devlink on their laptops, one for each module: starting a world is cheap, but not free."""

from collections.abc import Iterator

import pytest

from devlink import lab
from tests.e2e.link import Link, linked


@pytest.fixture(scope="module")
def node_lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """Network A, the laptop on the node LAN."""
    with linked(lab.network_a(), tmp_path_factory.mktemp("node-lan") / "helper.log") as link:
        yield link


@pytest.fixture
def link(node_lan: Link) -> Iterator[Link]:
    """The module's laptop; the test must leave it as it found it."""
    before = node_lan.world.snapshot()
    yield node_lan
    node_lan.put_back(before)
