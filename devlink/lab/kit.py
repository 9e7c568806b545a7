"""Where the kit's real cluster programs are, when they have been built (tests/kit/build.sh)."""

import os
from pathlib import Path


def folder() -> Path:
    """The kit's folder in the user's cache; it need not exist."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return Path(cache) / "devlink/kit" if cache else Path.home() / ".cache/devlink/kit"


def coredns() -> Path | None:
    """CoreDNS, or None if the kit has not been built."""
    try:
        program = folder() / "coredns"
        # The stamp is written last: without it a build is under way.
        return program if program.with_name("coredns.version").exists() and os.access(program, os.X_OK) else None
    except RuntimeError:
        return None  # a user without a home
