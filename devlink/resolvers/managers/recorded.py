"""What the modes have in common whose program merges resolv.conf from records: openresolv's and Debian's."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from devlink.core.plan import Upstream
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.resolvers.facts import Program
from devlink.resolvers.mode import BusQuery, Place, Row, Telling, Tools, Watched
from devlink.resolvers.programs import find_program
from devlink.resolvers.reading import read_conf, read_text
from devlink.resolvers.resolv_conf import MAX_NAMESERVERS, NAME, ResolvConf, parse
from devlink.resolvers.resolvconf import PROGRAM, RECORDS, names_all, others, own_addresses

ROOT = Path("/")
RARE = 10.0
"""Seconds: where others cut the file of one record more often, that is not mended any more."""


class RecordedMode(ABC):
    """Has the program called by `devlink files`, and looks by itself, which needs no privilege, at what came of it."""

    name: ClassVar[str]
    can_split: ClassVar[bool] = False
    rows: ClassVar[tuple[Row, ...]]
    queries: ClassVar[tuple[BusQuery, ...]] = ()
    programs: ClassVar[tuple[str, ...]] = (PROGRAM,)
    folders: ClassVar[tuple[str, ...]]
    """Where the program keeps its records, the place of today's version first."""
    lock: ClassVar[str]
    """What the program makes, writes or removes whenever a record changes, also where resolv.conf stays as it is."""

    def __init__(self, tools: Tools, *, root: Path = ROOT, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = tools.files
        self._nameserver = tools.nameserver
        self._own = own_addresses(self.name, tools.nameserver)
        self._never = tools.own
        self._insists_on = ""
        self._mended = -RARE
        self._clock = clock
        self._root = root
        self._file = root / "etc" / NAME

    def prepare(self, telling: Telling) -> tuple[Place, ...]:
        """Nothing: loopback is there."""
        return tuple(Place(address=address) for address in self._own)

    def nss_services(self) -> tuple[str, ...]:
        """No other way than libc's."""
        return ()

    def apply(self, telling: Telling) -> None:
        """Have a record made, and see that it alone is what libc asks. Raises HelperError; the record is gone then,
        unless the program was ended over it."""
        if not self.is_programs_file():
            raise HelperError(
                f"{self._file} is not written by {self.name}.",
                why="Another program has written it since.",
                next_step=f"Find out which one writes {self._file}.",
            )
        was = self._record()
        is_cut = was is not None and was == self.wanted_record() and not self._is_whole(was)
        self._files.write(self._nameserver, mode=self.name)
        self._judge(is_cut=is_cut)
        found = self._present().nameservers[:MAX_NAMESERVERS]
        if found[:1] != (self._nameserver,) or not set(found) <= set(self._own):
            self.restore()
            raise HelperError(
                f"{self.name} did not make devlink's forwarder the only nameserver.",
                why=f"{self._file} names {', '.join(map(str, found)) or 'none'}: see the program's own configuration.",
                next_step=f"Look for nameservers in the files of /etc/{PROGRAM}*.",
            )

    def restore(self) -> None:
        """Have the record removed, and the file made without us. Raises HelperError."""
        if find_program(PROGRAM, self._root) is None and not self.has_remains():
            return  # it was removed, and all that it knew of us with it
        self._files.restore(self._nameserver, mode=self.name)
        if self.has_remains():
            raise HelperError(
                f"{self.name} did not forget devlink's forwarder.",
                why=f"{self._file} or a record in {self._folder()} still names {self._nameserver}.",
                next_step=f"Run `{PROGRAM} -d {RECORDS[self.name]}` and `{PROGRAM} -u` as root.",
            )

    def has_remains(self) -> bool:
        """Whether there is a record of ours, or a file of the program's that has outlived it. Raises HelperError."""
        return self._record() is not None or (self.is_programs_file() and self._names_ours())

    def is_ours(self) -> bool:
        """Whether there is a record of ours, it says what it must, and libc asks us first. Raises HelperError.

        Where all that it says was in the file once, it must be there, unless that was given up.
        """
        record = self._record()
        if record is None or record != self.wanted_record() or not self._names_ours():
            return False
        return record != self._insists_on or self._is_whole(record)

    def read_upstreams(self) -> tuple[Upstream, ...]:
        """The servers that the program would name without us, at most three. Raises HelperError; so does the next."""
        # Where ours is not in it, the file says what the program made of its records and of its own configuration, or
        # what another program has written.
        is_told = self._record() is not None and self.is_programs_file()
        found = self.others() if is_told else self._present()
        servers = [server for server in found.nameservers if server not in self._never]
        return tuple(Upstream(address=server) for server in dict.fromkeys(servers[:MAX_NAMESERVERS]))

    def read_ways(self) -> tuple[IPAddress, ...]:
        """The same."""
        return tuple(upstream.address for upstream in self.read_upstreams())

    def watched(self) -> Watched:
        """The file, the program's lock, and the records that are there."""
        folder = self._folder()
        try:
            records = tuple(sorted(each for each in folder.iterdir() if each.name != RECORDS[self.name]))
        except OSError:
            records = ()
        return Watched(files=(self._file, self._root / self.lock, *records))

    @abstractmethod
    def is_programs_file(self) -> bool:
        """Whether resolv.conf is the program's. Raises HelperError."""

    @abstractmethod
    def wanted_record(self) -> str:
        """What our record must say. Raises HelperError."""

    def others(self) -> ResolvConf:
        """What the program would name without us. Raises HelperError."""
        return others(self.name, self._root)

    def _judge(self, *, is_cut: bool) -> None:
        """Give up those servers of the record that only containers ask, quietly, where the program never lists them, or
        somebody takes them out (`is_cut`) again at once."""
        record, now = self._record() or "", self._clock()
        is_hopeless = not self._is_whole(record) or (is_cut and now - self._mended < RARE)
        self._insists_on = "" if is_hopeless else record
        if is_cut:
            self._mended = now

    def _is_whole(self, record: str) -> bool:
        return names_all(parse(record), self._present())

    def _folder(self) -> Path:
        paths = [self._root / folder for folder in self.folders]
        return next((path for path in paths if path.is_dir()), paths[0])

    def _record(self) -> str | None:
        for folder in self.folders:
            text = read_text(self._root / folder / RECORDS[self.name])
            if text:
                return text
        return None

    def _present(self) -> ResolvConf:
        return read_conf(self._file)

    def _names_ours(self) -> bool:
        return self._nameserver in self._present().nameservers[:MAX_NAMESERVERS]


def is_debian(found: Program) -> bool:
    """Which of the two it is: Debian's says its name, or, before it knew the question, exits with 99."""
    return found.exit_code == 99 or "Debian resolvconf" in found.output
