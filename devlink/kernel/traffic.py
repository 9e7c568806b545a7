"""Tells where packets of this machine go that are sent into given networks; costs no wakeup while none are.

The kernel logs them (nftables, an output hook) to us by NFLOG (linux/netfilter/nfnetlink_log.h): of those with the same
next hop at most RATE a second. The tables are such as the kernel removes when their owner's socket is closed
(NFT_TABLE_F_OWNER), so they end with this process however that ends. About 0.3 µs for each packet sent; what TCP hands
down as one large piece is one packet here.
"""

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable

from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.errors import HelperError, reason
from devlink.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    Request,
    attribute,
    pack_message,
    parse_attributes,
    parse_error,
    parse_messages,
)
from devlink.kernel.nft import Nft
from devlink.kernel.probe import MARK, MARK_MASK

RATE = 4
"""Packets a second that are told of each next hop."""
FIRST_GROUP, GROUPS = 231, 512
"""NFLOG groups that are tried: one is another program's only where that one took it first."""
SNAP = 40
"""Octets of each packet: both kinds of address are in them."""
TABLE = "devlink-traffic"
FEW = 4
"""So many networks of one IP version have a rule each; more are a set."""
NETLINK_NETFILTER = 12
NFNL_SUBSYS_ULOG = 4
NFULNL_MSG_PACKET, NFULNL_MSG_CONFIG = 0, 1
NFULA_PAYLOAD = 9
NFULA_CFG_CMD, NFULA_CFG_MODE, NFULA_CFG_QTHRESH = 1, 2, 5
NFULNL_CFG_CMD_BIND, NFULNL_COPY_PACKET = 1, 2
READ_SIZE = 1 << 16

_NFGENMSG = struct.Struct(">BBH")
_MODE = struct.Struct(">IBx")


class Traffic:
    """Packets of this machine into `networks`, ours with a probe's mark left out. Close it.

    Needs CAP_NET_ADMIN. Raises HelperError where this machine cannot tell: without libnftables, without NFLOG.
    """

    def __init__(self, networks: Iterable[IPNetwork]) -> None:
        self._nft: Nft | None = None
        self._socket, self._group = _listen()
        try:
            self._nft = Nft(_cannot)
            self._nft.run(_ruleset(f"{TABLE}-{self._group}", self._group, tuple(networks)))
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """Readable when there is something to `take`."""
        return self._socket.fileno()

    def take(self) -> tuple[IPAddress, ...]:
        """Where the packets went that were noted since the last call, without waiting."""
        found: dict[IPAddress, None] = {}
        while True:
            try:
                data, sender = self._socket.recvfrom(READ_SIZE)
            except BlockingIOError:
                return tuple(found)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue  # there were more than the buffer holds, and those that are in it say enough
            if sender[0] == 0:  # any process may send to a netlink socket; only port 0 is the kernel
                found |= dict.fromkeys(destinations(data))

    def close(self) -> None:
        """The kernel takes the table away. May be repeated."""
        if self._nft is not None:
            self._nft.close()
        self._socket.close()


def destinations(data: bytes) -> Iterable[IPAddress]:
    """Where the packets went that a datagram of NFLOG tells of."""
    for message in parse_messages(data):
        if message.type != NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET:
            continue
        packet = parse_attributes(message.body, _NFGENMSG.size).get(NFULA_PAYLOAD, b"")
        version = packet[0] >> 4 if packet else 0
        if version == 4 and len(packet) >= 20:
            yield ipaddress.IPv4Address(packet[16:20])
        elif version == 6 and len(packet) >= 40:
            yield ipaddress.IPv6Address(packet[24:40])


def _ruleset(table: str, group: int, networks: tuple[IPNetwork, ...]) -> str:
    """A table for each IP version that is there, so that packets of the other one meet no rule.

    The cheapest that tells enough (measured, CPU for each packet): a few prefixes are compared faster than looked up,
    and to look whether a next hop was told of lately takes no lock, as a `limit` for each would.
    """
    tables = []
    for version, family, kind in ((4, "ip", "ipv4_addr"), (6, "ip6", "ipv6_addr")):
        ours = [str(network) for network in networks if network.version == version]
        if not ours:
            continue
        is_few = len(ours) <= FEW
        elements = (
            ""
            if is_few
            else (f"set networks {{ type {kind}; flags interval; auto-merge; elements = {{ {', '.join(ours)} }}; }}\n")
        )
        rules = "\n".join(
            f"{family} daddr {place} rt {family} nexthop != @recent meta mark & {MARK_MASK:#x} != {MARK:#x}"
            f" add @recent {{ rt {family} nexthop }} log group {group} snaplen {SNAP} queue-threshold 1"
            for place in (ours if is_few else ["@networks"])
        )
        tables.append(
            f"table {family} {table} {{\nflags owner\n{elements}"
            f"set recent {{ type {kind}; flags dynamic, timeout; timeout {1000 // RATE}ms; size 65535; }}\n"
            f"chain output {{ type filter hook output priority 100; policy accept;\n{rules}\n}}\n}}\n"
        )
    return "".join(tables)


def _listen() -> tuple[socket.socket, int]:
    """A socket that hears one NFLOG group, and its number."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        try:
            sock.settimeout(1.0)  # the kernel answers at once
            sock.bind((0, 0))
            group = _bind(sock)
            _configure(sock, group, NFULA_CFG_MODE, _MODE.pack(SNAP, NFULNL_COPY_PACKET))
            _configure(sock, group, NFULA_CFG_QTHRESH, struct.pack(">I", 1))
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise _cannot(reason(error)) from error
    return sock, group


def _bind(sock: socket.socket) -> int:
    """The number of the group that is ours now: the first that no other program has."""
    for group in range(FIRST_GROUP, FIRST_GROUP + GROUPS):
        try:
            _configure(sock, group, NFULA_CFG_CMD, bytes([NFULNL_CFG_CMD_BIND]))
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EPERM):  # EPERM: another socket's (nfulnl_recv_config)
                raise
        else:
            return group
    last = FIRST_GROUP + GROUPS - 1
    raise _cannot(f"Others listen on each of the groups {FIRST_GROUP} to {last} of the kernel's packet log (NFLOG).")


def _configure(sock: socket.socket, group: int, kind: int, value: bytes) -> None:
    body = _NFGENMSG.pack(socket.AF_UNSPEC, 0, group) + attribute(kind, value)
    request = Request(NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG, NLM_F_REQUEST | NLM_F_ACK, body)
    sock.send(pack_message(request, 1))
    while True:
        for message in parse_messages(sock.recv(READ_SIZE)):
            if message.type == NLMSG_ERROR:
                verdict = parse_error(message)
                if verdict.errno:
                    raise OSError(*verdict)
                return


def _cannot(why: str) -> HelperError:
    return HelperError(
        "The kernel does not tell when packets are sent to the cluster.",
        why=why,
        next_step="Gateways are asked every ten seconds instead. It takes nftables (libnftables1) and NFLOG.",
    )
