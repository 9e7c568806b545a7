"""Where the laptop is, as far as it can be seen without asking the cluster: the ways to it, and who is next on them."""

import contextlib
import fcntl
import ipaddress
import socket
import struct
import time
from dataclasses import dataclass

from devlink.core.network import ObservedNetwork, Path
from devlink.core.plan import addresses_of_interest
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile
from devlink.kernel.observe import link_address, observe

DISCARD = 9
"""The port that nobody answers (RFC 863): a datagram to it has the kernel ask for the link address, and no more."""
SIOCGIFFLAGS, IFF_NOARP = 0x8913, 0x80
"""linux/sockios.h, linux/if.h."""
NEIGHBOUR_LIMIT = 0.3
"""Seconds for a neighbour to say its link address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How packets go to one address of the cluster."""

    address: IPAddress
    oif: str | None
    next_hop: IPAddress | None
    link_address: str
    """Of the next hop, or of the address itself where it is on the link; empty where nobody says it is that one. A
    tunnel's link has no such addresses: there it is the link's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Two that are equal are the same place, as far as anybody can see."""

    hops: tuple[Path, ...]
    """The way to each next hop of the profile, and to its DNS servers."""
    ways: tuple[Way, ...]
    """To the cluster's API and its DNS servers."""
    addresses: tuple[str, ...]
    """The laptop's own on the links that these ways take."""
    is_offline: bool
    """No next hop can be reached at all: there is no way, or its link is down."""

    @property
    def is_known(self) -> bool:
        """Whether it is seen by whom the packets go: else an equal one may be another place."""
        return all(way.link_address for way in self.ways if way.oif is not None)


def look_around(profile: BridgeProfile) -> tuple[ObservedNetwork, Surroundings]:
    """The network with the ways that a plan needs, and what of it makes the place. Blocks. Raises HelperError."""
    near, far = addresses_of_interest(profile), _cluster_addresses(profile)
    observed = observe((*near, *far))
    up = {link.name for link in observed.links if link.up}
    ways = tuple(_way(address, observed.paths[address]) for address in far)
    oifs = {way.oif for way in ways} | {observed.paths[address].oif for address in near}
    return observed, Surroundings(
        hops=tuple(observed.paths[address] for address in near),
        ways=ways,
        addresses=tuple(
            f"{address}/{length} dev {link.name}"
            for link in observed.links
            for address, length in link.addresses
            if link.name in oifs and link.name != "lo" and not address.is_link_local
        ),
        is_offline=bool(near) and not any(observed.paths[address].oif in up for address in near),
    )


def _cluster_addresses(profile: BridgeProfile) -> tuple[IPAddress, ...]:
    spec = profile.spec
    api = [spec.services[0].network_address + 1] if spec.services else []
    servers = [server.address for server in spec.dns.servers] if spec.dns else []
    return tuple(dict.fromkeys([*api, *servers]))


def _way(address: IPAddress, path: Path) -> Way:
    neighbour = path.next_hop or address
    known = ""
    if path.oif is not None and path.kind == "unicast":
        known = path.oif if _has_two_ends(path.oif) else _neighbour(neighbour, path.oif)
    return Way(address=address, oif=path.oif, next_hop=path.next_hop, link_address=known)


def _has_two_ends(link: str) -> bool:
    """Whether it is a tunnel or the like, which knows no link addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16sH14x", link.encode(), 0))
        except OSError:
            return False
    return bool(struct.unpack("16sH14x", answer)[1] & IFF_NOARP)


def _neighbour(address: IPAddress, oif: str) -> str:
    """Its link address; asked for where the kernel does not know it, as after each loss of the carrier."""
    deadline = time.monotonic() + NEIGHBOUR_LIMIT
    is_asked = False
    while not (found := link_address(address, oif)) and time.monotonic() < deadline:
        if not is_asked:
            is_asked = True
            _knock(address, oif)
        time.sleep(0.01)
    return found


def _knock(address: IPAddress, oif: str) -> None:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        if isinstance(address, ipaddress.IPv6Address):
            sock.sendto(b"", (str(address), DISCARD, 0, socket.if_nametoindex(oif) if address.is_link_local else 0))
        else:
            sock.sendto(b"", (str(address), DISCARD))
