"""`tests/kit/systems.sh` builds a system whole or not at all, does nothing twice, and says in a line what it lacks."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.kit import systems

SCRIPT = Path(__file__).with_name("systems.sh")
APT = """echo "apt-get $*" >>"$XDG_CACHE_HOME/calls"
case $* in *download*) >one.deb ;;
*indextargets*) printf 'file:/%s\\n' 'security Debian-Security' 'ours Debian' ;; esac"""
MMDEBSTRAP = """echo "mmdebstrap $*" >>"$XDG_CACHE_HOME/calls"
[ ! -e "$XDG_CACHE_HOME/broken" ] || { echo 'E: no such package'; exit 1; }
for root; do case $root in */root)
mkdir -p $root/etc/systemd/system ;; esac; done"""
DPKG = f"""mkdir -p $3/usr/bin; for name in mmdebstrap systemd-nspawn; do
cat >$3/usr/bin/$name <<'END'
#!/bin/sh
{MMDEBSTRAP}
END
chmod 755 $3/usr/bin/$name; done"""
ROOT = {"apt_get": APT, "dpkg": DPKG, "id": "echo 0", "chroot": "exit 0"}
"""Stand-ins that do what the real ones do with a system of no files, as a user who claims to be root."""


def build(cache: Path, path: str, *names: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/bin/bash", SCRIPT, *names], env={"PATH": path, "XDG_CACHE_HOME": str(cache), "HOME": "/nonexistent"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def tools(folder: Path, **scripts: str) -> str:
    """A PATH with what the script needs, and with these shell scripts."""
    folder.mkdir()
    for name in (
        "awk", "cat", "chmod", "cut", "dirname", "id", "install", "ln", "md5sum", "mkdir", "mktemp", "mv", "paste",
        "rm", "sha256sum", "sort", "tail", "touch",
    ):  # fmt: skip
        (folder / name).symlink_to(f"/usr/bin/{name}")
    for name, script in scripts.items():
        (folder / name.replace("_", "-")).unlink(missing_ok=True)
        (folder / name.replace("_", "-")).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name.replace("_", "-")).chmod(0o755)
    return str(folder)


def test_a_second_run_builds_nothing_and_nothing_is_installed(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin", **ROOT)
    for _ in range(2):
        done = build(tmp_path, path)
        assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call for call in calls if " install" in call and "--simulate" not in call] == []
    built = [call for call in calls if call.startswith("mmdebstrap")]
    assert len(built) == len(systems.NAMES)
    assert all(call.endswith("file:/ours") for call in built)
    assert sorted(os.listdir(tmp_path / "devlink/systems")) == sorted([*systems.NAMES, "tools"])
    assert all((tmp_path / "devlink/systems" / name / ".stamp").exists() for name in systems.NAMES)


def test_one_that_cannot_be_built_is_named_and_leaves_nothing_but_the_others(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin", **ROOT)
    assert build(tmp_path, path, "sid").returncode == 0
    (tmp_path / "broken").touch()
    done = build(tmp_path, path, "sid", "trixie")
    assert done.returncode == 1
    assert "E: no such package\n" in done.stderr
    assert done.stderr.endswith("could not be built: trixie\n")
    assert sorted(os.listdir(tmp_path / "devlink/systems")) == ["sid", "tools"]


@pytest.mark.parametrize(
    ("lacking", "said"),
    [({"id": "echo 1000"}, "root is needed"), ({"apt_get": ""}, "apt-get is missing"), ({"dpkg": ""}, "apt-get")],
)
def test_what_is_lacking_is_said_in_one_line(tmp_path: Path, lacking: dict[str, str], said: str) -> None:
    scripts = {name: script for name, script in {**ROOT, **lacking}.items() if script}
    done = build(tmp_path, tools(tmp_path / "bin", **scripts))
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "devlink").exists()


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    done = build(tmp_path, tools(tmp_path / "bin", **ROOT), "woody")
    assert done.returncode == 1
    assert done.stderr == f"systems: there is no system woody; there are: {' '.join(systems.NAMES)}\n"
