"""devlink installed on a system, as its package would do it: a layer that is laid over the image.

Made once for each state of the sources, in a second or two (most of it is compiling for the image's own Python), and
kept beside the images.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.kit import systems

SOURCES = Path(__file__).parents[2]
PROGRAMS = "usr/share/devlink"
PACKAGE = f"{PROGRAMS}/devlink"
COMMAND = (
    f"#!/usr/bin/python3 -I\nimport sys\nsys.path.insert(0, '/{PROGRAMS}')\nfrom devlink.cli import main\nmain()\n"
)
LAB = "usr/lib/devlink-lab"
"""Where the world inside the machine has its programs."""
FILES = {
    "devlink/service/layout": ".",
    "tests/system/inside": LAB,
}
ENABLED = (
    "devlink-helper.socket", "devlink-forwarder.socket", "devlink-files.socket", "devlink-restore.service",
    "devlink-lab.service",
)  # fmt: skip
KEPT = 3600.0
"""Seconds since a machine was last made over a layer: who made it may be a run of tests that is still on."""


def layer(image: str) -> Path:
    """The layer for the present sources, over the image of that name."""
    digest = _digest(image)
    folder = systems.folder() / f"{image}.installed"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / digest
        if not made.exists():
            _make(systems.root(image), made)
        os.utime(made)
        for other in folder.iterdir():
            if other.is_dir() and other.stat().st_mtime < time.time() - KEPT:
                shutil.rmtree(other)
        return made


def overlay(target: Path, lower: list[Path], upper: Path, work: Path) -> list[str]:
    """The command that mounts these folders on top of one another; the first of `lower` is the uppermost."""
    options = f"lowerdir={':'.join(map(str, lower))},upperdir={upper},workdir={work}"
    return ["mount", "-t", "overlay", "overlay", "-o", options, str(target)]


def _digest(image: str) -> str:
    found = hashlib.sha256((systems.folder() / image / ".stamp").read_bytes())
    for top in ("devlink", "packaging", "tests/system"):
        for path in sorted((SOURCES / top).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(f"{path.relative_to(SOURCES)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def _make(image: Path, target: Path) -> None:
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
mkdir -p {PROGRAMS}
cp -r {SOURCES}/devlink {PACKAGE}
find {PACKAGE} -name __pycache__ -prune -exec rm -r {{}} +
{"".join(f"mkdir -p {to}; cp -r {SOURCES}/{which}/. {to}/{chr(10)}" for which, to in FILES.items())}
printf %s "$COMMAND" >usr/bin/devlink
chmod 755 usr/bin/devlink
find {PROGRAMS} {LAB} -exec chown root:root {{}} + -exec chmod go=u-w {{}} +
mv {LAB}/devlink-lab.service usr/lib/systemd/system/
mv {LAB}/tmpfiles.conf usr/lib/tmpfiles.d/devlink-lab.conf
chroot . python3 -m compileall -q /{PACKAGE} /{LAB}
chroot . systemctl --quiet enable {" ".join(ENABLED)}
"""
    subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], env={**os.environ, "COMMAND": COMMAND}, check=True, timeout=60
    )  # fmt: skip
    layer.rename(target)
    shutil.rmtree(scratch)
