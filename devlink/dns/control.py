"""The helper's end of the forwarder: varlink messages and the sockets that come with them."""

import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from devlink.core.codec import DecodeError, decode
from devlink.core.plan import ForwarderConfig
from devlink.dns.engine import Engine
from devlink.errors import ProtocolError
from devlink.rpc.framing import FrameReader, pack

INTERFACE = "io.devlink.Forwarder"
MAX_FDS = 64
"""Descriptors in one message; SCM_MAX_FD is 253."""
MAX_UNSENT = 1 << 20
"""Octets of replies that may wait; a feeder that takes none is gone for all practical purposes."""


class SocketKind(StrEnum):
    """What a passed descriptor is."""

    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedSocket:
    """One descriptor that came with the message."""

    kind: SocketKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The parameters of `Configure`."""

    config: ForwarderConfig
    sockets: tuple[PassedSocket, ...] | None = None
    """Those that came along, in this order; None keeps the present ones."""


def parse_configuration(parameters: Mapping[str, Any]) -> Configuration:
    """Raises ProtocolError."""
    try:
        return decode(Configuration, dict(parameters))
    except DecodeError as error:
        raise ProtocolError(
            f"The forwarder cannot read its configuration: {error}.",
            why="The helper is probably of another version.",
            next_step="Run `devlink --version`, and restart the part that differs.",
        ) from error


def stats_tree(engine: Engine) -> dict[str, Any]:
    """The parameters of the reply to `GetStats`."""
    counts = {f.name: getattr(engine.stats, f.name) for f in fields(engine.stats) if f.name != "destinations"}
    zones = [{"suffix": suffix, "queries": count} for suffix, count in sorted(engine.stats.destinations.items())]
    return {"in_flight": engine.in_flight, **counts, "zones": zones}


class ControlConnection:
    """The one connection that feeds the forwarder; never blocks."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._reader = FrameReader()
        self._fds: list[int] = []
        self._unsent = bytearray()

    @property
    def wants_write(self) -> bool:
        return bool(self._unsent)

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that are complete; None at the connection's end. Raises ProtocolError and OSError."""
        space = socket.CMSG_SPACE(MAX_FDS * 4)
        try:
            data, ancillary, flags, _ = self.sock.recvmsg(1 << 16, space, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return []
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._fds += struct.unpack(f"{len(content) // 4}i", content[: len(content) // 4 * 4])
        if flags & socket.MSG_CTRUNC or len(self._fds) > MAX_FDS:
            raise ProtocolError(f"More than {MAX_FDS} descriptors came to the forwarder.")
        return self._reader.feed(data) if data else None

    def take_sockets(self, expected: tuple[PassedSocket, ...]) -> list[socket.socket]:
        """The passed sockets in order, each checked to be what it is said to be. Raises ProtocolError."""
        fds, self._fds = self._fds, []
        sockets: list[socket.socket] = []
        try:
            if len(fds) != len(expected):
                raise ProtocolError(f"{len(fds)} descriptors came to the forwarder where {len(expected)} were told.")
            while fds:
                sockets.append(_adopt(fds.pop(0), expected[len(sockets)].kind))
        except ProtocolError:
            for sock in sockets:
                sock.close()
            for fd in fds:
                os.close(fd)
            raise
        return sockets

    def drop_fds(self) -> None:
        """Close what came along and no message asked for."""
        while self._fds:
            os.close(self._fds.pop())

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue a reply and send what goes. Raises OSError."""
        self._unsent += pack(dict(message))
        if len(self._unsent) > MAX_UNSENT:
            raise ConnectionError("the feeder takes no replies")
        self.flush()

    def flush(self) -> None:
        """Raises OSError."""
        try:
            while self._unsent:
                del self._unsent[: self.sock.send(self._unsent)]
        except BlockingIOError:
            pass

    def close(self) -> None:
        self.drop_fds()
        self.sock.close()


def _adopt(fd: int, kind: SocketKind) -> socket.socket:
    """The descriptor as a socket. It is closed if it cannot be one of ours."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        os.close(fd)
        raise ProtocolError("A descriptor that came to the forwarder is no socket.") from error
    wanted = socket.SOCK_DGRAM if kind is SocketKind.UDP else socket.SOCK_STREAM
    fits = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == wanted
    if fits and kind is SocketKind.TCP:
        fits = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    if not fits:
        sock.close()
        raise ProtocolError(f"A descriptor that came to the forwarder is no bound {kind} socket.")
    sock.setblocking(False)
    return sock
