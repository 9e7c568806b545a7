"""`up`, `down` and `status` against an agent that answers as the test says."""

import fcntl
import json
import os
import re
import struct
import sys
import termios
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from devlink.agent.session import Session, State, Wish
from devlink.cli import remains, root
from devlink.cli import status as status_of
from devlink.cli.session import up
from devlink.core.network import PROTOCOL, ObservedNetwork, ObservedRoute
from devlink.core.plan import make_plan
from devlink.core.profile import RoutingMode
from devlink.core.profile_document import decode_profile
from devlink.doctor.laptop.remains import MARK
from devlink.errors import DevlinkError, NotPermittedError, NotTrustedError, NotUpError, VerificationError
from devlink.resolvers.resolv_conf import ResolvConf, render
from devlink.rpc import varlink
from tests.cli.fakes import HANG_UP, FakePeer
from tests.core.profiles import SAMPLE

Command = Callable[..., tuple[int, str, str]]

SESSION: dict[str, Any] = {
    "name": "qa",
    "state": "up",
    "since": 3.2,
    "mode": "per-node",
    "reason": "2 nodes on this link",
    "revision": "r1",
    "context": "",
    "age": 0,
    "routes": ["10.20.0.0/16 via 172.16.0.13 dev eth0 proto 231 metric 50"],
    "gateways": [],
    "exclude": ["10.20.9.0/24"],
    "override": ["all"],
    "zones": ["cluster.local", "20.10.in-addr.arpa"],
    "search": ["default"],
    "resolver": "direct",
    "resolver_reason": "a plain file",
    "findings": [{"code": "DL-X", "severity": "warning", "title": "A title.", "evidence": "seen", "fix": "do"}],
}


WAITING = {"profile": "qa", "why": "The helper is away.", "next_step": "Start it.", "since": 130.0}


def status(*sessions: Mapping[str, Any], waiting: tuple[Mapping[str, Any], ...] = ()) -> dict[str, Any]:
    """A reply of the agent."""
    return varlink.reply({"status": {
        "version": "1", "helper": "connected", "helper_version": "1", "sessions": list(sessions), "asking": [],
        "waiting": list(waiting),
    }})  # fmt: skip


def failed(error: DevlinkError) -> dict[str, Any]:
    return varlink.error_reply("io.devlink.Agent", error)


