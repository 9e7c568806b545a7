"""A resolv.conf that is mounted, as in a container: it can be written, not replaced.

The file from before is kept as a copy, made durable before the first octet of ours is written; that copy and the rules
below stand in for the atomic rename:

    resolv.conf                      Restore does
    ours, or as a crash left it      write the copy back
    the copy, with or without ours   write the copy back, or nothing: it is the same
    anything else                    drop the copy: another program wrote
    with the address of our link     take that out

One write(2) puts a whole text there, with line ends behind it where the former text was longer; only then the length is
cut. So a killed process leaves a whole text, and a power cut the beginning of one.
"""

import errno
import logging
import os
import stat

from devlink.core.prefixes import IPAddress
from devlink.faults import POINTS, fault_point
from devlink.resolvers.files.folder import create, dress, remove, write
from devlink.resolvers.resolv_conf import (
    BACKUP_NAME,
    FIRST_WORDS,
    MAX_SIZE,
    NAME,
    OWN,
    ResolvConf,
    parse,
    render,
    render_before,
    without,
)

log = logging.getLogger(__name__)

POINTS.update(
    {
        "files.mounted.copied": "the file from before has a durable copy",
        "files.mounted.put": "a text is there, with line ends behind it",
    }
)


def write_mounted(folder: int, address: IPAddress, *, changed: type[Exception]) -> bool:
    """Have the mounted file name `address`, and keep a copy of what it was; False where it says so already.

    Raises `changed` if another program wrote meanwhile, and OSError; the file is then as it was.
    """
    file = _open(folder)
    try:
        data = _read(file)
        copy = _read_copy(folder)
        present = _parse(data)
        if copy is not None and _is_unfinished(data, copy):
            before, had_file, is_copied = _parse(copy), True, True
        elif present.is_ours and present.header is not None:
            before, had_file, is_copied = present, present.header.had_file, True
        else:
            before, had_file, is_copied = present, True, False
        text = render(address, before, had_file=had_file).encode(errors="surrogateescape")
        if text == data:
            return False
        if not is_copied:
            _keep(folder, file, data)
            fault_point("files.mounted.copied")
        try:
            if _read(file) != data:
                raise changed
            _put(file, text)
        except BaseException:
            if not is_copied and _read(file) == data:
                remove(folder, BACKUP_NAME)
            raise
    finally:
        os.close(file)
    return True


def restore_mounted(folder: int, address: IPAddress | None) -> None:
    """Write the file from before back where the present one is ours (and names `address`, if that is given)."""
    file = _open(folder)
    try:
        data = _read(file)
        present = _parse(data)
        copy = _read_copy(folder)
        if present.is_ours and present.header is not None and address not in (None, present.header.address):
            return  # written for another forwarder
        if copy is not None and (present.is_ours or _is_unfinished(data, copy)):
            _put(file, copy)
            was = os.stat(BACKUP_NAME, dir_fd=folder, follow_symlinks=False)
            os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
            log.info("restored what was in %s", NAME)
        elif copy is None and present.is_ours:
            log.warning("%s: the copy from before is gone, and is written again", NAME)
            _put(file, render_before(present).encode(errors="surrogateescape"))
        if OWN.intersection(_parse(left := _read(file)).nameservers):
            _put(file, without(left.decode(errors="surrogateescape"), OWN).encode(errors="surrogateescape"))
            log.info("%s: the address of our link is taken out", NAME)
        fault_point("files.restore.renamed")
        remove(folder, BACKUP_NAME)
        os.fsync(folder)
        fault_point("files.restore.dropped")
    finally:
        os.close(file)


def _open(folder: int) -> int:
    file = os.open(NAME, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "what is mounted there is no file")
    return file


def _read(file: int) -> bytes:
    data = os.pread(file, MAX_SIZE, 0)
    if len(data) == MAX_SIZE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data


def _read_copy(folder: int) -> bytes | None:
    try:
        copy = os.open(BACKUP_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):  # a symlink is none of this module's copies
            return None
        raise
    try:
        return _read(copy) if stat.S_ISREG(os.fstat(copy).st_mode) else None
    finally:
        os.close(copy)


def _parse(data: bytes) -> ResolvConf:
    return parse(data.decode(errors="surrogateescape"))


def _is_unfinished(data: bytes, copy: bytes) -> bool:
    """Whether this is a text of ours as a crash may leave it: whole or its beginning, or the copy on its way back."""
    begun = data.rstrip(b"\n\0")  # some file systems fill with zeros what did not reach the disk
    first = FIRST_WORDS.encode()
    return begun == copy.rstrip(b"\n") or begun.startswith(first) or first.startswith(begun)


def _keep(folder: int, file: int, data: bytes) -> None:
    remove(folder, BACKUP_NAME)
    copy = create(folder, BACKUP_NAME)
    try:
        try:
            write(copy, data)
            dress(folder, copy)
            was = os.fstat(file)
            os.utime(copy, ns=(was.st_atime_ns, was.st_mtime_ns))
            os.fsync(copy)
            os.fsync(folder)
        finally:
            os.close(copy)
    except BaseException:
        remove(folder, BACKUP_NAME)
        raise


def _put(file: int, text: bytes) -> None:
    padding = max(os.fstat(file).st_size - len(text), 0)
    write(file, text + b"\n" * padding)
    fault_point("files.mounted.put")
    os.ftruncate(file, len(text))
    os.fsync(file)
