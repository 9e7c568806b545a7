"""How a host of a world gets a process that lives on when its builder is gone."""

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from devlink.lab import linux

LOGS = "/run/lab"
"""Where each process of the lab writes, on its own host."""


def fork(name: str, run: Callable[[], object]) -> int:
    """Run in a child that lives on when this process is gone; the init of the world reaps it. Its PID.

    No exec: a fresh interpreter for each of a world's servers would take more time than all the rest.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        linux.set_process_name(f"lab-{name}")
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        log = os.open(f"{LOGS}/{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        run()
    except BaseException:
        traceback.print_exc()
    os._exit(1)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A program that was started here."""

    name: str
    pid: int

    def wait_until(self, true: Callable[[], bool], patience: float) -> None:
        """Poll until `true()`. Raises OSError with the end of its log if it ends, or after `patience` seconds."""
        deadline = time.monotonic() + patience
        while not true():
            if os.waitpid(self.pid, os.WNOHANG) != (0, 0):
                raise OSError(f"{self.name} has ended: {self._log()[-1000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} is not ready: {self._log()[-1000:]}")
            time.sleep(0.02)

    def _log(self) -> str:
        with open(f"{LOGS}/{self.name}.log", errors="replace") as file:
            return file.read()


def execute(name: str, *argv: str) -> Daemon:
    """Start a program with its path as `argv[0]`."""
    return Daemon(name, fork(name, lambda: os.execv(argv[0], argv)))
