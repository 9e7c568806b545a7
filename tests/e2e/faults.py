"""Bringing one of our processes to a named point, where it stops itself."""

from functools import partial

import pytest

# They fill the list of points.
import devlink.agent.supervisor
import devlink.helper.machine
import devlink.resolvers.files.worker  # noqa: F401
from devlink.faults import POINTS, VARIABLE
from devlink.lab.world import Entered
from tests.e2e.link import PROFILE, Link

OWNERS = {"agent", "helper", "files"}
"""The first words of the points: the process that stops."""
ELSEWHERE = ("files.mounted.", "files.tool.", "files.forget.")
"""What is come by where resolv.conf is mounted, resolvconf writes it, or resolved is there: see tests/resolvers."""
MET = tuple(point for point in POINTS if not point.startswith(ELSEWHERE))
"""The points that `up` and `down` come by in the private world."""


def run_into(link: Link, point: str) -> Entered:
    """`up`, then `down`, until one of our processes has stopped itself at the point; the command that waits for it."""
    env = {VARIABLE: point} if point.startswith("agent.") else {}
    if not env:
        link.restart_helper(fault=point)
    for command in (("up", PROFILE), ("down",)):
        running = link.start(*command, env=env)
        link.wait_until(partial(_stopped_or_ended, link, running), f"{command} reaches {point} or ends")
        if link.stopped():
            return running
        code, said = link.await_end(running)
        assert code == 0, said + link.logs()
    pytest.fail(f"neither up nor down comes by {point}: take it off the list")


def _stopped_or_ended(link: Link, running: Entered) -> bool:
    return bool(link.stopped()) or running.poll() is not None
