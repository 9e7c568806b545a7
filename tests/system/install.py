"""devlink installed on a system, by its package: a layer that is laid over the image.

Made once for each state of the sources, in some seconds (most of it is compiling for the image's own Python), and kept
beside the images.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.kit import systems

SOURCES = Path(__file__).parents[2]
PROGRAMS = "usr/share/devlink"
LAB = "usr/lib/devlink-lab"
"""Where the world inside the machine has its programs; on a machine without devlink also what of it they need."""
OF_LAB = ("devlink", "dnslib")
"""What they import, beside Debian's."""
PACKAGE = "root/devlink.deb"
"""Where the package lies meanwhile."""
USER = "alice"
"""Who may use devlink where it is installed, beside root."""
LAY_BESIDE = f"""
mkdir unpacked
dpkg-deb --extract {PACKAGE} unpacked
mkdir {LAB}/lib
cp -r {" ".join(f"unpacked/{PROGRAMS}/{name}" for name in OF_LAB)} {LAB}/lib/
rm -r unpacked
"""
"""For a system that devlink is not installed on: the lab has what it needs for itself."""
KEPT = 3600.0
"""Seconds since a machine was last made over a layer: who made it may be a run of tests that is still on."""


def layer(image: str, *, installed: bool = True) -> Path:
    """The layer for the present sources, over the image of that name; with devlink installed, or without it."""
    digest = _digest(image)
    with _kept(f"{image}.{'installed' if installed else 'bare'}") as folder:
        made = folder / digest
        if not made.exists():
            _make(systems.root(image), made, installed=installed)
        os.utime(made)
        return made


def package(version: str = "") -> Path:
    """devlink's package of the present sources, of this version if one is given."""
    with _kept("packages") as folder:
        made = folder / f"{_digest('')}-{version}"
        if not made.exists():
            script = str(SOURCES / "packaging/deb/make_deb.py")
            command = [sys.executable, script, "--quick", "--output", f"{made}.new"]
            subprocess.run(
                [*command, *(("--version", version) if version else ())],
                check=True, stdout=subprocess.DEVNULL, timeout=300,
            )  # fmt: skip
            Path(f"{made}.new").rename(made)
        os.utime(made)
        (found,) = made.glob("*.deb")
        return found


def overlay(target: Path, lower: list[Path], upper: Path, work: Path) -> list[str]:
    """The command that mounts these folders on top of one another; the first of `lower` is the uppermost."""
    options = f"lowerdir={':'.join(map(str, lower))},upperdir={upper},workdir={work}"
    return ["mount", "-t", "overlay", "overlay", "-o", options, str(target)]


@contextlib.contextmanager
def _kept(name: str) -> Iterator[Path]:
    """A folder beside the images, for one process at a time; what in it nobody has used for long goes at the end."""
    folder = systems.folder() / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
        for other in folder.iterdir():
            if other.is_dir() and other.stat().st_mtime < time.time() - KEPT:
                shutil.rmtree(other)


def _digest(image: str) -> str:
    found = hashlib.sha256((systems.folder() / image / ".stamp").read_bytes() if image else b"")
    found.update((SOURCES / "pyproject.toml").read_bytes())
    for top in ("devlink", "packaging", "tests/system"):
        for path in sorted((SOURCES / top).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(f"{path.relative_to(SOURCES)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def _make(image: Path, target: Path, *, installed: bool) -> None:
    """Lay it out beside, and rename: it is there complete or not at all."""
    scratch = target.with_name(f"{target.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    layer, work, merged = (scratch / name for name in ("layer", "work", "merged"))
    for path in (layer, work, merged):
        path.mkdir(parents=True)
        path.chmod(0o755)
    script = f"""set -eu
{" ".join(overlay(merged, [image], layer, work))}
cd {merged}
mount -t proc proc proc
mount --rbind /dev dev
mkdir -p {LAB}
cp -r {SOURCES}/tests/system/inside/. {LAB}/
mv {LAB}/devlink-lab.service usr/lib/systemd/system/
mv {LAB}/tmpfiles.conf usr/lib/tmpfiles.d/devlink-lab.conf
cp {package()} {PACKAGE}
{_install(target) if installed else LAY_BESIDE}
find {LAB} -name __pycache__ -prune -exec rm -r {{}} +
find {LAB} -exec chown root:root {{}} + -exec chmod go=u-w {{}} +
chroot . python3 -m compileall -q /{LAB}
rm {PACKAGE}
chroot . systemctl --quiet enable devlink-lab.service
"""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"{image}: {done.stdout}{done.stderr}"
    layer.rename(target)
    shutil.rmtree(scratch)


def _install(target: Path) -> str:
    """The commands that install it, with the libraries' bytecode of the last time, if they are the same libraries."""
    pinned = (SOURCES / "packaging/requirements/runtime.txt").read_bytes()
    compiled = target.with_name(f"compiled-{hashlib.sha256(pinned).hexdigest()[:16]}")
    return f"""
[ ! -e {compiled} ] || {{ mkdir -p {PROGRAMS}; cp -a {compiled}/. {PROGRAMS}/; touch {compiled}; }}
chroot . dpkg --force-unsafe-io --install /{PACKAGE}
chroot . usermod --append --groups devlink {USER}
[ -e {compiled} ] || {{
    rm -rf {compiled}.new
    mkdir {compiled}.new
    (cd {PROGRAMS}; find . -path ./devlink -prune -o -name __pycache__ -exec cp -a --parents {{}} {compiled}.new \\;)
    mv {compiled}.new {compiled}
}}
"""
