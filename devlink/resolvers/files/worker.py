"""Replaces resolv.conf and puts it back, so that no kill and no power cut loses the file from before.

The order is the safety. Write: the file from before gets a second name (a hard link, so that Restore brings back the
very inode, symlinks included), that name is made durable, and only then ours is renamed over the first name. Restore:
one rename. At every moment there is a whole file, and whoever comes next can tell from the two names what to do (of
a file that is mounted, and so cannot be renamed, the module `mounted` has the rules):

    resolv.conf   backup     came from                      Restore does
    foreign       none       before Write, after Restore    nothing
    foreign       the same   Write, not finished            drop the backup
    foreign       another    another program wrote          drop the backup, which is older
    ours          any        Write                          rename the backup over ours (or remove ours: none before)
    ours          lost       another program removed it     write one with the nameservers that ours noted
    none          any        another program removed ours   rename the backup back
"""

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
from devlink.resolvers.files.folder import (
    create,
    dress,
    identity,
    is_mounted,
    is_named,
    is_present,
    opened,
    remove,
    write,
)
from devlink.resolvers.files.forgetting import have_forgotten
from devlink.resolvers.files.mounted import restore_mounted, write_mounted
from devlink.resolvers.reading import read
from devlink.resolvers.resolv_conf import (
    BACKUP_NAME,
    NAME,
    OWN,
    STAGE_NAME,
    Header,
    ResolvConf,
    digest_of,
    parse,
    render,
    render_before,
    without,
)

log = logging.getLogger(__name__)

