"""Reads what libc reads, which needs no privilege: resolv.conf above all."""

import errno
from pathlib import Path

from devlink.errors import HelperError
from devlink.resolvers.resolv_conf import MAX_SIZE, NAME, ResolvConf, parse

RESOLV_CONF, NSSWITCH_CONF = Path("/etc") / NAME, Path("/etc/nsswitch.conf")
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""A symlink that leads nowhere, through a file, or in circles is to libc as no file."""


def read_text(path: Path) -> str:
    """The beginning of a text, empty where there is no file. Raises HelperError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_SIZE).decode(errors="surrogateescape")
    except OSError as error:
        if error.errno in _NO_FILE:
            return ""
        raise HelperError(
            f"{path} could not be read.",
            why=f"The system said: {error.strerror or error}.",
            next_step=f"See `ls -l {path}`.",
        ) from error


def read_conf(path: Path) -> ResolvConf:
    """A resolv.conf(5), empty where there is none. Raises HelperError where it cannot be read."""
    return parse(read_text(path))
