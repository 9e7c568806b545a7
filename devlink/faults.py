"""Named places where a test may stop a process and kill it or another: the fault point list.

A process whose environment names a point stops itself there (SIGSTOP), once; the test then kills whom it likes and
lets it go on. Without the variable a point costs one comparison.
"""

import os
import signal

VARIABLE = "DEVLINK_FAULT_POINT"
_wanted = os.environ.get(VARIABLE, "")

POINTS: dict[str, str] = {}
"""Every point there is, with what has just been done when it is reached. Tests go through this list."""


def fault_point(name: str) -> None:
    """Stop here if the test asked for this point."""
    global _wanted
    if name == _wanted:
        _wanted = ""
        os.kill(os.getpid(), signal.SIGSTOP)
