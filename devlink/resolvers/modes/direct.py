"""Mode `direct`: /etc/resolv.conf names the forwarder alone, which passes on what is no cluster's."""

import ipaddress
import os
from pathlib import Path
from typing import ClassVar

from devlink.core.plan import Upstream
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.resolvers.mode import BusQuery, Place, Row, Telling, Tools, Watched
from devlink.resolvers.resolvconf_text import BACKUP_NAME, MAX_NAMESERVERS, STAGE_NAME, ResolvConf, parse

NAME = "resolv.conf"
FOLDER = Path("/etc")
MAX_SIZE = 1 << 16
RESOLVED_STUBS = frozenset(ipaddress.ip_address(text) for text in ("127.0.0.53", "127.0.0.54"))
"""Where systemd-resolved answers (systemd-resolved.service(8)); it takes its own servers from a foreign resolv.conf."""
RESOLVED_UPLINKS = Path("/run/systemd/resolve/resolv.conf")
"""The servers behind the stub, as systemd-resolved writes them for those who go round it."""


class Direct:
    """Reads the files by itself, which needs no privilege, and has them written by `devlink files`."""

    name: ClassVar[str] = "direct"
    can_split: ClassVar[bool] = False
    rows: ClassVar[tuple[Row, ...]] = (
        Row(rank=90, reason=lambda facts: "nothing but resolv.conf says whom libc asks"),
    )
    queries: ClassVar[tuple[BusQuery, ...]] = ()
    programs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tools: Tools, *, folder: Path = FOLDER) -> None:
        self._files = tools.files
        self._nameserver = tools.nameserver
        self._own = frozenset([tools.nameserver])
        self._folder = folder

    def prepare(self, telling: Telling) -> tuple[Place, ...]:
        """Nothing: loopback is there."""
        return (Place(address=self._nameserver),)

    def nss_services(self) -> tuple[str, ...]:
        """No other way than libc's."""
        return ()

    def watched(self) -> Watched:
        """The file, and the one from before."""
        return Watched(files=(self._folder / NAME, self._folder / BACKUP_NAME))

    def read_upstreams(self) -> tuple[Upstream, ...]:
        """The nameservers that libc asked before us, at most three.

        Raises HelperError if the file is there and cannot be read.
        """
        present = self._read(NAME)
        own = set(self._own)
        if present.is_ours and present.header is not None:
            own.add(present.header.address)
            # The file itself rather than what we noted of it: it may lead to one that changes.
            is_kept = os.path.lexists(self._folder / BACKUP_NAME)
            named = self._read(BACKUP_NAME).nameservers if is_kept else present.header.servers
        else:
            named = present.nameservers
        servers = named[:MAX_NAMESERVERS]
        return tuple(Upstream(address=server) for server in dict.fromkeys(servers) if server not in own)

    def read_ways(self) -> tuple[IPAddress, ...]:
        """The servers that are asked in the end, also those behind systemd-resolved's stub. Raises HelperError."""
        addresses = [upstream.address for upstream in self.read_upstreams()]
        if RESOLVED_STUBS.intersection(addresses):
            addresses += _parsed(RESOLVED_UPLINKS).nameservers
        return tuple(dict.fromkeys(addresses))

    def apply(self, telling: Telling) -> None:
        """Have the forwarder written as the only nameserver. Raises HelperError; the file is then as it was."""
        address = self._nameserver
        if RESOLVED_STUBS.intersection(upstream.address for upstream in self.read_upstreams()):
            raise HelperError(
                "This machine's names are in the hands of systemd-resolved, which this version cannot tell of devlink.",
                why="With its stub as our upstream, it would find our address in resolv.conf and ask us back: a loop.",
                next_step="Bring it up without names: devlink up --no-dns",
            )
        self._files.write(address)
        present = self._read(NAME)
        if not present.is_ours or present.nameservers != (address,):
            raise HelperError(
                f"{self._folder / NAME} does not name devlink's forwarder, though it was just written.",
                why="Another program wrote it again at once.",
                next_step=f"Find out which one writes {self._folder / NAME}, and stop it.",
            )

    def restore(self) -> None:
        """Have the file from before put back, if the present one is ours. Raises HelperError."""
        self._files.restore()

    def has_remains(self) -> bool:
        """Whether the file is ours, or its backup or a half-written one is left. Raises HelperError."""
        return self.is_ours() or any(os.path.lexists(self._folder / name) for name in (BACKUP_NAME, STAGE_NAME))

    def is_ours(self) -> bool:
        """Whether the present file is ours and still names the forwarder."""
        return not (self._folder / NAME).is_symlink() and self._read(NAME).is_ours

    def _read(self, name: str) -> ResolvConf:
        return _parsed(self._folder / name)


MODE = Direct


def _parsed(path: Path) -> ResolvConf:
    """A resolv.conf(5), empty where there is none. Raises HelperError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return parse(file.read(MAX_SIZE).decode(errors="surrogateescape"))
    except FileNotFoundError:  # a symlink that leads nowhere too
        return ResolvConf()
    except OSError as error:
        raise HelperError(
            f"{path} could not be read.",
            why=f"The system said: {error.strerror or error}.",
            next_step=f"See `ls -l {path}`.",
        ) from error
