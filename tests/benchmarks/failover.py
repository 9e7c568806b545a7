"""How long a busy connection to a pod stands still when its gateway dies, beside what is left where nobody must see it.

`make bench` runs it. The gateway is powered off, or stops forwarding. In turn, devlink notices by itself and switches;
or a command that is started in the very moment switches (`devlink failover`), and what is left is that command and
TCP's own retransmission. Seconds: median and worst.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from tests.benchmarks.limits import Limit, verdict
from tests.benchmarks.options import options
from tests.e2e.two_gateways import FIRST, SECOND, Gateways, Stream, up_beside_two

ROUNDS = 20
RULE = "{:<44} {:>10} {:>10} {:>14} {:>14}"
MEDIAN, WORST = 1.0, 2.0
"""Seconds: the longest that a connection may stand still."""
CALM = 0.15
"""Seconds: what the stream does not count as a gap."""


def gap(gateways: Gateways, stream: Stream, harm: Callable[[str], None], *, by_hand: bool) -> float:
    """The longest silence of the stream while its gateway dies; afterwards all is well again."""
    stream.go_on()
    stream.gaps.clear()
    harm(FIRST)
    if by_hand:
        gateways.link.run("devlink", "failover", SECOND)
    stream.go_on(2)
    assert gateways.way() == SECOND
    worst = max(stream.gaps, default=CALM)
    gateways.mend(FIRST)
    gateways.link.run("devlink", "failover", FIRST)
    time.sleep(0.3)
    stream.go_on()
    return worst


def limits(figures: Sequence[Mapping[str, object]]) -> list[Limit]:
    """What each gap is held to where nobody sees the gateway die."""
    return [
        Limit(what=f"gateway {row['what']}, {name}", value=float(str(row[f"{name}_s"])), unit="s", most=most)
        for row in figures
        for name, most in (("median", MEDIAN), ("worst", WORST))
    ]


def main() -> int:
    """Print the figures; 1 where one is over its limit."""
    arguments = options("failover", __doc__, rounds=ROUNDS)
    if arguments is None:
        return 0
    figures: list[dict[str, object]] = []
    with up_beside_two() as gateways:
        print(RULE.format("a busy connection to a pod", "median", "worst", "by hand", "its worst"))
        with gateways.stream() as stream:
            deaths = {"is powered off": gateways.power_off, "stops forwarding": gateways.stop_forwarding}
            for what, harm in deaths.items():
                ours, hand = [], []
                for _ in range(arguments.rounds):
                    ours.append(gap(gateways, stream, harm, by_hand=False))
                    hand.append(gap(gateways, stream, harm, by_hand=True))
                row = [statistics.median(ours), max(ours), statistics.median(hand), max(hand)]
                print(RULE.format(f"stands still: its gateway {what}", *(f"{value:.2f} s" for value in row)))
                names = ("median_s", "worst_s", "by_hand_median_s", "by_hand_worst_s")
                figures.append({"what": what, **{k: round(v, 3) for k, v in zip(names, row, strict=True)}})
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    return verdict(limits(figures))


if __name__ == "__main__":
    sys.exit(main())
