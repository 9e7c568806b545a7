"""What is said where devlink does not run: in words, before anything that is Linux's is asked for."""

import sys

from devlink.errors import HelperError

EVERYWHERE = frozenset(("profile", "login", "logout", "completion"))
"""Commands that ask nothing of the system's network but to reach the cluster."""


def check_platform(platform: str, command: str | None) -> None:
    """Raise HelperError where `command` cannot run on a system of that `sys.platform`; None: the bare `devlink`."""
    if platform == "linux":
        return
    if platform != "darwin":
        raise _not_supported(platform)
    if command is None or command in EVERYWHERE:
        return
    raise HelperError(
        f"`devlink {command}` does not work on macOS yet: what there is for it is experimental.",
        why="What would be told to route, /etc/resolver and launchd is worked out; nothing carries it out, and the "
        "helper and the forwarder need Linux.",
        next_step="docs/macos.md says what is there; a Linux virtual machine with a bridged network runs devlink.",
    )


def refuse(platform: str) -> int:
    """Say, before click is asked for, that devlink does not run there; the exit code."""
    error = _not_supported(platform)
    sys.stderr.write(f"Error: {error.what}\n  Why:  {error.why}\n  Next: {error.next_step}\n")
    return error.exit_code


def _not_supported(platform: str) -> HelperError:
    system = "Windows" if platform in ("win32", "cygwin") else f"this system ({platform})"
    return HelperError(
        f"devlink does not run on {system}: it is not supported.",
        why="It sets routes and resolvers through Linux's own interfaces.",
        next_step="Run it in a Linux virtual machine on the same network, for the programs there.",
    )
