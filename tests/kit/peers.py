"""Where the other name servers and clients are, when they have been fetched (tests/kit/peers.sh)."""

import functools
import os
from pathlib import Path

from devlink.lab import kit

PROGRAMS = {
    "dnsmasq": "usr/sbin/dnsmasq",
    "unbound": "usr/sbin/unbound",
    "nsd": "usr/sbin/nsd",
    "kdig": "usr/bin/kdig",
    "ldns-keygen": "usr/bin/ldns-keygen",
    "ldns-signzone": "usr/bin/ldns-signzone",
    "systemd-resolved": "lib/systemd/systemd-resolved",
}
"""All of them, and where they are below the folder."""


def folder() -> Path:
    """The folder in the user's cache, beside the kit's; it need not exist."""
    return kit.folder().with_name("peers")


def missing() -> str | None:
    """None where all can be run, else one line: what to do about it."""
    # The stamp is written last.
    if (folder() / ".packages").exists() and all(os.access(program(name), os.X_OK) for name in PROGRAMS):
        return None
    return "the other name servers are not there: run 'tests/kit/peers.sh' in devlink's sources"


def program(name: str) -> str:
    """The path of one of PROGRAMS."""
    return str(folder() / PROGRAMS[name])


@functools.cache
def environment() -> dict[str, str]:
    """What to run them with: they bring the libraries that the machine may not have."""
    libraries = sorted({str(path.parent) for path in folder().glob("**/*.so*")})
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}
