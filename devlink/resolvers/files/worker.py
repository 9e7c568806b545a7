"""Replaces resolv.conf and puts it back, so that no kill and no power cut loses the file from before.

The order is the safety. Write: the file from before gets a second name (a hard link, so that Restore brings back the
very inode, symlinks included), that name is made durable, and only then ours is renamed over the first name. Restore:
one rename. At every moment there is a whole file, and whoever comes next can tell from the two names what to do:

    resolv.conf   backup     came from                      Restore does
    foreign       none       before Write, after Restore    nothing
    foreign       the same   Write, not finished            drop the backup
    foreign       another    another program wrote          drop the backup, which is older
    ours          any        Write                          rename the backup over ours (or remove ours: none before)
    ours          lost       another program removed it     write one with the nameservers that ours noted
    none          any        another program removed ours   rename the backup back
"""

import errno
import fcntl
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.faults import POINTS, fault_point
from devlink.resolvers.resolvconf_text import BACKUP_NAME, STAGE_NAME, ResolvConf, parse, render, render_before

log = logging.getLogger(__name__)

NAME = "resolv.conf"
MAX_SIZE = 1 << 16
"""Octets of a resolv.conf that are read."""
LOCK_LIMIT = 3.0
"""Seconds to wait for another process at the same work."""
RETRIES = 3

POINTS.update(
    {
        "files.write.asked": "the order has come, nothing is locked",
        "files.write.locked": "the stage exists, empty",
        "files.write.linked": "the file from before has its second name",
        "files.write.staged": "our text is complete on the disk",
        "files.write.renamed": "our text is resolv.conf",
        "files.restore.asked": "the order has come, nothing is locked",
        "files.restore.locked": "the stage exists, empty",
        "files.restore.renamed": "the file from before is resolv.conf again, or ours is removed",
        "files.restore.dropped": "the backup is gone",
    }
)


class _ChangedMeanwhileError(Exception):
    """Another program replaced resolv.conf between two of our steps."""


