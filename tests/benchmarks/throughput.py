"""How fast data go to a pod by devlink's routes, beside the same routes made by hand, and beside sshuttle.

`make bench` runs it. All three are measured in one world with iperf3 (one TCP stream to a pod on the second node), in
turn (A B C A B C ...), so that a machine whose speed drifts is fair to each; what counts is the median of the rounds'
ratios. sshuttle takes its way by an OpenSSH server on the gateway node.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from devlink.lab import availability, worlds
from devlink.lab.spec import LAPTOP
from devlink.lab.world import World
from tests.kit import peers

PROFILE = "/root/profile.yaml"
POD = "api-0"
KEYS = "/root/keys"
PATIENCE = 15.0
"""Seconds for a server or a tunnel to be there; a failure, not a figure."""
SSHUTTLE_ROUNDS = 5
"""It takes seconds to start, and is not close."""
ROW = "{:<44} {:>12} {:>9}"
SSHD_CONFIG = f"""
HostKey {KEYS}/host
AuthorizedKeysFile {KEYS}/user.pub
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
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
        self._run("devlink", "up", PROFILE)
        try:
            yield
        finally:
            self._run("devlink", "down")

    @contextmanager
    def by_hand(self) -> Iterator[None]:
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

    def rate(self, seconds: float) -> float:
        """Megabits a second that arrived."""
        said = self._run(
            peers.program("iperf3"), "--client", self.pod, "--time", f"{seconds:g}", "--omit", "0.2", "--json",
            env=libraries(), timeout=seconds + PATIENCE,
        )  # fmt: skip
        return float(json.loads(said)["end"]["sum_received"]["bits_per_second"]) / 1e6

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


def measure(rounds: int, seconds: float, *, with_sshuttle: bool) -> list[dict[str, object]]:
    """All rounds; the rows of the table."""
    rates: dict[str, list[float]] = {}
    with prepared() as bench:
        ways: dict[str, Callable[[], AbstractContextManager[None]]] = {
            "devlink": bench.devlink, "the same route by hand": bench.by_hand,
        }  # fmt: skip
        if with_sshuttle:
            ways["sshuttle"] = bench.sshuttle
        for number in range(rounds):
            # Who is first in a round is second in the next: what a way leaves behind is nobody's alone.
            for name in list(ways) if number % 2 else reversed(list(ways)):
                if name == "sshuttle" and number >= SSHUTTLE_ROUNDS:
                    continue
                with ways[name]():
                    rates.setdefault(name, []).append(bench.rate(seconds))
    return [row(name, rates["devlink"], rates[name]) for name in ways]


def row(name: str, ours: list[float], theirs: list[float]) -> dict[str, object]:
    """One line of the table."""
    rate = statistics.median(theirs)
    ratio = statistics.median(our / their for our, their in zip(ours, theirs, strict=False))
    print(ROW.format(name, f"{rate:.0f} Mbit/s", f"{ratio:.3f} x"))
    return {"what": name, "mbit_per_s": round(rate, 1), "devlink_over_it": round(ratio, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    why_not = availability.available() or peers.missing()
    if why_not is not None:
        print(f"throughput: not measured: {why_not}")
        return
    # sshd gives up root for a user of its own, which a private world without real root does not have.
    is_root = os.geteuid() == 0
    print(ROW.format("one TCP stream to a pod, median", "", "devlink/it"))
    rows = measure(arguments.rounds, arguments.seconds, with_sshuttle=is_root)
    if not is_root:
        print("sshuttle: not measured: its OpenSSH server needs root")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
