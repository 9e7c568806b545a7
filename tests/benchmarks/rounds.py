"""Rounds of load on the name servers of the bench, in turn, and what they gave."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import devlink
from devlink.lab import kit
from tests.benchmarks import servers
from tests.benchmarks.fed_forwarder import Forwarder
from tests.benchmarks.servers import LOAD_CPU, SERVER_CPU, Place, Server, pinned
from tests.kit import peers

OURS, LIMIT, DIRECT = "devlink", "C limit", "upstream itself"
DNSMASQ, DNSMASQ_10000, UNBOUND, RESOLVED, COREDNS = (
    "dnsmasq", "dnsmasq 10000", "unbound", "systemd-resolved", "CoreDNS",
)  # fmt: skip
NAMES = "bench.example"
"""The suffix of names that are asked of the laptop's own upstream."""
UNIQUE = 100_000
"""The number of the first name that is asked once; those that are cached are below."""
WINDOW = 64
"""Questions on their way over UDP."""
CONNECTIONS, PIPELINED = 10, 16
"""Over TCP, and the questions on their way on each."""
CROWDED, ATTEMPTS, REPEATS = 0.05, 4, 60
"""The share of a round that other work may take from it, how often one is tried until it does not, and all are."""
RATE = 100
"""Questions a second where the time of a reply is measured."""
IDLE = 4.0
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One server in one round. What does not fit the kind of the round, or cannot be told, is None."""

    lost: int
    wrong: int
    is_crowded: bool
    """Other work took part of the server's CPU, or of the load's."""
    kqps: float | None = None
    """Thousands of right replies a second."""
    cpu_us: float | None = None
    """CPU for each of them, in microseconds."""
    busy: float | None = None
    """The share of the time that the server ran. Well below 1, something else was slower, or used its CPU too."""
    p50_us: float | None = None
    p99_us: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All rounds of one scenario, by server."""

    title: str
    rounds: dict[str, list[Figures]] = field(default_factory=dict)

    def column(self, name: str, what: str) -> list[float]:
        """A server's figures; of the rounds that other work disturbed only where there are no others."""
        rounds = self.rounds.get(name, ())
        calm = [figures for figures in rounds if not figures.is_crowded] or rounds
        return [value for figures in calm if (value := getattr(figures, what)) is not None]

    def median(self, name: str, what: str) -> float | None:
        column = self.column(name, what)
        return statistics.median(column) if column else None

    def calm(self, one: str, other: str, what: str) -> list[tuple[float, float]]:
        """The figures of two servers, round by round, where other work disturbed neither."""
        both = zip(self.rounds.get(one, ()), self.rounds.get(other, ()), strict=False)
        found = [
            (getattr(ours, what), getattr(theirs, what))
            for ours, theirs in both
            if not ours.is_crowded and not theirs.is_crowded
        ]
        return [(ours, theirs) for ours, theirs in found if ours is not None and theirs is not None]

    def ratio(self, one: str, other: str, what: str) -> float | None:
        """The median of the rounds' ratios: a machine whose speed drifts is fair to both. None if not measured."""
        if pairs := self.calm(one, other, what):
            return statistics.median(ours / theirs for ours, theirs in pairs)
        ours, theirs = self.median(one, what), self.median(other, what)
        return None if ours is None or theirs is None else ours / theirs

    def faster(self, one: str, other: str) -> float | None:
        """How many times the replies of another server one gives in the same time.

        Where no round left both in peace, in the same time of CPU: what each would do if it had the CPU to itself.
        """
        return self.ratio(one, other, "kqps") if self.calm(one, other, "kqps") else self.ratio(other, one, "cpu_us")

    def more(self, one: str, other: str, what: str) -> float | None:
        """The median of the rounds' differences. None where no round left both in peace."""
        pairs = self.calm(one, other, what)
        return statistics.median(ours - theirs for ours, theirs in pairs) if pairs else None

    def faults(self, name: str) -> int:
        """Questions without a right reply."""
        return sum(figures.lost + figures.wrong for figures in self.rounds.get(name, ()))


