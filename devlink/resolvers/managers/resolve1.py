"""systemd-resolved: where it answers, which files it writes, what is asked and told of it over D-Bus."""

import contextlib
import ipaddress
import logging
import re
import socket
from pathlib import Path
from typing import Any

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError, reason
from devlink.resolvers.managers.bus import SystemBus

log = logging.getLogger(__name__)

SERVICE, PATH = "org.freedesktop.resolve1", "/org/freedesktop/resolve1"
MANAGER, LINK_INTERFACE = f"{SERVICE}.Manager", f"{SERVICE}.Link"
NO_SUCH_LINK, LINK_BUSY = f"{SERVICE}.NoSuchLink", f"{SERVICE}.LinkBusy"
TOO_MANY = ("System.Error.E2BIG", "org.freedesktop.DBus.Error.LimitsExceeded")
"""How it refuses more domains than a link may have: that of 252, and that of 262."""
SYSTEMD, SYSTEMD_PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"

STUBS = frozenset(ipaddress.ip_address(text) for text in ("127.0.0.53", "127.0.0.54"))
"""Where systemd-resolved answers (systemd-resolved.service(8)); the second one passes questions on as they are."""
STUB = ipaddress.ip_address("127.0.0.53")
FOLDER = Path("/run/systemd/resolve")
UPLINKS = FOLDER / "resolv.conf"
"""The servers that it asks for names of no link's own, as it writes them for those who go round it."""
STUB_FILE = str(FOLDER / "stub-resolv.conf")

LIMIT = 2.0
"""Seconds within which resolved sees what the kernel told it of the link, or that it is gone."""


def call(
    bus: SystemBus, member: str, signature: str = "", *arguments: Any, allowed: tuple[str, ...] = ()
) -> tuple[Any, ...] | None:
    """The answer of resolved's manager; None for an error that is in `allowed`. Raises HelperError."""
    return bus.call(SERVICE, PATH, f"{MANAGER}.{member}", signature, *arguments, allowed=allowed)


def read_link(bus: SystemBus, index: int) -> dict[str, Any] | None:
    """The properties of the link, by name; None where resolved knows of no such link. Raises HelperError."""
    path = link_path(bus, index)
    if path is None:
        return None
    return bus.read_all(SERVICE, path, LINK_INTERFACE)


def link_path(bus: SystemBus, index: int) -> str | None:
    """The link as an object of resolved's; None where it knows of no such link. Raises HelperError."""
    found = call(bus, "GetLink", "i", index, allowed=(NO_SUCH_LINK,))
    return str(found[0]) if found is not None else None


def systemd_version(bus: SystemBus) -> int:
    """systemd's, of which resolved is a part; 0 where nobody says it."""
    try:
        text = str(bus.read(SYSTEMD, SYSTEMD_PATH, f"{SYSTEMD}.Manager", "Version"))
    except HelperError as error:
        log.info("%s", reason(error))
        return 0
    match = re.search(r"\d+", text)
    return int(match[0]) if match else 0


def to_wire(address: IPAddress) -> tuple[int, bytes]:
    """As SetLinkDNS takes it and as a link's DNS shows it."""
    return (socket.AF_INET if address.version == 4 else socket.AF_INET6, address.packed)


def from_wire(server: tuple[int, int, bytes]) -> IPAddress:
    """One of the manager's DNS; a link-local one of IPv6 with its link's name as the zone, as in resolv.conf."""
    index, _, octets = server
    address = ipaddress.ip_address(bytes(octets))
    if address.version == 6 and address.is_link_local and index:
        with contextlib.suppress(OSError):  # the link has gone meanwhile
            return ipaddress.ip_address(f"{address}%{socket.if_indextoname(index)}")
    return address
