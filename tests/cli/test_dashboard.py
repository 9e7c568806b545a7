"""`devlink dashboard` in a terminal of its own, and without one."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

LIMIT = 30.0
MAIN = "import sys\nfrom devlink.cli import main\nsys.argv[0] = 'devlink'\n"


class Terminal:
    """The dashboard in a pseudo-terminal: what it wrote, what it is typed, and how it ended."""

    def __init__(self, runtime: Path, *, python: str = "", **environment: str) -> None:
        self._main, child = pty.openpty()
        termios.tcsetwinsize(child, (24, 80))
        self.before = termios.tcgetattr(child)
        self._child = child
        env = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "DEVLINK_", "KUBE"))}
        env |= {"XDG_RUNTIME_DIR": str(runtime), "HOME": str(runtime), "TERM": "xterm-256color", **environment}
        argv = [sys.executable, "-c", f"{MAIN}{python}\nmain()", "dashboard"]
        self.process = subprocess.Popen(argv, env=env, stdin=child, stdout=child, stderr=child, start_new_session=True)
        self.text = ""

    def read(self, until: Callable[[str], bool]) -> None:
        """Read on until what it wrote is as it should be."""
        deadline = time.monotonic() + LIMIT
        while not until(self.text):
            assert time.monotonic() < deadline, self.text[-2000:]
            if select.select([self._main], [], [], 0.05)[0]:
                self.text += os.read(self._main, 1 << 16).decode(errors="replace")

    def type(self, keys: str) -> None:
        os.write(self._main, keys.encode())

    def end(self) -> int:
        """Its exit code."""
        deadline = time.monotonic() + LIMIT
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self.read(lambda _: not select.select([self._main], [], [], 0.05)[0])
        self.read(lambda _: not select.select([self._main], [], [], 0.05)[0])
        return self.process.returncode

    @property
    def is_given_back(self) -> bool:
        """Whether the terminal is as it was: its modes, its first screen, its cursor."""
        modes = termios.tcgetattr(self._child) == self.before
        return modes and self.text.rfind("\x1b[?1049l") > self.text.rfind("\x1b[?1049h") and "\x1b[?25h" in self.text

    @property
    def after(self) -> str:
        """What stands on the first screen afterwards."""
        return re.sub(r"\x1b\[[?<]?[\d;]*[a-zA-Z]", "", self.text.rpartition("\x1b[?1004l")[2])

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._main)
        os.close(self._child)


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def terminal(runtime: Path) -> Iterator[Terminal]:
    shown = Terminal(runtime)
    yield shown
    shown.close()


def is_seen(text: str) -> bool:
    return "No agent runs" in text


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["q", "\x03", "\x11"])
def test_q_and_ctrl_c_leave_it_and_give_the_terminal_back(terminal: Terminal, keys: str) -> None:
    terminal.read(is_seen)
    terminal.type(keys)
    assert terminal.end() == 0
    assert terminal.is_given_back
    assert terminal.after.strip() == "", "nothing is said where nothing is up"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_gives_the_terminal_back(terminal: Terminal, number: signal.Signals) -> None:
    terminal.read(is_seen)
    terminal.process.send_signal(number)
    assert terminal.end() == 128 + number
    assert terminal.is_given_back


DEFECT = """
from devlink.tui.widgets.headline import Headline
def broken(self, told): raise ZeroDivisionError('a defect')
Headline.show = broken
"""
LATE_DEFECT = """
from devlink.tui.link import Link
async def broken(self):
    raise ZeroDivisionError('a defect')
    yield
Link.status = broken
"""


@pytest.mark.slow
@pytest.mark.parametrize("python", [DEFECT, LATE_DEFECT], ids=["in a widget", "in a worker"])
def test_a_defect_is_one_line_and_no_traceback_on_a_terminal_that_is_given_back(runtime: Path, python: str) -> None:
    shown = Terminal(runtime, python=python)
    try:
        assert shown.end() == 1
        assert shown.is_given_back
        assert "ZeroDivisionError('a defect')" in shown.after
        assert "DEVLINK_DEBUG=1" in shown.after
        assert "Traceback" not in shown.text
    finally:
        shown.close()


@pytest.mark.slow
def test_whoever_asks_for_the_traceback_of_a_defect_gets_it(runtime: Path) -> None:
    shown = Terminal(runtime, python=DEFECT, DEVLINK_DEBUG="1")
    try:
        shown.end()
        assert "Traceback" in shown.after
    finally:
        shown.close()


LOGGING = """
import logging
from devlink.tui.link import Link
status = Link.status
async def noisy(self):
    logging.getLogger('x').error('into the screen')
    async for each in status(self): yield each
Link.status = noisy
from devlink.tui.app import Dashboard
run_async = Dashboard.run_async
async def noisy_end(self):
    code = await run_async(self)
    logging.getLogger('asyncio').error('after it')
    return code
Dashboard.run_async = noisy_end
"""


@pytest.mark.slow
def test_what_is_logged_does_not_go_into_what_is_drawn_nor_below_it(runtime: Path) -> None:
    shown = Terminal(runtime, python=LOGGING)
    try:
        shown.read(is_seen)
        shown.type("q")
        assert shown.end() == 0
        assert "into the screen" not in shown.text
        assert "after it" not in shown.text
    finally:
        shown.close()


def test_without_a_terminal_it_says_what_does_for_pipes(runtime: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{MAIN}main()", "dashboard"],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs a terminal" in done.stderr
    assert "devlink status --watch" in done.stderr


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_moves_no_cursor_is_refused(runtime: Path, term: str) -> None:
    shown = Terminal(runtime, TERM=term)
    try:
        assert shown.end() == 2
        assert "cannot draw" in shown.text
        assert "\x1b[?1049h" not in shown.text
    finally:
        shown.close()


def test_a_locale_without_utf8_is_refused_with_the_way_out(runtime: Path) -> None:
    shown = Terminal(runtime, PYTHONIOENCODING="iso8859-1")
    try:
        assert shown.end() == 2
        assert "LC_ALL=C.UTF-8 devlink dashboard" in shown.text
        assert "\x1b[?1049h" not in shown.text
    finally:
        shown.close()
