"""A person at the terminal is asked: yes or no, or by polkit's authentication agent for a password."""

import contextlib
import os
import select
import sys
from collections.abc import Iterator

import click

from devlink.errors import NotPermittedError

PROGRAM = "pkttyagent"
START_LIMIT = 5.0
"""Seconds for it to have told polkit that it is there."""
END_LIMIT = 2.0


def confirm(question: str, *, refused: str, unasked: str) -> None:
    """Returns where the answer is yes. Else raises NotPermittedError: `refused`, and `unasked` as the next step where
    there is no terminal."""
    if not sys.stdin.isatty():  # a pipe may hold an answer, and nobody would have seen the question
        raise NotPermittedError(refused, why="There is no terminal to ask at.", next_step=unasked)
    if not click.confirm(question, err=True):
        raise NotPermittedError(refused, why="The answer was no.", next_step="To be asked again, run it again.")


@contextlib.contextmanager
def agent_in_terminal() -> Iterator[bool]:
    """Have polkit ask for passwords of this process at this terminal while the block runs; whether it can."""
    import shutil  # who is asked yes or no need not wait for these
    import subprocess

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
