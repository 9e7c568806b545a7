"""Files that only their user may read, each put in place whole or not at all."""

import os
import threading
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Put `text` (UTF-8) where `path` says, and make the folders to it. Raises OSError: then all is as it was.

    Two that write at once do not meet: the last whole text stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.new")
    new.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(new, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # else a loss of power may leave an empty one under the name
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