@pytest.fixture
def socket_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the agent of this user would listen. There is no helper either."""
    for key, name in (("XDG_RUNTIME_DIR", "run"), ("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(key, str(tmp_path / name))
    monkeypatch.setattr("devlink.cli.orphans.SOCKET", str(tmp_path / "no-helper"), raising=False)
    monkeypatch.setattr("devlink.helper.client.SOCKET", str(tmp_path / "no-helper"))
    monkeypatch.setattr("devlink.doctor.laptop.remains.RESOLV_CONF", tmp_path / "no-resolver")
    monkeypatch.setattr(remains, "TRACES", ())
    return tmp_path / "run" / "devlink" / "agent"


@pytest.fixture
def devlink(socket_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["devlink", *arguments])
        code = root.run()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def fields(text: str, declared: str) -> dict[str, str]:
    """The fields of a type in an interface file, with their types."""
    (body,) = re.findall(rf"^type {declared} \((.*?)\)$", text, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"(\w+): ([?\[\]\w]+)", body))


PYTHON = {"string": str, "float": float, "int": int, "bool": bool}


def assert_shape(value: Mapping[str, Any], text: str, declared: str) -> None:
    """Each field of the type is there and of its kind, and no other."""
    expected = fields(text, declared)
    assert set(value) <= set(expected), f"{declared} declares no {set(value) - set(expected)}"
    for key, kind in expected.items():
        if kind.startswith("?") and value.get(key) is None:
            continue
        kind = kind.removeprefix("?")
        items = value[key] if kind.startswith("[]") else [value[key]]
        for item in items:
            if kind.removeprefix("[]") in PYTHON:
                assert isinstance(item, PYTHON[kind.removeprefix("[]")]), f"{declared}.{key}: {item!r}"
            else:
                assert_shape(item, text, kind.removeprefix("[]"))


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_status_has_the_shape_that_the_interface_declares(
    devlink: Command, socket_path: Path, output: str, read: Callable[[str], Any]
) -> None:
    text = varlink.interface_description("io.devlink.Agent")
    profile = decode_profile(SAMPLE)
    session = Session(wish=Wish(profile=profile), plan=make_plan(profile, ObservedNetwork()), resolver="direct")
    session.enter(State.UP, 1.0)
    with FakePeer(socket_path, {"Status": [status(session.shown(4.0))]}):
        code, out, err = devlink("status", "-o", output)
    assert (code, err) == (0, "")
    assert_shape(read(out), text, "AgentStatus")
    (shown,) = read(out)["sessions"]
    assert set(shown) == set(fields(text, "Session"))
    assert shown["findings"]
    # Without an agent a program reads the same shape.
    code, out, err = devlink("status", "-o", output)
    assert (code, err) == (3, "")
    assert_shape(read(out), text, "AgentStatus")
    assert set(read(out)) == set(fields(text, "AgentStatus"))


def test_status_shows_what_is_up_in_the_words_of_ip_route(devlink: Command, socket_path: Path) -> None:
    with FakePeer(socket_path, {"Status": [status(SESSION)]}):
        code, out, err = devlink("status")
    assert (code, err) == (0, "")
    for text in (
        "qa  up  for 3 s",
        "per-node: 2 nodes",
        "  exclude   10.20.9.0/24\n  override  all\n",
        SESSION["routes"][0],
        "cluster.local, NAME.default and 1 reverse zone to the",
    ):
        assert text in out
    assert "! A title. [DL-X]" in out
    assert out.splitlines()[-2:] == ["      seen", "      do"]


def test_what_a_finding_repeats_of_others_does_nothing_to_the_terminal(devlink: Command, socket_path: Path) -> None:
    evil = {"code": "DL-X", "severity": "warning", "title": "A \x1b[2J.", "evidence": "\x9b2J", "fix": "\x07"}
    with FakePeer(socket_path, {"Status": [status({**SESSION, "findings": [evil]})]}):
        for arguments in ((), ("-o", "json"), ("-o", "yaml")):
            code, out, _ = devlink("status", *arguments)
            assert code == 0
            assert all(line.isprintable() for line in out.split("\n"))


def test_status_cuts_a_long_list_of_routes_short_and_says_where_the_rest_is(
    devlink: Command, socket_path: Path
) -> None:
    many = {**SESSION, "routes": [f"10.20.{n}.0/24 dev eth0" for n in range(30)]}
    with FakePeer(socket_path, {"Status": [status(many)]}):
        _, out, _ = devlink("status")
        assert "10.20.7.0/24" in out
        assert "10.20.8.0/24" not in out
        assert "and 22 more (devlink status -o json)" in out
        _, whole, _ = devlink("status", "-o", "json")
        assert "10.20.29.0/24" in whole


@pytest.mark.parametrize(
    ("states", "code"),
    [([], 3), (["up"], 0), (["up", "up"], 0), (["up", "degraded"], 4), (["connecting"], 4), (["degraded"], 4)],
)
def test_the_exit_code_of_status_tells_a_script_how_it_is(
    devlink: Command, socket_path: Path, states: list[str], code: int
) -> None:
    with FakePeer(socket_path, {"Status": [status(*({**SESSION, "state": state} for state in states))]}):
        assert devlink("status")[0] == code
        assert devlink("status", "-o", "json")[0] == code


@pytest.mark.parametrize(("sessions", "code"), [((), 3), ((SESSION,), 4)])
def test_what_waits_is_shown_with_its_reason_and_its_next_step(
    devlink: Command, socket_path: Path, sessions: tuple[Mapping[str, Any], ...], code: int
) -> None:
    with FakePeer(socket_path, {"Status": [status(*sessions, waiting=(WAITING,))]}):
        seen, out, _ = devlink("status")
    assert seen == code
    assert out.startswith("qa  waiting  for 2 min\n  why       The helper is away.\n  next      Start it.\n")
    assert "Nothing is up" not in out


def test_the_default_profile_that_waits_has_no_name_yet(devlink: Command, socket_path: Path) -> None:
    with FakePeer(socket_path, {"Status": [status(waiting=({**WAITING, "profile": "", "next_step": ""},))]}):
        _, out, _ = devlink("status")
    assert out == "the default profile  waiting  for 2 min\n  why       The helper is away.\n"


def test_what_waits_has_the_shape_that_the_interface_declares(devlink: Command, socket_path: Path) -> None:
    with FakePeer(socket_path, {"Status": [status(waiting=(WAITING,))]}):
        _, out, _ = devlink("status", "-o", "json")
    assert_shape(json.loads(out), varlink.interface_description("io.devlink.Agent"), "AgentStatus")


def test_without_an_agent_nothing_is_up_and_nothing_is_started(devlink: Command, socket_path: Path) -> None:
    assert devlink("status")[:2] == (3, "Nothing is up.\n")
    code, _, err = devlink("down")
    assert code == 3
    assert "Nothing is up." in err
    assert not socket_path.parent.exists()


def test_watch_shows_each_change_until_the_agent_ends(devlink: Command, socket_path: Path) -> None:
    replies = [{**status(SESSION), "continues": True}, status()]
    with FakePeer(socket_path, {"Status": replies}) as agent:
        code, out, _ = devlink("status", "--watch")
    assert agent.calls[1]["more"] is True
    assert out.index("qa  up") < out.index("Nothing is up.")
    assert code == 3


STEPS = [
    varlink.reply({"step": "look at the laptop's network", "done": False}, continues=True),
    varlink.reply({"step": "routing per-node: near", "done": True}, continues=True),
]


def test_up_tells_its_steps_on_stderr_and_what_came_of_it(
    devlink: Command, socket_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with FakePeer(socket_path, {"Up": [*STEPS, varlink.reply({"session": SESSION})]}) as agent:
        code, out, err = devlink("up", "./qa.yaml", "--replace", "--no-dns")
    assert (code, out) == (0, "")
    assert "✓ routing per-node: near" in err
    assert "look at" not in err, "a step that has only begun is for terminals"
    assert re.search(r"qa is up \(\d+\.\d s\)\.", err)
    assert agent.methods == ["GetInfo", "Up"]
    wish = {"profile": str(tmp_path / "qa.yaml"), "context": "", "replace": True, "dns": False, "routes": True}
    wish |= {"exclude": [], "override": [], "routing": None}
    wish |= {"relay": {"undeclared_ports": False, "host_network": False, "containers": []}}
    sent = agent.calls[1]["parameters"]
    assert {key: value for key, value in sent.items() if key != "environment"} == wish, (
        "a path means the same to the agent, wherever it runs"
    )


def test_up_sends_each_choice_as_it_was_typed(devlink: Command, socket_path: Path) -> None:
    options = ("--exclude", "10.20.9.0/24", "--exclude", "10.20.8.0/24", "--override", "all")
    with FakePeer(socket_path, {"Up": [varlink.reply({"session": SESSION})]}) as agent:
        assert devlink("up", "qa", *options)[0] == 0
    sent = agent.calls[1]["parameters"]
    assert (sent["exclude"], sent["override"]) == (["10.20.9.0/24", "10.20.8.0/24"], ["all"])


def test_up_sends_what_may_be_relayed(devlink: Command, socket_path: Path) -> None:
    options = ("--routing", "relay", "--relay-host-network", "--relay-containers", "docker0")
    with FakePeer(socket_path, {"Up": [varlink.reply({"session": SESSION})]}) as agent:
        assert devlink("up", "qa", *options)[0] == 0
        assert devlink("up", "qa", "--no-routes", *options)[0] == 2
    sent = agent.calls[1]["parameters"]
    assert sent["routing"] == "relay"
    assert sent["relay"] == {"undeclared_ports": False, "host_network": True, "containers": ["docker0"]}


@pytest.mark.parametrize(("given", "sent"), [((), ""), (("qa",), "qa")])
def test_up_sends_names_as_they_are(devlink: Command, socket_path: Path, given: tuple[str, ...], sent: str) -> None:
    with FakePeer(socket_path, {"Up": [varlink.reply({"session": SESSION})]}) as agent:
        assert devlink("up", *given)[0] == 0
    assert agent.calls[1]["parameters"]["profile"] == sent


def test_up_sends_the_context_and_its_environment_for_a_cluster_to_be_asked_with(
    devlink: Command, socket_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", ":/home/me/kc:office.yaml")
    with FakePeer(socket_path, {"Up": [varlink.reply({"session": SESSION})]}) as agent:
        assert devlink("up", "--context", "office")[0] == 0
    sent = agent.calls[1]["parameters"]
    assert (sent["profile"], sent["context"], sent["environment"]["KUBECONFIG"]) == (
        "",
        "office",
        f"/home/me/kc:{tmp_path}/office.yaml",
    )
    assert devlink("up", "qa", "--context", "office")[0] == 2


def test_a_profile_from_a_cluster_is_shown_with_its_context_and_age(devlink: Command, socket_path: Path) -> None:
    session = {**SESSION, "context": "office", "age": 7500}
    with FakePeer(socket_path, {"Up": [varlink.reply({"session": session})]}):
        assert "from the cluster of context office, 2 h 5 min ago, revision r1" in devlink("up")[2]


def test_a_failure_of_up_ends_with_its_words_and_code(devlink: Command, socket_path: Path) -> None:
    error = VerificationError("The cluster's DNS does not answer.", why="no answer.", next_step="Ask.")
    with FakePeer(socket_path, {"Up": [*STEPS, failed(error)]}):
        code, out, err = devlink("up", "qa")
    assert (code, out) == (4, "")
    assert err.endswith("Error: The cluster's DNS does not answer.\n  Why:  no answer.\n  Next: Ask.\n")


@pytest.mark.parametrize(
    ("given", "named"), [(("./qa.yaml",), "./qa.yaml"), (("./a b.yaml",), "'./a b.yaml'"), (("qa",), "qa"), ((), "")]
)
def test_a_profile_that_is_not_trusted_is_named_in_the_next_step_as_it_was_given(
    devlink: Command, socket_path: Path, given: tuple[str, ...], named: str
) -> None:
    error = NotTrustedError("Not trusted.", next_step="Run: devlink trust PROFILE")
    with FakePeer(socket_path, {"Up": [failed(error)]}):
        code, _, err = devlink("up", *given)
    assert code == 6
    assert f"Next: Run: devlink trust {named}".rstrip() + "\n" in err


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    ("advice", "wanted"),
    [
        ("Run: devlink trust PROFILE", ("./my qa.yaml", "")),
        ("If that is right, run: devlink trust --context 'a b'", ("", "a b")),
        ("Tell the profile's publisher.", None),
        ("Correct insecure-skip-tls-verify.", None),
    ],
)
def test_at_a_terminal_who_is_told_to_trust_is_asked_and_it_goes_on(
    devlink: Command,
    socket_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    advice: str,
    wanted: tuple[str, str] | None,
) -> None:
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: terminal, raising=False)
    given: list[tuple[str, str]] = []
    monkeypatch.setattr("devlink.cli.trust._give", lambda profile, context: given.append((profile, context)))
    with FakePeer(socket_path, {"Up": [failed(NotTrustedError("Not trusted.", next_step=advice))]}) as agent:
        code, _, _ = devlink("up", "./my qa.yaml")
    is_asked = terminal and wanted is not None
    assert code == 6, "it is as little trusted the second time, and nobody is asked twice"
    assert given == ([wanted] if is_asked else [])
    assert agent.methods.count("Up") == (2 if is_asked else 1)


def test_an_agent_that_dies_in_the_middle_is_told_with_a_next_step(devlink: Command, socket_path: Path) -> None:
    with FakePeer(socket_path, {"Up": [*STEPS, HANG_UP]}):
        code, _, err = devlink("up", "qa")
    assert code == 6
    assert "went away" in err
    assert "Next: " in err


def test_an_agent_of_another_version_is_named_before_anything_is_asked_of_it(
    devlink: Command, socket_path: Path
) -> None:
    other = {"GetInfo": [varlink.reply({"version": "9.9"})], "Up": [varlink.reply({"session": SESSION})]}
    with FakePeer(socket_path, other) as agent:
        code, _, err = devlink("up", "qa")
    assert code == 6
    assert "9.9" in err
    assert agent.methods == ["GetInfo"]


def test_neither_routes_nor_names_is_nothing(devlink: Command, socket_path: Path) -> None:
    assert devlink("up", "qa", "--no-dns", "--no-routes")[0] == 2
    assert not socket_path.parent.exists()


def test_down_asks_the_agent_and_names_what_is_down(devlink: Command, socket_path: Path) -> None:
    with FakePeer(socket_path, {"Down": [varlink.reply({"sessions": ["qa", "prod"]})]}) as agent:
        code, out, err = devlink("down", "--all")
    assert (code, out, err) == (0, "", "qa is down.\nprod is down.\n")
    assert agent.calls[-1]["parameters"] == {"session": "", "all": True}


def test_down_of_what_is_not_up_exits_3(devlink: Command, socket_path: Path) -> None:
    with FakePeer(socket_path, {"Down": [failed(NotUpError("qa is not up.", next_step="See: devlink status"))]}):
        code, _, err = devlink("down", "qa")
    assert code == 3
    assert err == "Error: qa is not up.\n  Next: See: devlink status\n"


@pytest.mark.parametrize(
    ("arguments", "held", "released", "code"),
    [
        ((), ["qa"], ["qa"], 0),
        (("qa",), ["qa", "prod"], ["qa"], 0),
        (("--all",), ["qa", "prod"], ["qa", "prod"], 0),
        ((), ["qa", "prod"], [], 5),
        (("other",), ["qa"], [], 3),
        ((), [], [], 3),
    ],
)
def test_down_without_an_agent_releases_at_the_helper_what_a_lost_agent_left(
    devlink: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    held: list[str],
    released: list[str],
    code: int,
) -> None:
    path = tmp_path / "helper"
    monkeypatch.setattr("devlink.cli.orphans.SOCKET", str(path), raising=False)
    monkeypatch.setattr("devlink.helper.client.SOCKET", str(path))
    with FakePeer(path, helper_with(*held)) as helper:
        assert devlink("down", *arguments)[0] == code
    assert [call["parameters"] for call in helper.calls if "Release" in call["method"]] == [
        {"session": name, "take": True} for name in released
    ]


def helper_with(*names: str) -> dict[str, list[dict[str, Any]]]:
    """The replies of a helper that has these sessions of ours, and one of another user, as root sees them."""
    sessions = [{"name": name, "uid": os.getuid(), "state": "up"} for name in names]
    sessions.append({"name": "other", "uid": os.getuid() + 1, "state": "orphaned"})
    return {"List": [varlink.reply({"sessions": sessions, "left": False})], "Release": [varlink.reply()]}


@pytest.mark.parametrize(
    ("has", "words"),
    [
        (
            {"sessions": [{"name": "qa", "uid": os.getuid(), "state": "orphaned"}], "left": False},
            "the agent is gone",
        ),
        ({"sessions": [], "left": True}, "not everything is taken back"),
    ],
)
@pytest.mark.parametrize("agent", [True, False])
def test_what_no_agent_has_and_the_helper_still_has_is_not_nothing(
    devlink: Command,
    socket_path: Path,
    resolv_conf: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has: dict[str, Any],
    words: str,
    agent: bool,
) -> None:
    resolv_conf.write_text(MADE_BY_US)
    monkeypatch.setattr("devlink.helper.client.SOCKET", str(tmp_path / "helper"))
    has = {"left": False, **has}
    with FakePeer(tmp_path / "helper", {"List": [varlink.reply(has)]}), ExitStack() as stack:
        if agent:
            stack.enter_context(FakePeer(socket_path, {"Status": [status()]}))
        code, out, err = devlink("status")
    assert (code, out) == (4, "")
    assert words in err


def test_down_without_an_agent_says_what_resists_being_taken_back(
    devlink: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devlink.helper.client.SOCKET", str(tmp_path / "helper"))
    with FakePeer(tmp_path / "helper", {"List": [varlink.reply({"sessions": [], "left": True})]}):
        assert devlink("down")[0] == 4


@pytest.mark.parametrize("replies", [{}, {"List": [failed(NotPermittedError("No."))]}])
def test_who_may_not_ask_the_helper_has_nothing_up(
    devlink: Command,
    socket_path: Path,
    resolv_conf: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    replies: dict[str, list[dict[str, Any]]],
) -> None:
    resolv_conf.write_text(MADE_BY_US)
    monkeypatch.setattr("devlink.helper.client.SOCKET", str(tmp_path / "helper"))
    monkeypatch.setattr(remains, "HELPER_LIMIT", 0.1)
    with FakePeer(tmp_path / "helper", replies):
        code, out, err = devlink("status")
    assert (code, out) == ((3, "Nothing is up.\n") if replies else (6, ""))
    assert replies or "does not answer" in err, "one that hangs says nothing of what there is"


def test_a_watched_status_says_that_the_agent_was_killed(devlink: Command, socket_path: Path) -> None:
    with FakePeer(socket_path, {"Status": [{**status(SESSION), "continues": True}, HANG_UP]}):
        code, out, err = devlink("status", "--watch")
    assert code == 4
    assert "qa  up" in out
    assert "The agent has ended" in err


def test_an_agent_that_hangs_is_told_in_bounded_time(
    devlink: Command, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devlink.agent.client.GREETING_LIMIT", 0.1)
    with FakePeer(socket_path, {"GetInfo": []}):
        for command in ("up", "down", "status"):
            code, _, err = devlink(command)
            assert (code, "does not answer" in err) == (6, True), command


@pytest.mark.parametrize(("held", "code"), [(["qa"], 0), (["prod"], 3), ([], 3)])
def test_down_of_what_another_agent_of_mine_holds_goes_through_the_helper(
    devlink: Command, socket_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: list[str], code: int
) -> None:
    monkeypatch.setattr("devlink.helper.client.SOCKET", str(tmp_path / "helper"))
    not_up = {"Down": [failed(NotUpError("qa is not up."))]}
    with FakePeer(socket_path, not_up), FakePeer(tmp_path / "helper", helper_with(*held)) as helper:
        done = devlink("down", "qa")
    assert done[0] == code
    assert ("Release" in helper.methods) is (code == 0)
    assert ("qa is down." if code == 0 else "Error: qa is not up.") in done[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "."),
        ("up", "-"),
        ("up", ""),
        ("up", "x" * 5000),
        ("down", ""),
        ("down", "x" * 5000),
        ("down", "--all", "qa"),
    ],
)
def test_what_can_be_no_profile_is_refused_before_an_agent_is_asked(
    devlink: Command, socket_path: Path, arguments: tuple[str, ...]
) -> None:
    with FakePeer(socket_path, {}) as agent:
        code, out, err = devlink(*arguments)
    assert (code, out, agent.methods) == (2, "", [])
    assert err.startswith("Error: ")
    assert len(err) < 400


def test_the_help_says_what_ctrl_c_in_the_foreground_exits_with(devlink: Command) -> None:
    assert "exit code 0" in " ".join(devlink("up", "--help")[1].split())


def test_on_a_narrow_terminal_status_wraps_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    shown = b""
    with os.fdopen(slave, "w") as terminal, os.fdopen(master, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stdout", terminal)
        status_of.show_session({**SESSION, "reason": "the gateway 172.16.0.13 is on this link and " * 3})
        terminal.write("THE END")
        terminal.flush()
        while not shown.endswith(b"THE END"):  # a terminal hands out what has reached it so far
            shown += screen.read(1 << 16)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()
    assert max(map(len, lines)) <= 40
    words = " ".join(lines).split()
    assert words.count("172.16.0.13") == 4, "no word is cut"
    assert "10.20.0.0/16" in words


RELAY: dict[str, Any] = {
    "server": "https://172.16.0.20:6443", "form": "spdy-websocket", "streams": 2, "opened": 9, "sent": 1200,
    "received": 4_200_000,
    "pods": [{"namespace": "default", "name": f"web-{n}", "node": "node-a", "streams": n, "sessions": 1}
             for n in range(10)],
    "refused": [{"reason": "port-closed", "count": 3, "last": "10.20.0.7:81"}],
    "findings": [],
}  # fmt: skip


def test_of_a_session_that_is_relayed_status_says_through_whom_how_much_where_to_and_what_was_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status_of.show_session({**SESSION, "mode": "relay", "reason": "nobody is on a link", "relay": RELAY})
    out = capsys.readouterr().out
    assert "  routing   relay: nobody is on a link\n" in out
    assert "  relay     through https://172.16.0.20:6443, SPDY in a websocket\n" in out
    assert "2 streams open of 9, 1.2 kB sent, 4.2 MB received\n" in out
    assert "  pods      default/web-9 on node-a: 9 streams\n" in out
    assert "and 2 more (devlink status -o json)" in out
    assert "  refused   3 times: nobody listens on that port in the pod; last 10.20.0.7:81\n" in out


def test_a_relay_that_has_not_said_anything_yet_is_told_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    status_of.show_session({**SESSION, "mode": "relay", "relay": {}})
    assert "  relay     through the API server\n" in capsys.readouterr().out


MADE_BY_US = "# Written by devlink: the names\n# devlink: nameserver=127.0.0.231 before=file\nnameserver 127.0.0.231\n"


@pytest.fixture
def resolv_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which no helper ever ran."""
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.1\n")
    monkeypatch.setattr("devlink.doctor.laptop.remains.RESOLV_CONF", path)
    monkeypatch.setattr(remains, "TRACES", (tmp_path / "lock",))
    return path


