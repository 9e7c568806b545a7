"""Where the kit's real cluster programs are, when they have been built (tests/kit/build.sh)."""

import os
import shutil
from pathlib import Path

from devlink.lab.availability import SYSTEM_FOLDERS

PROGRAMS = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kubectl", "kubelet-portforward", "coredns"
)  # fmt: skip
"""All of it, by name."""


def folder() -> Path:
    """The kit's folder in the user's cache; it need not exist."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return Path(cache) / "devlink/kit" if cache else Path.home() / ".cache/devlink/kit"


def coredns() -> Path | None:
    """CoreDNS, or None if the kit has not been built."""
    return _program("coredns")


def missing(*, iptables: bool = False) -> str | None:
    """None where a world can have real parts, else one line: what it lacks, and what to do about it.

    kube-proxy's mode `iptables` needs the program of that name too.
    """
    if not all(_program(name) for name in PROGRAMS):
        return "the kit is not built: run 'make kit' in devlink's sources"
    for name in ("openssl", *(("iptables",) if iptables else ())):
        if shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}") is None:
            return f"the real parts of a cluster need {name}: install it (apt install {name})"
    return None


def _program(name: str) -> Path | None:
    try:
        program = folder() / name
    except RuntimeError:
        return None  # a user without a home
    # The stamp is written last: without it a build is under way.
    return program if program.with_name(f"{name}.version").exists() and os.access(program, os.X_OK) else None
