"""`devlink status --short`: one line that a prompt can take, at once or not at all."""

import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from devlink.cli import root, short
from devlink.rpc import varlink
from tests.cli.fakes import HANG_UP, FakePeer

HEAVY = ("click", "asyncio", "yaml", "cryptography", "pyroute2", "jeepney", "platformdirs", "subprocess", "logging")


def status(*states: tuple[str, str], **more: Any) -> dict[str, Any]:
    """A reply of the agent: sessions with their states."""
    return {"version": "1", "sessions": [{"name": name, "state": state} for name, state in states], **more}


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the agent of this user would listen."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "devlink" / "agent"


def run(*arguments: str, before: str = "") -> "subprocess.CompletedProcess[str]":
    """The command as its own process, and on stderr what it has imported."""
    listed = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    script = f"{listed}\n{before}\nfrom devlink.cli import main\nmain()"
    argv = [sys.executable, "-P", "-c", script, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("states", "line", "code"),
    [
        ((), "", 3),
        ((("qa", "up"),), "qa", 0),
        ((("qa", "degraded"),), "qa!", 4),
        ((("qa", "suspended"),), "qa~", 4),
        ((("qa", "connecting"),), "qa~", 4),
        ((("qa", "up"), ("stage", "degraded")), "qa stage!", 4),
    ],
)
def test_each_state_has_its_sign_and_the_exit_code_of_status(
    states: tuple[tuple[str, str], ...], line: str, code: int
) -> None:
    assert short.told(status(*states)) == line
    assert short.exit_code(status(*states)) == code


def test_a_profile_that_waits_for_the_network_is_shown_as_on_its_way() -> None:
    waiting = status(("qa", "up"), waiting=[{"profile": "stage", "why": "no network"}])
    assert short.told(waiting) == "qa stage~"
    assert short.told(status(("qa", "connecting"), waiting=[{"profile": "qa"}])) == "qa~", "once"
    assert short.exit_code(status(waiting=[{"profile": "stage"}])) == 3, "nothing is up yet"
    assert short.exit_code(status(("qa", "up"), waiting=[{"profile": "stage"}])) == 4


def test_what_is_still_asked_for_is_on_its_way_and_the_default_profile_has_no_name_yet() -> None:
    asking = status(asking=["qa", ""], waiting=[{"profile": "qa"}])
    assert (short.told(asking), short.exit_code(asking)) == ("qa~ ~", 3)


@pytest.mark.parametrize("name", ["$(id)", "`id`", "a%n", "a\\u", "a\x1b[2J", "a!b", "a b", "ä"])
def test_a_name_does_nothing_in_a_prompt(name: str) -> None:
    shown = short.told(status((name, "up")))
    assert set(shown) <= short.PLAIN | {"?"}
    assert shown != name


def test_the_quick_way_imports_no_click_and_prints_what_the_ordinary_way_prints(
    agent: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bare = run("--nothing", before="sys.exit()").stderr.split()
    with FakePeer(agent, {"Status": [varlink.reply({"status": status(("qa", "up"), ("stage", "degraded"))})]}) as peer:
        quick = run("status", "--short")
        monkeypatch.setattr(sys, "argv", ["devlink", "status", "--short"])
        code = root.run()
    assert (quick.stdout, quick.returncode) == ("qa stage!\n", 4) == (capfd.readouterr().out, code)
    assert not set(HEAVY) & (set(quick.stderr.split()) - set(bare))
    assert peer.methods == ["Status", "Status"], "one question is enough"
    assert [call["parameters"] for call in peer.calls] == [{"routes": False, "look": False}] * 2


@pytest.mark.parametrize("arguments", [("--watch",), ("-o", "json")])
def test_what_cannot_be_short_is_refused(
    agent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["devlink", "status", "--short", *arguments])
    assert root.run() == 2
    assert "one line" in capsys.readouterr().err


def test_without_an_agent_the_prompt_stays_as_it_is(agent: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert short.show() == 3
    assert capfd.readouterr() == ("", "")


def test_where_no_agent_can_be_nothing_is_said_at_each_prompt(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert short.show() == 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "replies",
    [[HANG_UP], [varlink.reply({})], [varlink.reply({"status": {"sessions": 3}})], [varlink.reply({"status": None})]],
)
def test_an_agent_that_talks_nonsense_is_a_question_mark(
    agent: Path, capfd: pytest.CaptureFixture[str], replies: list[Mapping[str, Any]]
) -> None:
    with FakePeer(agent, {"Status": replies}):
        assert short.show() == 6
    assert capfd.readouterr() == ("?\n", "")


def test_an_agent_that_hangs_holds_no_prompt_up(
    agent: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(short, "LIMIT", 0.02)
    agent.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hung:
        hung.bind(str(agent))
        hung.listen()
        began = time.monotonic()
        assert short.show() == 6
    assert time.monotonic() - began < 5
    assert capfd.readouterr() == ("?\n", "")


def test_an_agent_that_trickles_holds_no_prompt_up(
    agent: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A limit of each wait alone would never be met by one that sends an octet at a time."""
    monkeypatch.setattr(short, "LIMIT", 0.05)
    agent.parent.mkdir()
    script = (
        "import socket,sys,time\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nprint(flush=True)\n"
        "c,_=s.accept()\nwhile True:\n c.sendall(b' ')\n time.sleep(0.01)"
    )
    argv = [sys.executable, "-c", script, str(agent)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as slow:
        assert slow.stdout is not None
        slow.stdout.readline()
        try:
            assert short.show() == 6
        finally:
            slow.kill()
    assert capfd.readouterr() == ("?\n", "")


def test_who_reads_no_more_is_told_nothing(agent: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    before = os.dup(1)
    os.dup2(writing, 1)
    try:
        with FakePeer(agent, {"Status": [varlink.reply({"status": status(("qa", "up"))})]}):
            assert short.show() == 1
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(writing)
    assert capfd.readouterr() == ("", "")


def test_only_the_two_words_go_the_quick_way() -> None:
    words = ("status", "--short", "--help", "-o", "json")
    asked = [each for count in range(4) for each in itertools.permutations(words, count) if short.is_asked_for(each)]
    assert asked == [("status", "--short")]
