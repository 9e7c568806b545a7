"""The root command: quick to start, never a traceback, and each error in words on stderr with its exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from devlink import __version__, errors
from devlink.cli import root
from devlink.errors import BY_NAME, DevlinkError, ProfileError
from devlink.rpc import varlink
from tests.cli.fakes import FakePeer

HEAVY = ("asyncio", "yaml", "pyroute2", "dnslib", "msgspec", "textual", "keyring", "subprocess", "devlink.core.codec")
"""What a command that only shows something must not pay for."""
STATUS = {"version": __version__, "helper": "connected", "helper_version": __version__, "sessions": []}


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A user's runtime folder, short enough for a socket."""
    return tmp_path


def devlink(
    *arguments: str, runtime: Path | None, python: str = "", env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the command as its own process; `python` is run in it first."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "DEVLINK_"))}
    if runtime is not None:
        environment |= {"XDG_RUNTIME_DIR": str(runtime), "HOME": str(runtime)}
    script = f"import sys\n{python}\nfrom devlink.cli import main\nsys.argv[0] = 'devlink'\nmain()"
    argv = [sys.executable, "-c", script, *arguments]
    return subprocess.run(argv, env=environment | (env or {}), capture_output=True, text=True, timeout=30, check=False)


MODULES = "import atexit\natexit.register(lambda: print('\\n'.join(sorted(sys.modules)), file=sys.stderr))"


def imported(*arguments: str, runtime: Path) -> set[str]:
    done = devlink(*arguments, runtime=runtime, python=MODULES)
    return set(done.stderr.split())


def test_help_and_status_import_nothing_heavy(runtime: Path) -> None:
    bare = set(
        subprocess.run(
            [sys.executable, "-c", f"import sys\n{MODULES}"], capture_output=True, text=True, check=True
        ).stderr.split()
    )
    assert "click" in imported("--help", runtime=runtime)
    assert not {"devlink.cli.status", "devlink.cli.output", *HEAVY} & (imported("--help", runtime=runtime) - bare)
    assert not set(HEAVY) & (imported("profile", "--help", runtime=runtime) - bare)
    replies = {"Status": [varlink.reply({"status": STATUS})]}
    with FakePeer(runtime / "devlink" / "agent", replies) as agent:
        modules = imported("status", runtime=runtime)
        assert agent.methods == ["GetInfo", "Status"]
    assert "devlink.cli.status" in modules
    assert not set(HEAVY) - {"subprocess"} & (modules - bare)
    (runtime / "devlink" / "agent").unlink()
    assert not set(HEAVY) - {"subprocess"} & (imported("status", runtime=runtime) - bare)


def test_help_names_every_command_in_the_words_of_the_command_itself(runtime: Path) -> None:
    shown = devlink("--help", runtime=runtime)
    assert shown.returncode == 0
    for name, (place, line) in root.COMMANDS.items():
        assert f"{name} " in shown.stdout
        assert line.split()[0] in shown.stdout
        module, _, attribute = place.partition(":")
        command = getattr(__import__(module, fromlist=[attribute]), attribute)
        assert isinstance(command, click.Command)
        assert command.name == name


@pytest.mark.parametrize(("typed", "meant"), [("statsu", "status"), ("profil", "profile"), ("dwn", "down")])
def test_an_unknown_command_is_answered_with_the_one_that_was_meant(runtime: Path, typed: str, meant: str) -> None:
    done = devlink(typed, runtime=runtime)
    assert done.returncode == 2
    assert f"There is no command '{typed}'. Did you mean '{meant}'?" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [("xyzzy",), ("--nope",), ("status", "--nope"), ("status", "-o", "xml"), ("up", "a", "b")]
)
def test_what_cannot_be_meant_exits_2_on_stderr(runtime: Path, arguments: tuple[str, ...]) -> None:
    done = devlink(*arguments, runtime=runtime)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr


