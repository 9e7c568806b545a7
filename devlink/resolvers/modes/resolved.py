"""Mode `systemd-resolved`: it sends the clusters' names to the forwarder, and no others, as those of a link of ours.

Over D-Bus (org.freedesktop.resolve1(5)). The link is `devlink0`, which dies with the helper: then resolved forgets all.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from devlink.core.names import DomainName
from devlink.core.plan import Upstream
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError, reason
from devlink.kernel.tun import NAME as LINK
from devlink.resolvers.facts import Facts, ResolvConfFile
from devlink.resolvers.managers import networkmanager, resolve1
from devlink.resolvers.managers.bus import SystemBus, wait
from devlink.resolvers.managers.link import OwnLink
from devlink.resolvers.managers.resolve1 import (
    FOLDER,
    LINK_BUSY,
    MANAGER,
    NO_SUCH_LINK,
    PATH,
    SERVICE,
    STUB,
    STUB_FILE,
    STUBS,
    TOO_MANY,
    UPLINKS,
)
from devlink.resolvers.mode import BusQuery, Place, Row, Telling, Tools, Watched
from devlink.resolvers.observe import observe
from devlink.resolvers.reading import NSSWITCH_CONF, RESOLV_CONF, read_conf

log = logging.getLogger(__name__)

LOOPBACK_SINCE = 252
"""The version of systemd from which a link's server may be on loopback: before, UDP to it times out (247, 249)."""
REVERSE = DomainName.parse("arpa")
SCOPE_DNS = 0x1
"""SD_RESOLVED_DNS in a link's ScopesMask: that it is asked at all."""


def _runs(facts: Facts) -> bool:
    return SERVICE in facts.services


def _has_stub(facts: Facts) -> bool:
    """Where the answer is missing it is taken for the default, which is yes."""
    return bool(facts.services[SERVICE].get(f"{MANAGER}.DNSStubListener") != "no")


def _by_nsswitch(facts: Facts) -> str:
    if not _runs(facts) or not facts.comes_before_dns("resolve"):
        return ""
    goes_round = facts.nameservers and facts.nameservers[0] not in STUBS
    others = "; who reads resolv.conf without libc, as dig and Go programs do, goes round it" if goes_round else ""
    return "libc asks systemd-resolved (nsswitch.conf)" + others


def _by_stub(facts: Facts) -> str:
    """The uplink file is no reason: by that libc goes round resolved."""
    if not _runs(facts) or not _has_stub(facts):
        return ""
    if facts.names_only(STUBS):
        return "resolv.conf names systemd-resolved's stub"
    # Not there yet when it was read: resolved was started for this look.
    was_made_now = facts.file.leads_to == STUB_FILE and not facts.nameservers
    return "resolv.conf leads to systemd-resolved's" if was_made_now else ""


def _by_first_stub(facts: Facts) -> str:
    """The other servers are asked only while the stub is silent; `direct` could not have the stub for an upstream."""
    fits = _runs(facts) and _has_stub(facts) and facts.nameservers[:1] and facts.nameservers[0] in STUBS
    return "resolv.conf names systemd-resolved's stub first" if fits and not facts.file.content.rotates else ""


def _libc_asks(facts: Facts) -> bool:
    """What the rows ask of the files alone: another program may replace them under us."""
    named, leads = facts.nameservers, facts.file.leads_to == STUB_FILE
    return facts.comes_before_dns("resolve") or (named[0] in STUBS if named else leads)


def _rests_on_it(file: ResolvConfFile) -> bool:
    stub = bool(STUBS.intersection(file.content.nameservers))
    return stub or file.leads_to.startswith(f"{FOLDER}/") or file.owner == "systemd-resolved"


