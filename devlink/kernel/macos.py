"""EXPERIMENTAL: routes on macOS, as command lines for route(8) and as netstat(1) and `route get` tell them. PURE.

Nothing here was ever run on macOS; docs/macos.md says what is missing. A macOS route has neither a protocol number nor
a metric, and a destination has one route: ours carry RTF_PROTO1 (`-proto1`), a `1` among netstat's flags.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from devlink.core.network import Route
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.errors import ConflictError, HelperError

ROUTE = ("/sbin/route", "-n")
LIST = {4: ("/usr/sbin/netstat", "-rn", "-f", "inet"), 6: ("/usr/sbin/netstat", "-rn", "-f", "inet6")}
"""What `parse_table` reads, by the address family."""
MARK = "1"
"""RTF_PROTO1 as netstat(1) shows it."""
HOST, BY_GATEWAY, SCOPED, CLONED = "H", "G", "I", "W"
"""RTF_HOST; RTF_GATEWAY; RTF_IFSCOPE, asked only by sockets that are bound to its interface;
RTF_WASCLONED, made by the kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the table."""

    destination: IPNetwork
    gateway: IPAddress | None
    """None where the destination is on the link itself: there netstat shows `link#4`, or a link-layer address."""
    interface: str
    flags: str

    @property
    def is_ours(self) -> bool:
        return MARK in self.flags

    @property
    def has_the_place(self) -> bool:
        """Whether it is the one route to its destination: no other can be added beside it."""
        return SCOPED not in self.flags and CLONED not in self.flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the kernel sends to an address."""

    gateway: IPAddress | None
    interface: str


def add(route: Route) -> tuple[str, ...]:
    """The command that adds a route (route(8)). Raises HelperError for one that macOS cannot have."""
    mtu = ("-mtu", str(route.mtu)) if route.mtu is not None else ()
    source = ("-ifa", str(route.source)) if route.source is not None else ()
    return (*ROUTE, "add", *_place(route), *mtu, *source, "-proto1")


def delete(route: Route) -> tuple[str, ...]:
    """The command that deletes it: only by this gateway, so that another's is left."""
    return (*ROUTE, "delete", *_place(route))


def ask(address: IPAddress) -> tuple[str, ...]:
    """The command whose output `parse_way` reads."""
    return (*ROUTE, "get", *(("-inet6",) if address.version == 6 else ()), str(address))


def _place(route: Route) -> tuple[str, ...]:
    if route.kind != "unicast":
        raise HelperError(
            f"macOS has no routes of the kind {route.kind}, which {route.destination} would be.",
            next_step="Bring it up without --override and without overrides in config.toml.",
        )
    family = "-inet6" if route.destination.version == 6 else "-inet"
    if route.next_hop is None:
        return (family, "-net", str(route.destination), "-interface", route.oif)
    zone = f"%{route.oif}" if route.next_hop.version == 6 and route.next_hop.is_link_local else ""
    return (family, "-net", str(route.destination), f"{route.next_hop}{zone}")


def changes(wanted: Iterable[Route], present: Iterable[Entry]) -> tuple[tuple[str, ...], ...]:
    """The commands that make ours in the table what is wanted, deletions first: a destination has one route.

    Raises ConflictError where another's route has the place of one that is wanted.
    """
    table = {entry.destination: entry for entry in present if entry.has_the_place}
    desired = {route.destination: route for route in wanted}
    deletions, additions = [], []
    for destination, entry in table.items():
        if entry.is_ours and not _is_as_wanted(entry, desired.get(destination)):
            was = Route(destination=destination, next_hop=entry.gateway, oif=entry.interface)
            deletions.append(delete(was))
    for destination, route in desired.items():
        found = table.get(destination)
        if found is None or found.is_ours:
            if found is None or not _is_as_wanted(found, route):
                additions.append(add(route))
            continue
        via = f"{found.gateway} by " if found.gateway is not None else ""
        raise ConflictError(
            f"Another program routes {destination} already, to {via}{found.interface}.",
            next_step=f"See who that is (netstat -rn), or: devlink up --exclude {destination}",
        )
    return (*deletions, *additions)


def _is_as_wanted(entry: Entry, route: Route | None) -> bool:
    if route is None:
        return False
    return entry.gateway == route.next_hop and (route.next_hop is not None or entry.interface == route.oif)


def parse_table(text: str, version: int) -> tuple[Entry, ...]:
    """What netstat(1) lists of one address family, with the columns Refs and Use of older releases or without.

    Raises HelperError for a text without a table: it is of another netstat.
    """
    entries: list[Entry] = []
    columns: dict[str, int] = {}
    for words in map(str.split, text.splitlines()):
        if words[:2] == ["Destination", "Gateway"]:
            columns = {name: index for index, name in enumerate(words)}
        elif columns and len(words) > columns["Netif"]:
            destination, gateway, flags, interface = (
                words[columns[name]] for name in ("Destination", "Gateway", "Flags", "Netif")
            )
            entries.append(
                Entry(
                    destination=_destination(destination, version, is_host=HOST in flags),
                    gateway=_address(gateway) if BY_GATEWAY in flags else None,
                    interface=interface,
                    flags=flags,
                )
            )
    if not columns:
        raise HelperError(
            "The table of routes cannot be read.", next_step=f"See what `{' '.join(LIST[version])}` prints."
        )
    return tuple(entries)


def parse_way(text: str) -> Way:
    """What `route -n get` tells. Raises HelperError where it tells of no interface: there is no way."""
    told = dict(_fields(text))
    if not told.get("interface"):
        raise HelperError("The laptop has no way there.", next_step="See: netstat -rn")
    return Way(gateway=_address(told.get("gateway", "")), interface=told["interface"])


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, separator, value = line.partition(": ")
        if separator:
            yield name.strip(), value.strip()


def _address(text: str) -> IPAddress | None:
    """None for a link."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _destination(text: str, version: int, *, is_host: bool) -> IPNetwork:
    """`default`, `10.20/16`, `127` (a net of whole octets), `10.0.0.1`, `fe80::%en0/64`: as netstat shortens them."""
    if text == "default":
        return ipaddress.ip_network("::/0" if version == 6 else "0.0.0.0/0")
    address, _, length = text.partition("/")
    address = address.partition("%")[0]
    if version == 6:
        return ipaddress.ip_network(f"{address}/{length or 128}")
    octets = address.split(".")
    full = ".".join((octets + ["0"] * 3)[:4])
    return ipaddress.ip_network(f"{full}/{length or (32 if is_host else 8 * len(octets))}")
