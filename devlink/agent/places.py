"""Where the agent keeps its things, by the XDG base directories of its user."""

import os
import stat
from pathlib import Path

from devlink.errors import UsageError


def runtime_folder() -> Path:
    """`$XDG_RUNTIME_DIR/devlink`. Raises UsageError without one: a fallback in /tmp would be anyone's to squat.

    So would a folder of somebody else's, or one where others may write: the XDG base directory specification asks for
    one of the user's own, with mode 0700.
    """
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if not base.startswith("/"):
        raise UsageError(
            "XDG_RUNTIME_DIR is not set, so there is no safe place for the agent's socket.",
            why="A login session sets it; sudo, su and cron do not.",
            next_step="Use a login session of the same user, or: export XDG_RUNTIME_DIR=/run/user/$(id -u)",
        )
    why = _why_unsafe(base)
    if why:
        raise UsageError(
            f"XDG_RUNTIME_DIR names {base}, which is no safe place for the agent's socket.",
            why=why,
            next_step="Use a login session of the same user, or name a folder of your own with mode 0700.",
        )
    return Path(base) / "devlink"


def _why_unsafe(folder: str) -> str:
    try:
        found = os.stat(folder)
    except OSError as error:
        return f"It cannot be looked at: {error.strerror}."
    if not stat.S_ISDIR(found.st_mode):
        return "It is not a folder."
    if found.st_uid != os.geteuid():
        return f"It belongs to uid {found.st_uid}, and this is uid {os.geteuid()}."
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"Others may write there: its mode is {stat.S_IMODE(found.st_mode):04o}."
    return ""


def agent_socket() -> Path:
    """Where the agent listens."""
    return runtime_folder() / "agent"


def sessions_folder() -> Path:
    """What is up, for an agent that is started again: gone at logout, as the sessions are."""
    return runtime_folder() / "sessions"


def log_file() -> Path:
    """Where an agent that `up` started writes its log."""
    import platformdirs

    return Path(platformdirs.user_log_dir("devlink")) / "agent.log"
