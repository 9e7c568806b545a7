"""`make kit` does nothing twice, and says in one line what it lacks."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("build.sh")


def build(cache: Path, path: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/bin/sh", SCRIPT], env={"PATH": path, "XDG_CACHE_HOME": str(cache), "HOME": "/nonexistent"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def tools(folder: Path, go: str | None) -> str:
    """A PATH with what the script needs, and with a `go` that is this shell script or with none."""
    folder.mkdir()
    for name in ("cat", "mkdir", "mktemp", "rm", "mv"):
        (folder / name).symlink_to(f"/bin/{name}")
    if go is not None:
        (folder / "go").write_text(f"#!/bin/sh\n{go}\n")
        (folder / "go").chmod(0o755)
    return str(folder)


GO = """echo "$@" >>"$XDG_CACHE_HOME/calls"; mkdir -p "$GOBIN" "$GOCACHE"; echo '#!/bin/sh' >"$GOBIN/coredns"
/bin/chmod 755 "$GOBIN/coredns" """


def test_without_go_one_line_says_so_and_nothing_is_left(tmp_path: Path) -> None:
    done = build(tmp_path, tools(tmp_path / "bin", None))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "Go is missing" in done.stderr
    assert not (tmp_path / "devlink").exists()


def test_a_second_build_does_nothing_and_the_build_cache_goes(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin", GO)
    for _ in range(2):
        assert build(tmp_path, path).returncode == 0
    assert len((tmp_path / "calls").read_text().splitlines()) == 1
    assert sorted(os.listdir(tmp_path / "devlink/kit")) == ["coredns", "coredns.version"]


def test_another_version_or_a_missing_program_is_built_again(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin", GO)
    build(tmp_path, path)
    (tmp_path / "devlink/kit/coredns.version").write_text("1.0.0\n")
    build(tmp_path, path)
    (tmp_path / "devlink/kit/coredns").unlink()
    build(tmp_path, path)
    assert len((tmp_path / "calls").read_text().splitlines()) == 3


@pytest.mark.parametrize("go", ["exit 1", "kill -TERM $PPID; exit 1"])
def test_a_build_that_fails_leaves_no_stamp_and_no_scratch(tmp_path: Path, go: str) -> None:
    assert build(tmp_path, tools(tmp_path / "bin", go)).returncode != 0
    assert os.listdir(tmp_path / "devlink/kit") == []
