"""The libraries that the package brings itself: pure Python, as they are pinned, unpacked once for each set of pins.

Debian's own are too old or missing for most of them. What is compiled must fit the system's Python, so it is Debian's.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from packaging.markers import Marker

from packaging.requirements import Requirement

SOURCES = Path(__file__).parents[2]
PINNED = SOURCES / "packaging/requirements/runtime.txt"
OF_DEBIAN = {"cryptography": "python3-cryptography", "cffi": "", "pycparser": "", "pyyaml": "python3-yaml"}
"""The packages of Debian that stand for the compiled libraries; those without one come with the others."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
"""One package serves all of them: a library that any of these needs is in it."""
DATE = 1580601600
"""Each file's, in s since 1970 (2020-02-02, as in wheels of hatchling): bytecode names the date of its source."""


def vendored() -> Path:
    """The folder with them as they lie on a path of Python's, each with its metadata; made if it is not there.

    Needs the network then. Raises SystemExit with what pip said: no connection, or a wheel that is not for any system.
    """
    pins = _chosen(PINNED.read_text())
    digest = hashlib.sha256("\n".join(pins).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "devlink/libraries"
    made = folder / digest
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _unpack(pins, Path(scratch))
            try:
                (Path(scratch) / "unpacked").rename(made)
            except OSError:
                if not made.exists():  # another build was first
                    raise
    return made


def _chosen(text: str) -> list[str]:
    """The lines for pip: without markers, since those are pip's own Python's; without what Debian has."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = []
    for entry in "\n".join(lines).replace("\\\n", " ").splitlines():
        pin, *hashes = entry.split(" --hash=")
        if not pin.strip():
            continue
        requirement = Requirement(pin)
        if requirement.name in OF_DEBIAN or not _is_for_linux(requirement.marker):
            continue
        found.append(
            " --hash=".join([f"{requirement.name}{requirement.specifier}", *(each.strip() for each in hashes)])
        )
    return found


def _is_for_linux(marker: Marker | None) -> bool:
    linux = {
        "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix",
        "implementation_name": "cpython", "platform_python_implementation": "CPython",
    }  # fmt: skip
    return marker is None or any(
        marker.evaluate({**linux, "python_version": each, "python_full_version": f"{each}.0"}) for each in PYTHONS
    )


def _unpack(pins: list[str], scratch: Path) -> None:
    wanted, target = scratch / "requirements.txt", scratch / "unpacked"
    wanted.write_text("\n".join(pins) + "\n")
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        # uv makes environments without it
        subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
    # Of no platform and no ABI: pip refuses whatever is compiled, and names it.
    command = [
        *pip, "install", "--quiet", "--disable-pip-version-check", "--root-user-action", "ignore", "--no-deps",
        "--no-compile", "--require-hashes", "--only-binary", ":all:", "--platform", "any", "--implementation", "py",
        "--abi", "none", "--python-version", PYTHONS[0], "--target", str(target), "--requirement", str(wanted),
    ]  # fmt: skip
    for left in (1, 0):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.returncode:
            break
        if not left:
            raise SystemExit(f"deb: the libraries of {PINNED.name} cannot be had:\n{done.stderr.strip()}")
        shutil.rmtree(target, ignore_errors=True)
        time.sleep(1)
    shutil.rmtree(target / "bin", ignore_errors=True)  # commands that nobody asked for
    for path in sorted(target.rglob("*")):
        if path.is_file():
            path.chmod(0o644)
            os.utime(path, (DATE, DATE))
