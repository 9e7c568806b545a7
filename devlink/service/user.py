"""The agent as a service of its user: installed, removed, started and looked at, by the user's own manager."""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from devlink import run
from devlink.errors import ConflictError, UnexpectedError, UsageError, reason
from devlink.hints import MANAGED
from devlink.private_files import write_private
from devlink.service import unit
from devlink.service.unit import NAME, Written

QUICK_LIMIT = 10.0
"""Seconds for the manager to answer."""
CHANGE_LIMIT = 60.0
"""Seconds to stop and start: sessions go down first."""
START_LIMIT = 10.0
"""Seconds for a start that somebody waits for at a terminal."""
RESTART = f"systemctl --user restart {NAME}"
"""What a person types to have the agent be that of the installed version; what is up stays up."""
LINGERING = Path("/var/lib/systemd/linger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How it stands with the service."""

    file: str
    installed: bool
    """Whether our unit is there."""
    enabled: bool = False
    active: str = "inactive"
    """As systemd has it: active, activating, deactivating, inactive, failed; unknown where no manager says."""
    since: float | None = None
    """Seconds, of one that is active."""
    restarts: int = 0
    """How often it failed since it was started by hand or at login."""
    lingers: bool = False
    """Whether it runs from boot on, and after logout."""
    profiles: tuple[str, ...] = ()
    """As it was installed for; none is the default one."""


def file() -> Path:
    """Where the unit lies: where the manager looks, which may not know an XDG_CONFIG_HOME that only a shell has.

    Raises UnexpectedError where that is to be asked and the manager does not answer.
    """
    folder, usual = (Path(each) / "user" for each in (platformdirs.user_config_dir("systemd"), "~/.config/systemd"))
    usual = usual.expanduser()
    if folder != usual and _why_unmanaged() is None:
        looked_in = _systemctl("show", "--property=UnitPath", "--value").stdout.strip()
        if f" {folder} " not in f" {looked_in} ":
            folder = usual
    return folder / NAME


def is_managed() -> bool:
    """Whether the user's manager runs and a unit of this name is installed. Quick, but for an odd XDG_CONFIG_HOME."""
    try:
        return _why_unmanaged() is None and file().exists()
    except UnexpectedError:
        return False


def start() -> bool:
    """Have the manager start it. Whether it runs then; within START_LIMIT seconds."""
    try:
        return _systemctl("start", NAME, limit=START_LIMIT).returncode == 0
    except UnexpectedError:
        return False


def is_restarting() -> bool:
    """For the agent that was told to end: whether another takes its place; False where the manager is silent."""
    try:
        jobs = _systemctl("list-jobs", "--no-legend", "--plain", NAME, limit=2.0).stdout.split()
    except UnexpectedError:
        return False
    return "restart" in jobs or "try-restart" in jobs


def install(profiles: Sequence[str], environ: Mapping[str, str], *, starting: bool) -> str:
    """Write the unit, enable it, and unless `starting` is False start it, or anew; its text.

    `environ` is the caller's, whose paths mean the same in any folder. Raises UsageError where no manager runs,
    ConflictError where a unit of that name is not ours, UnexpectedError with what systemd says against it.
    """
    check_manager()
    path = file()
    before = _read(path)
    if before is None and os.path.lexists(path):
        raise ConflictError(
            f"{path} is not devlink's, or was changed by hand.",
            why="Its first line says nothing of `devlink service install`.",
            next_step=f"Keep it elsewhere and try again: mv {path} {path}.old",
        )
    made = before.folders if before is not None else tuple(str(folder) for folder in _missing(path.parent))
    written = Written(profiles=tuple(profiles), folders=made)
    version = unit.version_of(_systemctl("--version").stdout)
    command = run.argv("devlink.agent", *unit.arguments(profiles))
    wanted = unit.text(command, written, environ, version)
    try:
        write_private(path, wanted)
    except OSError as error:
        raise UsageError(
            f"The unit cannot be written: {path}.", why=reason(error), next_step="See that the folder is yours."
        ) from error
    _told("daemon-reload")
    _told("enable", NAME)
    if starting:
        _told("restart", NAME, limit=CHANGE_LIMIT)
    return wanted


def uninstall() -> bool:
    """Stop it, with its sessions, and remove what `install` made. Whether anything was there. Works on half of it, too.

    Raises ConflictError where the unit is not ours, UnexpectedError where it does not stop: then nothing is removed.
    """
    path = file()
    written = _read(path)
    if written is None and os.path.lexists(path):
        raise ConflictError(
            f"{path} is not devlink's, or was changed by hand.", next_step=f"Remove it yourself: rm {path}"
        )
    link = path.parent / "default.target.wants" / NAME
    was_there = written is not None or os.path.lexists(link)
    is_running = _why_unmanaged() is None
    if is_running and _show().get("ActiveState", "inactive") != "inactive":
        was_there = True
        _told("stop", NAME, limit=CHANGE_LIMIT)
    link.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    if is_running and was_there:
        _told("daemon-reload")
        _systemctl("reset-failed", NAME)  # one that had failed is told of for ever else; it may not have
    made = written.folders if written is not None else ()
    for folder in (*([link.parent] if was_there else []), *map(Path, reversed(made))):
        try:
            folder.rmdir()
        except OSError:  # it is gone, or has something of another's
            continue
    return was_there


def look() -> Seen:
    """How it stands; never raises for what is not there. Raises UnexpectedError where the manager does not answer."""
    path = file()
    written = _read(path)
    seen = Seen(
        file=str(path),
        installed=written is not None,
        lingers=_lingers(),
        profiles=written.profiles if written is not None else (),
    )
    if _why_unmanaged() is not None:
        enabled = os.path.lexists(path.parent / "default.target.wants" / NAME)
        return replace(seen, enabled=enabled, active="unknown")
    shown = _show()
    entered = int(shown.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
    is_active = shown.get("ActiveState") == "active"
    return replace(
        seen,
        enabled=shown.get("UnitFileState", "").startswith("enabled"),
        active=shown.get("ActiveState") or "inactive",
        since=max(time.monotonic() - entered, 0.0) if is_active else None,
        restarts=int(shown.get("NRestarts") or 0),
    )


def _read(path: Path) -> Written | None:
    try:
        return unit.read(path.read_text("utf-8", "replace"))
    except OSError:
        return None


def _missing(folder: Path) -> list[Path]:
    """The folders that are not there on the way to that one, the uppermost first."""
    return [each for each in reversed((folder, *folder.parents)) if not each.exists()]


def _lingers() -> bool:
    try:
        return (LINGERING / pwd.getpwuid(os.geteuid()).pw_name).exists()
    except (KeyError, OSError):
        return False


def _why_unmanaged() -> str | None:
    """Why no manager of this user's can be asked; None where one runs."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if not os.path.isdir(MANAGED):
        return "This machine's services are not systemd's, as in a container, or in WSL without `systemd=true`."
    if shutil.which("systemctl") is None:
        return "systemctl is not on the PATH."
    if not runtime or not os.path.exists(os.path.join(runtime, "systemd", "private")):
        return "This is no login session that PAM opened, as after sudo, su, or ssh with UsePAM off."
    return None


def check_manager() -> None:
    """Raise UsageError where no manager of this user's runs."""
    why = _why_unmanaged()
    if why is None:
        return
    raise UsageError(
        "There is no manager of your own services to install it with.",
        why=why,
        next_step="Log in as this user and try again."
        if os.path.isdir(MANAGED)
        else "`devlink up` works without it, where XDG_RUNTIME_DIR names a folder of yours: put that where your shells "
        "start.",
    )


def _show() -> dict[str, str]:
    keys = "ActiveState,UnitFileState,ActiveEnterTimestampMonotonic,NRestarts"
    said = _systemctl("show", f"--property={keys}", NAME).stdout
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def _told(*words: str, limit: float = QUICK_LIMIT) -> None:
    done = _systemctl(*words, limit=limit)
    if done.returncode:
        raise UnexpectedError(
            f"systemctl --user {' '.join(words)} failed.",
            why=f"{' '.join(done.stderr.split())}".strip() or f"It ended with {done.returncode}.",
            next_step=f"See why: journalctl --user -u {NAME}",
        )


def _systemctl(*words: str, limit: float = QUICK_LIMIT) -> "subprocess.CompletedProcess[str]":
    """Raises UnexpectedError where it cannot be run, or does not end."""
    try:
        return subprocess.run(
            ["systemctl", "--user", "--no-pager", "--no-ask-password", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise UnexpectedError(
            f"Your service manager does not answer within {limit:g} s.",
            why=f"It was asked: systemctl --user {' '.join(words)}.",
            next_step=f"See what it does: systemctl --user status {NAME}",
        ) from error
    except OSError as error:
        raise UnexpectedError(
            "systemctl cannot be run.", why=reason(error), next_step="See that systemd is whole: systemctl --version"
        ) from error
