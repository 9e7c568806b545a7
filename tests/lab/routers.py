"""What happens to the BIRD of a world's host, and what it has learned."""

import json
import time
from collections.abc import Callable
from typing import Any

from devlink.lab import Peering, World, bird
from devlink.lab.bgp import bird_config
from devlink.lab.worlds.calico_ebgp import REFLECTORS, node_speaker

LIMIT = 20.0
"""Seconds for BGP to have told everybody; a failure, not a figure."""
PID = (
    'for p in /proc/[0-9]*; do test "$(readlink $p/ns/net)" = "$(readlink /proc/self/ns/net)" || continue; '
    'test "$(cat $p/comm)" = bird && basename $p; done'
)
"""Prints the PID of a host's own BIRD: the hosts of a world see each other's processes."""


def learned(world: World, host: str) -> dict[str, tuple[str | None, str]]:
    """The next hop and the device of each route that a host has by BIRD."""
    found: list[dict[str, Any]] = json.loads(
        world.run(host, ["ip", "-j", "-4", "route", "show", "proto", str(bird.PROTOCOL)], check=True).stdout
    )
    return {route["dst"]: (route.get("gateway"), route["dev"]) for route in found}


def await_true(true: Callable[[], bool], what: str) -> None:
    """Poll until `true()`; fails the test after a while."""
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline, f"it did not come true that {what}"
        time.sleep(0.05)


def kill_bird(world: World, host: str) -> None:
    world.run(host, ["sh", "-c", f"kill -KILL $({PID})"], check=True)


def set_peering(world: World, peering: Peering) -> None:
    """Change how network E's reflectors speak with the switch, which itself is told the same as before."""
    for name in REFLECTORS:
        world.write_file(name, bird.CONFIG, bird_config(node_speaker(name, peering)))
        world.run(name, ["sh", "-c", f"kill -HUP $({PID})"], check=True)


def next_hop(world: World, host: str, pod: str) -> str:
    """Whom a host sends the packets for a pod to."""
    said = world.run(host, ["ip", "-j", "route", "get", str(world.spec.pod(pod).address)], check=True).stdout
    (path,) = json.loads(said)
    return str(path["gateway"])
