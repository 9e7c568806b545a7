"""Whether nobody but root can change what lies at a path, and a Python of which that is true."""

import json
import os
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devlink.errors import HelperError
from devlink.helper.access import user_name

MAX_LINKS = 40
"""Symbolic links on one path, as the kernel has it (path_resolution(7))."""
OLDEST_PYTHON = (3, 11)
ASK_LIMIT = 20.0
"""Seconds for a Python to say where it looks."""
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
"""The environment of every program that is run: nothing of the caller's."""
_WHERE = "import json, sys; print(json.dumps([sys.version_info[:2], sys.path, sys.implementation.name]))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weakness:
    """A part of a path that somebody else could change."""

    part: str
    """The path to it."""
    why: str
    """One sentence."""
    fix: str
    """The line that mends it."""

    def error(self, what: str) -> HelperError:
        """The refusal: `what` is not done."""
        return HelperError(what, why=self.why, next_step=f"If that is not meant so: {self.fix}; then run this again.")


def weakness(path: str, *, root: Path = Path("/"), owner: int = 0, also: Iterable[int] = ()) -> Weakness | None:
    """The first part of `path`, taken below `root`, that is not `owner`'s alone (a uid); None where there is none.

    Each part is looked at, also where links of `owner`'s lead, until one that is not there. A folder with the sticky
    bit is no better: anyone may make there what is missing. The last part may be a user's of `also`. Raises OSError.
    """
    links = 0
    pending = [part for part in reversed(path.split("/")) if part]
    at: list[str] = []
    found = _of_part(root, "/", owner, ())
    while found is None and pending:
        part = pending.pop()
        if part in (".", ".."):
            at = at[:-1] if part == ".." else at
            continue
        place = root.joinpath(*at, part)
        try:
            is_link = place.is_symlink()
            found = _of_part(place, "/" + "/".join([*at, part]), owner, () if pending else also)
        except FileNotFoundError:
            return None
        if not is_link:
            at.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            shown = str(place)
            return Weakness(part=shown, why=f"Links lead round in a circle at {shown}.", fix=f"sudo rm {shown}")
        target = os.readlink(place)
        at = [] if target.startswith("/") else at
        pending += [each for each in reversed(target.split("/")) if each]
    return found


def weakness_below(folder: str, *, root: Path = Path("/"), owner: int = 0) -> Weakness | None:
    """The first thing in `folder`, however deep, that is not `owner`'s alone. Links are not followed.

    Packages that were added to a Python are left out: they are not on the path of `-I -S`.
    """
    top = root / folder.lstrip("/")
    for at, folders, files in os.walk(top):
        folders[:] = [name for name in folders if name not in ("dist-packages", "site-packages")]
        for name in (*folders, *files):
            place = Path(at, name)
            found = _of_part(place, "/" + str(place.relative_to(root)), owner, ())
            if found is not None:
                return found
    return None


def interpreter(
    running: str, version: tuple[int, int], *, root: Path = Path("/"), owner: int = 0
) -> str:  # fmt: skip
    """A Python that nobody but root can change, with all that it looks into. Raises HelperError.

    The system's own first: it is there after an upgrade of the system as well, and what it shall run is pure Python.
    Then the Pythons of `version`, then the one that is `running`.
    """
    name = f"python{version[0]}.{version[1]}"
    refused: list[str] = []
    for path in ("/usr/bin/python3", f"/usr/bin/{name}", f"/usr/local/bin/{name}", running):
        place = root / path.lstrip("/")
        if not os.access(place, os.X_OK) or any(letter.isspace() for letter in path):
            continue
        found = weakness(path, root=root, owner=owner)
        if found is None:
            why = _unfit(path, str(place), root, owner)
            if not why:
                return path
            refused.append(why)
        else:
            refused.append(found.why)
    raise HelperError(
        "There is no Python that system services may run.",
        why=" ".join(dict.fromkeys(refused)) or "None is installed for the system.",
        next_step="Install the system's own python3, of version 3.11 or later; your devlink may stay with the Python "
        "that it has.",
    )


def _unfit(path: str, program: str, root: Path, owner: int) -> str:
    try:
        said = subprocess.run(
            [program, "-I", "-S", "-c", _WHERE], capture_output=True, check=True, timeout=ASK_LIMIT, env=CLEAN, cwd="/"
        ).stdout
        version, folders, kind = json.loads(said)
    except (OSError, subprocess.SubprocessError, ValueError):
        return f"{path} does not run."
    if tuple(version) < OLDEST_PYTHON or kind != "cpython":
        return f"{path} is {kind} {'.'.join(map(str, version))}."
    for folder in folders:
        found = weakness(folder, root=root, owner=owner) or weakness_below(folder, root=root, owner=owner)
        if found is not None:
            return found.why
    return ""


def _of_part(place: Path, shown: str, owner: int, also: Iterable[int]) -> Weakness | None:
    """Raises OSError where it is not there."""
    found = place.lstat()
    if found.st_uid != owner and found.st_uid not in also:
        return Weakness(
            part=shown, why=f"{shown} belongs to user {user_name(found.st_uid)}.", fix=f"sudo chown -h root: {shown}"
        )
    if stat.S_ISLNK(found.st_mode):
        return None  # a link's own mode means nothing
    who = [letter for letter, bit in (("g", stat.S_IWGRP), ("o", stat.S_IWOTH)) if found.st_mode & bit]
    if not who:
        return None
    others = "everyone" if "o" in who else f"the group {_group_name(found.st_gid)}"
    mode = stat.S_IMODE(found.st_mode)
    return Weakness(
        part=shown,
        why=f"{shown} may be written by {others} (mode {mode:o}).",
        fix=f"sudo chmod {''.join(who)}-w {shown}",
    )


def _group_name(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
