"""The answer to a shell at TAB: what fits, from files and from the agent, and silence where something is broken."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from devlink.cli import completing
from devlink.cli.completion import SHELLS, completion, script
from devlink.rpc import varlink
from tests.cli.fakes import FakePeer

BREAKS = "\"'><=;|&(: \t\n"
"""bash's COMP_WORDBREAKS, as it is by itself."""
STATUS = {
    "sessions": [
        {"name": "qa", "gateways": [{"address": "172.16.0.13", "state": "alive"}]},
        {"name": "staging", "gateways": [{"address": "172.17.0.13", "state": "dead"}]},
    ]
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    profiles = tmp_path / ".config" / "devlink" / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "broken.yaml").write_text("kind: [")
    return tmp_path


def offered(*words: str) -> list[str]:
    return [item.value for item in completing.fitting(["devlink", *words])]


def answered(asked: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["devlink"])
    assert completing.main() == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    return shown.out


def test_each_command_is_offered_with_its_line_of_the_help() -> None:
    items = {item.value: item.help for item in completing.fitting(["devlink", "do"])}
    assert items == {
        "down": "Take a profile down: everything as it was before.",
        "doctor": "Find out what is wrong, and what to do.",
    }


def test_a_profile_is_offered_by_its_name_also_where_it_is_broken_and_a_path_is_the_shells() -> None:
    assert offered("up", "br") == ["broken"]
    assert [item.type for item in completing.fitting(["devlink", "up", "./br"])] == ["file"]
    assert [item.type for item in completing.fitting(["devlink", "up", "nosuch"])] == ["file"]


def test_sessions_and_gateways_are_the_agents(home: Path) -> None:
    with FakePeer(home / "devlink" / "agent", {"Status": [varlink.reply({"status": STATUS})]}):
        assert offered("down", "") == ["qa", "staging"]
        assert offered("failover", "172.") == ["172.16.0.13", "172.17.0.13"]
        assert offered("failover", "--profile", "staging", "172.") == ["172.17.0.13"]


def test_an_agent_that_is_silent_costs_the_offer_and_not_a_word(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("devlink.cli.offers.AGENT_LIMIT", 0.01)
    with FakePeer(home / "devlink" / "agent", {}) as agent:
        assert answered({"_DEVLINK_COMPLETE": "bash", "_DEVLINK_LINE": "devlink down "}, monkeypatch, capfd) == ""
        assert agent.methods == ["GetInfo", "Status"]


def test_a_broken_kubeconfig_takes_no_login_away(home: Path) -> None:
    (home / ".kube").mkdir()
    (home / ".kube" / "config").write_text("contexts: [")
    from devlink.cluster import logins

    login = logins.folder()
    login.mkdir(parents=True)
    (login / "office.json").write_text("{}")
    assert offered("up", "--context", "") == ["office"]


@pytest.mark.parametrize(
    "asked",
    [
        {"_DEVLINK_COMPLETE": "bash"},
        {"_DEVLINK_COMPLETE": "zsh"},
        {"_DEVLINK_COMPLETE": "tcsh", "_DEVLINK_LINE": "devlink "},
        {"_DEVLINK_COMPLETE": "bash", "_DEVLINK_LINE": "devlink nosuch --x "},
        {"_DEVLINK_COMPLETE": "bash", "_DEVLINK_LINE": "devlink failover ", "XDG_RUNTIME_DIR": "/nonexistent"},
        {"_DEVLINK_COMPLETE": "fish", "_DEVLINK_WORDS": "devlink\x1fdown\x1f", "XDG_RUNTIME_DIR": "relative"},
        {"_DEVLINK_COMPLETE": "bash", "_DEVLINK_LINE": ""},
    ],
)
def test_what_cannot_be_answered_is_silence(
    asked: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert answered(asked, monkeypatch, capfd) in ("", "file\t\n")


@pytest.mark.parametrize("broken", ["/nonexistent", "", "\udcff"])
def test_a_broken_home_is_silence_too(
    broken: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = {"_DEVLINK_COMPLETE": "bash", "_DEVLINK_LINE": "devlink up --context ", "HOME": broken}
    assert answered(asked, monkeypatch, capfd) == ""


@pytest.mark.parametrize(
    ("line", "words", "kept"),
    [
        ("devlink ", ("devlink", ""), ""),
        ("devlink up q", ("devlink", "up", "q"), ""),
        ("devlink up 'a b", ("devlink", "up", "a b"), ""),
        ("devlink up a\\ b", ("devlink", "up", "a b"), ""),
        ("devlink up --context=arn:aws", ("devlink", "up", "--context=arn:aws"), "--context=arn:"),
        ("devlink up --context 'arn:aws", ("devlink", "up", "--context", "arn:aws"), ""),
        ("devlink up arn\\:aws", ("devlink", "up", "arn:aws"), ""),
        ("devlink up ''", ("devlink", "up", ""), ""),
    ],
)
def test_a_line_is_read_as_bash_reads_it(line: str, words: tuple[str, ...], kept: str) -> None:
    read = completing.split(line, BREAKS)
    assert (read.words, read.kept) == (words, kept)


def test_a_name_that_could_move_the_cursor_is_not_offered(home: Path) -> None:
    (home / ".kube").mkdir()
    (home / ".kube" / "config").write_text('contexts: [{name: "a\\e[2J", context: {}}, {name: ab, context: {}}]')
    assert offered("up", "--context", "a") == ["ab"]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1))
def test_what_a_shell_would_quote_is_read_as_it_was(words: list[str]) -> None:
    line = " ".join(map(shlex.quote, words))
    assert completing.split(line, BREAKS).words == tuple(words)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script_and_nothing_else(shell: str) -> None:
    done = CliRunner().invoke(completion, [shell])
    assert (done.exit_code, done.output) == (0, script(shell))
