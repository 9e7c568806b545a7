"""The helper's end of the forwarder: varlink messages and the sockets that come with them."""

import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from devlink.dns.config import Config, read_config
from devlink.dns.counts import Record, percentile
from devlink.dns.engine import Engine
from devlink.dns.wire import text_of
from devlink.errors import ProtocolError
from devlink.rpc.framing import MAX_FRAME, FrameReader, pack

INTERFACE = "io.devlink.Forwarder"
MAX_FDS = 64
"""Descriptors in one message; SCM_MAX_FD is 253."""
MAX_UNSENT = 2 * MAX_FRAME
"""Octets of replies that may wait; a feeder that takes none is gone for all practical purposes."""
KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}


class Configuration(NamedTuple):
    """The parameters of `Configure`."""

    config: Config
    sockets: tuple[str, ...] | None
    """What each descriptor that came along is, udp or tcp, in this order; None keeps the present ones."""


def parse_configuration(parameters: Mapping[str, Any]) -> Configuration:
    """Raises ProtocolError."""
    config, sockets = parameters.get("config"), parameters.get("sockets")
    if not isinstance(config, Mapping) or set(parameters) - {"config", "sockets"}:
        raise _other_version("there is none, or something else besides")
    if sockets is None:
        return Configuration(read_config(config), None)
    kinds = [str(passed.get("kind")) if isinstance(passed, Mapping) else "" for passed in sockets]
    if any(kind not in KINDS for kind in kinds):
        raise _other_version("a socket is neither udp nor tcp")
    return Configuration(read_config(config), tuple(kinds))


def _other_version(problem: str) -> ProtocolError:
    return ProtocolError(
        f"The forwarder cannot read its configuration: {problem}.",
        why="The helper is probably of another version.",
        next_step="Run `devlink --version`, and restart the part that differs.",
    )


def stats_tree(engine: Engine, now: float) -> dict[str, Any]:
    """The parameters of the reply to `GetStats`."""
    counts = engine.counts
    hits = engine.cache.hits()
    cached = sum(hits.values())
    names = sorted({*counts.zones, *hits, *engine.zones})
    zones = []
    for name in names:
        zone = counts.zone(name)
        tree = {"suffix": name, "queries": zone.queries + hits.get(name, 0), "cached": hits.get(name, 0)}
        tree |= {"stale": zone.stale, "local": zone.local, "failed": zone.failed}
        zones.append({**tree, **_percentiles(zone.latencies)})
    servers = []
    for state in engine.servers:
        tree = {"server": str(state.server), "zones": engine.zones_of(state.server), "state": state.status(now)}
        tree |= {"asked": state.asked, "answered": state.answered}
        tree |= {"timeouts": state.timeouts, "failures": state.failures}
        if state.rtt is not None:
            tree["rtt_ms"] = round(1000 * state.rtt, 3)
        if state.trouble:
            tree["reason"] = state.trouble
        servers.append({**tree, **_percentiles(state.latencies)})
    flat = {name: getattr(counts, name) for name in counts.__slots__ if name != "zones"}
    cache = {"entries": len(engine.cache.table), "bytes": engine.cache.size, "limit": engine.cache.limit}
    return {
        **flat,
        "in_flight": engine.in_flight,
        "queries": counts.queries + cached,
        "cached": cached,
        "cache": cache,
        "zones": zones,
        "servers": servers,
    }


def _percentiles(latencies: Any) -> dict[str, float]:
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    return {} if p50 is None or p99 is None else {"p50_ms": p50, "p99_ms": p99}


def log_tree(records: Sequence[Record], lost: int, now: float) -> dict[str, Any]:
    """The parameters of the reply to `TakeLog`; `now` on the clock of the records."""
    to_unix = time.time() - now
    trees = []
    for record in records:
        tree = {"time": round(record.at + to_unix, 6), "name": text_of(record.name), "qtype": record.qtype}
        tree |= {"zone": record.zone, "source": record.source, "rcode": record.rcode}
        tree["ms"] = round(1000 * record.seconds, 3)
        if record.server is not None:
            tree["server"] = record.server
        if record.reason:
            tree["reason"] = record.reason
        trees.append(tree)
    return {"records": trees, "lost": lost}


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

    def take_sockets(self, expected: tuple[str, ...]) -> list[socket.socket]:
        """The passed sockets in order, each checked to be what it is said to be. Raises ProtocolError."""
        fds, self._fds = self._fds, []
        sockets: list[socket.socket] = []
        try:
            if len(fds) != len(expected):
                raise ProtocolError(f"{len(fds)} descriptors came to the forwarder where {len(expected)} were told.")
            while fds:
                sockets.append(_adopt(fds.pop(0), expected[len(sockets)]))
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
        self.flush()
        if len(self._unsent) > MAX_UNSENT:
            raise ConnectionError("the feeder takes no replies")

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


def _adopt(fd: int, kind: str) -> socket.socket:
    """The descriptor as a socket. It is closed if it cannot be one of ours."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        os.close(fd)
        raise ProtocolError("A descriptor that came to the forwarder is no socket.") from error
    fits = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == KINDS[kind]
    if fits and kind == "tcp":
        fits = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    if not fits:
        sock.close()
        raise ProtocolError(f"A descriptor that came to the forwarder is no bound {kind} socket.")
    sock.setblocking(False)
    return sock
