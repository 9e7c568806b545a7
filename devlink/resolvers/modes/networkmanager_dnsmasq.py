"""Mode `NetworkManager-dnsmasq`: the dnsmasq that NetworkManager runs sends the clusters' names to the forwarder.

NetworkManager has it ask a link's servers by that link alone (`server=/cluster.local/169.254.53.53@devlink0`), so the
forwarder listens on an address of the link: loopback cannot be reached by it. libc, and whoever reads resolv.conf, asks
dnsmasq (127.0.0.1), before and after.
"""

import ipaddress
import logging
from typing import ClassVar

from devlink.core.plan import Upstream
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.resolvers.facts import Facts
from devlink.resolvers.managers.networkmanager import Entry, ToldMode, Wanted, mode_of, others, servers_of
from devlink.resolvers.mode import Place, Row, Telling

log = logging.getLogger(__name__)

DNSMASQ = frozenset([ipaddress.ip_address("127.0.0.1")])
"""Where NetworkManager has it listen."""
PRIORITY = 1
"""Excludes nobody, so that the search list stays (nm-settings(5), `dns-priority`)."""


def _runs(facts: Facts) -> str:
    fits = mode_of(facts) == "dnsmasq" and facts.names_only(DNSMASQ)
    return "resolv.conf names the dnsmasq that NetworkManager runs" if fits else ""


class NetworkManagerDnsmasq(ToldMode):
    """Holds the link by which NetworkManager is told."""

    name: ClassVar[str] = "NetworkManager-dnsmasq"
    can_split: ClassVar[bool] = True
    rows: ClassVar[tuple[Row, ...]] = (Row(rank=20, reason=_runs),)

    def prepare(self, telling: Telling) -> tuple[Place, ...]:
        """The link. Raises HelperError."""
        return (Place(address=self._nameserver), self._link.prepare(telling.families))

    def apply(self, telling: Telling) -> None:
        """Have dnsmasq ask us for these domains; it forgets what it kept. Raises HelperError; all is then as it was."""
        address = self._link.prepare(telling.families).address
        if not self._libc_asks():
            raise HelperError(
                f"{self._file} does not name NetworkManager's dnsmasq any more.",
                why="Another program writes it now, or NetworkManager does without dnsmasq.",
                next_step="Bring it up again: devlink up",
            )
        domains = tuple(f"~{domain}" for domain in telling.domains)

        def wanted(entries: tuple[Entry, ...]) -> Wanted:
            # One that excludes those above it (a VPN's) excludes ours as well, but not its equal.
            lowest = min((entry.priority for entry in others(entries)), default=PRIORITY)
            return Wanted(nameservers=(address,), domains=domains, priority=lowest if lowest < 0 else PRIORITY)

        self._link.tell(wanted)
        log.info("NetworkManager's dnsmasq asks %s for %s", address, ", ".join(map(str, telling.domains)))

    def is_ours(self) -> bool:
        """Whether libc still asks dnsmasq, and that us. Raises HelperError."""
        return self._libc_asks() and self._link.is_told()

    def read_upstreams(self) -> tuple[Upstream, ...]:
        """The servers behind dnsmasq, which would ask us back for a cluster's names. Raises HelperError."""
        return tuple(Upstream(address=server) for server in self.read_ways())

    def read_ways(self) -> tuple[IPAddress, ...]:
        """The same servers. Raises HelperError."""
        return servers_of(self.read_others(), self._own)

    def _libc_asks(self) -> bool:
        return frozenset(self.read_nameservers()) == DNSMASQ


MODE = NetworkManagerDnsmasq
