"""How fast data go to a pod by devlink's routes, beside a route made by hand, and beside sshuttle.

`make bench` runs it. All three are measured in one world with iperf3 (one TCP stream to a pod on the second node), for
the same seconds, in short turns (A B B A ...), so that a machine whose speed drifts is fair to each; what counts is the
median of the turns' ratios, of what arrived in the same time and, where other work takes the CPUs, of what arrived for
the same CPU time. devlink is down while the others are measured: nothing of it is in their way. sshuttle takes its way
by an OpenSSH server on the gateway node.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devlink.lab import availability, worlds
from devlink.lab.spec import LAPTOP
from devlink.lab.world import World
from tests.benchmarks.limits import Limit, verdict
from tests.kit import peers

PROFILE = "/root/profile.yaml"
POD = "api-0"
KEYS = "/root/keys"
PATIENCE = 15.0
"""Seconds for a server or a tunnel to be there; a failure, not a figure."""
TRANSFER_PATIENCE = 60.0
SSHUTTLE_TURNS = 5
WARM_UP = 1_000_000
"""Octets of a transfer that does not count: for what follows `up`, and for the neighbours to be known."""
OURS, BY_HAND, SSHUTTLE = "by devlink", "by a route made by hand", "by sshuttle"
LEAST = {BY_HAND: 0.99, SSHUTTLE: 1.0}
"""The rate by devlink, over each."""
ROW = "{:<44} {:>12} {:>10} {:>10}"
SSHD_CONFIG = f"""
HostKey {KEYS}/host
AuthorizedKeysFile {KEYS}/user.pub
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One measurement."""

    rate: float
    """Megabits a second that arrived."""
    thrift: float
    """That for each per cent of a CPU which the two ends took, with the way between them: veth has no CPU of its own.

    sshuttle's own processes are not among them.
    """


class Bench:
    """The world with all that is measured in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        spec = world.spec
        self.pod = str(spec.pod(POD).address)
        (self.block,) = (node.pods[0] for node in spec.cluster.nodes if node.host == spec.pod(POD).node)
        self.owner = str(spec.host(spec.pod(POD).node).address)
        self.gateway = str(spec.gateway.address)

    @contextmanager
    def devlink(self) -> Iterator[None]:
        """`up` for as long as the block runs."""
        self._run("devlink", "up", PROFILE)
        try:
            yield
        finally:
            self._run("devlink", "down")

    @contextmanager
    def by_hand(self) -> Iterator[None]:
        """The same route, as an engineer makes it."""
        route = (str(self.block), "via", self.owner, "mtu", str(self.world.spec.cluster.pod_mtu))
        self._run("ip", "route", "add", *route)
        try:
            yield
        finally:
            self._run("ip", "route", "del", *route)

    @contextmanager
    def sshuttle(self) -> Iterator[None]:
        ssh = f"{peers.program('ssh')} -i {KEYS}/user -o StrictHostKeyChecking=no -o LogLevel=ERROR"
        words = ["--method", "nft", "-e", ssh, "-r", f"root@{self.gateway}", str(self.block)]
        running = self.world.popen(
            LAPTOP, [sys.executable, "-m", "sshuttle", *words],
            env={**libraries(), "PYTHONPATH": str(peers.folder() / "usr/lib/python3/dist-packages")},
        )  # fmt: skip
        try:
            self._await(self._answers, "sshuttle")
            yield
        finally:
            running.terminate()
            running.wait(PATIENCE)

    def measure(self, seconds: int) -> Figures:
        """One transfer for so many seconds, after one that does not count."""
        self._transfer("--bytes", str(WARM_UP))
        end = self._transfer("--time", str(seconds))
        rate = float(end["sum_received"]["bits_per_second"]) / 1e6
        cpu = end["cpu_utilization_percent"]
        return Figures(rate=rate, thrift=rate / (cpu["host_total"] + cpu["remote_total"]))

    def _transfer(self, *how_long: str) -> dict[str, Any]:
        """What iperf3 says of it in the end."""
        said = self._run(
            peers.program("iperf3"), "--client", self.pod, *how_long, "--json",
            env=libraries(), timeout=TRANSFER_PATIENCE,
        )  # fmt: skip
        end: dict[str, Any] = json.loads(said)["end"]
        return end

    def no_table(self) -> None:
        """Raise where devlink's rules are in the way of packets."""
        if "devlink" in self._run("nft", "list", "tables"):
            raise RuntimeError("devlink is in the way of what it is measured against")

    def _answers(self) -> bool:
        said = self.world.run(LAPTOP, ["curl", "-s", "--max-time", "1", f"http://{self.pod}:8080/"]).stdout
        return said.strip() == POD

    def _run(self, *argv: str, env: Mapping[str, str] | None = None, timeout: float = 30.0) -> str:
        done = self.world.run(LAPTOP, argv, env=env, timeout=timeout)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _await(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} is not there")
            time.sleep(0.05)


def libraries() -> dict[str, str]:
    """What the unpacked programs need beside the machine's own."""
    return {"LD_LIBRARY_PATH": peers.environment()["LD_LIBRARY_PATH"]}


