"""What Linux says of a connection: where it was going before it was redirected, and whether its other end lives."""

import ipaddress
import socket
import struct

from devlink.core.prefixes import IPAddress

SO_ORIGINAL_DST = 80
"""include/uapi/linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST has the same number."""
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
"""include/uapi/linux/sock_diag.h."""
NLM_F_REQUEST = 1
ALL_STATES = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI")
_ID = struct.Struct("!HH16s16s")
_ANY_COOKIE = b"\xff" * 8
_INODE = _HEADER.size + 4 + 48 + 16
"""Where idiag_inode is in the answer: behind nlmsghdr, four octets, inet_diag_sockid and four numbers."""
Endpoint = tuple[IPAddress, int]


def original_destination(sock: socket.socket) -> Endpoint | None:
    """Where a redirected connection was going; None for one that came here by itself."""
    try:
        if sock.family == socket.AF_INET:
            raw = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
            port, packed = struct.unpack_from("!2xH4s", raw)
        else:
            raw = sock.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
            port, packed = struct.unpack_from("!2xH4x16s", raw)
    except OSError:
        return None  # conntrack knows no such connection (ENOENT), or there is none at all (ENOPROTOOPT)
    destination = ipaddress.ip_address(packed), port
    return None if destination == endpoint(sock.getsockname()) else destination


def endpoint(name: tuple[str, int]) -> Endpoint:
    """A socket's address of Python's."""
    return ipaddress.ip_address(name[0].partition("%")[0]), name[1]


class Peers:
    """Whether a program on this machine still has its end of a TCP connection (sock_diag(7)).

    A FIN alone does not say whether its sender closed or only sends no more; the kernel does.
    """

    def __init__(self) -> None:
        self._netlink: socket.socket | None = None
        try:
            self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
        except OSError:
            return  # not compiled in, or not allowed here: nobody is known to be gone
        self._netlink.setblocking(False)

    def is_orphan(self, peer: Endpoint, destination: Endpoint) -> bool:
        """Whether the socket that `peer` connected to `destination` belongs to no program any more.

        False where nobody knows it: it is in another network namespace.
        """
        if self._netlink is None:
            return False
        (address, port), (remote, remote_port) = peer, destination
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, ALL_STATES)
        body += _ID.pack(port, remote_port, address.packed.ljust(16, b"\0"), remote.packed.ljust(16, b"\0"))
        body += b"\0\0\0\0" + _ANY_COOKIE
        head = _HEADER.pack(_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0)
        try:
            self._netlink.send(head + body)
            answer = self._netlink.recv(4096)
        except OSError:
            return False
        if len(answer) < _INODE + 4 or _HEADER.unpack_from(answer)[1] != SOCK_DIAG_BY_FAMILY:
            return False
        return answer[_INODE : _INODE + 4] == bytes(4)

    def close(self) -> None:
        if self._netlink is not None:
            self._netlink.close()
