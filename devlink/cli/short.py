"""`devlink status --short`: what is up, for a shell prompt. It imports neither click nor asyncio, and never hangs."""

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

LIMIT = 0.2
"""Seconds for the agent's answer: a shell waits for its prompt."""
MARKS = {"up": "", "degraded": "!"}
"""Behind the name; ON_ITS_WAY behind one in any other state."""
ON_ITS_WAY = "~"
UNKNOWN = "?"
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/")
"""What no shell takes for anything else in a prompt, also where it expands it once more."""


def is_asked_for(words: Sequence[str]) -> bool:
    """Whether the arguments of `devlink` ask for this, and for nothing besides."""
    return list(words) == ["status", "--short"]


def show() -> int:
    """Print the one line and give the exit code, which is that of `devlink status`. Nothing goes to stderr."""
    line, code = _asked()
    if line:
        try:
            os.write(1, f"{line}\n".encode())
        except OSError:  # whoever read it has gone, and a prompt has no place for more words
            return 1
    return code


def told(status: Mapping[str, Any]) -> str:
    """`io.devlink.Agent.AgentStatus` in short: `qa`, `qa!` degraded, `qa~` suspended or on its way. Empty: nothing."""
    sessions = [f"{_plain(each['name'])}{MARKS.get(each['state'], ON_ITS_WAY)}" for each in status["sessions"]]
    coming = [*status.get("asking", ()), *(each["profile"] for each in status.get("waiting", ()))]
    return " ".join(dict.fromkeys((*sessions, *(f"{_plain(profile)}{ON_ITS_WAY}" for profile in coming))))


def exit_code(status: Mapping[str, Any]) -> int:
    """0 all that is wanted is up, 3 nothing is there (yet), 4 something is degraded, suspended or waits."""
    if not status["sessions"]:
        return 3
    return 0 if not status.get("waiting") and all(each["state"] == "up" for each in status["sessions"]) else 4


def _asked() -> tuple[str, int]:
    """What to print, and the exit code."""
    from devlink.agent.places import agent_socket
    from devlink.errors import DevlinkError, HelperError, UsageError
    from devlink.rpc.client import Client

    before = signal.signal(signal.SIGALRM, _too_late)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)  # over all: a socket's own limit starts anew with each octet
    try:
        with Client.connect(agent_socket(), timeout=None) as agent:
            # As the agent knows it: to look at the whole network anew takes longer than a prompt may.
            asked = {"routes": False, "look": False}
            status = agent.call("io.devlink.Agent.Status", asked)["status"]
            return told(status), exit_code(status)
    except (FileNotFoundError, ConnectionRefusedError):
        return "", 3
    except UsageError as error:  # su or cron: there is no place where an agent could listen
        return "", error.exit_code
    except DevlinkError as error:
        return UNKNOWN, error.exit_code
    except (OSError, LookupError, TypeError, ValueError):  # TimeoutError is an OSError; or it is no agent of ours
        return UNKNOWN, HelperError.exit_code
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _too_late(*_: object) -> None:
    raise TimeoutError


def _plain(name: object) -> str:
    return "".join(character if character in PLAIN else UNKNOWN for character in str(name))
