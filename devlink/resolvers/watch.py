"""Tells when something may have changed under a resolver mode in force: files by inotify(7), services by D-Bus."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from inotify_simple import INotify, flags

from devlink.errors import HelperError
from devlink.resolvers.managers.bus import Signals, open_signals
from devlink.resolvers.mode import Watched
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

SETTLE = 0.05
"""Seconds from the first event until it is told: a file is written in several steps."""
RETRY_PAUSE, MAX_RETRY_PAUSE = 0.2, 30.0
"""Seconds until a bus that ended is tried again, each time twice as many."""
IN_FOLDER = (
    flags.CREATE | flags.CLOSE_WRITE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE
    | flags.DELETE_SELF | flags.MOVE_SELF | flags.ONLYDIR
)  # fmt: skip
IN_FILE = flags.CLOSE_WRITE
"""Of a file itself: where another is mounted on it, its folder hears nothing."""


class Watch:
    """Calls `changed` once for each burst of events, in the running event loop. Costs nothing while nothing happens."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._watched = Watched()
        self._timer: asyncio.TimerHandle | None = None
        self._inotify: INotify | None = None
        self._names: frozenset[str] = frozenset()
        self._signals: Signals | None = None
        self._listening: asyncio.Task[None] | None = None

    def watch(self, watched: Watched) -> None:
        """Look at these, and at nothing else. May be repeated."""
        if watched == self._watched:
            return
        before, self._watched = self._watched, watched
        if watched.files != before.files:
            self._watch_files()
        if watched.objects != before.objects:
            self._stop_listening()
            if watched.objects:
                self._listening = spawn(self._listen(), name="listen to the system's D-Bus")

    def close(self) -> None:
        """Look at nothing any more."""
        self.watch(Watched())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SETTLE, self._settled)

    def _settled(self) -> None:
        self._timer = None
        if self._watched.files:
            self._watch_files()  # folders and symlinks may be others now
        self._changed()

    # Files

    def _watch_files(self) -> None:
        """Begin anew: the kernel keeps count by inode, and the inodes may be others."""
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None
        if not self._watched.files:
            return
        try:
            self._inotify = INotify()  # non-blocking reads are asked for below; close-on-exec it is by itself
        except OSError as error:
            log.error("changes of %s are not seen: %s", ", ".join(map(str, self._watched.files)), error)
            return
        folders, self._names = _to_watch(self._watched.files)
        for folder in folders:
            self._add(folder, IN_FOLDER)
        for file in self._watched.files:
            self._add(file, IN_FILE)
        asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._read_files)

    def _add(self, path: Path, mask: int) -> None:
        assert self._inotify is not None
        try:
            self._inotify.add_watch(path, mask)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                log.warning("changes of %s are not seen: %s", path, error.strerror)

    def _read_files(self) -> None:
        assert self._inotify is not None
        for event in self._inotify.read(timeout=0):
            if not event.name or event.name in self._names:
                self._tell()

    # Services

    async def _listen(self) -> None:
        pause = RETRY_PAUSE
        while True:
            opening = asyncio.get_running_loop().run_in_executor(None, open_signals, self._watched.objects)
            try:
                signals = await asyncio.shield(opening)
            except asyncio.CancelledError:  # the thread goes on
                opening.add_done_callback(_close)
                raise
            except HelperError as error:
                log.warning("changes of services are not seen: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_RETRY_PAUSE)
                continue
            self._signals = signals
            asyncio.get_running_loop().add_reader(signals.fileno(), self._read_signals)
            self._tell()  # of what came before we listened
            return

    def _read_signals(self) -> None:
        assert self._signals is not None
        try:
            if self._signals.take():
                self._tell()
        except HelperError as error:
            log.info("the bus has ended, listening anew: %s", error)
            self._stop_listening()
            self._listening = spawn(self._listen(), name="listen to the system's D-Bus")

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
        if self._signals is not None:
            asyncio.get_running_loop().remove_reader(self._signals.fileno())
            self._signals.close()
            self._signals = None


def _close(opened: asyncio.Future[Signals]) -> None:
    if not opened.cancelled() and opened.exception() is None:
        opened.result().close()


def _to_watch(files: Iterable[Path]) -> tuple[set[Path], frozenset[str]]:
    """The folders, and the names in them that matter: of the files, of what their symlinks lead to, and, where a folder
    is not there, of what would have to come first."""
    folders: set[Path] = set()
    names: set[str] = set()
    for file in files:
        for path in {file, Path(os.path.realpath(file))}:
            entry, folder = path.name, path.parent
            while not folder.is_dir() and folder != folder.parent:
                entry, folder = folder.name, folder.parent
            folders.add(folder)
            names.add(entry)
    return folders, frozenset(names)
