"""A world ends with the process that wanted it, however that ends, and leaves nothing."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from devlink import lab
from devlink.errors import UnexpectedError
from devlink.lab import World

pytestmark = pytest.mark.lab
STARTER = """
import sys, time
from devlink import lab
with lab.World.start(lab.network_a()) as world:
    world.write_file(lab.LAPTOP, "/root/litter", "x")
    busy = world.popen(lab.LAPTOP, ["sh", "-c", "trap '' TERM INT HUP; setsid sleep 600 & wait"])
    print(world.pid_namespace, world.anchor(lab.LAPTOP), flush=True)
    time.sleep(600)
"""


def members(kind: str, namespace: str) -> list[int]:
    """The processes that are in a namespace."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdecimal() and os.readlink(f"/proc/{entry}/ns/{kind}") == namespace:
                found.append(int(entry))
        except OSError:
            continue
    return found


def namespaces(kind: str, pids: list[int]) -> set[str]:
    """Those that the processes are in; one that ends meanwhile is in none."""
    found = set()
    for pid in pids:
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
        except OSError:
            continue
    return found


def await_empty(kind: str, namespace: str) -> None:
    """Until nobody is in the namespace; pytest's time limit ends a wait for nothing."""
    while members(kind, namespace):
        time.sleep(0.01)


@pytest.mark.parametrize("victim", ["starter", "init", "unshare"])
def test_sigkill_of_any_process_that_holds_a_world_leaves_no_process_of_it(victim: str) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        namespace, anchor = starter.stdout.readline().split()
        networks = namespaces("net", members("pid", namespace))
        assert len(networks) == 9  # the bridges', five hosts', three pods'
        init = min(members("pid", namespace))
        parent = int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill({"starter": starter.pid, "init": init, "unshare": parent}[victim], signal.SIGKILL)
        await_empty("pid", namespace)
        for network in networks:
            await_empty("net", network)
        assert not Path(f"/proc/{anchor}/root/root/litter").exists()
        starter.kill()


def test_a_world_that_ends_leaves_no_mount_and_no_file() -> None:
    before = Path("/proc/self/mountinfo").read_text(), sorted(os.listdir("/run")), sorted(os.listdir("/sys"))
    with World.start(lab.network_a()) as world:
        litter = "echo x >/etc/x; echo x >/run/x; echo x >/tmp/devlink-x; ip link add x type veth"
        world.run(lab.LAPTOP, ["sh", "-ec", litter], check=True)
        namespace = world.pid_namespace
    assert members("pid", namespace) == []
    after = Path("/proc/self/mountinfo").read_text(), sorted(os.listdir("/run")), sorted(os.listdir("/sys"))
    assert after == before
    assert not Path("/etc/x").exists()
    assert not Path("/run/x").exists()
    assert not Path("/tmp/devlink-x").exists()


def test_a_world_may_be_closed_twice_and_two_live_side_by_side() -> None:
    with World.start(lab.network_a()) as one, World.start(lab.network_c()) as other:
        one.run(lab.LAPTOP, ["touch", "/etc/mine"], check=True)
        assert other.run(lab.LAPTOP, ["test", "-e", "/etc/mine"]).returncode == 1
        one.close()
        assert other.run(lab.LAPTOP, ["true"]).returncode == 0
        one.close()


def test_a_world_that_cannot_be_built_says_why_and_leaves_nothing() -> None:
    good = lab.network_a()
    bad = replace(good, hosts=tuple(replace(h, nftables="no rules") if h.name == "router" else h for h in good.hosts))
    with pytest.raises(UnexpectedError, match="router: nft"):
        World.start(bad)
