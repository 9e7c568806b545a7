"""Reads what libc reads, which needs no privilege: resolv.conf above all."""

import errno
import os
import stat
from pathlib import Path

from devlink.errors import HelperError
from devlink.resolvers.resolv_conf import MAX_SIZE, NAME, ResolvConf, parse

RESOLV_CONF, NSSWITCH_CONF = Path("/etc") / NAME, Path("/etc/nsswitch.conf")
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
"""A name that leads nowhere, through a file, in circles, or to a socket is to libc as no file."""


def read(folder: int | None, name: str, *, follow: bool = False, size: int = MAX_SIZE) -> str | None:
    """The beginning of a file's text, `size` octets at most; None where there is none. `folder` is open, None for the
    working one. Raises OSError."""
    # A pipe would be waited for.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        file = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        return os.read(file, size).decode(errors="surrogateescape")
    finally:
        os.close(file)


def read_text(path: Path) -> str:
    """The beginning of a text, empty where there is no file. Raises HelperError where it cannot be read."""
    try:
        text = read(None, str(path), follow=True)
        if text is None and path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return text or ""
    except OSError as error:
        raise HelperError(
            f"{path} could not be read.",
            why=f"The system said: {error.strerror or error}.",
            next_step=f"See `ls -l {path}`.",
        ) from error


def read_conf(path: Path) -> ResolvConf:
    """A resolv.conf(5), empty where there is none. Raises HelperError where it cannot be read."""
    return parse(read_text(path))
