"""`devlink service`, as far as it goes without a manager; tests/system has one."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from devlink.agent.places import agent_socket
from devlink.cli import root
from devlink.rpc import varlink
from devlink.service import unit, user
from devlink.service.user import Seen
from tests.cli.fakes import FakePeer

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def devlink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process: exit code, stdout, stderr. No manager runs, and no agent."""
    for key in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        (tmp_path / key).mkdir(mode=0o700)
        monkeypatch.setenv(key, str(tmp_path / key))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["devlink", "service", *arguments])
        code = root.run()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.mark.parametrize(("active", "code"), [
    ("active", 0), ("activating", 0), ("inactive", 3), ("unknown", 3), ("failed", 4),
])  # fmt: skip
def test_the_exit_code_says_whether_it_runs(
    devlink: Command, monkeypatch: pytest.MonkeyPatch, active: str, code: int
) -> None:
    monkeypatch.setattr(user, "look", lambda: Seen(file="/f", installed=True, active=active))
    assert devlink("status")[0] == code
    seen, out, _ = devlink("status", "-o", "json")
    assert (seen, json.loads(out)["active"], json.loads(out)["waiting"]) == (code, active, [])


def test_how_it_stands_is_shown(devlink: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(file="/f", installed=True, enabled=True, active="active", since=130.0, restarts=2, profiles=("qa",))
    monkeypatch.setattr(user, "look", lambda: seen)
    assert devlink("status")[1].splitlines() == [
        "installed  /f, at login",
        "runs       active for 2 min, failed 2 times",
        "profiles   qa",
        "lingers    no: it ends at logout",
    ]


def test_an_agent_that_hangs_is_told_and_holds_nobody_up(devlink: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user, "look", lambda: Seen(file="/f", installed=True, enabled=True, active="active"))
    monkeypatch.setattr("devlink.cli.service.AGENT_LIMIT", 0.05)
    with FakePeer(agent_socket(), {}):
        code, out, _ = devlink("status")
        assert (code, json.loads(devlink("status", "-o", "json")[1])["hangs"]) == (0, True)
    assert "answers    not within 0.05 s." in out
    assert "systemctl --user restart" in out


def test_what_waits_is_told_without_a_look_at_the_network(devlink: Command) -> None:
    waits = {"profile": "qa", "why": "There is no network yet.", "next_step": "", "since": 3.0}
    with FakePeer(agent_socket(), {"Status": [varlink.reply({"status": {"waiting": [waits]}})]}) as agent:
        assert "There is no network yet." in devlink("status")[1]
        assert json.loads(devlink("status", "-o", "json")[1])["waiting"] == [waits]
    assert agent.calls[-1]["parameters"] == {"routes": False, "look": False}


def test_where_there_is_none_it_is_said_how_to_have_one(devlink: Command) -> None:
    code, out, _ = devlink("status")
    assert code == 3
    assert out.startswith("installed  no (devlink service install)\n")


def test_without_a_manager_installing_is_refused_with_the_way_out(devlink: Command) -> None:
    code, out, err = devlink("install", "--profile", "qa")
    assert (code, out) == (2, "")
    assert "Next: " in err
    assert not user.file().exists()


def test_a_kubeconfig_is_passed_on_as_it_is_meant_here(
    devlink: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_on = []

    def install(profiles: object, environ: Mapping[str, str], *, starting: bool) -> str:
        del profiles, starting
        passed_on.append(environ["KUBECONFIG"])
        return ""

    monkeypatch.setattr(user, "check_manager", lambda: None)
    monkeypatch.setattr(user, "install", install)
    monkeypatch.setenv("KUBECONFIG", "one:/two")
    monkeypatch.chdir(tmp_path)
    assert devlink("install")[0] == 0
    assert passed_on == [f"{tmp_path}/one:/two"]


def test_what_can_be_no_profile_is_refused_before_anything_is_asked(devlink: Command) -> None:
    assert "is no profile" in devlink("install", "--profile", "-")[2]


def test_uninstalling_what_is_not_there_is_no_error(devlink: Command) -> None:
    assert devlink("uninstall") == (0, "", "There is no service: nothing to remove.\n")
    user.file().parent.mkdir(parents=True)
    user.file().write_text(unit.MARK)
    assert devlink("uninstall") == (0, "", "The service is gone.\n")


def test_a_profile_that_nobody_knows_yet_is_told_when_it_is_installed_for(
    devlink: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(user, "check_manager", lambda: None)
    monkeypatch.setattr(user, "install", lambda *_, **__: "")
    known = Path(__file__).parents[2] / "profiles/a-calico-rr.yaml"
    code, _, err = devlink("install", "--profile", "typo", "--profile", str(known))
    assert code == 0
    (told,) = (line for line in err.splitlines() if line.startswith("!"))
    assert told.startswith("! There is no profile typo.")
