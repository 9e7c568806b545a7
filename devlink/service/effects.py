"""What laying down and taking away does to a machine: files, put in place whole, and programs of fixed paths."""

import contextlib
import errno
import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from devlink.errors import HelperError, reason
from devlink.service.owned import CLEAN, weakness

NOBODY_LOGGED_IN = 2**32 - 1
NO_SHELLS = ("/nologin", "/false")
LIMIT = 180.0
"""Seconds for one program; systemd may have a service to stop that takes its time."""


def run(program: str, *words: str, optional: bool = False) -> bool:
    """Run one of the system's programs, by its name or absolute path, with an environment of its own.

    Gives whether it ended well; if not, or where it is not there, raises HelperError unless it is `optional`.
    """
    try:
        done = subprocess.run(
            [_path_of(program), *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=CLEAN, cwd="/", timeout=LIMIT, check=False, text=True, errors="replace",
        )  # fmt: skip
        why = "" if done.returncode == 0 else done.stderr.strip() or f"It ended with status {done.returncode}."
    except subprocess.TimeoutExpired:
        why = f"It did not end in {LIMIT:.0f} s."
    except OSError as error:
        why = reason(error)
    if why and not optional:
        raise HelperError(
            f"`{' '.join((program, *words))}` failed.",
            why=why,
            next_step="Mend that, and run this again: it goes on from there.",
        )
    return not why


def _path_of(program: str) -> str:
    """Raises FileNotFoundError, and HelperError for a program that somebody else could change."""
    places = [program] if program.startswith("/") else [f"{folder}/{program}" for folder in CLEAN["PATH"].split(":")]
    for path in places:
        if os.access(path, os.X_OK):
            found = weakness(path)
            if found is not None:
                raise found.error(f"{path} is not run.")
            return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)


def caller() -> int:
    """The uid of the user who became root to run this process: told by sudo or pkexec, else by the kernel (the user of
    the login that it belongs to, proc_pid_loginuid(5)); 0 where root logged in."""
    for name in ("SUDO_UID", "PKEXEC_UID"):
        if os.environ.get(name, "").isdecimal():
            return int(os.environ[name])
    try:
        uid = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        return 0
    return 0 if uid == NOBODY_LOGGED_IN else uid


def is_known(kind: str, name: str) -> bool:
    """Whether the machine has a user (`passwd`) or a group (`group`) of that name."""
    try:
        _ = pwd.getpwnam(name) if kind == "passwd" else grp.getgrnam(name)
    except KeyError:
        return False
    return True


def logs_in(user: str) -> bool:
    """Whether there is such a user, with a shell: a person, perhaps, and none of a service's users."""
    try:
        shell = pwd.getpwnam(user).pw_shell
    except KeyError:
        return False
    return not shell.endswith(NO_SHELLS)


def make_folder(folder: Path) -> None:
    """Make it with those on the way, 0755 each, whatever the umask. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir()
    folder.chmod(0o755)


def write(path: Path, content: str | bytes, *, mode: int = 0o644, sync: bool = True) -> None:
    """Put a file in place, whole or not at all, with this mode and as this process's. Raises OSError."""
    make_folder(path.parent)
    new = _beside(path)
    new.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(new, flags, 0o600), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        new.replace(path)
    except OSError:  # of a full disk it would have the rest
        remove_file(new)
        raise


def lay_programs(target: Path, files: Mapping[str, bytes], compile_all: Callable[[Path], None]) -> None:
    """Put the folder of programs in place: made beside, with what `compile_all` adds, on the disk, then renamed.

    Raises OSError and what `compile_all` raises; then the one that was there is there.
    """
    new, old = _versions_beside(target)
    remove_tree(new)
    make_folder(new)
    for path, content in files.items():
        write(new / path, content, sync=False)
    compile_all(new)
    for at, folders, names in os.walk(new):
        for name in (*folders, *names):
            _sync(Path(at, name))
    remove_tree(old)
    if target.exists():
        target.replace(old)
    new.replace(target)
    _sync(target.parent)
    remove_tree(old)


def remove_unfinished(programs: Path, files: Iterable[Path]) -> None:
    """Remove what `lay_programs` and `write` leave beside where they were killed. Raises OSError."""
    for folder in _versions_beside(programs):
        remove_tree(folder)
    for path in files:
        remove_file(_beside(path))


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.devlink-new")


def _versions_beside(target: Path) -> tuple[Path, Path]:
    """Where a folder of programs is made, and where the one goes in whose place it comes."""
    return target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")


def remove_tree(folder: Path) -> None:
    """Remove it with all in it, where it is there. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def remove_file(path: Path) -> None:
    """Remove it where it is there. Raises OSError."""
    if os.path.lexists(path):  # where nothing can be written the kernel refuses before it looks
        path.unlink(missing_ok=True)


def remove_empty(folder: Path) -> None:
    """Remove a folder where nothing is in it. Raises OSError for another reason than that it has something."""
    if not folder.is_dir():  # as in `remove_file`
        return
    try:
        folder.rmdir()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EBUSY):
            raise


def remove_bytecode(folder: Path) -> None:
    """Remove what a Python compiled in it, however deep. Raises OSError."""
    for cache in list(folder.rglob("__pycache__")):
        remove_tree(cache)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
