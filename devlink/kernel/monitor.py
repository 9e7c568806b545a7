"""Tells when links, addresses, default routes, policy rules or anything of ours change, by the kernel's own word; costs
nothing while they do not, whatever other routes do."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from contextlib import suppress

from devlink.kernel.filter import attach, only_what_matters
from devlink.kernel.netlink import SOL_NETLINK
from devlink.kernel.nexthops import RTNLGRP_NEXTHOP

log = logging.getLogger(__name__)

RTNLGRP_IPV6_RULE = 19
GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << (RTNLGRP_IPV6_RULE - 1)
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE and RTNLGRP_IPV6_RULE
(linux/rtnetlink.h). The kernel drops routes with their link, address or nexthop object without a word on them."""
NETLINK_ADD_MEMBERSHIP = 1
SETTLE = 0.5
"""Seconds from the first event until it is told, with all that came meanwhile: a link that comes up makes a dozen."""
RETRY_PAUSE = 5.0
"""Seconds until a socket is tried to be had again."""
READ_SIZE = 1
"""Octets: what a message says is of no matter, the rest of it is dropped."""
MAX_READS = 4096
"""Datagrams taken at once, in a storm of them; the rest is taken the next time."""


class Monitor:
    """Calls `changed` once for each burst of events, SETTLE seconds after its first. In a running event loop.

    Says only that something changed: what is so now is to be looked up. Close it.
    """

    def __init__(self, changed: Callable[[], None], *, settle: float = SETTLE) -> None:
        """Raises OSError where the kernel has no such socket."""
        self._changed = changed
        self._settle = settle
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._socket = _open()
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def close(self) -> None:
        """No call comes after this. May be repeated."""
        if self._socket.fileno() < 0:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        # Not one wakeup more until it has settled: a routing daemon may change a hundred thousand routes.
        self._loop.remove_reader(self._socket.fileno())
        self._timer = self._loop.call_later(self._settle, self._settled)

    def _settled(self) -> None:
        self._timer = None
        try:
            matters = self._drain()
        except OSError as error:
            log.warning("the kernel's events are lost, beginning anew: %s", error)
            try:
                fresh = _open()
            except OSError as again:  # out of file descriptors, perhaps
                log.warning("and they cannot be had again yet: %s", again)
                self._timer = self._loop.call_later(max(self._settle, RETRY_PAUSE), self._settled)
                return
            self._socket.close()
            self._socket = fresh
            matters = True
        self._loop.add_reader(self._socket.fileno(), self._readable)
        if matters:
            self._changed()

    def _drain(self) -> bool:
        """Take what has come; whether it matters. Raises OSError."""
        matters = False
        for _ in range(MAX_READS):
            try:
                data, sender = self._socket.recvfrom(READ_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                matters = True  # there were more than the buffer holds
                continue
            if sender[0] == 0 and data:  # any process may send to a netlink socket; only port 0 is the kernel
                matters = True
        return matters


def _open() -> socket.socket:
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    try:
        attach(sock, only_what_matters())
        sock.bind((0, GROUPS))
        with suppress(OSError):  # a kernel before 5.3 has no nexthop objects
            sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NEXTHOP)
    except BaseException:
        sock.close()
        raise
    return sock
