"""polkit's authentication agent for terminals, while a command waits for the helper to be allowed something."""

import contextlib
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator

PROGRAM = "pkttyagent"
START_LIMIT = 5.0
"""Seconds for it to have told polkit that it is there."""
END_LIMIT = 2.0


@contextlib.contextmanager
def agent_in_terminal() -> Iterator[bool]:
    """Have polkit ask for passwords of this process at this terminal while the block runs; whether it can."""
    program = shutil.which(PROGRAM, path=f"{os.environ.get('PATH', os.defpath)}:/usr/bin")
    if program is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        yield False
        return
    ready, told = os.pipe()
    try:
        agent = subprocess.Popen(
            [program, "--process", str(os.getpid()), "--notify-fd", str(told), "--fallback"], pass_fds=(told,)
        )
    finally:
        os.close(told)
    try:
        # It closes its end when polkit knows of it; so does its death.
        select.select((ready,), (), (), START_LIMIT)
        yield agent.poll() is None
    finally:
        os.close(ready)
        agent.terminate()
        try:
            agent.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()