class Resolved:
    """Holds the link, and tells resolved of it."""

    name: ClassVar[str] = "systemd-resolved"
    can_split: ClassVar[bool] = True
    rows: ClassVar[tuple[Row, ...]] = (
        Row(rank=10, reason=_by_nsswitch),
        Row(rank=11, reason=_by_stub),
        Row(rank=12, reason=_by_first_stub),
    )
    queries: ClassVar[tuple[BusQuery, ...]] = (
        BusQuery(
            service=SERVICE, path=PATH, interface=MANAGER, properties=("DNSStubListener",), is_wanted=_rests_on_it
        ),
    )
    programs: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        tools: Tools,
        *,
        link: OwnLink | None = None,
        connect: Callable[[], SystemBus] = SystemBus,
        look: Callable[[], Facts] = lambda: observe(()),
        uplinks: Path = UPLINKS,
    ) -> None:
        self._nameserver = tools.nameserver
        self._own = tools.own
        self._link, self._connect, self._look, self._uplinks = link or OwnLink(make=tools.link), connect, look, uplinks
        self._is_bound = False
        """Whether the server that resolved is told of is on the link."""
        self._server: IPAddress = tools.nameserver
        """What resolved is told to ask."""
        self._told: frozenset[DomainName] | None = None
        self._link_path = ""
        """The link as an object of resolved's."""

    def prepare(self, telling: Telling) -> tuple[Place, ...]:
        """The link, up and with an address. Raises HelperError."""
        with self._connect() as bus:
            if not self._link.exists():
                # For the life of the link, as a bus that dies and comes back knows no version for a while. Where none
                # is known it is taken for a new one; the proof finds the error.
                self._is_bound = 0 < resolve1.systemd_version(bus) < LOOPBACK_SINCE
            self._link.prepare(telling.families)
            networkmanager.leave_alone(bus)
        first = Place(address=self._nameserver)
        # On loopback the sockets survive a new link, and containers leave such an address out of the resolv.conf that
        # they copy. (resolved lists no server of a link without DefaultRoute there: 252, 257 and 262.)
        if not self._is_bound:
            self._server = self._nameserver
            return (first,)
        self._server = self._link.addresses[0]
        return (first, Place(address=self._server, device=LINK, index=self._link.index))

    def apply(self, telling: Telling) -> None:
        """Tell resolved, the server last: with it first, ordinary names came to us until the rest was said."""
        if not _libc_asks(self._look()):
            raise HelperError(
                "Programs ask systemd-resolved for names no more, though it goes on running.",
                why=f"Another program wrote {RESOLV_CONF} meanwhile, or /etc/nsswitch.conf.",
                next_step="See who did; `devlink down` and `devlink up` go by what is there now.",
            )
        self.prepare(telling)
        index = self._link.index
        try:
            with self._connect() as bus:
                # The kernel tells resolved of a new link in its own time.
                wait(lambda: resolve1.read_link(bus, index) is not None, resolve1.LIMIT)
                self._link_path = resolve1.link_path(bus, index) or ""
                for member, signature, *arguments in (
                    ("SetLinkLLMNR", "is", "no"),
                    ("SetLinkMulticastDNS", "is", "no"),
                    ("SetLinkDNSSEC", "is", "no"),  # on 247 and 249 only before the server
                    ("SetLinkDNSOverTLS", "is", "no"),
                    ("SetLinkDefaultRoute", "ib", False),
                ):
                    if resolve1.call(bus, member, signature, index, *arguments, allowed=(LINK_BUSY,)) is None:
                        raise _taken_by_networkd()
                self._told = _tell_domains(bus, index, telling.domains)
                resolve1.call(bus, "SetLinkDNS", "ia(iay)", index, [resolve1.to_wire(self._server)])
                self._wait_until_asked(bus, index)
                resolve1.call(bus, "FlushCaches")  # the same server set again flushes nothing
        except HelperError:
            self._told = None
            self._revert()
            raise

    def nss_services(self) -> tuple[str, ...]:
        """`dns`, where libc has a way of its own and everybody else goes by the stub."""
        facts = self._look()
        by_stub = bool(facts.nameservers) and facts.nameservers[0] in STUBS
        return ("dns",) if by_stub and facts.comes_before_dns("resolve") else ()

    def restore(self) -> None:
        """Take the link away, and have resolved forget what it learnt by it. A dead helper's link is gone already."""
        if not self._link.is_held:
            return
        index = self._link.index
        self._revert()  # before the link goes, so that no question is on its way to us then
        self._link.close()
        try:
            with self._connect() as bus:
                wait(lambda: resolve1.read_link(bus, index) is None, resolve1.LIMIT)
                resolve1.call(bus, "FlushCaches")
        except HelperError as error:
            log.info("%s", reason(error))

    def has_remains(self) -> bool:
        """Whether the link is held: nothing of it outlives its process."""
        return self._link.is_held

    def is_ours(self) -> bool:
        """Whether libc still asks resolved, and that us for these domains, and for nothing else.

        Raises HelperError where resolved is not on the bus: it keeps what it was told while it restarts (in
        /run/systemd/resolve/netif), and goes on answering after the bus was killed, onto which 252 and 257 do not come
        back by themselves.
        """
        if self._told is None or not self._link.exists() or not _libc_asks(self._look()):
            return False
        with self._connect() as bus:
            return self._is_told(resolve1.read_link(bus, self._link.index), self._told)

    def read_upstreams(self) -> tuple[Upstream, ...]:
        """The servers behind resolved that are for all names.

        Not its stub, but where names are to leave the laptop only encrypted: with ResolveUnicastSingleLabel=yes it asks
        every link for names without a dot, ours too, and would ask us again for what we ask it. (It then waits for the
        answer to its own first question, so it ends, in seconds.) Raises HelperError where their file cannot be read.
        """
        if self._ask_manager("DNSOverTLS") == "yes" and self._ask_manager("DNSStubListener") in ("yes", "udp"):
            return (Upstream(address=STUB),)
        servers = tuple(dict.fromkeys(read_conf(self._uplinks).nameservers))
        return tuple(Upstream(address=address) for address in servers if address not in self._own)

    def read_ways(self) -> tuple[IPAddress, ...]:
        """The servers of all links but ours, those of a VPN's own domains among them, which the file leaves out.

        Raises HelperError where they are read from the file, for want of a bus, and it cannot be read.
        """
        for name in ("DNS", "FallbackDNS"):
            listed = self._ask_manager(name)
            servers = read_conf(self._uplinks).nameservers if listed is None else tuple(map(resolve1.from_wire, listed))
            ways = tuple(server for server in dict.fromkeys(servers) if server not in self._own)
            if ways:
                return ways
        return ()

    def watched(self) -> Watched:
        """resolved, our link as it sees it, and its file, written anew at each change of a server; and libc's own."""
        link = ((SERVICE, self._link_path),) if self._link_path else ()
        return Watched(files=(RESOLV_CONF, NSSWITCH_CONF, self._uplinks), objects=((SERVICE, PATH), *link))

    def _ask_manager(self, name: str) -> Any:
        """A property of resolved's, None where it is not to be had."""
        try:
            with self._connect() as bus:
                return bus.read(SERVICE, PATH, MANAGER, name)
        except HelperError as error:
            log.info("%s", reason(error))
            return None

    def _revert(self) -> None:
        try:
            with self._connect() as bus:
                resolve1.call(bus, "RevertLink", "i", self._link.index, allowed=(NO_SUCH_LINK,))
        except HelperError as error:
            log.info("%s", reason(error))

    def _wait_until_asked(self, bus: SystemBus, index: int) -> None:
        assert self._told is not None
        told = self._told
        if not wait(lambda: self._is_told(resolve1.read_link(bus, index), told), resolve1.LIMIT):
            raise HelperError(
                f"systemd-resolved does not take {LINK} as a link that it could ask.",
                why=f"It shows {resolve1.read_link(bus, index)}.",
                next_step=f"See `resolvectl status {LINK}` and `ip address show {LINK}`: who else configures it?",
            )

    def _is_told(self, shown: dict[str, Any] | None, told: frozenset[DomainName]) -> bool:
        return (
            shown is not None
            and bool(shown.get("ScopesMask", 0) & SCOPE_DNS)
            and [(family, bytes(octets)) for family, octets in shown.get("DNS", ())] == [resolve1.to_wire(self._server)]
            and {(name, routes) for name, routes in shown.get("Domains", ())}
            == {(str(domain), True) for domain in told}
            and shown.get("DefaultRoute") is False
        )