def _forks(kind: str, name: str) -> bool:
    """dnsmasq has a process for each TCP connection, and once that has ended nobody tells what it took."""
    return kind == "tcp" and name in (DNSMASQ, DNSMASQ_10000)


@contextmanager
def _awake() -> Iterator[None]:
    """Keeps both CPUs from sleeping, with work that gives way to any other.

    A virtual CPU takes 100 µs and more to wake up, now and then: several times what is to be measured.
    """
    spin = ["chrt", "--idle", "0", "sh", "-c", "while :; do :; done"]
    processes = [subprocess.Popen(pinned(spin, cpu)) for cpu in {SERVER_CPU, LOAD_CPU}]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


class Bench:
    """Loads the servers that are there."""

    def __init__(self, folder: Path, *, rounds: int, seconds: float) -> None:
        """`folder` is for programs, sockets and logs; a round takes `seconds` for each server."""
        self._folder = folder
        self._rounds = rounds
        self._seconds = seconds
        self._next_unique = UNIQUE
        self.servers: dict[str, Server] = {}
        self.left_out: list[str] = []
        """Lines: who is not measured, and why."""
        self.repeated = 0
        """Loads that other work disturbed, and that were done again."""
        self.crowded = 0
        """Loads that count although other work disturbed them to the last."""

    def start(self, stack: ExitStack) -> None:
        """Start all servers that can be had; they end with the stack. Raises RuntimeError without our own."""
        for program in ("answer", "load"):
            source = Path(__file__).with_name(f"{program}.c")
            subprocess.run(["cc", "-O2", "-o", self._folder / program, source, "-lm"], check=True)
        # What is installed has been compiled; a process that does it first would show more memory than it needs.
        subprocess.run([sys.executable, "-m", "compileall", "-q", *devlink.__path__], check=True)
        places = (Place.free(last) for last in range(1, 255))
        upstream = next(places)
        no_peers = peers.missing()
        no_coredns = None if os.access(kit.folder() / "coredns", os.X_OK) else "it is not built; 'make kit' does it"
        for name, make, why_not in (
            (DIRECT, partial(servers.answerer, upstream, self._folder, LOAD_CPU), None),
            (LIMIT, partial(servers.answerer, next(places), self._folder, SERVER_CPU), None),
            (OURS, partial(Forwarder, next(places), upstream, self._folder), None),
            (DNSMASQ, partial(servers.dnsmasq, next(places), upstream, self._folder), no_peers),
            (DNSMASQ_10000, partial(servers.dnsmasq, next(places), upstream, self._folder, 10_000), no_peers),
            (UNBOUND, partial(servers.unbound, next(places), upstream, self._folder), no_peers),
            (RESOLVED, partial(servers.resolved, next(places), upstream, self._folder), no_peers),
            (COREDNS, partial(servers.coredns, next(places), upstream, self._folder), no_coredns),
        ):
            server = servers.started(make, why_not)
            if isinstance(server, Server):
                stack.callback(server.stop)
                self.servers[name] = server
            elif name in (DIRECT, LIMIT, OURS):
                raise RuntimeError(f"{name} does not run: {server}")
            else:
                self.left_out.append(f"{name} is not measured: {server}")

    def load(
        self, kind: str, name: str, *rest: int, names: int, seconds: float, count: int = 0, suffix: str = NAMES
    ) -> dict[str, float]:
        """What load.c prints. `names` 0: each name is asked once and never again."""
        place = self.servers[name].place
        first = 0 if names else self._next_unique
        words = (kind, place.address, place.port, suffix, first, names, count, seconds, *rest)
        argv = pinned([str(self._folder / "load"), *map(str, words)], LOAD_CPU)
        run = subprocess.run(argv, capture_output=True, check=False, text=True)
        if run.returncode:
            raise RuntimeError(f"{name}: {run.stderr.strip()}")
        found: dict[str, float] = json.loads(run.stdout)
        if not names:
            self._next_unique += int(found["asked"])
        return found

    def rates(self, title: str, kind: str, who: Sequence[str], *, names: int, suffix: str = NAMES) -> Table:
        """Closed loops: replies a second, and the CPU of each."""
        table = Table(title=title)
        self._warm(who, names)
        rest = (WINDOW,) if kind == "udp" else (PIPELINED, CONNECTIONS)
        for name in self._in_turn(who):
            found = self._alone(kind, name, *rest, names=names, seconds=self._seconds, suffix=suffix)
            forks = _forks(kind, name)
            figures = Figures(
                lost=int(found["lost"]),
                wrong=int(found["wrong"]),
                is_crowded=bool(found["is_crowded"]),
                kqps=found["in_time"] / found["seconds"] / 1e3,
                cpu_us=None if forks else found["cpu"] * 1e6 / max(found["answered"], 1),
                busy=None if forks else found["cpu"] / found["seconds"],
            )
            table.rounds.setdefault(name, []).append(figures)
        return table

    def latency(self, title: str, who: Sequence[str], *, names: int) -> Table:
        """RATE questions a second: how long a reply takes."""
        table = Table(title=title)
        self._warm(who, names)
        with _awake():
            for name in self._in_turn(who):
                found = self._alone("paced", name, RATE, names=names, seconds=max(self._seconds, 1.0))
                figures = Figures(
                    lost=int(found["lost"]),
                    wrong=int(found["wrong"]),
                    is_crowded=bool(found["is_crowded"]),
                    p50_us=found["p50_us"],
                    p99_us=found["p99_us"],
                )
                table.rounds.setdefault(name, []).append(figures)
        return table

    def _alone(
        self, kind: str, name: str, *rest: int, names: int, seconds: float, suffix: str = NAMES
    ) -> dict[str, float]:
        """A load, with its server's CPU seconds as `cpu`; done again while other work keeps one of the two off its CPU.

        `is_crowded`: it was so to the last.
        """
        server = self.servers[name]
        for more in reversed(range(ATTEMPTS)):
            ran, waited = server.cpu_seconds()
            found = self.load(kind, name, *rest, names=names, seconds=seconds, suffix=suffix)
            ran_then, waited_then = server.cpu_seconds()
            found["cpu"] = ran_then - ran
            # Busy with names that are forwarded, the load waits for the upstream, which has the same CPU.
            waiting = max(waited_then - waited, found["waited"] if names or kind == "paced" else 0.0)
            can_tell = SERVER_CPU != LOAD_CPU and not _forks(kind, name)
            crowded = can_tell and waiting > CROWDED * found["seconds"]
            if not crowded or not more or self.repeated == REPEATS:
                break
            self.repeated += 1
        self.crowded += crowded
        found["is_crowded"] = crowded
        return found

    def wakeups(self) -> dict[str, float]:
        """A second, of each server while nobody asks it anything."""
        time.sleep(1)
        before = {name: server.wakeups() for name, server in self.servers.items()}
        time.sleep(IDLE)
        return {name: (server.wakeups() - before[name]) / IDLE for name, server in self.servers.items()}

    def resident(self) -> dict[str, float]:
        """MB of each server's memory."""
        return {name: server.resident_mb() for name, server in self.servers.items()}

    def recovery(self) -> float:
        """Milliseconds that our own server is away after SIGKILL, the median of the rounds."""
        server = self.servers[OURS]
        assert isinstance(server, Forwarder)
        return statistics.median(server.recovery_ms() for _ in range(self._rounds))

    def _in_turn(self, who: Sequence[str]) -> Iterator[str]:
        """Each server that is there, round by round; each round begins with another one."""
        there = [name for name in who if name in self.servers]
        for number in range(self._rounds):
            start = number % len(there)
            yield from there[start:] + there[:start]

    def _warm(self, who: Sequence[str], names: int) -> None:
        """Three times each name: only what is asked again is worth the fastest place of a cache."""
        for name in who:
            if names and name in self.servers:
                self.load("udp", name, WINDOW, names=names, count=3 * names, seconds=30)
