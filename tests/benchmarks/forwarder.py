"""The forwarder beside the name servers that people use today, and beside a C program that only receives and sends.

`make bench` runs it: two minutes, without root, on loopback alone. The servers have one CPU and the load another; each
short round measures all of them in turn, and what counts is the median over the rounds, of a ratio too. CPU per query
is the scheduler's own count: the figure to trust where other work shares the machine. `--strict` makes it an error to
miss a bound.
"""

import argparse
import json
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.fed_forwarder import ZONE
from tests.benchmarks.rounds import (
    CONNECTIONS,
    COREDNS,
    DIRECT,
    DNSMASQ,
    DNSMASQ_10000,
    LIMIT,
    OURS,
    PIPELINED,
    RATE,
    RESOLVED,
    UNBOUND,
    WINDOW,
    Bench,
    Table,
)  # fmt: skip
from tests.benchmarks.servers import LOAD_CPU, SERVER_CPU

FEW, MANY = 100, 10_000
"""Names in a cache. dnsmasq's holds 150 unless told otherwise."""
PEERS = (DNSMASQ, DNSMASQ_10000, UNBOUND, RESOLVED, COREDNS)
ROW = "{:<18}{:>9}{:>11}{:>7}{:>9}{:>9}{:>14}{:>7}{:>7}"
CLAIM = "{:<62}{:>10}{:>10}{:>10}  {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A bound and what was measured; None where a peer is missing, or other work disturbed every round."""

    what: str
    value: float | None
    bound: float | None
    aim: float
    unit: str
    more_is_better: bool = False

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        sign = 1 if self.more_is_better else -1
        if sign * self.value >= sign * self.aim:
            return "as aimed"
        if self.bound is None:
            return "above the aim"
        return "held" if sign * self.value >= sign * self.bound else "MISSED"

    def line(self) -> str:
        found, bound, aim = (
            "-" if figure is None else f"{figure:.{2 if self.unit == 'x' else 0}f} {self.unit}"
            for figure in (self.value, self.bound, self.aim)
        )
        return CLAIM.format(self.what, found, bound, aim, self.verdict)


def measure(bench: Bench) -> tuple[list[Table], list[Claim], dict[str, Mapping[str, float]]]:
    """Every scenario; what is claimed of it; and memory in MB, wake-ups a second and recovery in ms."""
    cached = bench.rates(f"cached, UDP, {FEW} names", "udp", (LIMIT, OURS, *PEERS), names=FEW)
    many = bench.rates(f"cached, UDP, {MANY} names", "udp", (OURS, DNSMASQ_10000, UNBOUND), names=MANY)
    resident = bench.resident()
    forwarded = bench.rates("forwarded from random ports, each name once", "udp", (OURS, *PEERS), names=0)
    cluster = bench.rates("forwarded to a cluster's server", "udp", (OURS, UNBOUND), names=0, suffix=ZONE)
    tcp = bench.rates(
        f"cached, TCP, {CONNECTIONS} connections with {PIPELINED} each on the way", "tcp", (OURS, *PEERS), names=FEW
    )
    paced = bench.latency(f"cached, {RATE} a second", (LIMIT, OURS, *PEERS), names=FEW)
    paced_once = bench.latency(f"forwarded, {RATE} a second", (DIRECT, OURS, *PEERS), names=0)
    wakeups = bench.wakeups()
    resident_at_the_end = bench.resident()
    recovery = bench.recovery()
    others: dict[str, Mapping[str, float]] = {
        f"MB of memory with {MANY} cached names": resident,
        "MB of memory after all rounds": resident_at_the_end,
        "wake-ups a second without questions": wakeups,
    }
    # Of dnsmasq's two configurations, the one that is faster in the same scenario.
    ratios = [cached.faster(OURS, name) for name in (DNSMASQ, DNSMASQ_10000)]
    claims = [
        Claim(
            what="cached UDP: queries a second against the faster dnsmasq", unit="x", bound=1.3, aim=1.6,
            value=min((ratio for ratio in ratios if ratio is not None), default=None), more_is_better=True,
        ),
        Claim(
            what="cached UDP: CPU per query against the C limit", unit="x", bound=1.35, aim=1.2,
            value=cached.ratio(OURS, LIMIT, "cpu_us"),
        ),
        Claim(
            what="forwarded: queries a second against unbound", unit="x", bound=1.0, aim=1.5,
            value=forwarded.faster(OURS, UNBOUND), more_is_better=True,
        ),
        Claim(
            what="cached TCP: queries a second against unbound", unit="x", bound=3, aim=5,
            value=tcp.faster(OURS, UNBOUND), more_is_better=True,
        ),
        Claim(
            what="cached: p50 over the C limit's", unit="µs", bound=50, aim=35,
            value=paced.more(OURS, LIMIT, "p50_us"),
        ),
        Claim(
            what="forwarded: p50 over asking the upstream itself", unit="µs", bound=150, aim=100,
            value=paced_once.more(OURS, DIRECT, "p50_us"),
        ),
        Claim(what=f"memory with {MANY} cached names", value=resident[OURS], unit="MB", bound=18, aim=15),
        Claim(what="wake-ups a second with nothing to do", value=wakeups[OURS], unit="", bound=0, aim=0),
        Claim(what="from SIGKILL to the answer of the next process", value=recovery, unit="ms", bound=None, aim=100),
    ]  # fmt: skip
    return [cached, many, forwarded, cluster, tcp, paced, paced_once], claims, others


