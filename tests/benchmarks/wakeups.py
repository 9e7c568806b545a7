"""How often our processes wake when nothing is sent: all of them in sum, up by one of two gateways.

`make bench` runs it. A wakeup is a voluntary context switch of any of their threads (proc(5), `status`).
"""

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tests.benchmarks.limits import Limit, verdict
from tests.benchmarks.options import options
from tests.e2e.two_gateways import up_beside_two

SPAN = 20.0
"""Seconds that are watched."""
MOST = 1.0
"""Wakeups a second."""


def wakeups(pids: Iterable[int], seconds: float) -> int:
    """Of all their threads together, in so many seconds from now on."""
    pids = tuple(pids)
    before = _switches(pids)
    time.sleep(seconds)
    return _switches(pids) - before


def _switches(pids: Iterable[int]) -> int:
    """Voluntary context switches so far."""
    count = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            (line,) = [line for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt")]
            count += int(line.split()[1])
    return count


def limits(total: int, seconds: float) -> list[Limit]:
    """What that many wakeups in so many seconds are held to."""
    return [Limit(what="up and idle, wakeups", value=total / seconds, unit="a second", most=MOST)]


def main() -> int:
    """Print the figures; 1 where they are over the limit."""
    arguments = options("wakeups", __doc__, seconds=SPAN)
    if arguments is None:
        return 0
    with up_beside_two() as gateways:
        with gateways.stream() as stream:
            stream.go_on()
        time.sleep(2.0)  # what follows the last packet
        pids = [pid for role in ("agent", "helper", "forwarder") for pid in gateways.link.pids(role)]
        total = wakeups(pids, arguments.seconds)
        print(
            f"up and idle, all threads of {len(pids)} processes: {total} wakeups in {arguments.seconds:g} s, "
            f"{total / arguments.seconds:.2f} a second; limit {MOST:g}"
        )
    if arguments.json:
        figures = [{"what": "wakeups a second, idle, up", "ours": total / arguments.seconds, "limit": MOST}]
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    return verdict(limits(total, arguments.seconds))


if __name__ == "__main__":
    sys.exit(main())
