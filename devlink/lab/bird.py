"""BIRD 2 on a host of a world: the real daemon, started in the foreground and told by a file."""

import json
import os
import shutil
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

from devlink.errors import HelperError
from devlink.lab import kit
from devlink.lab.availability import SYSTEM_FOLDERS
from devlink.lab.bgp import Speaker, bird_config, expected
from devlink.lab.daemons import LOGS, execute
from devlink.lab.order import Order
from devlink.lab.spec import Process, WorldSpec

PATIENCE = 30.0
"""Seconds for all sessions to stand and all routes to be learned; it takes one to three."""
CONFIG = f"{LOGS}/bird.conf"
PROTOCOL = 12
"""`RTPROT_BIRD` (linux/rtnetlink.h)."""


def peers_folder() -> Path:
    """Where tests/kit/peers.sh unpacks programs, beside the kit; it need not exist."""
    return kit.folder().with_name("peers")


def program() -> str | None:
    """The path of `bird`: one that is installed, else the unpacked one; None where there is neither."""
    installed = shutil.which("bird", path=f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}")
    if installed is not None:
        return installed
    unpacked = peers_folder() / "usr/sbin/bird"
    return str(unpacked) if os.access(unpacked, os.X_OK) else None


def for_world(spec: WorldSpec) -> str | None:
    """`program`, where a host of the world wants it. Raises HelperError where it is wanted and missing."""
    if not any(Process.BIRD in host.processes for host in spec.hosts):
        return None
    found = program()
    if found is None:
        raise HelperError(
            "This world wants BIRD, and it is not there.",
            next_step="Run tests/kit/peers.sh in devlink's sources, or install bird2.",
        )
    return found


def start(name: str, order: Order) -> None:
    """Start it on host `name`, and wait until the kernel has every route that it can learn.

    Raises OSError, or TimeoutError with the end of its log.
    """
    assert order.bird is not None, "a world with BIRD is ordered with it"
    speaker = _speaker(name, order)
    others = tuple(host.bgp for host in order.spec.hosts if host.bgp is not None and host.name != name)
    Path(CONFIG).write_text(bird_config(speaker))
    # An unpacked one brings libraries that the machine may not have.
    libraries = ":".join(str(path) for path in peers_folder().glob("usr/lib/*-linux-gnu*"))
    os.environ["LD_LIBRARY_PATH"] = libraries
    try:
        running = execute("bird", order.bird, "-f", "-c", CONFIG, "-s", f"{LOGS}/bird.ctl")
    finally:
        del os.environ["LD_LIBRARY_PATH"]
    wanted = {str(prefix) for prefix in expected(speaker, others)}
    running.wait_until(lambda: wanted <= _learned(), PATIENCE)


def _speaker(name: str, order: Order) -> Speaker:
    speaker = order.spec.host(name).bgp
    assert speaker is not None, f"{name} has nothing to say by BGP"
    return speaker


def _learned() -> set[str]:
    shown = ["ip", "-json", "-4", "-N", "route", "show", "table", "all", "proto", str(PROTOCOL)]
    routes = json.loads(subprocess.run(shown, stdout=subprocess.PIPE, check=True).stdout or b"[]")
    return {str(IPv4Network(route["dst"].replace("default", "0.0.0.0/0"))) for route in routes}
