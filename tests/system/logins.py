"""People who log in to a machine and out again, as logind sees them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from tests.system.machine import Machine
from tests.system.world import until

AT_ONCE = {"/etc/systemd/logind.conf.d/lab.conf": "[Login]\nUserStopDelaySec=0\n"}
"""What is theirs ends with their last session, and not 10 s later."""
SERVICE = "devlink-agent.service"
RETRIED = 40.0
"""Seconds until an agent that waits has noticed what nobody tells it: each of its pauses is twice the one before."""
LIMIT = 20.0
"""Seconds for a user's manager to end."""


@contextmanager
def logged_in(machine: Machine, user: str) -> Iterator[None]:
    """A session of theirs that does nothing while the block runs; then they log out."""
    session = (
        "systemd-run", "--quiet", "--collect", "--pipe", "--wait", "--service-type=exec", f"--uid={user}",
        "--property=PAMName=login", "cat",
    )  # fmt: skip
    # One who comes while the last of theirs is still going would lose the manager with it.
    until(lambda: state(machine, user) == "closing", False)
    with subprocess.Popen(machine.enter_argv(*session), stdin=subprocess.PIPE) as running:
        machine.run("sh", "-c", f"until systemctl is-active --quiet user@$(id -u {user}).service; do sleep .02; done")
        yield
        running.communicate(timeout=LIMIT)


def log_out_everywhere(machine: Machine, user: str) -> None:
    """End all that is theirs, as an administrator or a desktop does it that leaves nothing behind."""
    machine.run("loginctl", "terminate-user", user, check=False)  # who is not there is no error
    until(lambda: is_there(machine, user), False)


def set_linger(machine: Machine, user: str, verb: Literal["enable", "disable"]) -> None:
    """From a unit: logind wants to know the caller's cgroup, and one of `Machine.run` is outside."""
    machine.run("systemd-run", "--quiet", "--collect", "--wait", "loginctl", f"{verb}-linger", user)


def is_there(machine: Machine, user: str) -> bool:
    """Whether any process of theirs is."""
    return machine.run("pgrep", "--uid", user, check=False).returncode == 0


def state(machine: Machine, user: str) -> str:
    """logind's word on them: online, active, lingering, closing; empty of one whom it does not know."""
    return machine.run("loginctl", "show-user", "--property=State", "--value", user, check=False).stdout.strip()
