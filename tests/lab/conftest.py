"""Worlds that several tests look at without changing more than the laptop's routes."""

from collections.abc import Iterator

import pytest

from devlink import lab
from devlink.lab import World


@pytest.fixture
def node_lan() -> Iterator[World]:
    """Network A with the laptop on the node LAN."""
    with World.start(lab.network_a()) as world:
        yield world
