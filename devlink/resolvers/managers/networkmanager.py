"""NetworkManager over D-Bus: a link of ours carries the forwarder's address to it, or is kept out of its hands.

The link is `devlink0`, as for systemd-resolved. Where a mode rests on NetworkManager, that is told of DNS servers on it
(Device.Reapply), and forgets them within 50 ms when the link goes with the helper. What it is told lives in its memory
alone: a restart of it loses it, and `nmcli networking off` takes the link's address as well. Then it is told again.
"""

import ipaddress
import logging
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError, reason
from devlink.kernel.tun import NAME as LINK
from devlink.resolvers.facts import Facts
from devlink.resolvers.managers.bus import PAUSE, SystemBus, wait
from devlink.resolvers.managers.link import OwnLink
from devlink.resolvers.mode import BusQuery, Place, Tools, Watched
from devlink.resolvers.observe import owner_of
from devlink.resolvers.reading import RESOLV_CONF, read_conf, read_text
from devlink.resolvers.resolv_conf import MAX_NAMESERVERS, OWN

log = logging.getLogger(__name__)

SERVICE, PATH = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
DNS_PATH, DNS_INTERFACE = f"{PATH}/DnsManager", f"{SERVICE}.DnsManager"
DEVICE = f"{SERVICE}.Device"
UNKNOWN_DEVICE = f"{SERVICE}.UnknownDevice"
UNMANAGED, DISCONNECTED, ACTIVATED = 10, 30, 100
"""Of NMDeviceState."""

LIMIT = 3.0
"""Seconds within which NetworkManager takes a new link for connected; it also may just be starting."""
SEEN_LIMIT = 0.5
"""Seconds within which it sees a new link at all; a slower one may take it until it is looked at again."""
PATIENCE = 0.1
"""Seconds in which it makes up its mind about a link."""
SHOWN_LIMIT = 0.5
"""Seconds within which its DNS follows. It is done before Reapply is answered, or, on 1.42, never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What NetworkManager knows of DNS on one link (DnsManager.Configuration)."""

    interface: str
    """Empty for servers of no link (`[global-dns]`)."""
    nameservers: tuple[IPAddress, ...] = ()
    """Those of plain DNS."""
    domains: tuple[str, ...] = ()
    """For look-ups by search list; with `~` before it, for sending questions only."""
    priority: int = 100
    """The lower the sooner. A negative one excludes those above it (nm-settings(5), `dns-priority`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What it shall know of our link."""

    nameservers: tuple[IPAddress, ...]
    domains: tuple[str, ...]
    priority: int

    def is_shown_by(self, entries: Iterable[Entry]) -> bool:
        """Whether that is what NetworkManager knows now."""
        return any(
            (entry.nameservers, set(entry.domains), entry.priority)
            == (self.nameservers, set(self.domains), self.priority)
            for entry in entries
            if entry.interface == LINK
        )


def mode_of(facts: Facts) -> str:
    """Of DnsManager: `default`, `dnsmasq`, `systemd-resolved`, `none`, ...; empty where it does not run."""
    return str(facts.services.get(SERVICE, {}).get(f"{DNS_INTERFACE}.Mode", ""))


def rc_manager_of(facts: Facts) -> str:
    """How it writes resolv.conf: `symlink` and `file` by itself, `resolvconf` by that, `unmanaged` not at all."""
    return str(facts.services.get(SERVICE, {}).get(f"{DNS_INTERFACE}.RcManager", ""))