class Worker:
    """Write and Restore in one folder. Both may be repeated, and killed at any moment."""

    def __init__(self, folder: str, *, is_called_off: Callable[[], bool] = bool) -> None:
        """`is_called_off` says that whoever asked has died. It is asked under the lock: a successor that looked before
        us has seen that there is nothing of ours, one that looks after us waits until we have ended."""
        self._folder = folder
        self._is_called_off = is_called_off

    def write(self, address: IPAddress) -> None:
        """Make `address` the only nameserver and keep the file from before. Raises HelperError, nothing changed."""
        fault_point("files.write.asked")
        with self._opened() as folder:
            for _ in range(RETRIES):
                try:
                    self._write(folder, address)
                    return
                except _ChangedMeanwhileError:
                    continue
        raise HelperError(
            f"{self._path} could not be written.",
            why="Another program replaces it again and again.",
            next_step=f"Find out which one writes {self._path}, and stop it.",
        )

    def restore(self, address: IPAddress | None = None) -> None:
        """Put the file from before back where the present one is ours (and names `address`, if that is given).

        Raises HelperError; nothing is changed then.
        """
        fault_point("files.restore.asked")
        with self._opened() as folder:
            if not self._is_present(folder, BACKUP_NAME) and not self._is_present(folder, STAGE_NAME):
                present = _read_ours(folder)
                if present is None or not present.is_ours:
                    return  # nothing to do, and a folder that is read-only need not know
            with self._stage(folder) as stage:
                fault_point("files.restore.locked")
                self._restore(folder, stage, address)
            os.fsync(folder)

    @property
    def _path(self) -> str:
        return os.path.join(self._folder, NAME)

    def _write(self, folder: int, address: IPAddress) -> None:
        with self._stage(folder) as stage:
            fault_point("files.write.locked")
            seen = _identity(folder)
            present = _read_ours(folder)
            if present is not None and present.is_ours and present.header is not None:
                kept = False
                text = render(address, present, had_file=present.header.had_file)
                if text == _read(folder, NAME):
                    return
            else:
                before = parse(_read(folder, NAME, follow=True) or "")
                kept = self._keep(folder)
                text = render(address, before, had_file=kept)
            try:
                fault_point("files.write.linked")
                self._fill(folder, stage, text)
                os.fsync(folder)
                fault_point("files.write.staged")
                if _identity(folder) != seen:
                    raise _ChangedMeanwhileError
                os.rename(STAGE_NAME, NAME, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                if kept:
                    _remove(folder, BACKUP_NAME)
                raise
            fault_point("files.write.renamed")
            os.fsync(folder)
        log.info("wrote %s: nameserver %s", self._path, address)

    def _keep(self, folder: int) -> bool:
        """Give the present file its second name; False where there is none."""
        # One that is there already is older than the present file, or the same: a foreign file is always the newest.
        _remove(folder, BACKUP_NAME)
        try:
            os.link(NAME, BACKUP_NAME, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _fill(self, folder: int, stage: int, text: str) -> None:
        data = text.encode(errors="surrogateescape")
        while data:  # a disk that is nearly full takes a part without an error
            data = data[os.write(stage, data) :]
        mode, owner, group = 0o644, os.geteuid(), os.getegid()
        try:
            before = os.stat(NAME, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(before.st_mode):
                mode, owner, group = stat.S_IMODE(before.st_mode), before.st_uid, before.st_gid
        except FileNotFoundError:
            pass
        if (owner, group) != (os.geteuid(), os.getegid()):
            os.fchown(stage, owner, group)
        os.fchmod(stage, mode)
        os.fsync(stage)

    def _restore(self, folder: int, stage: int, address: IPAddress | None) -> None:
        present = _read_ours(folder)
        has_backup = self._is_present(folder, BACKUP_NAME)
        if present is not None and present.is_ours and present.header is not None:
            if address is not None and present.header.address != address:
                return  # written for another forwarder: its backup is not ours to judge
            if not present.header.had_file:
                _remove(folder, NAME)
            elif has_backup:
                os.rename(BACKUP_NAME, NAME, src_dir_fd=folder, dst_dir_fd=folder)
            else:
                log.warning("%s: the file from before is gone, and is written again", self._path)
                self._fill(folder, stage, render_before(present))
                os.rename(STAGE_NAME, NAME, src_dir_fd=folder, dst_dir_fd=folder)
            log.info("restored %s", self._path)
        elif has_backup and not self._is_present(folder, NAME):
            os.rename(BACKUP_NAME, NAME, src_dir_fd=folder, dst_dir_fd=folder)
            log.info("restored %s, which another program had removed", self._path)
        os.fsync(folder)
        fault_point("files.restore.renamed")
        _remove(folder, BACKUP_NAME)
        fault_point("files.restore.dropped")

    @staticmethod
    def _is_present(folder: int, name: str) -> bool:
        try:
            os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The folder, checked; every OSError from within becomes a HelperError."""
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                status = os.fstat(folder)
                if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
                    raise HelperError(
                        f"{self._path} is not touched.",
                        why=f"Others than root may write in {self._folder}, or own it.",
                        next_step=f"Make {self._folder} root's, with mode 0755.",
                    )
                yield folder
            finally:
                os.close(folder)
        except OSError as error:
            raise _explain(self._path, error) from error

    @contextmanager
    def _stage(self, folder: int) -> Iterator[int]:
        """The stage, made and locked by us; gone afterwards. Raises HelperError where the caller has gone."""
        stage = self._take_stage(folder)
        try:
            if self._is_called_off():
                raise HelperError(f"{self._path} is not touched.", why="The helper that asked for it has ended.")
            yield stage
        finally:
            # After the rename the name is free, or another process's who waited.
            if _is_named(folder, STAGE_NAME, stage):
                _remove(folder, STAGE_NAME)
            os.close(stage)

    def _take_stage(self, folder: int) -> int:
        deadline = time.monotonic() + LOCK_LIMIT
        create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            try:
                stage = os.open(STAGE_NAME, create, 0o600, dir_fd=folder)
                fcntl.flock(stage, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return stage
            except FileExistsError:
                self._remove_remains(folder)
            except BlockingIOError:  # taken for remains and locked between our two calls
                os.close(stage)
            if time.monotonic() > deadline:
                raise HelperError(
                    f"{self._path} could not be changed.",
                    why="Another process of devlink is at work on it and does not end.",
                    next_step="Look for processes `devlink files`, and end the older one.",
                )
            time.sleep(0.01)

    @staticmethod
    def _remove_remains(folder: int) -> None:
        """Remove the stage if nobody alive holds it."""
        try:
            found = os.open(STAGE_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(folder, STAGE_NAME, found):
                _remove(folder, STAGE_NAME)
        except BlockingIOError:
            pass
        finally:
            os.close(found)


def _read_ours(folder: int) -> ResolvConf | None:
    """The present file parsed, if it is a regular one as ours are; None for every other kind."""
    text = _read(folder, NAME)
    return parse(text) if text is not None else None


def _read(folder: int, name: str, *, follow: bool = False) -> str | None:
    """The beginning of a file's text; None where there is no regular file."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        file = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        # A name that leads nowhere, in circles, or to a socket is to libc as no file.
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        return os.read(file, MAX_SIZE).decode(errors="surrogateescape")
    finally:
        os.close(file)


def _remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def _identity(folder: int) -> tuple[int, int, int] | None:
    """What tells whether another program replaced or rewrote resolv.conf: its inode and the time of the last write.

    Not the time of change, which our own second name moves.
    """
    try:
        status = os.stat(NAME, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _is_named(folder: int, name: str, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(file))
    except FileNotFoundError:
        return False


def _explain(path: str, error: OSError) -> HelperError:
    why, next_step = f"The system said: {error.strerror or error}.", "Try again; if it stays, see the helper's log."
    if error.errno in (errno.EBUSY, errno.EXDEV):
        why = "It is a mount of its own (as in a container), which cannot be replaced."
        next_step = f"Remove the mount on {path}, or run `devlink up --no-dns`."
    elif error.errno == errno.EROFS:
        why = "Its file system is mounted read-only."
        next_step = "Make it writable, or run `devlink up --no-dns`."
    elif error.errno in (errno.EPERM, errno.EACCES):
        why = f"The system refuses it ({error.strerror}): it may be immutable, or kept by a security policy."
        next_step = (
            f"See `lsattr {path}`; `chattr -i {path}` makes it changeable, `devlink up --no-dns` leaves it alone."
        )
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        why, next_step = "The disk is full.", "Free some space, then try again."
    return HelperError(f"{path} could not be changed.", why=why, next_step=next_step)