def show(tables: Sequence[Table], others: Mapping[str, Mapping[str, float]]) -> None:
    """The medians."""
    for table in tables:
        print()
        headings = ("kqps", "µs CPU/q", "busy", "p50 µs", "p99 µs", "devlink is", "lost", "wrong")
        print(ROW.format("", *headings), f" {table.title}")
        for name, rounds in table.rounds.items():
            timed = table.median(name, "p50_us") is not None
            ratio = table.ratio(OURS, name, "p50_us") if timed else table.faster(OURS, name)
            busy = table.median(name, "busy")
            print(
                ROW.format(
                    name,
                    _number(table.median(name, "kqps"), 1),
                    _number(table.median(name, "cpu_us"), 2),
                    "-" if busy is None else f"{busy:.0%}",
                    _number(table.median(name, "p50_us"), 0),
                    _number(table.median(name, "p99_us"), 0),
                    "" if name == OURS or ratio is None else f"{ratio:.2f} x",
                    sum(figures.lost for figures in rounds),
                    sum(figures.wrong for figures in rounds),
                )
            )
    print()
    for what, figures in others.items():
        print(f"{what}: " + ", ".join(f"{name} {value:.1f}" for name, value in figures.items() if name != DIRECT))


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def machine() -> str:
    """What the figures depend on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(": ")[2] if models else platform.machine()
    return f"{model}, Linux {platform.release()}, Python {platform.python_version()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="that each server is loaded in a round")
    parser.add_argument("--json", type=Path, help="write the figures there as well, of each round")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a bound is missed or a reply was wrong")
    arguments = parser.parse_args()
    if shutil.which("cc") is None:
        print("the forwarder is not measured: there is no C compiler (cc)")
        return 1 if arguments.strict else 0
    # The servers must end with us: SystemExit runs what is on the stack, the signal's default would not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="devlink-bench-") as folder, ExitStack() as stack:
        bench = Bench(Path(folder), rounds=arguments.rounds, seconds=arguments.seconds)
        bench.start(stack)
        print(
            f"the forwarder and its peers: {arguments.rounds} rounds, servers on CPU {SERVER_CPU}, load on CPU "
            f"{LOAD_CPU}, {WINDOW} questions on the way (UDP), {machine()}"
        )
        if SERVER_CPU == LOAD_CPU:
            print("no second CPU is allowed: load and server take turns, so believe only the CPU per query")
        for line in bench.left_out:
            print(line)
        tables, claims, others = measure(bench)
    show(tables, others)
    print()
    print(CLAIM.format("the forwarder", "measured", "bound", "aim", ""))
    for claim in claims:
        print(claim.line())
    faults = sum(table.faults(OURS) for table in tables)
    if bench.repeated:
        print(f"other work disturbed {bench.repeated} loads, which were done again; {bench.crowded} to the last. Where")
        print("it left no round in peace, speeds are compared by CPU time, and what was added to p50 is not told.")
    if faults:
        print(f"{faults} questions had no right reply")
    if arguments.json:
        result = {
            "machine": machine(),
            "claims": [{**asdict(claim), "verdict": claim.verdict} for claim in claims],
            "tables": [asdict(table) for table in tables],
            "others": others,
            "left_out": bench.left_out,
            "repeated": bench.repeated,
            "crowded": bench.crowded,
        }
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    missed = faults or any(claim.verdict == "MISSED" for claim in claims)
    return 1 if arguments.strict and missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
