"""What a person types next to mend the helper: lines that hold on this machine, whoever manages its services."""

import os
import shlex
import sys

from devlink.run import argv

MANAGED = "/run/systemd/system"
"""A folder that is there where systemd manages the services (sd_booted(3))."""
UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
"""Where systemd finds the units of the system (systemd.unit(5))."""
HELPER_UNIT = "devlink-helper.service"


def as_root(*words: str) -> str:
    """The line that runs this program's command `words` as root, quoted for a shell.

    With an absolute path: on root's PATH there may be iproute2's program of the same name.
    """
    return shlex.join((*(() if os.geteuid() == 0 else ("sudo",)), *program(), *words))


def program() -> tuple[str, ...]:
    """This program, by an absolute path: as it was called, else as it is installed, else by its interpreter."""
    installed = os.path.join(os.path.dirname(sys.executable), "devlink")
    for path in (sys.argv[0], installed):
        if os.path.basename(path) == "devlink" and os.access(path, os.X_OK):
            return (os.path.realpath(path),)
    return argv("devlink.cli")


def has_unit(unit: str) -> bool:
    """Whether systemd manages this machine's services and knows a unit of this name."""
    if not os.path.isdir(MANAGED):
        return False
    return any(os.path.exists(os.path.join(folder, unit)) for folder in UNIT_FOLDERS)


def start_helper() -> str:
    """How a helper is started that does not run."""
    if has_unit(HELPER_UNIT):
        return f"See why it does not run: systemctl status {HELPER_UNIT}"
    by_hand = f"in a terminal of its own: {as_root('helper', 'run')}"
    if os.path.isdir(MANAGED):
        return f"Install it as a service: {as_root('helper', 'install')}; or start it, {by_hand}"
    return f"Start it, {by_hand}"


def restart_helper() -> str:
    """How a helper of another version is replaced."""
    if has_unit(HELPER_UNIT):
        return f"Restart the helper: sudo systemctl restart {HELPER_UNIT}"
    return f"Stop the helper that runs, and start this version's: {as_root('helper', 'run')}"


def log_of(unit: str, otherwise: str) -> str:
    """Where a service says why it failed; `otherwise` where no unit of that name is installed."""
    return f"Its log says more: journalctl -u {unit}" if has_unit(unit) else otherwise
