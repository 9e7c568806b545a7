"""Programs that root has installed, and that nobody else can have put in their place."""

import logging
import os
import stat
from pathlib import Path

from devlink.resolvers.facts import PROGRAM_FOLDERS

log = logging.getLogger(__name__)

DISGUISED = ("resolvectl", "systemd-resolve")
"""What a symlink named resolvconf may lead to: the same options, for systemd-resolved, and no records."""


def find_program(name: str, root: str | Path = "/") -> Path | None:
    """The first of this name in the system's own folders that root alone may change, and that is none of systemd's in
    disguise; None where there is none."""
    for folder in PROGRAM_FOLDERS:
        path = Path(root, folder.lstrip("/"), name)
        real = os.path.realpath(path)
        if not os.access(real, os.X_OK) or not os.path.isfile(real) or os.path.basename(real) in DISGUISED:
            continue
        if is_safe(real):
            return path
        log.warning("%s is passed by: others than root may change it", real)
    return None


def is_safe(path: str) -> bool:
    """Whether root alone may change the program, and every folder above it."""
    try:
        folders = [is_roots_alone(os.stat(folder), is_above=True) for folder in Path(path).parents]
        return is_roots_alone(os.stat(path), is_above=False) and all(folders)
    except FileNotFoundError:  # removed at this moment
        return False


def is_roots_alone(status: os.stat_result, *, is_above: bool) -> bool:
    """Whether root (or who we are) alone may change it; in a folder `is_above`, what is root's there."""
    is_shared = bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    if is_above and status.st_mode & stat.S_ISVTX:  # as /tmp: nobody renames what is another's
        is_shared = False
    return status.st_uid in (0, os.geteuid()) and not is_shared
