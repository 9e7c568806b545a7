"""What the relay costs, beside `kubectl port-forward` to the same pod, and beside a route made by hand.

`make bench` runs it, in a world whose laptop reaches nothing of its cluster but a real API server; the node's end is
the kubelet's own code. All are measured in short turns (A B C C B A ...), so that a machine whose speed drifts is fair
to each; what counts is the median of the turns' ratios or differences. The relay is the one that `devlink up` starts,
and devlink is down while the others are measured. A route by hand needs a laptop at home: it is, for as long.
"""

import json
import operator
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from devlink import lab
from devlink.lab import kit
from devlink.lab.world import World
from devlink.lab.worlds.far import HOME
from tests.benchmarks.limits import Limit, verdict
from tests.benchmarks.options import options
from tests.e2e.far import ENV, Far, serving

PROGRAM = [sys.executable, "-m", "tests.benchmarks.relay_ends"]
POD, PORT, FORWARDED = "stream-0", 7007, 17007
OURS, KUBECTL, BY_HAND = "by the relay", "by kubectl port-forward", "by a route made by hand"
NAMES = {"ours": OURS, "kubectl": KUBECTL, "by_hand": BY_HAND}
TURNS, MEGABYTES, REPEATS = 6, 128, 3
CONNECTIONS, CROWD, OPEN = 40, 1000, 100
"""One after the other, all at once, and as many as are open while memory is looked at."""
TRANSFERS = {"give": "one stream from the pod", "take": "one stream to the pod"}
AIMS = {"later": 2.0, "rate": 1.5, "all": 0.5, "resident": 40.0}
HELD: dict[str, dict[str, Any]] = {
    "later": {"unit": "ms over a route's", "most": 5.0},
    "rate": {"unit": "x kubectl's", "least": 1.0},
    "all": {"unit": "s", "most": 2.0},
    "answered": {"unit": "answered", "least": float(CROWD)},
    "resident": {"unit": "MB", "most": 60.0},
}
"""The limit of each kind of figure."""
ROW = "{:<38} {:>12} {:>26} {:>26}   {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one turn gave."""

    first_ms: float
    give: float
    """Megabytes a second, like `take`."""
    take: float
    all_s: float
    answered: int
    memory: Mapping[str, float] = field(default_factory=dict)
    """The relay's, in megabytes (10^6 octets), by the kernel's names."""


