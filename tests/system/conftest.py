"""The laptops of tests/system/setups.py, as parameters."""

from collections.abc import Iterator

import pytest

from tests.system.machine import Machine
from tests.system.setups import SETUPS, Setup, params
from tests.system.world import brought_up


@pytest.fixture(params=params())
def setup(request: pytest.FixtureRequest) -> Setup:
    """Each of them; a test may choose among them by `indirect`."""
    return SETUPS[request.param]


@pytest.fixture
def laptop(setup: Setup) -> Iterator[Machine]:
    """It is booted, and nothing of devlink's is up."""
    with setup.boot() as booted:
        yield booted


@pytest.fixture(scope="module", params=params())
def shared_setup(request: pytest.FixtureRequest) -> Setup:
    """As `setup`, for tests that leave the laptop as they found it: one boot for all of a module."""
    return SETUPS[request.param]


@pytest.fixture(scope="module")
def shared_laptop(shared_setup: Setup) -> Iterator[Machine]:
    with shared_setup.boot() as booted:
        yield booted


@pytest.fixture
def up(laptop: Machine) -> Iterator[Machine]:
    """The profile is up on it; taken down after the test, all must be as it was."""
    yield from brought_up(laptop)
