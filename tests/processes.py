"""Whether processes that a test did not start itself have ended: their parent may be any other."""

import time
from pathlib import Path


def has_ended(pid: int) -> bool:
    """One that nobody has waited for yet has ended, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_ended(pid: int) -> None:
    """A killed process ends when it next runs, which on a busy machine may be a while after the kill."""
    deadline = time.monotonic() + 10
    while not has_ended(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)