@pytest.mark.parametrize("cls", [BY_NAME[name] for name in sorted(BY_NAME)])
def test_each_deliberate_error_is_told_as_what_why_and_next_with_its_exit_code(
    cls: type[DevlinkError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, cls("It went wrong.", why="Something broke.", next_step="Mend it."))
    assert root.run() == cls.exit_code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "Error: It went wrong.\n  Why:  Something broke.\n  Next: Mend it.\n"


def test_the_exit_codes_are_those_that_scripts_were_promised() -> None:
    assert {name: cls.exit_code for name, cls in BY_NAME.items()} == {
        "Unexpected": 1, "Usage": 2, "NotUp": 3, "Verification": 4, "Identity": 4, "Conflict": 5, "Helper": 6,
        "NotPermitted": 6, "NotAuthorized": 6, "NobodyAsked": 6, "NotTrusted": 6, "Cluster": 7, "Profile": 8,
        "Protocol": 6,
    }  # fmt: skip
    subclasses = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, DevlinkError)}
    assert subclasses - {DevlinkError} == set(BY_NAME.values()), "every error can cross a socket"


def test_the_faults_of_a_profile_stand_one_to_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, ProfileError("It is invalid.", faults=("spec.pods: empty", "spec.mtu: small")))
    assert root.run() == 8
    assert capsys.readouterr().err == "Error: It is invalid.\n  spec.pods: empty\n  spec.mtu: small\n"


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have the root command fail."""

    def main(**_: Any) -> None:
        raise error

    monkeypatch.setattr(root.devlink, "main", main)
    monkeypatch.delenv("DEVLINK_DEBUG", raising=False)


def test_what_another_wrote_does_nothing_to_the_terminal_from_within_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evil = "\x1b]0;pwned\x07 \x9b2J \u202e"
    root.show_error(ProfileError(f"A {evil}.", why=f"B {evil}.\nC.", next_step=f"D {evil}.", faults=(f"E {evil}.",)))
    lines = capsys.readouterr().err.splitlines()
    shown = "?]0;pwned? ?2J ?"
    assert [line.lstrip() for line in lines[1:]] == [f"E {shown}.", f"Why:  B {shown}.", "C.", f"Next: D {shown}."]
    assert click.unstyle(lines[0]) == f"Error: A {shown}."


@pytest.mark.parametrize("error", [ZeroDivisionError("a defect"), KeyError("x"), RecursionError(), OSError(5, "EIO")])
def test_an_error_that_nobody_foresaw_is_no_traceback_and_says_how_to_report_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, error)
    assert root.run() == 1
    said = capsys.readouterr().err
    assert repr(error) in said
    assert "DEVLINK_DEBUG=1" in said
    assert "Traceback" not in said


def test_a_defect_deep_in_a_command_is_no_traceback_either(runtime: Path) -> None:
    broken = "import devlink.cli.status as l\ndef f(**_): raise ZeroDivisionError('deep')\nl.connect = f"
    done = devlink("status", runtime=runtime, python=broken)
    assert done.returncode == 1
    assert "ZeroDivisionError('deep')" in done.stderr
    assert "Traceback" not in done.stderr
    told = devlink("status", runtime=runtime, python=broken, env={"DEVLINK_DEBUG": "1"})
    assert "Traceback" in told.stderr, "whoever asks for it gets it"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_exits_as_a_signal_would(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, error)
    assert root.run() == 130
    assert capsys.readouterr().err == "Cancelled.\n"


def test_a_part_that_does_not_answer_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, TimeoutError("timed out"))
    assert root.run() == 6
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("profile", "schema"), ("--help",)])
def test_a_reader_that_has_enough_ends_the_command_without_a_word(runtime: Path, arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    script = "import sys\nfrom devlink.cli import main\nsys.argv[0] = 'devlink'\nmain()"
    environment = os.environ | {"XDG_RUNTIME_DIR": str(runtime)}
    try:
        argv = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(argv, stdout=writing, stderr=subprocess.PIPE, env=environment, check=False, timeout=30)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("command", [("status",), ("down",), ("up", "./x.yaml")])
def test_without_a_runtime_folder_the_error_is_clear_and_nothing_is_put_into_tmp(command: tuple[str, ...]) -> None:
    done = devlink(*command, runtime=None)
    assert (done.returncode, done.stdout) == (2, "")
    assert "XDG_RUNTIME_DIR is not set" in done.stderr
    assert "Next: " in done.stderr


def test_a_runtime_folder_that_is_none_is_told_too(runtime: Path) -> None:
    done = devlink("up", "./x.yaml", runtime=runtime / "missing")
    assert done.returncode == 2
    assert str(runtime / "missing") in done.stderr
    assert "nobody foresaw" not in done.stderr


@pytest.fixture
def helper_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "helper"
    monkeypatch.setattr("devlink.cli.versions.SOCKET", str(path))
    return path


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Runs the command in this process and gives its lines."""

    def run(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["devlink", *arguments])
        assert root.run() == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_version_shows_what_runs_and_what_does_not(
    runtime: Path, helper_socket: Path, shown: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert shown("--version") == [f"devlink {__version__}", "agent not running", "helper not running"]
    other = {"GetInfo": [varlink.reply({"version": "9.9"})]}
    with FakePeer(runtime / "devlink" / "agent", {}), FakePeer(helper_socket, other):
        assert shown("--version") == [f"devlink {__version__}", f"agent {__version__}", "helper 9.9"]
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert "XDG_RUNTIME_DIR is not set" in shown("--version")[1]


def test_json_is_what_a_program_reads(runtime: Path) -> None:
    with FakePeer(runtime / "devlink" / "agent", {"Status": [varlink.reply({"status": STATUS})]}):
        done = devlink("status", "-o", "json", runtime=runtime)
    assert json.loads(done.stdout) == STATUS
    assert done.returncode == 3, "nothing is up"


SCRIPT = "import sys\nfrom devlink.cli import main\nsys.argv[0] = 'devlink'\nmain()"


@pytest.mark.parametrize("arguments", [("--help",), ("profile", "schema"), ("status",), ("status", "-o", "json")])
@pytest.mark.parametrize("broken", [False, True])
def test_a_full_stdout_is_one_clear_line_also_where_stderr_is_full_too(
    runtime: Path, arguments: tuple[str, ...], broken: bool
) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments],
            env=os.environ | {"XDG_RUNTIME_DIR": str(runtime)},
            stdout=full,
            stderr=full if broken else subprocess.PIPE,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    if not broken:
        said = b"Error: The output cannot be written.\n  Why:  No space left on device.\n  Next: "
        assert done.stderr.startswith(said)


