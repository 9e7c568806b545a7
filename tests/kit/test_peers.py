"""`tests/kit/peers.sh` unpacks and never installs, does nothing twice, and says in one line what it lacks."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.kit import peers

SCRIPT = Path(__file__).with_name("peers.sh")
APT = """echo "$*" >>"$XDG_CACHE_HOME/calls"
case $* in *download*) [ ! -e "$XDG_CACHE_HOME/broken" ] && >one.deb ;; *simulate*) echo 'Inst libone (1.0)' ;; esac"""
DPKG = "".join(
    f"/bin/mkdir -p $3/{Path(path).parent}; echo '#!/bin/sh' >$3/{path}; /bin/chmod 755 $3/{path}; "
    for path in peers.PROGRAMS.values()
)
"""Stand-ins that do what the real ones do with one package that has all the programs."""


def fetch(cache: Path, path: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/bin/bash", SCRIPT], env={"PATH": path, "XDG_CACHE_HOME": str(cache), "HOME": "/nonexistent"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def tools(folder: Path, **scripts: str) -> str:
    """A PATH with what the script needs, and with these shell scripts."""
    folder.mkdir()
    for name in ("awk", "cat", "cp", "id", "mkdir", "mktemp", "mv", "rm", "sort", "tail"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    for name, script in scripts.items():
        (folder / name.replace("_", "-")).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name.replace("_", "-")).chmod(0o755)
    return str(folder)


def test_a_second_run_fetches_nothing_and_nothing_is_installed(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin", apt_get=APT, dpkg=DPKG)
    for _ in range(2):
        done = fetch(tmp_path, path)
        assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call for call in calls if "install" in call and "--simulate" not in call] == []
    downloads = [call for call in calls if "download" in call]
    assert len(downloads) == 1
    assert {"nsd", "unbound", "knot-dnsutils", "bird2", "sshuttle", "libone"} <= set(downloads[0].split())
    assert os.listdir(tmp_path / "devlink") == ["peers"]


@pytest.mark.parametrize("lacking", ["apt", "network"])
def test_what_cannot_be_fetched_is_said_and_leaves_no_stamp(tmp_path: Path, lacking: str) -> None:
    scripts = {} if lacking == "apt" else {"apt_get": APT, "dpkg": DPKG, "sudo": "exit 1"}
    (tmp_path / "broken").touch()
    done = fetch(tmp_path, tools(tmp_path / "bin", **scripts))
    assert done.returncode == 1
    assert "apt-get" in done.stderr
    assert not (tmp_path / "devlink/peers/.packages").exists()
    assert [name for name in os.listdir(tmp_path) if name.startswith("peers.")] == []


def test_the_finder_knows_the_programs_that_the_script_looks_for() -> None:
    _, _, rest = SCRIPT.read_text().partition("\nPROGRAMS=(")
    named = rest.partition(")")[0].split()
    assert "usr/sbin/bird" in named
    assert set(named) <= set(peers.PROGRAMS.values())