def others(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Those that are in force without us, in NetworkManager's order of preference."""
    found = [entry for entry in entries if entry.interface != LINK]
    lowest = min((entry.priority for entry in found), default=0)
    return tuple(entry for entry in found if lowest >= 0 or entry.priority == lowest)


def servers_of(entries: Iterable[Entry], own: Collection[IPAddress]) -> tuple[IPAddress, ...]:
    """Theirs, in order, each once, and none of our `own`."""
    named = dict.fromkeys(server for entry in entries for server in entry.nameservers)
    return tuple(server for server in named if server not in own)


def read_entries(bus: SystemBus) -> tuple[Entry, ...]:
    """All of DnsManager.Configuration, in its order. Raises HelperError, also where it does not run."""
    shown = bus.read(SERVICE, DNS_PATH, DNS_INTERFACE, "Configuration")
    return tuple(_entry({name: value for name, (_, value) in each.items()}) for each in shown or ())


def _entry(shown: dict[str, Any]) -> Entry:
    servers = []
    for text in shown.get("nameservers", ()):
        try:
            servers.append(ipaddress.ip_address(text))
        except ValueError:  # with the name of a certificate, or over TLS, since 1.52
            log.info("NetworkManager's server %s is not one that can be asked by plain DNS", text)
    mapped = [server.ipv4_mapped if server.version == 6 else None for server in servers]
    return Entry(
        interface=str(shown.get("interface", "")),
        nameservers=tuple(plain or server for plain, server in zip(mapped, servers, strict=True)),
        domains=tuple(shown.get("domains", ())),
        priority=int(shown.get("priority", 100)),
    )


class ToldLink:
    """The link, and what NetworkManager is told of it."""

    def __init__(
        self,
        *,
        link: OwnLink | None = None,
        connect: Callable[[], SystemBus] = SystemBus,
        limit: float = LIMIT,
        shown_limit: float = SHOWN_LIMIT,
    ) -> None:
        self._link, self.connect = link or OwnLink(), connect
        self._limit, self._shown_limit = limit, shown_limit
        self._wanted: Callable[[tuple[Entry, ...]], Wanted] | None = None

    @property
    def is_held(self) -> bool:
        """Whether there is a link of ours: nothing of it outlives this process."""
        return self._link.is_held

    def prepare(self, families: frozenset[int]) -> Place:
        """Have the link up, with an address. `families` are the cluster's. Raises HelperError."""
        self._link.prepare(families)  # also after `nmcli networking off`, which takes its addresses
        return Place(address=self._link.addresses[0], device=LINK, index=self._link.index)

    def tell(self, wanted: Callable[[tuple[Entry, ...]], Wanted]) -> None:
        """Have NetworkManager know what `wanted` makes of what it knows of others.

        Raises HelperError. It then knows nothing of ours; where it did not even take the link, that is still held.
        """
        with self.connect() as bus:
            self._tell(bus, wanted(read_entries(bus)))
        self._wanted = wanted

    def is_told(self) -> bool:
        """Whether NetworkManager still knows what would be told now. Raises HelperError, also while it does not run."""
        if self._wanted is None or not self._link.exists():
            return False
        with self.connect() as bus:
            entries = read_entries(bus)
            return self._wanted(entries).is_shown_by(entries)

    def close(self) -> None:
        """Let the link go, and wait until NetworkManager has seen it. May be repeated; needs no bus."""
        if not self._link.is_held:
            return
        self._link.close()
        try:
            with self.connect() as bus:
                if bus.has(SERVICE):
                    wait(lambda: all(entry.interface != LINK for entry in read_entries(bus)), self._shown_limit)
        except HelperError as error:
            log.info("%s", reason(error))

    def _tell(self, bus: SystemBus, wanted: Wanted) -> None:
        device = self._find(bus)
        # Else it drops the link in the moment after Reapply, with all its addresses: one that is made by another
        # program is in its hands only when somebody says so.
        _set_managed(bus, device, True)
        try:
            for _ in range(2):
                self._reapply(bus, device, wanted)
                if wait(lambda: wanted.is_shown_by(read_entries(bus)), self._shown_limit):
                    return
                # 1.42 reads a link's servers once more only when its addresses change.
                self._link.toggle_spare()
            raise HelperError(
                f"NetworkManager does not take the DNS server of {LINK}.",
                why=f"It knows those of {', '.join(each.interface for each in read_entries(bus)) or 'no link'}.",
                next_step=f"See `nmcli device show {LINK}` and `journalctl -u NetworkManager`.",
            )
        except BaseException:
            self.close()  # whatever it took of it is so undone
            raise

    def _find(self, bus: SystemBus) -> str:
        """Its object for the link, once it takes that for connected. The kernel tells it in its own time."""
        if bus.read(SERVICE, PATH, SERVICE, "NetworkingEnabled") is False:
            raise HelperError(
                "NetworkManager's networking is switched off.",
                why="It then takes no link for connected.",
                next_step="Switch it on: nmcli networking on",
            )
        # What helps where it does not by itself: devlink's own drop-in keeps it off the link, for the sake of other
        # modes; once that is overruled, 1.42 looks at the link only when its addresses change.
        remedies: dict[object, Callable[[str], None]] = {
            UNMANAGED: lambda device: _set_managed(bus, device, True),
            DISCONNECTED: lambda _: self._link.renew_addresses(),
        }
        state: object = None
        now = time.monotonic()
        since, end = now, now + self._limit
        while now < end:
            device = _device(bus)
            before, state = state, bus.read(SERVICE, device, DEVICE, "State") if device else None
            if state != before:
                since = now
            elif now > since + PATIENCE and state in remedies:
                remedies.pop(state)(device)
            if state == ACTIVATED:
                return device
            time.sleep(PAUSE)
            now = time.monotonic()
        raise HelperError(
            f"NetworkManager does not take {LINK} for connected.",
            why=f"After {self._limit:g} s its state is {state or 'unknown'}.",
            next_step=f"See `nmcli device status`; {LINK} must not be unmanaged.",
        )

    def _reapply(self, bus: SystemBus, device: str, wanted: Wanted) -> None:
        answer = bus.call(SERVICE, device, f"{DEVICE}.GetAppliedConnection", "u", 0)
        assert answer is not None
        connection, version = answer
        family = self._link.addresses[0].version
        settings = {name: value for name, value in connection.get(f"ipv{family}", {}).items() if name != "dns-data"}
        settings |= {
            "method": ("s", "manual"),
            "address-data": (
                "aa{sv}",
                [
                    {"address": ("s", str(address)), "prefix": ("u", address.max_prefixlen)}
                    for address in self._link.addresses
                ],
            ),
            "dns": ("au", [_number(each) for each in wanted.nameservers])
            if family == 4
            else ("aay", [_octets(each) for each in wanted.nameservers]),
            "dns-search": ("as", list(wanted.domains)),
            "dns-priority": ("i", wanted.priority),
            "never-default": ("b", True),
        }
        settings.pop("addresses", None)  # the same in an older form
        connection[f"ipv{family}"] = settings
        bus.call(SERVICE, device, f"{DEVICE}.Reapply", "a{sa{sv}}tu", connection, version, 0)


class ToldMode:
    """What the modes have in common by which NetworkManager is told."""

    queries: ClassVar[tuple[BusQuery, ...]] = (
        BusQuery(service=SERVICE, path=DNS_PATH, interface=DNS_INTERFACE, properties=("Mode", "RcManager")),
    )
    programs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tools: Tools, *, link: ToldLink | None = None, file: Path = RESOLV_CONF) -> None:
        self._nameserver, self._own = tools.nameserver, tools.own
        self._link = link or ToldLink(link=OwnLink(make=tools.link))
        self._file = file

    def nss_services(self) -> tuple[str, ...]:
        """No other way than libc's."""
        return ()

    def restore(self) -> None:
        """Let the link go, and see that the file is written without us. A dead helper's link is gone already. Raises
        HelperError."""
        limit = SHOWN_LIMIT if self._link.is_held else 0.0
        self._link.close()
        if not wait(lambda: not self._names_us(), limit):
            raise HelperError(
                f"{self._file} still names devlink's forwarder.",
                why="NetworkManager wrote it so and does not write it again: does it run?",
                next_step="Start it (as root: systemctl start NetworkManager), then try again.",
            )

    def has_remains(self) -> bool:
        """Whether the link is held, or the file was left as it was with it. Raises HelperError."""
        return self._link.is_held or self._names_us()

    def watched(self) -> Watched:
        """NetworkManager's DNS, and the file."""
        return Watched(files=(self._file,), objects=((SERVICE, DNS_PATH),))

    def read_nameservers(self) -> tuple[IPAddress, ...]:
        """Those that libc is given now. Raises HelperError."""
        return read_conf(self._file).nameservers

    def _names_us(self) -> bool:
        """Whether NetworkManager's own file does: those of `direct` and of resolvconf are not its to write."""
        # Of a plain file `direct` takes the link's addresses out; what a symlink leads to only its owner cleans.
        ours = self._own if self._file.is_symlink() else self._own - OWN
        is_named = bool(ours.intersection(self.read_nameservers()[:MAX_NAMESERVERS]))
        return is_named and owner_of(read_text(self._file)) == "NetworkManager"

    def read_others(self) -> tuple[Entry, ...]:
        """What NetworkManager has in force without us. Raises HelperError."""
        with self._link.connect() as bus:
            return others(read_entries(bus))