MODE = Resolved


def _tell_domains(bus: SystemBus, index: int, domains: tuple[DomainName, ...]) -> frozenset[DomainName]:
    """What it took of them: of too many (256 on 252, 1024 on 262) only those of names, without those of addresses."""
    if not _call_domains(bus, index, domains, allowed=TOO_MANY):
        log.warning("addresses of the clusters have no names: resolved takes no %d domains for a link", len(domains))
        domains = tuple(domain for domain in domains if not domain.is_within(REVERSE))
        _call_domains(bus, index, domains)
    return frozenset(domains)


def _call_domains(
    bus: SystemBus, index: int, domains: tuple[DomainName, ...], *, allowed: tuple[str, ...] = ()
) -> bool:
    """Whether it took them, or said one of the errors that are `allowed`."""
    told = [(str(domain), True) for domain in domains]
    return resolve1.call(bus, "SetLinkDomains", "ia(sb)", index, told, allowed=allowed) is not None


def _taken_by_networkd() -> HelperError:
    return HelperError(
        f"systemd-resolved takes no settings of {LINK} from devlink.",
        why="systemd-networkd has taken the link: a file of /etc/systemd/network matches its name.",
        next_step=f"Have that file match other names only, or lay one before it with `[Match] Name={LINK}` "
        "and `[Link] Unmanaged=yes` (devlink's package does), then `networkctl reload`.",
    )