class Bench:
    """The world with all that is measured in it."""

    def __init__(self, far: Far, megabytes: int) -> None:
        self.far = far
        self.world = far.world
        self.megabytes = megabytes
        spec = self.world.spec
        self.pod = str(spec.pod(POD).address)
        self.node = str(spec.host(spec.pod(POD).node).address)
        # HOME is on the laptop's last network.
        self.home = f"eth{len(spec.laptop.interfaces) - 1}"

    @contextmanager
    def devlink(self) -> Iterator[tuple[str, int]]:
        """`up` for as long as the block runs."""
        self.far.up("/home/alice/profile.yaml", "--routing", "relay")
        try:
            yield self.pod, PORT
        finally:
            self.far.down()

    @contextmanager
    def kubectl(self) -> Iterator[tuple[str, int]]:
        argv = ["kubectl", "--kubeconfig", self.far.env["KUBECONFIG"], "port-forward", POD, f"{FORWARDED}:{PORT}"]
        with self.world.popen(lab.LAPTOP, argv, user="alice") as running:
            try:
                assert running.stdout is not None
                said = running.stdout.readline()
                assert "Forwarding" in said, said
                # It says a line for each connection, and would stand still where nobody reads them.
                draining = subprocess.Popen(["cat"], stdin=running.stdout, stdout=subprocess.DEVNULL)
                yield "127.0.0.1", FORWARDED
            finally:
                running.kill()
        draining.wait()

    @contextmanager
    def by_hand(self) -> Iterator[tuple[str, int]]:
        """At home, with the route that an engineer makes there."""
        address = HOME.addresses[0]
        for argv in (
            ("ip", "link", "set", self.home, "up"),
            ("ip", "address", "add", address, "dev", self.home),
            ("ip", "route", "add", self.pod, "via", self.node),
        ):
            self.far.run(*argv)
        try:
            yield self.pod, PORT
        finally:
            self.far.run("ip", "address", "del", address, "dev", self.home)

    def measure(self, where: tuple[str, int]) -> Turn:
        """One turn, after connections that do not count."""
        self._client(where, "first", "5")
        self._client(where, "transfer", "give", str(8 << 20))
        first = self._client(where, "first", str(CONNECTIONS))["median_ms"]
        give, take = (self._rate(where, way) for way in TRANSFERS)
        crowd = self._client(where, "many", str(CROWD))
        return Turn(first_ms=first, give=give, take=take, all_s=crowd["seconds"], answered=int(crowd["answered"]))

    def _rate(self, where: tuple[str, int], way: str) -> float:
        size = str(self.megabytes << 20)
        return statistics.median(self._client(where, "transfer", way, size)["mb_per_s"] for _ in range(REPEATS))

    def memory(self) -> Mapping[str, float]:
        """Of the relay that runs, with so many streams open and answered."""
        argv = [*PROGRAM, "hold", self.pod, str(PORT), str(OPEN)]
        with self.world.popen(lab.LAPTOP, argv, user="alice", env=ENV, stdin=subprocess.PIPE) as running:
            assert running.stdin is not None
            assert running.stdout is not None
            assert int(running.stdout.readline()) == OPEN
            self.far.wait_until(lambda: self.far.relay["streams"] >= OPEN, "the streams are told")
            (pid,) = self.far.pids("relay")
            found = _memory(pid)
            running.stdin.close()
            running.wait()
        return found

    def _client(self, where: tuple[str, int], what: str, *arguments: str) -> dict[str, float]:
        argv = [*PROGRAM, what, where[0], str(where[1]), *arguments]
        done = self.world.run(lab.LAPTOP, argv, user="alice", env=ENV, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{what}: {done.stdout}{done.stderr}\n{self.far.logs()}")
        figures: dict[str, float] = json.loads(done.stdout)
        return figures


def _memory(pid: int) -> dict[str, float]:
    """proc(5): `status` and `smaps_rollup`."""
    wanted = {"VmRSS": "status", "VmHWM": "status", "Pss": "smaps_rollup", "Private_Dirty": "smaps_rollup"}
    found = {}
    for key, name in wanted.items():
        for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
            if line.startswith(f"{key}:"):
                found[key] = int(line.split()[1]) * 1024 / 1e6
    return found


@contextmanager
def prepared(megabytes: int) -> Iterator[Bench]:
    """The world, with devlink's helper on the laptop and our server in the pod."""
    with (
        tempfile.TemporaryDirectory() as folder,
        World.start(lab.far()) as world,
        serving(world, POD, [*PROGRAM, "serve", str(PORT)], "ready"),
        Far(world, Path(folder, "log")) as far,
    ):
        yield Bench(far, megabytes)


def measure(turns: int, megabytes: int) -> dict[str, list[Turn]]:
    """All turns, by what was measured."""
    found: dict[str, list[Turn]] = {OURS: [], KUBECTL: [], BY_HAND: []}
    with prepared(megabytes) as bench:
        ways: dict[str, Callable[[], AbstractContextManager[tuple[str, int]]]] = {
            OURS: bench.devlink, KUBECTL: bench.kubectl, BY_HAND: bench.by_hand
        }  # fmt: skip
        for number in range(turns):
            for name in reversed(ways) if number % 2 else ways:
                with ways[name]() as where:
                    memory = bench.memory() if name == OURS else {}
                    found[name].append(replace(bench.measure(where), memory=memory))
    return found


def figures(found: Mapping[str, Sequence[Turn]]) -> list[dict[str, Any]]:
    """The rows of the table: the medians, and what is held to a limit (`value`)."""

    def row(what: str, kind: str, unit: str, figure: Callable[[Turn], float]) -> dict[str, Any]:
        medians = {key: round(statistics.median(map(figure, found[name])), 3) for key, name in NAMES.items()}
        return {"what": what, "kind": kind, "unit": unit, **medians}

    def paired(figure: Callable[[float, float], float], other: str, of: Callable[[Turn], float]) -> float:
        pairs = zip(map(of, found[OURS]), map(of, found[other]), strict=True)
        return round(statistics.median(figure(ours, theirs) for ours, theirs in pairs), 3)

    first = operator.attrgetter("first_ms")
    later = paired(operator.sub, BY_HAND, first)
    rows = [row("connection to first byte", "later", "ms", first) | {"value": later}]
    for way, what in TRANSFERS.items():
        rate = operator.attrgetter(way)
        rows.append(row(what, "rate", "MB/s", rate) | {"value": paired(operator.truediv, KUBECTL, rate)})
    crowd = row(f"{CROWD} at once", "all", "s", operator.attrgetter("all_s"))
    answered = min(turn.answered for turn in found[OURS])
    memory = {key: round(statistics.median(t.memory[key] for t in found[OURS]), 1) for key in found[OURS][0].memory}
    return [
        *rows,
        crowd | {"value": crowd["ours"]},
        {"what": f"of {CROWD} at once", "kind": "answered", "ours": answered, "value": answered},
        {
            "what": f"resident, {OPEN} streams", "kind": "resident", "unit": "MB", "ours": memory["VmRSS"],
            "value": memory["VmRSS"], **memory,
        },
    ]  # fmt: skip


def limits(rows: Sequence[Mapping[str, object]]) -> list[Limit]:
    """What each figure is held to."""
    return [Limit(what=str(row["what"]), value=float(str(row["value"])), **HELD[str(row["kind"])]) for row in rows]


def show(rows: Sequence[Mapping[str, object]]) -> None:
    """The table, with limits and aims."""
    print(ROW.format("median", OURS, KUBECTL, BY_HAND, ""))
    for row, limit in zip(rows, limits(rows), strict=True):
        cells = [f"{row[key]:g} {row.get('unit', '')}".strip() if key in row else "" for key in NAMES]
        bound = limit.least if limit.most is None else limit.most
        aim = f", aim {AIMS[str(row['kind'])]:g}" if row["kind"] in AIMS else ""
        print(ROW.format(limit.what, *cells, f"{limit.value:.2f} {limit.unit}; limit {bound:g}{aim}"))


def main() -> int:
    """Print the figures; 1 where one is beyond its limit."""
    arguments = options("relay", __doc__, turns=TURNS, megabytes=MEGABYTES)
    if arguments is None:
        return 0
    why_not = kit.missing()
    if why_not is not None:
        print(f"relay: not measured: {why_not}")
        return 0
    began = time.monotonic()
    rows = figures(measure(arguments.turns, arguments.megabytes))
    show(rows)
    took = time.monotonic() - began
    print(f"{arguments.turns} turns, each with {REPEATS} times {arguments.megabytes} MiB each way, {took:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    return verdict(limits(rows))


if __name__ == "__main__":
    sys.exit(main())
