"""Small files that must survive a power cut whole: written beside, synced, renamed."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace `path`: after a crash it holds the old text or the new one, never a part. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.unlink(missing_ok=True)  # whatever it is: root may be writing in the helper's folder
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove `path` for good, if it is there, and what a crash may have left of the next one."""
    path.unlink(missing_ok=True)
    _beside(path).unlink(missing_ok=True)
    if path.parent.exists():
        sync_folder(path.parent)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def is_there(path: Path) -> bool:
    """Whether `path`, or what a crash left of writing it, is there for `remove`."""
    return os.path.lexists(path) or os.path.lexists(_beside(path))


def sync_folder(path: Path) -> None:
    """Make renames and removals in a folder survive a power cut (fsync(2))."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
