"""Where the programs of others are that devlink is tested with, when they have been fetched (tests/kit/peers.sh)."""

import functools
import os
from pathlib import Path

from devlink.lab import bird

PROGRAMS = {
    "dnsmasq": "usr/sbin/dnsmasq",
    "unbound": "usr/sbin/unbound",
    "nsd": "usr/sbin/nsd",
    "kdig": "usr/bin/kdig",
    "ldns-keygen": "usr/bin/ldns-keygen",
    "ldns-signzone": "usr/bin/ldns-signzone",
    "systemd-resolved": "lib/systemd/systemd-resolved",
    "bird": "usr/sbin/bird",
    "iperf3": "usr/bin/iperf3",
    "sshuttle": "usr/bin/sshuttle",
    "sshd": "usr/sbin/sshd",
    "ssh": "usr/bin/ssh",
    "ssh-keygen": "usr/bin/ssh-keygen",
}
"""All of them, and where they are below the folder."""


def folder() -> Path:
    """The folder in the user's cache, beside the kit's; it need not exist."""
    return bird.peers_folder()


def missing() -> str | None:
    """None where all can be run, else one line: what to do about it."""
    # The stamp is written last.
    if (folder() / ".packages").exists() and all(os.access(program(name), os.X_OK) for name in PROGRAMS):
        return None
    return "the programs of others are not there: run 'tests/kit/peers.sh' in devlink's sources"


def program(name: str) -> str:
    """The path of one of PROGRAMS."""
    return str(folder() / PROGRAMS[name])


@functools.cache
def environment() -> dict[str, str]:
    """What to run them with: they bring the libraries that the machine may not have."""
    libraries = sorted({str(path.parent) for path in folder().glob("**/*.so*")})
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}
