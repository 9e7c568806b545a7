"""`devlink completion`: in real shells, a user presses TAB."""

import os
import subprocess
from pathlib import Path

import pytest

from devlink.cli import completion, packaged
from tests.cli.shells import Typist, program, put_devlink

pytestmark = pytest.mark.slow

CONTEXT = "arn:aws:eks:eu-west-1:1:cluster/qa"
"""A colon parts words in bash."""
KUBECONFIG = f"""
apiVersion: v1
kind: Config
contexts:
- {{name: "{CONTEXT}", context: {{cluster: a, user: a}}}}
- {{name: "$(touch run)", context: {{cluster: a, user: a}}}}
"""
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
ETC = Path("/etc/bash_completion.d")
IPROUTE2 = Path("/usr/share/bash-completion/completions/devlink")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config").write_text(KUBECONFIG)
    (tmp_path / "run" / "devlink").mkdir(parents=True)
    return {
        "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "config"), "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PS1": "> ", "LC_ALL": "C.UTF-8",
    }  # fmt: skip


def script_of(shell: str, tmp_path: Path) -> Path:
    path = tmp_path / f"script.{shell}"
    path.write_text(completion.script(shell))
    return path


def ready(shell: str, tmp_path: Path) -> str:
    """What has the shell complete ours, as its user would set it up; the last line draws DONE."""
    script = script_of(shell, tmp_path)
    first = {"bash": "", "zsh": "autoload -Uz compinit && compinit -D; ", "fish": ""}[shell]
    return f"{first}source {script}; echo DO''NE\r"


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_tab_completes_commands_options_choices_contexts_and_files(
    shell: str, tmp_path: Path, environ: dict[str, str]
) -> None:
    notes = put_devlink(tmp_path / "bin")
    (tmp_path / "a profile.yaml").touch()
    with Typist(shell, environ) as user:
        user.type(f"cd {tmp_path}; {ready(shell, tmp_path)}")
        user.wait_for("DONE")
        for typed, meant in (
            ("profile pub\t--ov\t", ["profile", "publish", "--overwrite"]),
            ("status -o js\t", ["status", "-o", "json"]),
            ("up --context arn:aws:e\t", ["up", "--context", CONTEXT]),
            ("up --context=arn\t", ["up", f"--context={CONTEXT}"]),
            ("explain DL-HELPER-SIL\t", ["explain", "DL-HELPER-SILENT"]),
            ("profile validate a\t", ["profile", "validate", "a profile.yaml"]),
            ("profile discover --from=./a\t", ["profile", "discover", "--from=./a profile.yaml"]),
        ):
            user.type(f"devlink {typed}\r")
            assert user.noted(notes) == meant


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_what_another_wrote_into_a_kubeconfig_is_no_command_to_the_shell(
    shell: str, tmp_path: Path, environ: dict[str, str]
) -> None:
    notes = put_devlink(tmp_path / "bin")
    with Typist(shell, environ) as user:
        user.type(f"cd {tmp_path}; {ready(shell, tmp_path)}")
        user.wait_for("DONE")
        user.type("devlink doctor --context \\$\t\r" if shell != "bash" else "devlink doctor --context \\$\\(\t\r")
        assert user.noted(notes) == ["doctor", "--context", "$(touch run)"]


def test_bash_hands_over_to_iproute2_where_its_devlink_is_meant_and_comes_back(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    program("dh_bash-completion")
    if not IPROUTE2.exists():
        pytest.skip("iproute2 has brought no completion here")
    notes = put_devlink(tmp_path / "bin")
    folder = tmp_path / "bash_completion.d"  # in place of the one in /etc, where a package lays it
    folder.mkdir()
    ours = folder / Path(packaged.COMPLETIONS["bash"]).name
    for other in ETC.glob("*"):
        if other.name != ours.name:
            (folder / other.name).symlink_to(other)
    ours.write_text(completion.script("bash"))
    with Typist("bash", {**environ, "BASH_COMPLETION_COMPAT_DIR": str(folder)}) as user:
        user.type(f"source {BASH_COMPLETION}; echo DO''NE\r")
        user.wait_for("DONE")
        user.type("devlink stat\t\r")
        assert user.noted(notes) == ["status"]
        began = len(user.drawn)
        user.type("/usr/sbin/devlink --no-n\t")
        user.wait_for("--no-nice-names", behind=began)
        user.type("\x15devlink stat\t\r")  # ^U takes the line away
        assert user.noted(notes) == ["status"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_script_is_one_that_its_shell_can_read(shell: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [program(shell), "-n", script_of(shell, tmp_path)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "line", ["true; devlink stat\t", "A=1 devlink stat\t", "(devlink stat\t)", "devlink stat -o json\x01\x1bf\x1bf\t"]
)
def test_bash_completes_the_command_at_the_cursor_wherever_it_stands(
    line: str, tmp_path: Path, environ: dict[str, str]
) -> None:
    notes = put_devlink(tmp_path / "bin")
    with Typist("bash", environ) as user:
        user.type(ready("bash", tmp_path))
        user.wait_for("DONE")
        user.type(f"{line}\r")
        assert user.noted(notes)[0] == "status"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_shell_finds_what_a_package_laid_down(shell: str, tmp_path: Path, environ: dict[str, str]) -> None:
    notes = put_devlink(tmp_path / "bin")
    place = tmp_path / packaged.COMPLETIONS[shell]
    place.parent.mkdir(parents=True)
    place.write_bytes(packaged.files()[packaged.COMPLETIONS[shell]])
    first = {
        "zsh": f"fpath=({place.parent} $fpath); autoload -Uz compinit && compinit -D",
        "fish": f"set -p fish_complete_path {place.parent}",
    }[shell]
    with Typist(shell, environ) as user:
        user.type(f"{first}; echo DO''NE\r")
        user.wait_for("DONE")
        user.type("devlink profile pub\t\r")
        assert user.noted(notes) == ["profile", "publish"]