@contextmanager
def prepared() -> Iterator[Bench]:
    """The world, with devlink's helper on the laptop, iperf3 in the pod and OpenSSH on the gateway."""
    with World.start(worlds.network_a()) as world:
        bench = Bench(world)
        world.write_file(LAPTOP, PROFILE, world.profile())
        programs = [
            world.popen(LAPTOP, ["devlink", "helper", "run"], stdout=subprocess.DEVNULL),
            world.popen(POD, [peers.program("iperf3"), "--server"], env=libraries(), stdout=subprocess.DEVNULL),
            ssh_server(world),
        ]
        try:
            bench._await(
                lambda: world.run(LAPTOP, ["devlink", "helper", "status"]).returncode == 0, "the helper"
            )  # fmt: skip
            bench._run("devlink", "trust", PROFILE, "--yes")
            yield bench
        finally:
            for program in programs:
                program.kill()
                program.wait()


def ssh_server(world: World) -> "subprocess.Popen[str]":
    """OpenSSH on the gateway, which knows the laptop's key and no password."""
    gateway, env = world.spec.gateway.name, libraries()
    for host in (gateway, LAPTOP):
        world.run(host, ["mkdir", "-p", "-m", "700", KEYS], check=True)
    for host, name in ((gateway, "host"), (LAPTOP, "user")):
        keygen = [peers.program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", f"{KEYS}/{name}"]
        world.run(host, keygen, env=env, check=True)
    world.write_file(gateway, f"{KEYS}/user.pub", world.read_file(LAPTOP, f"{KEYS}/user.pub"))
    world.write_file(gateway, f"{KEYS}/sshd_config", SSHD_CONFIG)
    world.write_file(
        gateway, "/etc/passwd", world.read_file(gateway, "/etc/passwd") + "sshd:x:74:74::/run/sshd:/bin/false\n"
    )  # fmt: skip
    world.run(gateway, ["mkdir", "-p", "-m", "755", "/run/sshd"], check=True)
    return world.popen(
        gateway, [peers.program("sshd"), "-D", "-e", "-f", f"{KEYS}/sshd_config"], env=env, stdout=subprocess.DEVNULL
    )


def measure(turns: int, seconds: int, *, with_sshuttle: bool) -> list[dict[str, object]]:
    """All turns; the rows of the table."""
    figures: dict[str, list[Figures]] = {OURS: [], BY_HAND: [], SSHUTTLE: []}
    with prepared() as bench:
        ways: dict[str, Callable[[], AbstractContextManager[None]]] = {
            OURS: bench.devlink, BY_HAND: bench.by_hand, SSHUTTLE: bench.sshuttle
        }  # fmt: skip
        for number in range(turns):
            names = [OURS, BY_HAND, *([SSHUTTLE] if with_sshuttle and number < SSHUTTLE_TURNS else [])]
            for name in names if number % 2 else reversed(names):
                with ways[name]():
                    if name != OURS:
                        bench.no_table()
                    figures[name].append(bench.measure(seconds))
    ours = figures[OURS]
    return [row(name, ours, each, has_cpu=name != SSHUTTLE) for name, each in figures.items() if each]


def limits(rows: Sequence[Mapping[str, object]]) -> list[Limit]:
    """What the rate is held to."""
    return [
        Limit(what=f"rate over that {row['what']}", value=float(str(row["devlink_over_it"])), unit="x", least=least)
        for row in rows
        if (least := LEAST.get(str(row["what"]))) is not None
    ]


def row(name: str, ours: list[Figures], theirs: list[Figures], *, has_cpu: bool = True) -> dict[str, object]:
    """One line of the table."""
    rate = statistics.median(each.rate for each in theirs)
    pairs = list(zip(ours, theirs, strict=False))
    faster = statistics.median(our.rate / their.rate for our, their in pairs)
    thriftier = statistics.median(our.thrift / their.thrift for our, their in pairs)
    print(ROW.format(name, f"{rate:.0f} Mbit/s", f"{faster:.3f} x", f"{thriftier:.3f} x" if has_cpu else ""))
    return {
        "what": name, "mbit_per_s": round(rate, 1), "devlink_over_it": round(faster, 4),
        **({"devlink_over_it_by_cpu": round(thriftier, 4)} if has_cpu else {}),
    }  # fmt: skip


def main() -> int:
    """Print the figures; 1 where the rate is under its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--seconds", type=int, default=1, help="that each transfer takes; iperf3 knows whole ones")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    why_not = availability.available() or peers.missing()
    if why_not is not None:
        print(f"throughput: not measured: {why_not}")
        return 0
    # sshd gives up root for a user of its own, which a private world without real root does not have.
    is_root = os.geteuid() == 0
    print(ROW.format("one TCP stream to a pod, median", "", "devlink/it", "by CPU"))
    rows = measure(arguments.turns, arguments.seconds, with_sshuttle=is_root)
    if not is_root:
        print("sshuttle: not measured: its OpenSSH server needs root")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    return verdict(limits(rows))


if __name__ == "__main__":
    sys.exit(main())
