"""Who is next on a link: the link address by which a neighbour is known, and whether it answers there."""

import asyncio
import errno
import ipaddress
import socket
import time
from contextlib import suppress

from devlink.core.network import Path
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.kernel.links import (
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
    decode_link,
    decode_neighbour,
    encode_link_lookup,
    encode_neighbour,
)
from devlink.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    NetlinkSocket,
    Request,
    parse_messages,
)

RTMGRP_NEIGH = 0x4
NUD_REACHABLE, NUD_PROBE, NUD_FAILED, NUD_NOARP, NUD_PERMANENT = 0x02, 0x10, 0x20, 0x40, 0x80
NTF_USE = 0x01
GIVEN_UP = 4.0
"""Seconds until one that is asked for has not answered: the kernel gives up after three questions, one a second."""
TELLING = 0.3
"""Seconds for a neighbour to say its link address."""
DISCARD = 9
"""The port that nobody answers (RFC 863): a datagram to it has the kernel ask for the link address, and no more."""


def link_address_toward(address: IPAddress, path: Path, *, ask: bool = False) -> str:
    """The link address (MAC) of who takes what goes to `address` by that way, as hex: the next hop's, or its own.

    Empty where the way leads to nobody, where its link has no such addresses, and where the kernel does not know it.
    With `ask` the kernel then asks for it, as it must after each loss of the carrier; this blocks for 0.3 s at most.
    """
    if path.oif is None or path.kind != "unicast":
        return ""
    neighbour = path.next_hop or address
    found = _link_address(neighbour, path.oif)
    if ask and not found:
        _knock(neighbour, path.oif)
        deadline = time.monotonic() + TELLING
        while not (found := _link_address(neighbour, path.oif)) and time.monotonic() < deadline:
            time.sleep(0.01)
    return found


def _link_address(address: IPAddress, oif: str) -> str:
    try:
        with NetlinkSocket() as netlink:
            body = encode_neighbour(address, socket.if_nametoindex(oif))
            return decode_neighbour(netlink.get(RTM_GETNEIGH, body).body).link_address.hex(":")
    except OSError:  # ENOENT: nobody has asked for it yet
        return ""


def is_reachable(address: IPAddress, oif: str) -> bool | None:
    """What the kernel's entry says of a neighbour that a packet was sent to a moment ago; None where it says nothing.

    Needs no privilege, asks nobody.
    """
    try:
        with NetlinkSocket() as netlink:
            body = encode_neighbour(address, socket.if_nametoindex(oif))
            state = decode_neighbour(netlink.get(RTM_GETNEIGH, body).body).state
    except OSError:  # ENOENT: nobody has asked for it yet
        return None
    return {NUD_REACHABLE: True, NUD_FAILED: False}.get(state)


def _knock(address: IPAddress, oif: str) -> None:
    """Have the kernel ask, without any right."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        if isinstance(address, ipaddress.IPv6Address):
            sock.sendto(b"", (str(address), DISCARD, 0, socket.if_nametoindex(oif) if address.is_link_local else 0))
        else:
            sock.sendto(b"", (str(address), DISCARD))


async def neighbour_answers(address: IPAddress, oif: str) -> bool:
    """Ask for a neighbour's link address anew (ARP, neighbour discovery): whether it answers.

    2 ms where it does, 3 s where it does not. Needs CAP_NET_ADMIN. Raises OSError; HelperError where the kernel asks
    nobody, as the entry is static or the link has no link addresses: then it stays as it is.
    """
    index = socket.if_nametoindex(oif)
    loop = asyncio.get_running_loop()
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    ) as news:
        news.bind((0, RTMGRP_NEIGH))
        _check_asked(address, oif, index)
        _solicit(address, index)
        try:
            async with asyncio.timeout(GIVEN_UP):
                while True:
                    for state in _states(await loop.sock_recv(news, 1 << 16), address, index):
                        if state & (NUD_REACHABLE | NUD_FAILED):
                            return bool(state & NUD_REACHABLE)
        except TimeoutError:
            return False


def _check_asked(address: IPAddress, oif: str, index: int) -> None:
    """Raise HelperError where the kernel never asks for that neighbour. To be asked to do so nevertheless, it would
    throw away what somebody has written down."""
    state = 0
    with NetlinkSocket() as netlink:
        link, _ = decode_link(netlink.get(RTM_GETLINK, encode_link_lookup(oif)).body)
        try:
            state = decode_neighbour(netlink.get(RTM_GETNEIGH, encode_neighbour(address, index)).body).state
        except OSError as error:
            if error.errno != errno.ENOENT:  # nobody has asked for it yet
                raise
    if link.noarp or state & (NUD_PERMANENT | NUD_NOARP):
        raise HelperError(
            f"Whether {address} is on its link cannot be told.",
            why="Its link address is not asked for: it is set by hand, or the link has none.",
            next_step=f"See: ip neighbour show {address}",
        )


def _solicit(address: IPAddress, index: int) -> None:
    """Have the kernel ask: for what it knows already, by NUD_PROBE; else as though a packet were sent there."""
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    with NetlinkSocket() as netlink:
        for state, use in ((NUD_PROBE, 0), (0, NTF_USE)):
            refusals = netlink.batch([Request(RTM_NEWNEIGH, flags, encode_neighbour(address, index, state, use))])
            if not refusals:
                return
        raise OSError(*refusals[0])


def _states(data: bytes, address: IPAddress, index: int) -> list[int]:
    """What a datagram says of that neighbour."""
    told = (decode_neighbour(message.body) for message in parse_messages(data) if message.type == RTM_NEWNEIGH)
    return [each.state for each in told if (each.oif, each.address) == (index, address.packed)]