OURS = ObservedRoute(destination=ip_network("10.20.0.0/16"), oif="eth0", protocol=PROTOCOL)


@pytest.mark.parametrize(
    "arguments", [("status",), ("status", "-o", "json"), ("down",), ("down", "--all"), ("down", "qa")]
)
@pytest.mark.parametrize(("resolver", "routes"), [(True, True), (True, False), (False, True)])
def test_what_a_dead_helper_left_behind_is_told_with_the_line_that_mends_it(
    devlink: Command,
    socket_path: Path,
    resolv_conf: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    resolver: bool,
    routes: bool,
) -> None:
    (resolv_conf.parent / "lock").touch()
    if resolver:
        resolv_conf.write_text(MADE_BY_US)
    network = ObservedNetwork(routes=(OURS,) if routes else ())
    monkeypatch.setattr("devlink.kernel.observe.observe", lambda: network)
    code, out, err = devlink(*arguments)
    assert code == 4
    assert "Nothing is up" not in out + err
    assert ("resolv.conf names devlink" in err) is resolver
    assert ("10.20.0.0/16" in err) is routes
    assert re.search(r"Next: .*/\S+ .*helper restore$", err.strip())
    if "json" in arguments:
        assert json.loads(out)["sessions"] == []


@pytest.mark.parametrize("arguments", [("status",), ("down",)])
def test_where_nothing_was_left_behind_nothing_is_up(
    devlink: Command, socket_path: Path, resolv_conf: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    looked: list[str] = []

    def look() -> ObservedNetwork:
        looked.append("kernel")
        return ObservedNetwork()

    monkeypatch.setattr("devlink.kernel.observe.observe", look)
    assert devlink(*arguments)[0] == 3
    assert looked == [], "without a trace the kernel is not asked"
    (resolv_conf.parent / "lock").touch()
    assert devlink(*arguments)[0] == 3
    assert looked == ["kernel"]


def test_a_living_helper_sees_to_what_is_left_by_itself(
    devlink: Command, socket_path: Path, resolv_conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolv_conf.write_text(MADE_BY_US)
    monkeypatch.setattr("devlink.helper.client.SOCKET", str(tmp_path / "helper"))
    with FakePeer(tmp_path / "helper", helper_with()):
        assert devlink("status")[:2] == (3, "Nothing is up.\n")


def test_our_resolver_file_is_known_by_how_it_begins() -> None:
    assert render(ip_address("127.0.0.231"), ResolvConf(), had_file=True).encode().startswith(MARK)


def test_a_dry_run_needs_neither_agent_nor_helper_and_prints_the_plan(
    devlink: Command, socket_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from devlink.core.network import Path as Way

    profile = decode_profile(SAMPLE)
    assert profile.spec.gateways is not None
    paths = {g.address: Way(oif="eth0") for g in profile.spec.gateways}
    monkeypatch.setattr("devlink.cli.plan.observe", lambda _: ObservedNetwork(paths=paths), raising=False)
    monkeypatch.setattr("devlink.kernel.observe.observe", lambda _: ObservedNetwork(paths=paths))
    (tmp_path / "qa.yaml").write_text(SAMPLE)
    code, out, _ = devlink("up", str(tmp_path / "qa.yaml"), "--dry-run")
    assert code == 0
    assert "ip route add 10.20.73.64/26 via 172.16.0.13 dev eth0 proto 231 metric 50 mtu 1480\n" in out
    assert out.startswith("# routing per-node: ")
    assert "# names in cluster.local to 10.254.0.2 (auto), fd00:254::2 (tcp)\n" in out
    _, names_only, _ = devlink("up", str(tmp_path / "qa.yaml"), "--dry-run", "--no-routes")
    assert "ip route" not in names_only
    _, routes_only, _ = devlink("up", str(tmp_path / "qa.yaml"), "--dry-run", "--no-dns")
    assert "# names in" not in routes_only
    assert not socket_path.parent.exists()


GATEWAY: dict[str, Any] = {
    "address": "172.16.0.13", "role": "node", "state": "unknown", "since": 21.0, "carries": True, "by_hand": False,
    "rtt_ms": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "change", "is_shown"),
    [
        ("gateway", {}, True),
        ("gateway", {"carries": False}, False),
        ("per-node", {}, False),
        ("per-node", {"by_hand": True}, True),
    ],
)
def test_a_node_that_carries_more_than_its_own_pods_is_shown(
    devlink: Command, socket_path: Path, mode: str, change: dict[str, Any], is_shown: bool
) -> None:
    shown = {**SESSION, "mode": mode, "gateways": [{**GATEWAY, **change}]}
    with FakePeer(socket_path, {"Status": [status(shown)]}):
        _, out, _ = devlink("status")
    assert ("172.16.0.13 (node)" in out) is is_shown


def test_of_a_gateway_that_has_not_answered_it_is_not_said_that_nobody_asked_it(
    devlink: Command, socket_path: Path
) -> None:
    with FakePeer(socket_path, {"Status": [status({**SESSION, "gateways": [{**GATEWAY, "role": "gateway"}]})]}):
        _, out, _ = devlink("status")
    assert "172.16.0.13 (gateway) no answer yet for 21 s, carries the packets" in out


def test_of_many_gateways_the_one_that_carries_and_the_ill_ones_are_shown_first_and_the_rest_is_counted(
    devlink: Command, socket_path: Path
) -> None:
    def gateway(number: int, **change: Any) -> dict[str, Any]:
        return {**GATEWAY, "role": "gateway", "address": f"172.16.0.{number}", "carries": False, **change}

    many = [gateway(number) for number in range(1, 9)]
    shown = {**SESSION, "mode": "gateway", "gateways": [*many, gateway(9, state="silent"), gateway(10, carries=True)]}
    with FakePeer(socket_path, {"Status": [status(shown)]}):
        _, out, _ = devlink("status")
    lines = [line for line in out.splitlines() if "(gateway)" in line]
    assert [line.split("172.16.0.")[1].split()[0] for line in lines[:3]] == ["9", "10", "1"]
    assert len(lines) == 8
    assert "and 2 more (devlink status -o json)" in out


def test_up_offers_each_way_of_routing_that_there_is() -> None:
    (option,) = (each for each in up.params if each.name == "routing")
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == [mode.value for mode in RoutingMode]
