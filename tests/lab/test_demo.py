"""The demo tells the truth: as whoever runs the tests, and as an ordinary user without root."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devlink.errors import VerificationError
from devlink.lab import World, network_a
from devlink.lab.demo import Demo

pytestmark = pytest.mark.lab
NOBODY = 65534


class Silent:
    """Says nothing, and remembers what was proven."""

    def __init__(self) -> None:
        self.promises: list[str] = []

    def heading(self, text: str) -> None: ...
    def note(self, text: str) -> None: ...
    def command(self, line: str) -> None: ...
    def output(self, text: str) -> None: ...
    def proven(self, text: str) -> None:
        self.promises.append(text)


def check_transcript(done: "subprocess.CompletedProcess[str]") -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    for command in ("devlink up", "devlink status", "devlink down", "getent hosts ", "curl ", "dig "):
        assert f"$ {command}" in done.stdout
    assert "exactly as before" in done.stdout
    assert done.stdout.endswith("Every step was true.\n")


def _as_nobody(*argv: str | Path) -> "subprocess.CompletedProcess[str]":
    # By way of env: setpriv still has root's capabilities when it looks for the program, and finds it in root's home.
    return subprocess.run(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env", *argv],
        capture_output=True, text=True, timeout=60, check=False, cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


@pytest.fixture
def ordinary_devlink() -> Iterator[Path]:
    """The `devlink` of an installation that uid 65534 may use; this one may lie in root's home."""
    right = "import sys; assert sys.version_info >= (3, 11)"
    candidates = (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")
    python = next((c for c in candidates if os.path.exists(c) and _as_nobody(c, "-c", right).returncode == 0), None)
    assert python is not None, f"an ordinary user can run none of {candidates}"
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
        (packages,) = Path(folder, "lib").glob("python*/site-packages")
        for name in ("devlink", "click", "dnslib", "inotify_simple", "jeepney", "platformdirs", "yaml"):
            spec = importlib.util.find_spec(name)
            assert spec is not None
            assert spec.origin is not None
            if spec.submodule_search_locations is None:
                shutil.copy(spec.origin, packages)
                continue
            shutil.copytree(Path(spec.origin).parent, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
        program = Path(folder, "bin/devlink")
        program.write_text(f"#!{folder}/bin/python\nfrom devlink.cli import main\nmain()\n")
        program.chmod(0o755)
        yield program


def test_every_step_of_the_demo_is_true() -> None:
    program = Path(sys.executable).with_name("devlink")
    check_transcript(subprocess.run([program, "demo"], capture_output=True, text=True, timeout=60, check=False))


@pytest.mark.cluster
def test_every_step_of_the_demo_with_the_real_parts_is_true() -> None:
    program = Path(sys.executable).with_name("devlink")
    done = subprocess.run([program, "demo", "--real"], capture_output=True, text=True, timeout=90, check=False)
    check_transcript(done)
    for command in (
        "KUBECONFIG=/root/operator.kubeconfig devlink profile publish",
        "kill -9 kube-apiserver",
        "devlink up",
    ):
        assert f"$ {command}" in done.stdout
    assert "$ devlink up calico-rr" not in done.stdout, "nobody names a file or a profile"
    assert "as it is published now" in done.stdout
    assert "the copy that is kept here" in done.stdout


def test_the_demo_with_the_real_parts_says_what_it_lacks(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("devlink")
    done = subprocess.run(
        [program, "demo", "--real"], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert "make kit" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("typed", "proven"),
    [
        ("devlink down\n", "✓ down already"),
        ("devlink profile list; devlink down; devlink up\n", "✓ down"),
        ("", "✓ down"),
    ],
)
def test_the_shell_of_the_demo_ends_as_before_whatever_was_typed(typed: str, proven: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("devlink"), "demo", "--shell"],
        input=typed, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert f"{proven}\n" in done.stdout
    assert "✓ exactly as before" in done.stdout
    assert "Error" not in said
    if "devlink up" in typed:
        assert said.count(" is up (") == 2, "a bare `devlink up` means the world's profile"


@pytest.mark.cluster
@pytest.mark.matrix
def test_the_shell_of_the_demo_with_the_real_parts_is_a_developers() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("devlink"), "demo", "--shell", "--real"],
        input="kubectl auth whoami; devlink status; devlink down; devlink up\n",
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert re.search(r"Username\s+developer\b", said)
    assert said.count(" is up (") == 2
    assert "✓ exactly as before" in done.stdout


@pytest.mark.system
def test_every_step_of_the_demo_is_true_for_an_ordinary_user(ordinary_devlink: Path) -> None:
    check_transcript(_as_nobody(ordinary_devlink, "demo"))


def test_a_step_that_is_not_true_ends_the_demo_with_what_was_said() -> None:
    tell = Silent()
    with World.start(network_a()) as world:
        demo = Demo(world, tell)
        with pytest.raises(VerificationError, match="Not true: pigs fly"):
            demo.step(("echo", "oink"), lambda _, output: output == "flap", "pigs fly")
        before = world.snapshot()
        world.run("laptop", ["ip", "route", "add", "10.20.0.0/16", "via", "172.16.0.13"], check=True)
        with pytest.raises(VerificationError, match=r"10\.20\.0\.0/16"):
            demo.same(before)
    assert tell.promises == []


@pytest.mark.parametrize(
    ("at_upstream", "at_cluster"),
    [
        ({"www.example.com", "web.default.svc.cluster.local"}, {"web.default.svc.cluster.local"}),
        ({"www.example.com", "web.default.svc.cluster.local.corp.example"}, {"web.default.svc.cluster.local"}),
        ({"www.example.com"}, {"web.default.svc.cluster.local", "www.example.com"}),
        (set(), {"web.default.svc.cluster.local"}),
        ({"www.example.com"}, set()),
    ],
)
def test_a_name_that_went_astray_ends_the_demo(at_upstream: set[str], at_cluster: set[str], node_lan: World) -> None:
    with pytest.raises(VerificationError, match="did not go where they belong"):
        Demo(node_lan, Silent()).no_leak(at_upstream, at_cluster)
