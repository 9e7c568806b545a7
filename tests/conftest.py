"""Which tests can run on this machine: the others are skipped with one clear line, and under CI=true they fail."""

import functools
import gc
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from devlink import lab
from devlink.lab import kit
from tests.kit import peers, systems

settings.register_profile("check", settings.get_profile("ci"), max_examples=20)
"""For `make check`, which runs before every commit; `make test` draws the full number."""

BOOTED = Path(__file__).with_name("system")
"""The tests that boot whole systems."""

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and what the tests start would inherit that


@functools.cache
def _obstacle(marker: str) -> str | None:
    """Why tests with this marker cannot run here, or None."""
    if marker == "lab":
        return lab.available()
    if marker == "system" and os.geteuid() != 0:
        return "needs root: run the tests as root"
    if marker == "cluster":
        return lab.available() or kit.missing(iptables=True)
    if marker == "peers":
        return peers.missing()
    return None


gc.disable()  # until all is collected, below: nothing of it is garbage, and each look through it takes longer


def pytest_collection_finish() -> None:
    """Thousands of tests are collected for good: a test that collects garbage need not look through them, for 0.3 s."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in ("lab", "system", "cluster", "peers"):
        reason = _obstacle(marker) if item.get_closest_marker(marker) else None
        if marker == "system" and BOOTED in item.path.parents:
            reason = systems.missing()
        if reason is None:
            continue
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must run this test, and cannot: {reason}", pytrace=False)
        pytest.skip(reason)
