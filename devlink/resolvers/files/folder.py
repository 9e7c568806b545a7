"""What the process works with in a folder of root's: opened without symlinks, names read, made, removed, told apart."""

import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from devlink.errors import HelperError
from devlink.resolvers.programs import is_roots_alone
from devlink.resolvers.resolv_conf import NAME

log = logging.getLogger(__name__)

_OWN_ATTRIBUTES = ("security.ima", "security.evm", "security.capability", "trusted.")
"""What says something of one file's content or place, and would be wrong on another."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened(path: str) -> Iterator[int]:
    """The folder, by no symlink, which like every one above it only root may change; every OSError from within becomes
    a HelperError about the resolv.conf in it."""
    name = os.path.join(path, NAME)
    try:
        folder = _open_folder(path)
        try:
            yield folder
        finally:
            os.close(folder)
    except OSError as error:
        raise explain(name, error) from error


def _open_folder(path: str) -> int:
    """As openat2(2) with RESOLVE_NO_SYMLINKS, which old kernels and some sandboxes lack, and each step is looked at."""
    folder = os.open("/", _FOLDER)
    try:
        walked = "/"
        _check(folder, walked, is_last=False)
        steps = [step for step in path.split("/") if step]
        for number, step in enumerate(steps):
            inner = os.open(step, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
            walked = os.path.join(walked, step)
            _check(folder, walked, is_last=number == len(steps) - 1)
    except BaseException:
        os.close(folder)
        raise
    return folder


def _check(folder: int, path: str, *, is_last: bool) -> None:
    """Raise HelperError if another than root (or who we are) may put something else under a name in this folder."""
    status = os.fstat(folder)
    if not is_roots_alone(status, is_above=not is_last):
        raise HelperError(
            f"{NAME} is not touched.",
            why=f"Others than root may write in {path}, or own it.",
            next_step=f"Make {path} root's, with mode 0755.",
        )


def is_present(folder: int, name: str) -> bool:
    """Whether anything has this name, a symlink that leads nowhere too."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_mounted(folder: int, name: str) -> bool:
    """Whether something is mounted on the very name, as in a container: it cannot be replaced then, only written.

    The kernel tells in which mount an open file lies (proc_pid_fdinfo(5), `mnt_id`); a device number would not do,
    since what is mounted may come from the same file system.
    """
    try:
        file = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return False
    try:
        return _mount_of(file) != _mount_of(folder)
    finally:
        os.close(file)


def _mount_of(file: int) -> str:
    with open(f"/proc/self/fdinfo/{file}", encoding="ascii") as info:
        return next((line.split()[1] for line in info if line.startswith("mnt_id:")), "")


def create(folder: int, name: str) -> int:
    """A new file, open for writing, for root's eyes until it is dressed. Raises FileExistsError."""
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)


def write(file: int, data: bytes) -> None:
    """Put all of it at the file's beginning."""
    done = 0
    while done < len(data):  # a disk that is nearly full takes a part without an error
        done += os.pwrite(file, data[done:], done)


def dress(folder: int, file: int) -> None:
    """Give a new file what the present resolv.conf has: mode and owner, an access list, the label of a security module.

    Of a symlink only the label is taken: it has no mode of its own, and what it leads to lies elsewhere.
    """
    mode, owner, group = 0o644, os.geteuid(), os.getegid()
    names: list[str] = []
    path = f"/proc/self/fd/{folder}/{NAME}"
    try:
        before = os.stat(NAME, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(before.st_mode):
            mode, owner, group = stat.S_IMODE(before.st_mode), before.st_uid, before.st_gid
        names = os.listxattr(path, follow_symlinks=False)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.ENOSYS):
            raise
    if (owner, group) != (os.geteuid(), os.getegid()):
        os.fchown(file, owner, group)
    os.fchmod(file, mode)
    for name in names:
        if not name.startswith(_OWN_ATTRIBUTES):
            try:
                os.setxattr(file, name, os.getxattr(path, name, follow_symlinks=False))
            except OSError as error:  # a label that we may not give: a policy that minds says so by refusing the rename
                log.warning("%s of %s could not be kept: %s", name, NAME, error.strerror)


def remove(folder: int | None, name: str) -> None:
    """Remove a name, if it is there. `folder` is open, None for the working one; so in `is_named`."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def identity(folder: int) -> tuple[int, int, int] | None:
    """What tells whether another program replaced or rewrote resolv.conf: its inode and the time of the last write.

    Not the time of change, which our own second name moves.
    """
    try:
        status = os.stat(NAME, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def is_named(folder: int | None, name: str, file: int) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(file))
    except FileNotFoundError:
        return False


def explain(path: str, error: OSError) -> HelperError:
    """What the system's refusal means for a person."""
    why, next_step = f"The system said: {error.strerror or error}.", "Try again; if it stays, see the helper's log."
    if error.errno in (errno.EBUSY, errno.EXDEV):
        why = "It became a mount of its own at this moment, which cannot be replaced."
        next_step = "Try again, or run `devlink up --no-dns`."
    elif error.errno == errno.EROFS:
        why = "It is mounted read-only."
        next_step = "Make it writable, or run `devlink up --no-dns`."
    elif error.errno in (errno.EPERM, errno.EACCES):
        why = f"The system refuses it ({error.strerror}): it may be immutable, or kept by a security policy."
        next_step = (
            f"See `lsattr {path}`; `chattr -i {path}` makes it changeable, `devlink up --no-dns` leaves it alone."
        )
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        why, next_step = "The disk is full.", "Free some space, then try again."
    return HelperError(f"{path} could not be changed.", why=why, next_step=next_step)