RETRIES = 3
LOCK_LIMIT = 3.0
"""Seconds to wait for another process at the same work."""

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
        with opened(self._folder) as folder:
            self._repeat(lambda: self._write(folder, address))

    def restore(self, address: IPAddress | None = None) -> None:
        """Put the file from before back where the present one is ours (and names `address`, if that is given).

        Raises HelperError; nothing is changed then.
        """
        fault_point("files.restore.asked")
        with opened(self._folder) as folder:
            if not is_present(folder, BACKUP_NAME) and not is_present(folder, STAGE_NAME):
                present = _read_ours(folder)
                if present is None and not _names_our_link(read(folder, NAME) or ""):
                    return  # nothing to do, and a folder that is read-only need not know
            self._repeat(lambda: self._restore(folder, address))

    @property
    def _path(self) -> str:
        return os.path.join(self._folder, NAME)

    def _repeat(self, step: Callable[[], None]) -> None:
        """Until nobody has come between. Raises HelperError where somebody does each time."""
        for _ in range(RETRIES):
            try:
                step()
                return
            except _ChangedMeanwhileError:
                continue
        raise HelperError(
            f"{self._path} could not be written.",
            why="Another program replaces it again and again.",
            next_step=f"Find out which one writes {self._path}, and stop it.",
        )

    def _write(self, folder: int, address: IPAddress) -> None:
        with self._stage(folder) as stage:
            fault_point("files.write.locked")
            if is_mounted(folder, NAME):
                if write_mounted(folder, address, changed=_ChangedMeanwhileError):
                    log.info("wrote into %s: nameserver %s", self._path, address)
                return
            seen = identity(folder)
            present = _read_ours(folder)
            if present is not None and present.header is not None:
                kept = False
                if _is_older_text(folder, present.header):
                    self._fill(folder, stage, render_before(present))
                    os.rename(STAGE_NAME, BACKUP_NAME, src_dir_fd=folder, dst_dir_fd=folder)
                    os.fsync(folder)
                    log.info("%s: an older text of ours is back, and with it the servers from then", self._path)
                    raise _ChangedMeanwhileError  # it may name another forwarder than this one
                # What the file from before says may have changed meanwhile: it may be a symlink.
                is_kept = present.header.had_file and is_present(folder, BACKUP_NAME)
                before = parse(read(folder, BACKUP_NAME, follow=True) or "") if is_kept else present
                had_file = present.header.had_file
            elif seen is None and is_present(folder, BACKUP_NAME):
                kept = False  # another program removed ours: the file from before is still the one that is kept
                had_file, before = True, parse(read(folder, BACKUP_NAME, follow=True) or "")
            else:
                before = parse(read(folder, NAME, follow=True) or "")
                had_file = kept = self._keep(folder)
            try:
                text = render(address, before, had_file=had_file, digest=_digest_of_backup(folder))
                if text == read(folder, NAME):
                    return
                fault_point("files.write.linked")
                self._fill(folder, stage, text)
                os.fsync(folder)
                fault_point("files.write.staged")
                if identity(folder) != seen:
                    raise _ChangedMeanwhileError
                os.rename(STAGE_NAME, NAME, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                if kept:
                    remove(folder, BACKUP_NAME)
                raise
            fault_point("files.write.renamed")
            os.fsync(folder)
        log.info("wrote %s: nameserver %s", self._path, address)

    def _keep(self, folder: int) -> bool:
        """Give the present file its second name; False where there is none."""
        # One that is there already is older than the present file, or the same: a foreign file is always the newest.
        remove(folder, BACKUP_NAME)
        try:
            os.link(NAME, BACKUP_NAME, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _fill(self, folder: int, stage: int, text: str) -> None:
        write(stage, text.encode(errors="surrogateescape"))
        dress(folder, stage)
        os.fsync(stage)

    def _replace(self, folder: int, stage: int, text: str, seen: tuple[int, int, int] | None) -> None:
        """Put a text there, less the addresses of our link, if resolv.conf still is the one that was `seen`."""
        if not is_named(folder, STAGE_NAME, stage):  # it is resolv.conf already, and another program has written since
            raise _ChangedMeanwhileError
        self._fill(folder, stage, without(text, OWN))
        if identity(folder) != seen:
            raise _ChangedMeanwhileError
        os.rename(STAGE_NAME, NAME, src_dir_fd=folder, dst_dir_fd=folder)

    def _restore(self, folder: int, address: IPAddress | None) -> None:
        with self._stage(folder) as stage:
            fault_point("files.restore.locked")
            if is_mounted(folder, NAME):
                restore_mounted(folder, address)
            else:
                self._put_back(folder, stage, address)
        os.fsync(folder)

    def _put_back(self, folder: int, stage: int, address: IPAddress | None) -> None:
        seen, present = identity(folder), _read_ours(folder)
        has_backup = is_present(folder, BACKUP_NAME)
        if present is not None and present.header is not None:
            if address is not None and present.header.address != address:
                return  # written for another forwarder: its backup is not ours to judge
            if present.header.had_file and has_backup and not _is_older_text(folder, present.header):
                have_forgotten(folder, self._folder, present.header.address)
                # It may take a second, in which another program may have written.
                seen, present = identity(folder), _read_ours(folder)
        if present is not None and present.header is not None:
            if not present.header.had_file:
                remove(folder, NAME)
            elif has_backup and not _is_older_text(folder, present.header):
                os.rename(BACKUP_NAME, NAME, src_dir_fd=folder, dst_dir_fd=folder)
            else:
                log.warning("%s: the file from before is gone or another's, and is written again", self._path)
                self._replace(folder, stage, render_before(present), seen)
            log.info("restored %s", self._path)
        elif has_backup and not is_present(folder, NAME):
            os.rename(BACKUP_NAME, NAME, src_dir_fd=folder, dst_dir_fd=folder)
            log.info("restored %s, which another program had removed", self._path)
        # What NetworkManager leaves when it ends; what a symlink leads to it makes anew itself.
        seen = identity(folder)
        if _names_our_link(text := read(folder, NAME) or ""):
            self._replace(folder, stage, text, seen)
            log.info("%s: the address of our link is taken out", self._path)
        os.fsync(folder)
        fault_point("files.restore.renamed")
        remove(folder, BACKUP_NAME)
        fault_point("files.restore.dropped")

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
            if is_named(folder, STAGE_NAME, stage):
                remove(folder, STAGE_NAME)
            os.close(stage)

    def _take_stage(self, folder: int) -> int:
        deadline = time.monotonic() + LOCK_LIMIT
        while True:
            try:
                stage = create(folder, STAGE_NAME)
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
            if is_named(folder, STAGE_NAME, found):
                remove(folder, STAGE_NAME)
        except BlockingIOError:
            pass
        finally:
            os.close(found)


def _read_ours(folder: int) -> ResolvConf | None:
    """The present file parsed, if it is ours: a regular one."""
    present = parse(read(folder, NAME) or "")
    return present if present.is_ours else None


def _names_our_link(text: str) -> bool:
    return bool(OWN.intersection(parse(text).nameservers))


def _digest_of_backup(folder: int) -> str:
    """Of a symlink, too, there is one, so that it is known from a file; none where there is no backup."""
    return digest_of(parse(read(folder, BACKUP_NAME) or "")) if is_present(folder, BACKUP_NAME) else ""


def _is_older_text(folder: int, header: Header) -> bool:
    """Whether another program has put back what we had written before it wrote the file that is kept now, as a VPN does
    that ends: then the file from before is the one that this text speaks of. Whoever edits our text leaves its header.
    """
    try:
        kept = os.stat(BACKUP_NAME, dir_fd=folder, follow_symlinks=False)
        mine = os.stat(NAME, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    # The time of the change of either inode: a renamed file keeps the time of its last write.
    if not header.digest or not stat.S_ISREG(kept.st_mode) or mine.st_ctime_ns < kept.st_ctime_ns:
        return False  # it leads to one that changes, or somebody has edited it
    return _digest_of_backup(folder) != header.digest