def leave_alone(bus: SystemBus) -> None:
    """Have NetworkManager keep off the link, for a mode that does without it, where no file of the package says so:
    `nmcli networking off` would take its addresses for good. That it cannot be told is logged, and no obstacle."""
    try:
        if not bus.has(SERVICE):
            return
        device = wait(lambda: _device(bus), SEEN_LIMIT)
        if device and bus.read(SERVICE, device, DEVICE, "Managed"):
            _set_managed(bus, device, False)
    except HelperError as error:
        log.warning("NetworkManager may take addresses from %s: %s", LINK, reason(error))


def _device(bus: SystemBus) -> str:
    """NetworkManager's object for the link; empty where it has not seen that yet. Raises HelperError."""
    found = bus.call(SERVICE, PATH, f"{SERVICE}.GetDeviceByIpIface", "s", LINK, allowed=(UNKNOWN_DEVICE,))
    return str(found[0]) if found else ""


def _set_managed(bus: SystemBus, device: str, is_managed: bool) -> None:
    bus.set_property(SERVICE, device, DEVICE, "Managed", "b", is_managed)


def _number(address: IPAddress) -> int:
    """The four octets as they lie in memory (nm-settings-dbus(5), `dns`)."""
    return int.from_bytes(address.packed, sys.byteorder)


def _octets(address: IPAddress) -> bytes:
    """On a link that has IPv6 alone, an address of IPv4 goes in IPv6's form (RFC 4291, 2.5.5.2); libc reads that."""
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
