"""Mode `NetworkManager`: it writes resolv.conf itself, and names the forwarder first in it.

For where `direct` cannot write, as /etc is read-only and resolv.conf a symlink to NetworkManager's. Elsewhere `direct`
comes first: it can write what containers of a user's own networks need after `down`, and NetworkManager cannot.
The file names three addresses of ours, and then the servers from before: libc reads no more than three, so it asks none
but us. Docker leaves loopback addresses out of the copies for its default network, which so keep the others.
"""

import logging
from pathlib import Path
from typing import ClassVar

from devlink.core.plan import Upstream
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.resolvers.facts import Facts
from devlink.resolvers.managers.bus import wait
from devlink.resolvers.managers.networkmanager import (
    SHOWN_LIMIT,
    Entry,
    ToldLink,
    ToldMode,
    Wanted,
    mode_of,
    others,
    rc_manager_of,
    servers_of,
)
from devlink.resolvers.mode import Place, Row, Telling, Tools
from devlink.resolvers.reading import RESOLV_CONF
from devlink.resolvers.resolv_conf import MAX_NAMESERVERS, MORE

log = logging.getLogger(__name__)

FOLDER = "/run/NetworkManager"
LEADING = 1
"""The priority that comes before those of VPNs (50) and of others (100), and excludes none (nm-settings(5))."""
LOWEST = -(1 << 31)


def _writes(facts: Facts) -> str:
    """What it hands to resolvconf is that one's to write; a header of its own may be left of another time."""
    is_its_own = facts.file.leads_to.startswith(f"{FOLDER}/")
    writes = facts.file.owner == "NetworkManager" and rc_manager_of(facts) in ("symlink", "file", "")
    return "NetworkManager writes resolv.conf" if mode_of(facts) == "default" and (is_its_own or writes) else ""


class NetworkManager(ToldMode):
    """Holds the link by which NetworkManager is told."""

    name: ClassVar[str] = "NetworkManager"
    can_split: ClassVar[bool] = False
    rows: ClassVar[tuple[Row, ...]] = (Row(rank=95, reason=_writes),)

    def __init__(self, tools: Tools, *, link: ToldLink | None = None, file: Path = RESOLV_CONF) -> None:
        super().__init__(tools, link=link, file=file)
        self._servers = (tools.nameserver, *(each for each in MORE if each != tools.nameserver))[:MAX_NAMESERVERS]

    def prepare(self, telling: Telling) -> tuple[Place, ...]:
        """The link. Raises HelperError."""
        self._link.prepare(telling.families)
        return tuple(Place(address=address) for address in self._servers)

    def apply(self, telling: Telling) -> None:
        """Have it write us first. Raises HelperError; the file is then as it was."""
        self.prepare(telling)
        self._link.tell(self._wanted)
        if not wait(self._leads, SHOWN_LIMIT):
            self._link.close()
            raise HelperError(
                f"{self._file} does not name devlink's forwarder first, though NetworkManager was told of it.",
                why="NetworkManager does not write it, or another program does as well.",
                next_step="See `busctl introspect org.freedesktop.NetworkManager "
                "/org/freedesktop/NetworkManager/DnsManager` (RcManager), and who else writes the file.",
            )
        log.info("NetworkManager writes %s first into resolv.conf", self._servers[0])

    def is_ours(self) -> bool:
        """Whether NetworkManager knows of us, and the file names us. Raises HelperError."""
        return self._link.is_told() and self._leads()

    def read_upstreams(self) -> tuple[Upstream, ...]:
        """What libc would ask without us: the first three. Raises HelperError."""
        return tuple(Upstream(address=server) for server in self.read_ways())

    def read_ways(self) -> tuple[IPAddress, ...]:
        """The same servers. Raises HelperError."""
        return servers_of(self.read_others(), self._own)[:MAX_NAMESERVERS]

    def _wanted(self, entries: tuple[Entry, ...]) -> Wanted:
        """Before all others. Where one of them excludes the rest we must exclude that too, and say what it said."""
        present = others(entries)
        lowest = min((entry.priority for entry in present), default=LEADING + 1)
        if lowest > LEADING:
            return Wanted(nameservers=self._servers, domains=(), priority=LEADING)
        search = dict.fromkeys(name for entry in present for name in entry.domains if not name.startswith("~"))
        return Wanted(
            nameservers=self._servers + servers_of(present, self._own),
            domains=tuple(search),
            priority=max(min(lowest, 0) - 1, LOWEST),
        )

    def _leads(self) -> bool:
        """Whether the nameservers that libc reads are ours. Raises HelperError."""
        return self.read_nameservers()[: len(self._servers)] == self._servers


MODE = NetworkManager
