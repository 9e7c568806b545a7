"""stdout and stderr that cannot trip a command: talk that nobody hears is lost, data that cannot be written is told."""

import io
import os
import sys
from typing import Any


class _Deaf(io.FileIO):
    """A file that takes everything, also where it is full or gone."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


class _Watched(io.BufferedWriter):
    """A file that remembers why it could not be written: who wrote may not have told, nor kept what was left.

    The file below it stays one without a line of Python: Ctrl-C behind its write would have that written again.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.failure = error
            raise


def make_safe() -> None:
    """Have a descriptor behind each standard stream, and stderr never fail. For the start of a process."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets this number; else some socket would, and be written to
    old = sys.stdout
    sys.stdout = io.TextIOWrapper(
        _Watched(io.FileIO(1, "wb", closefd=False)),
        encoding=old.encoding if old is not None else "utf-8",
        errors=old.errors if old is not None else "strict",
        line_buffering=os.isatty(1),
    )
    old = sys.stderr
    sys.stderr = io.TextIOWrapper(
        _Deaf(2, "wb", closefd=False),
        encoding=old.encoding if old is not None else "utf-8",
        errors="backslashreplace",
        write_through=True,
    )


def flush() -> OSError | None:
    """Write out what stdout still holds. Why that, or anything since the last call, could not be written."""
    failure = None
    try:
        sys.stdout.flush()
    except OSError as error:
        failure = error
        # What is left in the buffer would fail again at the interpreter's end, with an exit code of its own.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    buffer = getattr(sys.stdout, "buffer", None)
    if isinstance(buffer, _Watched):
        failure, buffer.failure = failure or buffer.failure, None
    return failure
