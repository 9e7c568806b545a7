"""What the mode `systemd-resolved` asks and tells others on the system's D-Bus: resolved, systemd, NetworkManager."""

import contextlib
import ipaddress
import logging
import re
import socket
import time
from collections.abc import Callable
from typing import Any

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError, reason
from devlink.resolvers.bus import SystemBus

log = logging.getLogger(__name__)

SERVICE, PATH = "org.freedesktop.resolve1", "/org/freedesktop/resolve1"
MANAGER, LINK_INTERFACE = f"{SERVICE}.Manager", f"{SERVICE}.Link"
NO_SUCH_LINK, LINK_BUSY = f"{SERVICE}.NoSuchLink", f"{SERVICE}.LinkBusy"
TOO_MANY = ("System.Error.E2BIG", "org.freedesktop.DBus.Error.LimitsExceeded")
"""How it refuses more domains than a link may have: that of 252, and that of 262."""
UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"
PROPERTIES = "org.freedesktop.DBus.Properties"
SYSTEMD, SYSTEMD_PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
NETWORK_MANAGER, NETWORK_MANAGER_PATH = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
UNKNOWN_DEVICE = f"{NETWORK_MANAGER}.UnknownDevice"

LIMIT = 2.0
"""Seconds within which resolved sees what the kernel told it of the link, or that it is gone."""
SEEN_LIMIT = 0.5
"""Seconds within which NetworkManager sees a new link; a slower one may take it until it is looked at again."""
PAUSE = 0.01


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
    shown = bus.call(SERVICE, path, f"{PROPERTIES}.GetAll", "s", LINK_INTERFACE, allowed=(UNKNOWN_OBJECT,))
    return {name: value for name, (_, value) in shown[0].items()} if shown is not None else None


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


def take_from_network_manager(bus: SystemBus, name: str) -> None:
    """Have NetworkManager leave the link alone, where no file of the package says so: `nmcli networking off` would take
    its addresses for good."""
    try:
        if not bus.has(NETWORK_MANAGER):
            return
        service, path = NETWORK_MANAGER, NETWORK_MANAGER_PATH
        device: list[str] = []

        def is_known() -> bool:
            answer = bus.call(service, path, f"{service}.GetDeviceByIpIface", "s", name, allowed=(UNKNOWN_DEVICE,))
            device[:] = [str(each) for each in answer or ()]
            return bool(device)

        if wait(is_known, limit=SEEN_LIMIT) and bus.read(service, device[0], f"{service}.Device", "Managed"):
            bus.call(service, device[0], f"{PROPERTIES}.Set", "ssv", f"{service}.Device", "Managed", ("b", False))
    except HelperError as error:
        log.warning("NetworkManager may take addresses from %s: %s", name, reason(error))


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


def wait(condition: Callable[[], bool], limit: float | None = None) -> bool:
    """Whether it becomes true within `limit` seconds."""
    deadline = time.monotonic() + (LIMIT if limit is None else limit)
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(PAUSE)
    return True
