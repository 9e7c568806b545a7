"""`kubectl devlink`: kubectl's flags are understood, or refused in words, and never lost."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from devlink.cli import completing, root
from devlink.cli.plugin import translated
from devlink.lab import kit
from tests.cli.test_completion import CONTEXT, KUBECONFIG
from tests.cli.test_root import devlink

PLUGIN = "import devlink.cli\ndevlink.cli.main = devlink.cli.as_plugin"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("up", "up"),
        ("up --context C qa", "up --context C qa"),
        ("--context C up qa", "up --context C qa"),
        ("--context=C profile fetch -o json", "profile fetch --context C -o json"),
        ("profile --context C fetch", "profile fetch --context C"),
        ("trust --yes --context C", "trust --context C --yes"),
        ("trust qa", "trust qa"),
        ("login host --name n", "login host --name n"),
        ("profile discover -n a --namespace=b", "profile discover --namespace a --namespace b"),
        ("profile discover -na", "profile discover --namespace a"),
        ("logs -n 5", "logs -n 5"),
        ("logs -n5", "logs -n5"),
        ("explain -- --context", "explain -- --context"),
        ("-h", "-h"),
        ("nosuch --context C", "nosuch"),
        ("--context C profile", "profile"),
        ("down --context C", ""),
        ("up --context", ""),
        ("up --cluster c", ""),
        ("--token=t up", ""),
    ],
)
def test_kubectls_flags_come_to_the_command_that_is_meant(typed: str, meant: str) -> None:
    if meant:
        assert translated(root.devlink, typed.split(), {}) == meant.split()
    else:
        with pytest.raises(click.UsageError):
            translated(root.devlink, typed.split(), {})


def test_a_kubeconfig_without_a_name_is_none() -> None:
    environ: dict[str, str] = {}
    assert translated(root.devlink, ["up", "--kubeconfig="], environ) == ["up"]
    assert environ == {}


@pytest.mark.parametrize("typed", ["--kubeconfig F up", "up --kubeconfig=F", "up --kubeconfig E --kubeconfig F"])
def test_a_kubeconfig_is_the_environments_wherever_it_is_named(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"KUBECONFIG": "/another"}
    assert translated(root.devlink, typed.split(), environ) == ["up"]
    assert environ == {"KUBECONFIG": str(tmp_path / "F")}


def test_a_namespace_that_makes_no_difference_is_said_to_make_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert translated(root.devlink, ["up", "-n", "qa"], {}) == ["up"]
    assert "--namespace makes no difference to `kubectl devlink up`" in capsys.readouterr().err


@pytest.mark.slow
def test_usage_and_errors_name_the_command_that_was_typed(tmp_path: Path) -> None:
    done = devlink("up", "--help", runtime=tmp_path, python=PLUGIN)
    assert done.stdout.startswith("Usage: kubectl devlink up [OPTIONS]")
    done = devlink("up", "--user", "u", runtime=tmp_path, python=PLUGIN)
    assert done.returncode == 2
    assert done.stderr == (
        "Error: --user is kubectl's, and cannot be heeded here. Make a context that says so (kubectl config "
        "set-context), and name it: --context NAME\n"
    )


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["up", "--fore"], "--foreground\tStay, and take it down on Ctrl-C (exit code 0).\n:4\n"),
        (["--context", "arn"], f"{CONTEXT}\n:4\n"),
        (["up", "--context", "arn"], f"{CONTEXT}\n:4\n"),
        (["--context=C", "-n", "a", "profile", "val"], "validate\tCheck profiles and name every fault in them.\n:4\n"),
        (["up", "--kubeconfig", ""], ":0\n"),
    ],
)  # fmt: skip
def test_kubectl_is_answered_in_the_form_that_it_reads(
    typed: list[str], offered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    assert completing.answer({"_DEVLINK_COMPLETE": "kubectl"}, typed) == offered


@pytest.mark.cluster
def test_the_real_kubectl_runs_it_with_its_flags_and_asks_it_at_tab(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(KUBECONFIG)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": path}

    def kubectl(*arguments: str) -> "subprocess.CompletedProcess[str]":
        argv = [str(kit.folder() / "kubectl"), *arguments]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=30, check=False)

    done = kubectl("devlink", "--kubeconfig", str(tmp_path / "config"), "profile", "fetch", "--context", "nosuch")
    assert done.returncode == 2, done
    assert "The kubeconfig has no context nosuch." in done.stderr
    done = kubectl("__complete", "devlink", "--kubeconfig", str(tmp_path / "config"), "up", "--context", "")
    assert done.stdout.splitlines()[0] == CONTEXT
