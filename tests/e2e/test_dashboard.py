"""The dashboard over the real agent: brought up and down from it, and in a terminal that is left as it was."""

import json
import re
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from devlink import lab
from tests.e2e.link import PROFILE, Link

pytestmark = pytest.mark.lab

TMUX = ("tmux", "-f", "/dev/null", "-S", "/run/dashboard.tmux")
"""A server of its own on the laptop."""
PROFILES = "/root/.config/devlink/profiles"
WEB = "web.default.svc.cluster.local"
START_LIMIT = 5.0
"""Seconds from the command to the first picture; a failure, not a figure."""


class Terminal:
    """One of 80x24 on the laptop, with a shell in it, as a person has it over ssh."""

    def __init__(self, link: Link, term: str = "tmux-256color") -> None:
        self.link = link
        shell = ["env", f"TERM={term}", "PS1=ready> ", "sh"]
        self._tmux("new-session", "-d", "-x", "80", "-y", "24", *shell, env={"LANG": "C.UTF-8"})
        self.await_text("ready>")

    def _tmux(self, *words: str, env: dict[str, str] | None = None) -> str:
        return self.link.run(*TMUX, *words, env=env)

    def close(self) -> None:
        self.link.world.run(lab.LAPTOP, [*TMUX, "kill-server"])

    def type(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def enter(self, command: str) -> None:
        self._tmux("send-keys", "-l", command)
        self._tmux("send-keys", "Enter")

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    @property
    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    @property
    def modes(self) -> str:
        """What a program may leave behind: the other screen, a hidden cursor, keys and mouse in other forms."""
        names = ("alternate_on", "cursor_flag", "keypad_flag", "keypad_cursor_flag", "insert_flag", "wrap_flag")
        mouse = ("mouse_any_flag", "mouse_button_flag", "mouse_standard_flag", "mouse_sgr_flag")
        return self._tmux("display-message", "-p", " ".join(f"{name}=#{{{name}}}" for name in (*names, *mouse)))

    def await_text(self, wanted: str, limit: float = 15.0) -> str:
        """The screen when it has `wanted`, a pattern."""
        text = ""

        def has() -> bool:
            nonlocal text
            text = self.text
            return re.search(wanted, text) is not None

        try:
            self.link.wait_until(has, f"the terminal shows {wanted!r}", limit)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{text}") from None
        return text


@pytest.fixture
def terminal(link: Link) -> Iterator[Terminal]:
    made = Terminal(link)
    yield made
    made.close()


def test_from_up_to_down_it_shows_the_laptop_as_it_is_and_leaves_it_as_it_was(link: Link) -> None:
    link.run("mkdir", "-p", PROFILES)
    link.run("cp", PROFILE, f"{PROFILES}/calico-rr.yaml")
    before = link.world.snapshot()
    argv = [sys.executable, "-m", "tests.e2e.dashboard_user", "calico-rr", "10.254.0.0/16", WEB]
    done = link.world.run(lab.LAPTOP, argv, timeout=60)
    screens = json.loads(done.stdout or "{}")
    assert done.returncode == 0, "\n".join([*screens.values(), done.stderr, link.logs()])
    assert "172.16.0.13" in screens["up"], screens["up"]
    assert "10.254.0." in screens["explained"], screens["explained"]
    assert "calico-rr up" not in screens["after"]
    link.await_equal(before)


def test_in_a_terminal_it_starts_soon_and_leaves_it_as_it_was(link: Link, terminal: Terminal) -> None:
    link.up()
    terminal.enter("stty -a >/run/before")
    modes = terminal.modes
    began = time.monotonic()
    terminal.enter("devlink dashboard; echo ended with $?")
    text = terminal.await_text(r"calico-rr(.|\n)*q Quit", START_LIMIT)
    assert time.monotonic() - began < START_LIMIT
    assert text.splitlines()[23].rstrip().endswith("q Quit"), text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "alternate_on=1" in terminal.modes
    terminal.resize(120, 40)
    terminal.await_text(r"Findings[^\n]*Routes(.|\n)*DNS[^\n]*Queries(.|\n)*Events")
    terminal.resize(80, 24)
    terminal.type("q")
    assert "SESSION" not in terminal.await_text("ended with 0")
    assert terminal.modes == modes
    terminal.enter("stty -a | cmp - /run/before && echo as before")
    terminal.await_text("(?m)^as before")


def test_an_agent_that_is_killed_is_seen_and_the_next_one_is_found(link: Link, terminal: Terminal) -> None:
    link.up()
    terminal.enter("devlink dashboard")
    terminal.await_text("calico-rr")
    agents = link.pids("agent")
    link.kill("agent", number=signal.SIGKILL)
    assert agents
    terminal.await_text("(?i)the agent|no agent")
    link.up()
    terminal.await_text("calico-rr +up|up +calico-rr|calico-rr up")
    terminal.type("q")
    terminal.await_text("ready>")


@pytest.mark.parametrize("term", ["linux", "vt100"])
def test_any_terminal_will_do_in_any_language(link: Link, term: str) -> None:
    made = Terminal(link, term)
    try:
        made.enter("LANG=C LC_ALL=C devlink dashboard; echo ended with $?")
        made.await_text("Nothing is up|No agent runs")
        made.type("q")
        made.await_text("ended with 0")
    finally:
        made.close()
