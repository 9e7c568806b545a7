"""Where the systems of the resolver tests are, when they have been built (tests/kit/systems.sh)."""

import os
from pathlib import Path

from devlink.lab import kit

NAMES = ("bookworm", "trixie", "sid", "openresolv", "resolvconf", "docker")
"""All of them."""


def folder() -> Path:
    """The folder in the user's cache, beside the kit's; it need not exist."""
    return kit.folder().with_name("systems")


def root(name: str) -> Path:
    """The root file system of one of NAMES. Nobody may change it."""
    return folder() / name / "root"


def missing() -> str | None:
    """None where all can be booted, else one line: what to do about it."""
    if os.geteuid() != 0:
        return "needs root: run the tests as root"
    # The stamps are written last.
    stamps = [folder() / name / ".stamp" for name in NAMES] + [folder() / "tools/.packages"]
    if all(stamp.exists() for stamp in stamps):
        return None
    return "the systems are not there: run 'tests/kit/systems.sh' in devlink's sources, as root"


def nspawn() -> list[str]:
    """How systemd-nspawn is called: it brings the library that the machine may not have in this version."""
    tools = folder() / "tools"
    libraries = sorted({str(path.parent) for path in tools.glob("usr/lib/**/*.so*")})
    return ["env", f"LD_LIBRARY_PATH={':'.join(libraries)}", str(tools / "usr/bin/systemd-nspawn")]
