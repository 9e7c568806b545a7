"""A bench whose figure misses its limit says which, and fails; the others are run all the same."""

import math
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import failover, plan, relay, routes, throughput, wakeups
from tests.benchmarks.limits import Limit, verdict

ROOT = Path(__file__).parents[2]


def gaps(median: float, worst: float) -> list[Limit]:
    return failover.limits([{"what": "is powered off", "median_s": median, "worst_s": worst, "by_hand_worst_s": 9.0}])


def rates(over_by_hand: float, over_sshuttle: float = 9.0) -> list[Limit]:
    ratios = {throughput.OURS: 1.0, throughput.BY_HAND: over_by_hand, throughput.SSHUTTLE: over_sshuttle}
    return throughput.limits([{"what": name, "devlink_over_it": ratio} for name, ratio in ratios.items()])


def ratios(limits: Callable[[Sequence[Any]], list[Limit]], ratio: float, most: float) -> list[Limit]:
    return limits([{"what": "one", "ratio": ratio, "limit": most}, {"what": "other", "ratio": 99.0, "limit": None}])


def relayed(kind: str, value: float) -> list[Limit]:
    return relay.limits([{"what": f"its {kind}", "kind": kind, "value": value}])


@pytest.mark.parametrize(
    ("kept", "missed", "name"),
    [
        (gaps(1.0, 2.0), gaps(1.01, 2.0), "is powered off, median"),
        (gaps(1.0, 2.0), gaps(1.0, 2.01), "is powered off, worst"),
        (wakeups.limits(20, 20.0), wakeups.limits(21, 20.0), "wakeups"),
        (ratios(plan.limits, 4.3, 4.3), ratios(plan.limits, 4.31, 4.3), "one"),
        (ratios(routes.limits, 1.0, 1.0), ratios(routes.limits, 1.01, 1.0), "one"),
        (rates(0.99), rates(0.989), "by a route made by hand"),
        (rates(1.3), rates(math.nan), "by a route made by hand"),
        (rates(1.0, 1.0), rates(1.0, 0.99), "by sshuttle"),
        (relayed("later", 5.0), relayed("later", 5.01), "its later"),
        (relayed("rate", 1.0), relayed("rate", 0.99), "its rate"),
        (relayed("all", 2.0), relayed("all", 2.01), "its all"),
        (relayed("answered", 1000.0), relayed("answered", 999.0), "its answered"),
        (relayed("resident", 60.0), relayed("resident", 60.1), "its resident"),
    ],
)
def test_a_figure_beyond_its_limit_is_named_and_fails(
    kept: list[Limit], missed: list[Limit], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdict(kept) == 0
    assert capsys.readouterr().out == ""
    assert verdict(missed) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("MISSED: ")
    assert name in line


@pytest.mark.parametrize("failing", ["", "start", "forwarder"])
def test_all_benches_are_run_though_one_fails(failing: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "${{2##*.}}" >> {log}\n[ "$2" != tests.benchmarks.{failing} ]\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "--no-print-directory", "-o", "setup", "bench", f"BIN={tmp_path}", "PEERS=false"],
        cwd=ROOT, env={**os.environ, "MAKEFLAGS": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode != 0) == bool(failing)
    assert len(log.read_text().split()) == 10
    assert not failing or f"failed: {failing}" in done.stdout
