"""The sockets on which a relay takes connections: kept here, so that one that is started again has the same ones."""

import contextlib
import ipaddress
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError, reason
from devlink.kernel.redirect import Entrance

REDIRECTED, NAMES, CONTAINERS = "redirected", "names", "containers"
LOOPBACK: dict[int, IPAddress] = {4: ipaddress.ip_address("127.0.0.1"), 6: ipaddress.ip_address("::1")}
BACKLOG = 4096
"""Connections that wait for the relay; the kernel may have a lower limit (net.core.somaxconn)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a listener is, its port left out: that is whatever the kernel gives."""

    purpose: str
    """As in `core.relay.RelayListener`."""
    address: IPAddress
    bridge: str = ""
    """The link that it is bound to, for containers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One of them."""

    place: Place
    sock: socket.socket

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])


def places(versions: Iterable[int], bridges: Mapping[str, Iterable[IPAddress]]) -> tuple[Place, ...]:
    """Those of one session, whose prefixes are of these IP versions; `bridges` with their addresses."""
    versions = sorted(set(versions))
    return (
        *(Place(purpose=REDIRECTED, address=LOOPBACK[version]) for version in versions),
        Place(purpose=NAMES, address=LOOPBACK[4]),
        *(
            Place(purpose=CONTAINERS, address=address, bridge=bridge)
            for bridge, addresses in bridges.items()
            for version in versions
            for address in [a for a in addresses if a.version == version and not a.is_link_local][:1]
        ),
    )


def listen(wanted: Iterable[Place], kept: Iterable[Listener]) -> tuple[Listener, ...]:
    """A listener in each place, those of `kept` where they are in one. Raises HelperError; then none is new."""
    there = {listener.place: listener for listener in kept}
    made: list[Listener] = []
    try:
        for place in wanted:
            made.append(there.get(place) or Listener(place=place, sock=_listen(place)))
    except OSError as error:
        close(made, but=there.values())
        raise HelperError(
            f"The relay's listener on {place.address} could not be made.",
            why=f"{place.bridge}{': ' if place.bridge else ''}{reason(error)}",
            next_step=f"See whether that address is there: ip address show {place.bridge or 'lo'}",
        ) from error
    return tuple(made)


def close(listeners: Iterable[Listener], but: Collection[Listener] = ()) -> None:
    """Nobody listens on them any more, a relay that has them still included: the table that guarded them is going."""
    for listener in listeners:
        if listener not in but:
            with contextlib.suppress(OSError):  # closed already
                listener.sock.shutdown(socket.SHUT_RDWR)
            listener.sock.close()


def ports(listeners: Iterable[Listener]) -> dict[int, int]:
    """Of those on loopback to which programs are redirected, by IP version."""
    return {each.place.address.version: each.port for each in listeners if each.place.purpose == REDIRECTED}


def names_port(listeners: Iterable[Listener]) -> int:
    """Of the one for names, or 0."""
    return next((each.port for each in listeners if each.place.purpose == NAMES), 0)


def entrances(listeners: Iterable[Listener]) -> tuple[Entrance, ...]:
    """Those for containers."""
    return tuple(
        Entrance(bridge=each.place.bridge, address=each.place.address, port=each.port)
        for each in listeners
        if each.place.purpose == CONTAINERS
    )


def _listen(place: Place) -> socket.socket:
    family = socket.AF_INET if place.address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if place.bridge:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, place.bridge.encode() + b"\0")
        sock.bind((str(place.address), 0))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
