"""`make kit` does nothing twice, and says in one line what it lacks."""

import os
import re
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
    for name in ("cat", "cksum", "dirname", "mkdir", "mktemp", "rm", "mv", "tr"):
        (folder / name).symlink_to(f"/bin/{name}")
    if go is not None:
        (folder / "go").write_text(f"#!/bin/sh\n{go}\n")
        (folder / "go").chmod(0o755)
    return str(folder)


GO = """echo "$PWD" >>"$XDG_CACHE_HOME/calls"; mkdir -p "$GOCACHE" "$GOMODCACHE"
tools='server kube-apiserver kube-controller-manager kube-proxy kubectl'
case $PWD in */coredns) tools=coredns ;; */portforward) tools=portforward ;; esac
for last; do :; done; case $PWD:$last in */portforward:. | *:tool) ;; *) exit 1 ;; esac
for tool in $tools; do echo '#!/bin/sh' >"$GOCACHE/../bin/$tool"; /bin/chmod 755 "$GOCACHE/../bin/$tool"; done"""
"""Builds what the module in which it is called has, as `go build -o FOLDER tool` does."""
PROGRAMS = (
    "coredns", "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kubectl", "kubelet-portforward"
)  # fmt: skip


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
    assert [Path(line).name for line in (tmp_path / "calls").read_text().splitlines()] == [
        "coredns", "portforward", "kubernetes",
    ]  # fmt: skip
    assert sorted(os.listdir(tmp_path / "devlink/kit")) == sorted(
        [*PROGRAMS, *(f"{name}.version" for name in PROGRAMS)]
    )


def test_another_version_or_a_missing_program_is_built_again(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin", GO)
    build(tmp_path, path)
    (tmp_path / "devlink/kit/coredns.version").write_text("1.0.0\n")
    build(tmp_path, path)
    (tmp_path / "devlink/kit/coredns").unlink()
    build(tmp_path, path)
    (tmp_path / "devlink/kit/kubectl").unlink()
    build(tmp_path, path)
    (tmp_path / "devlink/kit/kubelet-portforward").unlink()
    build(tmp_path, path)
    built = [Path(line).name for line in (tmp_path / "calls").read_text().splitlines()]
    assert built == ["coredns", "portforward", "kubernetes", "coredns", "coredns", "kubernetes", "portforward"]


def test_the_modules_are_pinned_with_their_sums() -> None:
    for folder, version in (
        ("coredns", "github.com/coredns/coredns v1.14.7"),
        ("kubernetes", "k8s.io/kubernetes v1.34.4"),
        ("portforward", "k8s.io/kubelet v0.34.4"),
    ):
        assert version in (SCRIPT.parent / folder / "go.mod").read_text()
        assert version in (SCRIPT.parent / folder / "go.sum").read_text()
        name, _, number = version.rpartition(" v")
        minor = number.removeprefix("0.")  # the libraries of Kubernetes 1.N are 0.N
        assert re.search(rf"=(1\.)?{re.escape(minor)}\b", SCRIPT.read_text()), f"the stamp names the version of {name}"


@pytest.mark.parametrize("go", ["exit 1", "kill -TERM $PPID; exit 1"])
def test_a_build_that_fails_leaves_no_stamp_and_no_scratch(tmp_path: Path, go: str) -> None:
    assert build(tmp_path, tools(tmp_path / "bin", go)).returncode != 0
    assert os.listdir(tmp_path / "devlink/kit") == []
