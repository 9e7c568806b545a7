"""What must be equal before and after: every name in a folder with its kind, mode, owner, inode and content."""

import os
import stat
from pathlib import Path


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Each name's kind, mode, owner, group, inode, links, time of change of the content, and content or target."""
    return {path.name: _entry(path) for path in folder.iterdir()}


def _entry(path: Path) -> tuple[object, ...]:
    s = path.lstat()
    content = os.readlink(path) if stat.S_ISLNK(s.st_mode) else path.read_bytes() if path.is_file() else None
    return (s.st_mode, s.st_uid, s.st_gid, s.st_ino, s.st_nlink, s.st_mtime_ns, content)
