"""Where the agent keeps its things, by the XDG base directories of its user."""

import os
from pathlib import Path

from devlink.errors import UsageError


def runtime_folder() -> Path:
    """`$XDG_RUNTIME_DIR/devlink`. Raises UsageError without one: a fallback in /tmp would be anyone's to squat."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if not base.startswith("/"):
        raise UsageError(
            "XDG_RUNTIME_DIR is not set, so there is no safe place for the agent's socket.",
            why="A login session sets it; sudo, su and cron do not.",
            next_step="Use a login session of the same user, or: export XDG_RUNTIME_DIR=/run/user/$(id -u)",
        )
    return Path(base) / "devlink"


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
