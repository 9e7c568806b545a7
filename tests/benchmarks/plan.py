"""How long a plan of a very large cluster takes, beside reading its prefixes with the standard library alone.

`make bench` runs it: 20,000 blocks, each of a node of its own on the link, with a few routes of others and with as many
as there are blocks. CPU time in milliseconds, the best of several rounds, run in turn; what counts is the ratio.
"""

import argparse
import dataclasses
import ipaddress
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from devlink.core.network import Holding
from devlink.core.plan import make_plan, protect
from tests.benchmarks.limits import Limit, verdict
from tests.core.plans import large
from tests.kernel.holding import present

BLOCKS = 20_000
LIMITS = {"plan, few routes of others": 4.0, "plan, as many of others": 4.3, "difference and pins": 3.0}
"""How many times the reading each may take: 300 ms for a plan, where the reading takes 70 ms."""


def measured(rounds: int) -> list[dict[str, object]]:
    """Each part of planning, with its ratio to the reading."""
    profile, crowded = large(BLOCKS)
    quiet = dataclasses.replace(crowded, routes=crowded.routes[:20])
    texts = [str(block) for node in profile.spec.nodes or () for block in node.pods]
    desired = make_plan(profile, quiet).desired
    holding, ours = Holding(routes=desired.routes), present(desired.routes)
    deeds: dict[str, Callable[[], object]] = {
        "reading": lambda: [ipaddress.ip_network(text) for text in texts],
        "plan, few routes of others": lambda: make_plan(profile, quiet),
        "plan, as many of others": lambda: make_plan(profile, crowded),
        "difference and pins": lambda: (ours.change_to(holding), protect(desired, (), quiet)),
    }
    best = dict.fromkeys(deeds, float("inf"))
    for _ in range(rounds):
        for name, deed in deeds.items():
            began = time.process_time()
            deed()
            best[name] = min(best[name], (time.process_time() - began) * 1000)
    return [
        {"what": name, "ms": round(ms, 1), "ratio": round(ms / best["reading"], 2), "limit": LIMITS.get(name)}
        for name, ms in best.items()
    ]


def limits(rows: Sequence[Mapping[str, object]]) -> list[Limit]:
    """What each part of planning is held to."""
    return [
        Limit(
            what=str(row["what"]), value=float(str(row["ratio"])), unit="x the reading", most=float(str(row["limit"]))
        )
        for row in rows
        if row["limit"] is not None
    ]


def main() -> int:
    """Print the figures; 1 where one is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    rows = measured(options.rounds)
    if options.json:
        print(json.dumps({"blocks": BLOCKS, "rows": rows}))
    else:
        print(f"{f'{BLOCKS} blocks':<30} {'CPU ms':>8} {'ratio':>7} {'limit':>7}")
        for row in rows:
            print(f"{row['what']:<30} {row['ms']:>8} {row['ratio']:>7} {row['limit'] or '':>7}")
    return verdict(limits(rows))


if __name__ == "__main__":
    sys.exit(main())
