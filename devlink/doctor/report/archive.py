"""The file of a report: private, whole or not there, and never over another."""

import errno
import io
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from devlink.doctor.report.collecting import Piece
from devlink.errors import UsageError, reason

MODE = 0o600


class Target:
    """The place for a new file; nothing stands there before `put`, whatever ends this process."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError where there is something already, or no file can be made."""
        self.path = path
        self._file = -1
        if os.path.lexists(path):
            raise _taken(path)
        try:
            self._file = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, MODE)
        except OSError as error:
            # EISDIR: a kernel, EOPNOTSUPP: a filesystem that knows no files without a name (open(2))
            is_plain = error.errno in (errno.EISDIR, errno.EOPNOTSUPP) and os.access(path.parent, os.W_OK | os.X_OK)
            if not is_plain:
                raise _unwritable(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def put(self, data: bytes) -> None:
        """Have the file there, with these octets. Raises UsageError where that cannot be; then there is none."""
        try:
            if self._file >= 0:
                _write(self._file, data)
                self._link()
            else:
                self._put_by_name(data)
        except FileExistsError as error:
            raise _taken(self.path) from error
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _link(self) -> None:
        """Give the file its name. With a folder's descriptor it is linkat(2), which alone follows what /proc shows."""
        folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.link(f"/proc/self/fd/{self._file}", self.path.name, dst_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(folder)

    def _put_by_name(self, data: bytes) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
        try:
            _write(file, data)
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    os.fsync(file)


def _taken(path: Path) -> UsageError:
    return UsageError(f"{path} is there already.", next_step="Name another file, or remove that one.")


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"No file can be written in {path.parent}.",
        why=reason(error),
        next_step="Name a file elsewhere: devlink report FILE",
    )


def pack(folder: str, pieces: Iterable[Piece], now: float) -> bytes:
    """A tar.gz with all texts in one folder. It does not say who made it: the owner of all is uid 0, without a name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for piece in pieces:
            data = piece.text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"{folder}/{piece.path}")
            entry.size, entry.mode, entry.mtime = len(data), MODE, int(now)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
