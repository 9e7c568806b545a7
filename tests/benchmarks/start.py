"""How long a user waits: the command's start beside a bare interpreter, and `up` beside the same routes by hand.

`make bench` runs it. Commands are run in turn (A B A B ...), so that a machine whose speed drifts is fair to both; what
counts is the difference of the medians, in milliseconds of wall time, and the ratio. `status --short`, which a shell
waits for at each prompt, is held to a limit, with an agent that answers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from devlink.lab import availability, worlds
from devlink.lab.spec import LAPTOP
from devlink.lab.world import World
from devlink.rpc import varlink
from tests.benchmarks.limits import Limit, verdict
from tests.cli.fakes import FakePeer

DEVLINK = str(Path(sys.executable).with_name("devlink"))
MOST_PROMPT = 40.0
"""Milliseconds that `status --short` may take over a bare interpreter."""
RULE = "{:<52} {:>9} {:>9} {:>9} {:>7}"


def in_turn(runs: int, *deeds: Callable[[], float]) -> list[float]:
    """The median of each deed's milliseconds, run in turn, after one round that does not count."""
    rounds = [[deed() for deed in deeds] for _ in range(runs + 1)][1:]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def timed(argv: Sequence[str], **environment: str) -> Callable[[], float]:
    """A command as a deed. What it prints is thrown away; its exit code may be any."""

    def deed() -> float:
        began = time.perf_counter()
        subprocess.run(
            argv, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        return (time.perf_counter() - began) * 1000

    return deed


def starts(runs: int) -> list[dict[str, object]]:
    """The command's start over a bare interpreter's."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for words in (["--help"], ["status"]):
            ours, bare = in_turn(
                runs, timed([DEVLINK, *words], XDG_RUNTIME_DIR=folder), timed([sys.executable, "-c", "pass"])
            )
            rows.append(row(f"devlink {' '.join(words)}, over python -c pass", ours, bare))
    return rows


def prompts(runs: int) -> list[dict[str, object]]:
    """`status --short` over a bare interpreter's start, the bench's own agent answering."""
    status = {"version": "", "sessions": [{"name": "qa", "state": "up"}]}
    reply = varlink.reply({"status": status})
    with (
        tempfile.TemporaryDirectory() as folder,
        FakePeer(Path(folder, "devlink", "agent"), {"Status": [reply]}),
    ):
        ours, bare = in_turn(
            runs,
            timed([DEVLINK, "status", "--short"], XDG_RUNTIME_DIR=folder),
            timed([sys.executable, "-P", "-c", ""]),
        )
    return [row("devlink status --short, over python -P -c ''", ours, bare)]


def ups(runs: int) -> list[dict[str, object]]:
    """`up` with a local profile, from a cold agent to verified, beside `ip -batch` with the same routes."""
    with World.start(worlds.network_a()) as world:
        world.write_file(LAPTOP, "/root/profile.yaml", world.profile())
        helper = world.popen(LAPTOP, ["devlink", "helper", "run"], stdout=subprocess.DEVNULL)
        while "/run/devlink/helper" not in world.run(LAPTOP, ["find", "/run/devlink"]).stdout:
            time.sleep(0.02)
        world.run(LAPTOP, ["devlink", "trust", "/root/profile.yaml", "--yes"], check=True)
        plan = world.run(LAPTOP, ["devlink", "up", "/root/profile.yaml", "--dry-run"], check=True).stdout
        routes = [line.removeprefix("ip ") for line in plan.splitlines() if line.startswith("ip route add")]

        def up() -> float:
            began = time.perf_counter()
            world.run(LAPTOP, ["devlink", "up", "/root/profile.yaml"], check=True, timeout=30)
            took = (time.perf_counter() - began) * 1000
            world.run(LAPTOP, ["devlink", "down"], check=True, timeout=30)
            return took

        def by_hand() -> float:
            began = time.perf_counter()
            world.run(LAPTOP, ["ip", "-batch", "-"], input="\n".join(routes), check=True)
            took = (time.perf_counter() - began) * 1000
            undo = "\n".join(line.replace("route add", "route del") for line in routes)
            world.run(LAPTOP, ["ip", "-batch", "-"], input=undo, check=True)
            return took

        ours, hand = in_turn(max(3, runs // 3), up, by_hand)
        helper.kill()
        helper.wait()
    return [row(f"devlink up, verified, over ip -batch ({len(routes)} routes)", ours, hand)]


def row(what: str, ours: float, other: float) -> dict[str, object]:
    """One line of the table."""
    print(RULE.format(what, f"{ours:.0f} ms", f"{other:.0f} ms", f"+{ours - other:.0f} ms", f"{ours / other:.1f} x"))
    return {"what": what, "ours_ms": round(ours, 1), "other_ms": round(other, 1), "ratio": round(ours / other, 2)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    print(RULE.format("median wall time", "devlink", "beside", "more", "ratio"))
    rows = starts(arguments.runs)
    rows += (prompt := prompts(arguments.runs * 2))
    why_not = availability.available()
    if why_not is None:
        rows += ups(arguments.runs)
    else:
        print(f"devlink up: not measured: {why_not}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    more = [float(str(each["ours_ms"])) - float(str(each["other_ms"])) for each in prompt]
    return verdict([Limit(what="status --short over python", value=max(more), unit="ms", most=MOST_PROMPT)])


if __name__ == "__main__":
    sys.exit(main())
