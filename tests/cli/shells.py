"""A user who types into a real interactive shell, in a terminal of its own."""

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

LIMIT = 20.0
"""Seconds within which a shell must have done what it was told."""
STARTS: Mapping[str, tuple[str, ...]] = {
    "bash": ("--norc", "--noprofile", "-i"),
    "zsh": ("-f", "-i"),
    "fish": ("--no-config", "--private", "-i"),
}


def program(shell: str) -> str:
    """Its path; the test is skipped where it is not there, and fails under CI=true."""
    path = shutil.which(shell)
    if path is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"needs {shell}: apt-get install {shell}")
    return path


def put_devlink(folder: Path, *, name: str = "devlink") -> Path:
    """Put a `devlink` into `folder` that is the real one for who completes, and else only notes its arguments.

    Gives the file of the notes: a line for each argument.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notes = folder / f"{name}.arguments"
    real = shlex.join([sys.executable, "-c", "from devlink.cli import main; main()"])
    script = folder / name
    script.write_text(f"""#!/bin/sh
if [ -n "$_DEVLINK_COMPLETE" ]; then PYTHONPATH={shlex.quote(os.getcwd())} exec {real} "$@"; fi
printf "%s\\n" "$@" >"$0.new"
mv "$0.new" "$0.arguments"
""")
    script.chmod(0o755)
    return notes


class Typist:
    """Types into a shell, and reads what it draws."""

    def __init__(self, shell: str, environ: Mapping[str, str]) -> None:
        argv = ["setsid", "--ctty", program(shell), *STARTS[shell]]  # the terminal is the one that it is controlled by
        env = {**environ, "TERM": "dumb" if shell != "fish" else "xterm", "COLUMNS": "200"}
        self.drawn = ""
        self._terminal, its_end = pty.openpty()
        self._process = subprocess.Popen(argv, stdin=its_end, stdout=its_end, stderr=its_end, env=env)
        os.close(its_end)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def wait_for(self, text: str, *, behind: int = 0) -> None:
        """Until `text` was drawn, in what came behind that many characters."""
        deadline = time.monotonic() + LIMIT
        while text not in self.drawn[behind:]:
            assert time.monotonic() < deadline, f"{text!r} was not drawn: {self.drawn!r}"
            self._read()

    def noted(self, notes: Path) -> list[str]:
        """The arguments with which the command was run at last."""
        deadline = time.monotonic() + LIMIT
        while not notes.exists():
            assert time.monotonic() < deadline, f"the command was not run: {self.drawn!r}"
            self._read()
        arguments = notes.read_text().splitlines()
        notes.unlink()
        return arguments

    def _read(self) -> None:
        if select.select([self._terminal], [], [], 0.02)[0]:
            try:
                self.drawn += os.read(self._terminal, 1 << 16).decode("utf-8", "replace")
            except OSError:
                pass  # it has ended

    def __enter__(self) -> "Typist":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)
