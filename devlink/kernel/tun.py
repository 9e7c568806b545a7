"""A link of our own that lives as long as this process holds it: a TUN device with addresses, and with no packets."""

import errno
import fcntl
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError, reason
from devlink.kernel import links
from devlink.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL, NetlinkSocket, Refusal, Request

log = logging.getLogger(__name__)

NAME = "devlink0"
DEVICE = "/dev/net/tun"
IFF_TUN, IFF_NO_PI, IFF_TUN_EXCL = 0x1, 0x1000, 0x8000
"""linux/if_tun.h. EXCL: a link of that name is never taken over, not even a persistent TUN that nobody has open."""
TUNSETIFF = 0x800454CA if os.uname().machine.startswith(("alpha", "mips", "ppc", "sparc")) else 0x400454CA
"""_IOW('T', 202, int); these machines number the direction in another way (asm/ioctl.h)."""
BUSY_LIMIT = 1.0
"""Seconds for the link of a helper that is just ending to go away."""
BUSY_PAUSE = 0.02
QUEUE_LENGTH = 1
"""Packets. Nobody reads what is sent to the link, so the queue stays full and the kernel drops the rest (tun_net_xmit);
with 0, `pfifo_fast` cannot be set up (sch_generic.c)."""
_IFREQ = struct.Struct("16sH22x")


