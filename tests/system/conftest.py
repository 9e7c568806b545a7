"""The laptops of tests/system/setups.py, as parameters."""

from collections.abc import Iterator

import pytest

from tests.system.machine import Machine
from tests.system.setups import SETUPS, Setup, params
from tests.system.world import snapshot


@pytest.fixture(params=params())
def setup(request: pytest.FixtureRequest) -> Setup:
    """Each of them; a test may choose among them by `indirect`."""
    return SETUPS[request.param]


@pytest.fixture
def laptop(setup: Setup) -> Iterator[Machine]:
    """It is booted, and nothing of devlink's is up."""
    with setup.boot() as booted:
        yield booted


@pytest.fixture
def up(laptop: Machine) -> Iterator[Machine]:
    """The profile is up on it; taken down after the test, all must be as it was."""
    before = snapshot(laptop)
    laptop.devlink("up", "qa")
    yield laptop
    laptop.devlink("down", "--all")
    assert before.diff(snapshot(laptop)) == []
