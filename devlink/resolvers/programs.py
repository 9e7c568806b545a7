"""Programs that root has installed, and that nobody else can have put in their place."""

import logging
import os
import stat
from pathlib import Path

log = logging.getLogger(__name__)

PROGRAM_FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin")
"""The system's own, in which a program is looked for, in this order; never a user's PATH."""
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
"""What a program is run with, and no more."""

DISGUISED = ("resolvectl", "systemd-resolve")
"""What a symlink named resolvconf may lead to: the same options, for systemd-resolved, and no records."""


def find_program(name: str, root: str | Path = "/") -> Path | None:
    """The first of this name in the system's own folders that root alone may change, and that is none of systemd's in
    disguise: where its symlinks end, so that what is run is what was looked at. None where there is none."""
    for folder in PROGRAM_FOLDERS:
        path = Path(root, folder.lstrip("/"), name)
        if not os.access(path, os.X_OK) or not path.is_file():
            continue
        try:
            found = resolve(path)
        except OSError:  # removed at this moment
            continue
        if found is None:
            log.warning("%s is passed by: others than root may change it, or where it leads", path)
        elif found.name not in DISGUISED:
            return found
    return None


def resolve(path: Path) -> Path | None:
    """Where the symlinks of an absolute path end; None where others than root (or who we are) may change what is there,
    or any folder or symlink on the way. Raises OSError."""
    if path == path.parent:
        return path if is_roots_alone(os.stat(path), is_above=True) else None
    folder = resolve(path.parent)
    if folder is None or path.name == "..":
        return folder and folder.parent
    found = folder / path.name
    status = os.lstat(found)
    if stat.S_ISLNK(status.st_mode):  # it has no mode of its own
        return resolve(folder / os.readlink(found)) if status.st_uid in (0, os.geteuid()) else None
    return found if is_roots_alone(status, is_above=stat.S_ISDIR(status.st_mode)) else None


def is_roots_alone(status: os.stat_result, *, is_above: bool) -> bool:
    """Whether root (or who we are) alone may change it; in a folder `is_above`, what is root's there."""
    is_shared = bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    if is_above and status.st_mode & stat.S_ISVTX:  # as /tmp: nobody renames what is another's
        is_shared = False
    return status.st_uid in (0, os.geteuid()) and not is_shared