class Tun:
    """The link `name`. It goes away with its last descriptor, so after a SIGKILL too, and its addresses with it.

    It is made down and without addresses; `set_addresses` brings it up. The kernel gives it no address by itself, and
    it is no place for multicast (mDNS, LLMNR). Needs CAP_NET_ADMIN. Every method but `close` raises HelperError.
    """

    def __init__(self, name: str = NAME) -> None:
        self.name = name
        self._fd = _open(name)
        try:
            self.index: int = socket.if_nametoindex(name)
            """Of this link; one made later has another."""
            self._change(
                Request(links.RTM_NEWLINK, 0, links.encode_queue_length(self.index, QUEUE_LENGTH)),
                Request(links.RTM_NEWLINK, 0, links.encode_link_flags(self.index, 0, links.IFF_MULTICAST)),
            )
            # Before it is up: that is when the kernel makes a link-local address. Refused where it has no IPv6 at all.
            no_link_local = Request(links.RTM_NEWLINK, 0, links.encode_no_link_local(self.index))
            self._change(no_link_local, allowed=(errno.EAFNOSUPPORT, errno.EOPNOTSUPP))
        except OSError as error:
            os.close(self._fd)
            raise _failure(name, reason(error)) from error
        except BaseException:
            os.close(self._fd)
            raise

    def exists(self) -> bool:
        """Whether the link is still there: an administrator can delete it under us."""
        try:
            return self._fd >= 0 and socket.if_nametoindex(self.name) == self.index
        except OSError:
            return False

    def set_addresses(self, addresses: Iterable[IPAddress]) -> None:
        """Have these and no others, each alone in its prefix and of global scope, and be up. May be repeated."""
        wanted = set(addresses)
        present = self._addresses()
        drop = [_address(links.RTM_DELADDR, 0, address, self.index) for address in sorted(present - wanted, key=str)]
        add = [
            _address(links.RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, address, self.index)
            for address in sorted(wanted - present, key=str)
        ]
        if drop:
            self._change(*drop, allowed=(errno.EADDRNOTAVAIL,))
        if add:
            self._change(*add, allowed=(errno.EEXIST,))
        up = links.encode_link_flags(self.index, links.IFF_UP, links.IFF_UP)
        self._change(Request(links.RTM_NEWLINK, 0, up))
        for address in sorted(wanted - present, key=str):
            log.info("ip address add %s dev %s", address, self.name)

    def close(self) -> None:
        """Let the link go; the kernel removes it before this returns. May be repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _addresses(self) -> set[IPAddress]:
        try:
            with NetlinkSocket() as netlink:
                bodies = netlink.dump(links.RTM_GETADDR, links.encode_address_dump(), links.RTM_NEWADDR)
        except OSError as error:
            raise _failure(self.name, reason(error)) from error
        decoded = (links.decode_address(body) for body in bodies)
        return {each[1] for each in decoded if each is not None and each[0] == self.index}

    def _change(self, *requests: Request, allowed: tuple[int, ...] = ()) -> None:
        try:
            with NetlinkSocket() as netlink:
                refusals = netlink.batch(requests)
        except OSError as error:
            raise _failure(self.name, reason(error)) from error
        refused: Refusal | None = next((each for each in refusals.values() if each.errno not in allowed), None)
        if refused is not None:
            raise _failure(self.name, f"The kernel said: {refused.text}.")


class SharedTun:
    """One link for several that need it: it is there while any of them holds it, with the addresses of all of them."""

    def __init__(self, make: Callable[[], Tun] = Tun) -> None:
        self._make = make
        self._tun: Tun | None = None
        self._holds: list[Hold] = []

    def hold(self, *, known: bool = True) -> "Hold":
        """The link, made where it is not there; one that was deleted is made anew, and who held that one holds nothing.

        `known`: other programs are told of the link, and must forget all of that when it is let go. So it is made anew
        then for who else holds it. Raises HelperError.
        """
        if self._tun is None or not self._tun.exists():
            self._close()
            self._tun = self._make()
        hold = Hold(self, self._tun, known=known)
        self._holds.append(hold)
        return hold

    def _set_addresses(self, tun: Tun) -> None:
        tun.set_addresses({address for hold in self._holds if hold.tun is tun for address in hold.addresses})

    def _release(self, hold: "Hold") -> None:
        if hold not in self._holds:
            return
        self._holds.remove(hold)
        left, tun = tuple(self._holds), hold.tun
        try:
            if left and hold.known and tun.exists():
                self._close()
                self._tun = tun = self._make()
                for each in left:
                    each.tun = tun
                self._holds = list(left)
            if not left:
                self._close()
            elif tun.exists():
                self._set_addresses(tun)
        except HelperError as error:  # who holds it sees that it is gone
            log.error("%s", error)

    def _close(self) -> None:
        if self._tun is not None:
            self._tun.close()
        self._tun, self._holds = None, []


class Hold:
    """One holder's part in a shared link."""

    def __init__(self, shared: SharedTun, tun: Tun, *, known: bool) -> None:
        self._shared = shared
        self.tun, self.known = tun, known
        self.addresses: frozenset[IPAddress] = frozenset()

    @property
    def index(self) -> int:
        """As that of `Tun`."""
        return self.tun.index

    def exists(self) -> bool:
        """Whether the link that is held is still there."""
        return self.tun.exists()

    def set_addresses(self, addresses: Iterable[IPAddress]) -> None:
        """Have these, beside those of other holders, and be up. May be repeated. Raises HelperError."""
        self.addresses = frozenset(addresses)
        self._shared._set_addresses(self.tun)

    def close(self) -> None:
        """Hold it no more. May be repeated."""
        self._shared._release(self)


def _address(kind: int, flags: int, address: IPAddress, index: int) -> Request:
    return Request(kind, flags, links.encode_address(address, index))


def _open(name: str) -> int:
    deadline = time.monotonic() + BUSY_LIMIT
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise HelperError(
            f"The link {name} could not be made.",
            why=f"{DEVICE}: {error.strerror}.",
            next_step="The kernel's module tun must be there (modprobe tun), and the helper may open its device.",
        ) from error
    while True:
        try:
            fcntl.ioctl(fd, TUNSETIFF, _IFREQ.pack(name.encode(), IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL))
            return fd
        except OSError as error:
            if error.errno == errno.EBUSY and time.monotonic() < deadline:
                time.sleep(BUSY_PAUSE)
                continue
            os.close(fd)
            if error.errno == errno.EBUSY:
                raise HelperError(
                    f"The link {name} could not be made.",
                    why="There is a link of that name, which is not this helper's.",
                    next_step=f"`ip -details link show {name}` says what it is; if nobody needs it, delete it.",
                ) from error
            raise _failure(name, reason(error)) from error


def _failure(name: str, why: str) -> HelperError:
    return HelperError(
        f"The link {name} could not be made or changed.",
        why=why,
        next_step=f"See `ip -details address show {name}` and the helper's log.",
    )
