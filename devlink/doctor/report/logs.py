"""What devlink's processes have said: journal and files as one, by time."""

import heapq
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devlink.service.unit import NAME as USER_UNIT

SYSTEM_UNITS = {
    "devlink-helper.service": "the helper",
    "devlink-forwarder.service": "the forwarder",
    "devlink-files.service": "the writer of resolv.conf",
    "devlink-restore.service": "the undoing at boot",
}
"""The units of service/layout, and in words whose they are."""
JOURNALS = (Path("/var/log/journal"), Path("/run/log/journal"))
"""systemd-journald.service(8)"""
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) (.*)", re.DOTALL)
"""As `logging` writes it by default: in local time."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Entry:
    """One line, or several that belong together."""

    time: float
    """Unix seconds."""
    part: str
    """Who says it: `agent`, `helper`, `forwarder`, ..."""
    text: str
    cursor: str = ""
    """Where it stands in the journal."""


def has_journal() -> bool:
    """Whether there is one, and a program that shows it."""
    return shutil.which("journalctl") is not None and any(map(_files, JOURNALS))


def is_hidden() -> bool:
    """Whether there is a journal of the system that this user may not read."""
    system = [file for folder in JOURNALS for file in _files(folder) if file.name == "system.journal"]
    return bool(system) and not any(os.access(file, os.R_OK) for file in system)


def _files(folder: Path) -> list[Path]:
    try:
        return [file for machine in folder.iterdir() if machine.is_dir() for file in machine.glob("*.journal")]
    except OSError:
        return []


def journalctl(*choice: str) -> tuple[str, ...]:
    """The command that shows, as JSON, the entries of all units of devlink that `choice` leaves of them."""
    units = [word for unit in SYSTEM_UNITS for word in ("--unit", unit)]
    return (
        "journalctl", "--quiet", "--no-pager", "--output=json", *choice, *units, "--user-unit", USER_UNIT,
        "--output-fields=MESSAGE,UNIT,USER_UNIT,_SYSTEMD_UNIT,_SYSTEMD_USER_UNIT,SYSLOG_IDENTIFIER",
    )  # fmt: skip


def of_journal(line: str | bytes) -> Entry | None:
    """An entry of journalctl's JSON (systemd's JOURNAL_EXPORT_FORMATS); None for what is none."""
    try:
        fields: dict[str, Any] = json.loads(line)
        when = int(fields["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError, TypeError):
        return None
    message = fields.get("MESSAGE")
    if isinstance(message, list) and all(isinstance(octet, int) and 0 <= octet < 256 for octet in message):
        message = bytes(message).decode("utf-8", "replace")  # what is not printable comes as numbers
    if not isinstance(message, str):
        message = "(too long to be shown)" if message is None else str(message)
    units = (fields.get(key) for key in ("_SYSTEMD_USER_UNIT", "_SYSTEMD_UNIT", "USER_UNIT", "UNIT"))
    ours = next((unit for unit in units if isinstance(unit, str) and unit.startswith("devlink-")), "devlink")
    part = ours.removeprefix("devlink-").removesuffix(".service")
    if fields.get("SYSLOG_IDENTIFIER") == "systemd":
        message = f"systemd: {message}"
    return Entry(time=when, part=part, text=message, cursor=str(fields.get("__CURSOR", "")))


def of_lines(lines: Iterable[str], part: str, before: float = 0.0) -> Iterator[Entry]:
    """The entries of a file's lines. One without a time, such as of a traceback, is as old as the one before it."""
    when = before
    for line in lines:
        found = _STAMP.fullmatch(line)
        text = line
        if found is not None:
            try:
                when = time.mktime(time.strptime(found[1], "%Y-%m-%d %H:%M:%S")) + int(found[2]) / 1000
                text = found[3]
            except (ValueError, OverflowError):
                pass
        yield Entry(time=when, part=part, text=text)


def last(entries: Iterable[Iterable[Entry]], lines: int) -> list[Entry]:
    """The last `lines` of several, each of which is in order."""
    merged = list(heapq.merge(*entries, key=lambda entry: entry.time))
    return merged[len(merged) - lines :] if lines < len(merged) else merged


def tail(path: Path, lines: int, limit: int, *, until: int | None = None) -> list[str]:
    """The last lines of a file and of the one that it was before it was rotated, `limit` octets of each at most.

    `until`: how many octets of the file count; all, where it is None.
    """
    found: list[str] = []
    for each in (path, rotated(path)):
        if len(found) >= lines:
            break
        opened = _open(each)
        if opened < 0:
            continue
        try:
            with os.fdopen(opened, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if until is not None and each == path:
                    size = min(size, until)
                begin = max(0, size - limit)
                file.seek(begin)
                data = file.read(size - begin)
        except OSError:
            continue
        text = data.decode("utf-8", "replace").splitlines()
        found = [*(text[1:] if size > limit else text), *found]
    return found[max(0, len(found) - lines) :]


def _open(path: Path) -> int:
    """Its descriptor; -1 where no file is there: a FIFO in its place would never open, or never end."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return -1
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    return -1


def rotated(path: Path) -> Path:
    """What a log is called once a new one was begun."""
    return path.with_name(f"{path.name}.1")


class Tail:
    """A file that grows, is rotated, and may not be there yet. Begins where it ends now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open(path)
        self._rest = b""
        self.begin = os.lseek(self._file, 0, os.SEEK_END) if self._file >= 0 else 0
        """Octets of it that were there before."""

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def read(self) -> list[str]:
        """The whole lines that have come since."""
        data = self._read()
        if self._is_another():
            data += self._read()  # what was said between the last look and the rotation
            self.close()
            self._file = _open(self._path)
            data += self._read()
        whole, _, self._rest = (self._rest + data).rpartition(b"\n")
        return whole.decode("utf-8", "replace").split("\n") if whole else []

    def _read(self) -> bytes:
        if self._file < 0:
            return b""
        if os.fstat(self._file).st_size < os.lseek(self._file, 0, os.SEEK_CUR):
            os.lseek(self._file, 0, os.SEEK_SET)  # somebody emptied it
        data = b""
        while chunk := os.read(self._file, 1 << 16):
            data += chunk
        return data

    def _is_another(self) -> bool:
        try:
            there = os.stat(self._path)
        except OSError:
            return False
        if self._file < 0:
            return True
        mine = os.fstat(self._file)
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)
