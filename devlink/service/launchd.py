"""EXPERIMENTAL: devlink's processes as jobs of macOS's launchd (launchd.plist(5), launchctl(1)). PURE.

Nothing here was ever run on macOS; docs/macos.md says what is missing. macOS has no capabilities, and route(8) needs
root: the helper would be root there, unlike on Linux.
"""

import plistlib
from collections.abc import Sequence
from pathlib import PurePosixPath

AGENT, HELPER = "io.devlink.agent", "io.devlink.helper"
"""The jobs' labels."""
HELPER_PLIST = PurePosixPath("/Library/LaunchDaemons", f"{HELPER}.plist")
"""Root's, mode 0644, or launchd refuses it."""
HELPER_LOG = PurePosixPath("/Library/Logs/devlink-helper.log")
BACK_OFF = 5
"""Seconds between two starts of a job that ends."""


def agent_plist(home: PurePosixPath) -> PurePosixPath:
    """Where the user's job lies."""
    return home / "Library/LaunchAgents" / f"{AGENT}.plist"


def agent_job(command: Sequence[str], home: PurePosixPath) -> bytes:
    """The user's job, from login to logout: started again where it fails, not where it ends by itself.

    launchd gives no variables of the user's shell: no KUBECONFIG, no proxy.
    """
    log = str(home / "Library/Logs/devlink-agent.log")
    return _plist(
        {
            "Label": AGENT,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": BACK_OFF,
            "LimitLoadToSessionType": "Aqua",
            "ProcessType": "Background",
            "StandardErrorPath": log,
        }
    )


def helper_job(command: Sequence[str]) -> bytes:
    """The machine's job, from boot on, as root."""
    return _plist(
        {
            "Label": HELPER,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "KeepAlive": True,
            "ThrottleInterval": BACK_OFF,
            "UserName": "root",
            "Umask": 0o022,
            "StandardErrorPath": str(HELPER_LOG),
        }
    )


def start_agent(uid: int, home: PurePosixPath) -> tuple[str, ...]:
    """The command that loads and starts the user's job."""
    return ("/bin/launchctl", "bootstrap", f"gui/{uid}", str(agent_plist(home)))


def stop_agent(uid: int) -> tuple[str, ...]:
    """The command that ends and unloads it."""
    return ("/bin/launchctl", "bootout", f"gui/{uid}/{AGENT}")


def start_helper() -> tuple[str, ...]:
    """The command that loads and starts the machine's job; for root."""
    return ("/bin/launchctl", "bootstrap", "system", str(HELPER_PLIST))


def stop_helper() -> tuple[str, ...]:
    """The command that ends and unloads it; for root."""
    return ("/bin/launchctl", "bootout", f"system/{HELPER}")


def _plist(job: dict[str, object]) -> bytes:
    return plistlib.dumps(job, fmt=plistlib.FMT_XML)
