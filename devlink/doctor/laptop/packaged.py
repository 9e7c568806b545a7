"""What a package of devlink puts on a machine whose services systemd manages, and what of it is missing."""

import grp
import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devlink.core.findings import Finding, Severity
from devlink.hints import HELPER_UNIT, has_unit

SOCKETS = ("devlink-helper.socket", "devlink-forwarder.socket", "devlink-files.socket")
UNITS = (*SOCKETS, "devlink-forwarder.service", "devlink-files.service", "devlink-restore.service")
USERS = ("devlink", "devlink-dns")
"""sysusers.d of service/layout; the first is a group, too."""
GROUP = "devlink"
RULES = ("usr/share/polkit-1/rules.d/devlink.rules", "etc/polkit-1/rules.d/devlink.rules")
ASKS_POLKIT = ("run/systemd/resolve", "run/NetworkManager")
"""What is there while systemd-resolved or NetworkManager runs, which let the helper speak only by polkit."""
POLKIT = "usr/share/polkit-1/actions"
ACTIONS = tuple(
    f"{folder}/polkit-1/actions/io.devlink.policy" for folder in ("usr/share", "usr/local/share", "etc", "run")
)
"""Where polkit reads what trust may be given by; before polkit 125 only in the first."""
TMPFILES = tuple(
    str(Path(folder, "tmpfiles.d", "devlink.conf")) for folder in ("usr/lib", "usr/local/lib", "etc", "run")
)
STATE_LIMIT = 1.5
"""Seconds for systemd to say how the helper is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """What was seen of it; nothing is missing where there is no unit of the helper's."""

    units: bool = False
    """Whether systemd knows the helper's unit."""
    missing_units: tuple[str, ...] = ()
    missing_users: tuple[str, ...] = ()
    lacks_group: bool = False
    lacks_polkit_rule: bool = False
    """It is needed here, and is surely not there."""
    lacks_polkit_action: bool = False
    """polkit is there, and does not know that trust can be given."""
    lacks_tmpfiles: bool = False
    state: str = ""
    """What systemd says of the helper, one sentence; empty where all is well or there is no systemd."""

    def findings(self) -> tuple[Finding, ...]:
        """An error where no helper can start so; a warning where only names will lack; else a note."""
        lacking = [f"no unit {unit}" for unit in self.missing_units]
        lacking += [f"no user {user}" for user in self.missing_users]
        lacking += [f"no group {GROUP}"] if self.lacks_group else []
        steps = ["install devlink's package again"] if self.missing_units else []
        if self.missing_users or self.lacks_group:
            steps.append("sudo systemd-sysusers")
        polkit = [f"no /{RULES[0]}"] if self.lacks_polkit_rule else []
        comforts = [f"no /{ACTIONS[0]}: only root can give trust"] if self.lacks_polkit_action else []
        comforts += [f"no /{TMPFILES[0]}"] if self.lacks_tmpfiles else []
        if lacking:
            title = "devlink is installed only in part: its helper cannot do its work."
        elif polkit:
            title = "devlink is installed only in part: the helper may not tell systemd-resolved or NetworkManager."
            steps.append(f"install devlink's package again, or lay down its /{RULES[0]}")
        elif comforts:
            title = "devlink is installed only in part: it works, but not in all as it is meant to."
            steps.append("install devlink's package again")
        else:
            return ()
        return (
            Finding(
                code="DL-INSTALL-HALF",
                severity=Severity.ERROR if lacking else Severity.WARNING if polkit else Severity.INFO,
                title=title,
                evidence=", ".join(lacking + polkit + comforts) + (f". {self.state}" if self.state else ""),
                fix="; ".join(
                    [*steps, "sudo systemctl daemon-reload", f"sudo systemctl enable --now {' '.join(SOCKETS)}"]
                ),
            ),
        )


def look_at_package(root: Path = Path("/")) -> Packaged:
    """Never raises. Blocks, for two seconds at most."""
    if not has_unit(HELPER_UNIT):
        return Packaged()
    return Packaged(
        units=True,
        missing_units=tuple(unit for unit in UNITS if not has_unit(unit)),
        missing_users=tuple(user for user in USERS if not _is_there(pwd.getpwnam, user)),
        lacks_group=not _is_there(grp.getgrnam, GROUP),
        lacks_polkit_rule=lacks_polkit_rule(root),
        lacks_polkit_action=(root / POLKIT).is_dir() and not _is_one_there(root, ACTIONS),
        lacks_tmpfiles=not _is_one_there(root, TMPFILES),
        state=_state(),
    )


def _is_one_there(root: Path, paths: tuple[str, ...]) -> bool:
    return any((root / path).exists() for path in paths)


def _is_there(look_up: object, name: str) -> bool:
    assert callable(look_up)
    try:
        look_up(name)
    except KeyError:
        return False
    return True


def lacks_polkit_rule(root: Path) -> bool:
    """Whether the helper's rule is surely missing where it is needed: not where only root may look."""
    if not (root / POLKIT).is_dir() or not any((root / path).is_dir() for path in ASKS_POLKIT):
        return False
    for path in RULES:
        place = root / path
        if place.parent.is_dir() and not os.access(place.parent, os.R_OK | os.X_OK):
            return False
        if place.exists():
            return False
    return True


def _state() -> str:
    """What systemd says of a helper that is not as it should be."""
    properties = ("ActiveState", "SubState", "Result")
    try:
        done = subprocess.run(
            ["systemctl", "show", "--property", ",".join(properties), HELPER_UNIT],
            capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=STATE_LIMIT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    said = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if done.returncode or said.get("ActiveState") == "active":
        return ""
    return f"systemd says: {', '.join(said.get(each, '?') for each in properties)}."