@pytest.mark.parametrize(("arguments", "code"), [(("down",), 3), (("nope",), 2), (("profile", "list"), 0)])
@pytest.mark.parametrize("way", ["2>/dev/full", "2>&-", "2>&- <&- >&-"])
def test_a_stderr_that_takes_nothing_leaves_the_exit_code_alone(
    runtime: Path, arguments: tuple[str, ...], code: int, way: str
) -> None:
    line = f'exec "$0" "$@" {way}'
    argv = ["sh", "-c", line, sys.executable, "-c", SCRIPT, *arguments]
    env = os.environ | {"XDG_RUNTIME_DIR": str(runtime), "XDG_CONFIG_HOME": str(runtime)}
    assert subprocess.run(argv, env=env, timeout=30, check=False, capture_output=True).returncode == code


@pytest.mark.parametrize("module", ["devlink.cli.root", "click", "devlink.cli.status", "devlink.agent.client"])
def test_ctrl_c_during_an_import_is_no_traceback(runtime: Path, module: str) -> None:
    done = devlink("status", runtime=runtime, python=INTERRUPT_AT.format(module=module))
    assert done.returncode in (-2, 130)
    assert done.stderr.strip() in ("", "Cancelled.")
    assert done.stdout == ""


INTERRUPT_AT = """
import os, signal, sys, importlib.abc
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""


def test_ctrl_c_while_the_interpreter_ends_changes_no_exit_code(runtime: Path) -> None:
    late = "import atexit, os, signal\natexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))"
    done = devlink("status", runtime=runtime, python=late)
    assert (done.returncode, done.stdout, done.stderr) == (3, "Nothing is up.\n", "")


def test_ctrl_c_that_was_ignored_when_we_were_started_stays_ignored(runtime: Path) -> None:
    nohup = "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + INTERRUPT_AT.format(module="click")
    assert devlink("status", runtime=runtime, python=nohup).returncode == 3


def test_up_says_that_a_login_is_a_context_too() -> None:
    assert "or a login" in CliRunner().invoke(root.devlink, ["up", "--help"]).output
