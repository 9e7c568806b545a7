"""Mode `direct`: /etc/resolv.conf names the forwarder alone, which passes on what is no cluster's."""

import os
from pathlib import Path
from typing import ClassVar

from devlink.core.plan import Upstream
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.resolvers.managers import uplinks
from devlink.resolvers.managers.resolve1 import STUBS, UPLINKS
from devlink.resolvers.mode import BusQuery, Place, Row, Telling, Tools, Watched
from devlink.resolvers.reading import read_conf, read_text
from devlink.resolvers.resolv_conf import BACKUP_NAME, MAX_NAMESERVERS, NAME, OWN, STAGE_NAME, ResolvConf, parse, render

FOLDER = Path("/etc")


class Direct:
    """Reads the files by itself, which needs no privilege, and has them written by `devlink files`."""

    name: ClassVar[str] = "direct"
    can_split: ClassVar[bool] = False
    rows: ClassVar[tuple[Row, ...]] = (
        Row(rank=90, reason=lambda facts: "nothing but resolv.conf says whom libc asks"),
    )
    queries: ClassVar[tuple[BusQuery, ...]] = ()
    programs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tools: Tools, *, folder: Path = FOLDER, uplinks_file: Path = UPLINKS) -> None:
        self._files = tools.files
        self._nameserver = tools.nameserver
        self._own = tools.own
        self._folder = folder
        self._uplinks = uplinks_file

    def prepare(self, telling: Telling) -> tuple[Place, ...]:
        """Nothing: loopback is there."""
        return (Place(address=self._nameserver),)

    def nss_services(self) -> tuple[str, ...]:
        """No other way than libc's."""
        return ()

    def watched(self) -> Watched:
        """The file, the one from before, and the one behind systemd-resolved's stub."""
        return Watched(files=(self._folder / NAME, self._folder / BACKUP_NAME, self._uplinks))

    def read_upstreams(self) -> tuple[Upstream, ...]:
        """The nameservers that libc asked before us, at most three.

        Raises HelperError if the file is there and cannot be read.
        """
        return tuple(Upstream(address=server) for server in dict.fromkeys(self._servers()))

    def read_ways(self) -> tuple[IPAddress, ...]:
        """The servers that are asked in the end, those behind systemd-resolved's stub. Raises HelperError."""
        servers: list[IPAddress] = []
        for upstream in self.read_upstreams():
            servers += self._behind_stub() if upstream.address in STUBS else (upstream.address,)
        return tuple(dict.fromkeys(servers))

    def apply(self, telling: Telling) -> None:
        """Have the forwarder written as the only nameserver. Raises HelperError; the file is then as it was.

        So it is where systemd-resolved's stub is in the file: resolved would take our address from it for a server of
        its own, also of those whom it tells its servers, and keep it when the file is back, until it is restarted. What
        first reads the file meanwhile, as dockerd does once for its life, would find no server but the stub later.
        """
        address = self._nameserver
        if STUBS.intersection(self._servers()):
            raise HelperError(
                f"{self._folder / NAME} leads to systemd-resolved, and is not written over.",
                why="It would find our address there and ask us back, a loop, and keep it when the file is put back.",
                next_step="Bring it up without names: devlink up --no-dns",
            )
        if self._leads_to_uplinks() and uplinks.has_ours(self._uplinks, address):
            # It mixes the servers of today's network with those that resolved has read in ours, perhaps of a network
            # that was left; only without our file it says which are which.
            self.restore()
        self._files.write(address)
        present = self._read(NAME)
        if not present.is_ours or present.nameservers[:MAX_NAMESERVERS] != (address,) * MAX_NAMESERVERS:
            raise HelperError(
                f"{self._folder / NAME} does not name devlink's forwarder, though it was just written.",
                why="Another program wrote it again at once.",
                next_step=f"Find out which one writes {self._folder / NAME}, and stop it.",
            )

    def restore(self) -> None:
        """Have the file from before put back, if the present one is ours. Raises HelperError."""
        self._files.restore()
        if self._leads_to_uplinks():
            uplinks.renew(self._uplinks, self._nameserver)

    def has_remains(self) -> bool:
        """Whether the file is ours, or its backup or a half-written one is left. Raises HelperError."""
        is_left = any(os.path.lexists(self._folder / name) for name in (BACKUP_NAME, STAGE_NAME))
        present = self._read(NAME)
        is_named = present.is_ours or bool(OWN.intersection(present.nameservers))
        return is_left or (is_named and not self._is_symlink())  # what it leads to is its owner's to clean

    def is_ours(self) -> bool:
        """Whether the present file is ours, names the forwarder, and says what the file from before says now."""
        text = read_text(self._folder / NAME)
        present = parse(text)
        if self._is_symlink() or not present.is_ours or present.header is None:
            return False
        is_kept = present.header.had_file and self._is_kept()
        before = self._read(BACKUP_NAME) if is_kept else present
        header = present.header
        return text == render(self._nameserver, before, had_file=header.had_file, digest=header.digest)

    def _servers(self) -> tuple[IPAddress, ...]:
        """What libc asked without us, less what is ours by the file of uplinks."""
        present = self._read(NAME)
        named = present.nameservers
        if present.is_ours and present.header is not None:
            # The file itself rather than what we noted of it: it may lead to one that changes.
            named = self._read(BACKUP_NAME).nameservers if self._is_kept() else present.header.servers
        own = self._own_addresses()
        return tuple(server for server in named if server not in own)[:MAX_NAMESERVERS]

    def _behind_stub(self) -> tuple[IPAddress, ...]:
        ours = self._own_addresses() | STUBS
        return tuple(server for server in read_conf(self._uplinks).nameservers if server not in ours)

    def _own_addresses(self) -> frozenset[IPAddress]:
        """By policy, and by the file, which an earlier policy may have had written."""
        header = self._read(NAME).header
        return self._own | ({header.address} if header is not None else set())

    def _leads_to_uplinks(self) -> bool:
        """Whether that is the file from before, or the present one."""
        name = BACKUP_NAME if self._is_kept() else NAME
        return os.path.realpath(self._folder / name) == os.path.realpath(self._uplinks)

    def _is_kept(self) -> bool:
        return os.path.lexists(self._folder / BACKUP_NAME)

    def _is_symlink(self) -> bool:
        return (self._folder / NAME).is_symlink()

    def _read(self, name: str) -> ResolvConf:
        return read_conf(self._folder / name)


MODE = Direct
