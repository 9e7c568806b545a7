"""A blocking varlink server for a process that serves one caller after another and then ends."""

import logging
import select
import socket
from collections.abc import Mapping

from devlink.errors import ProtocolError
from devlink.rpc.answering import Method, answer
from devlink.rpc.framing import FrameReader, pack
from devlink.rpc.peer import is_feeder, peer_of

log = logging.getLogger(__name__)


class Caller:
    """Who is being served at the moment, for a method that must know whether anybody still waits for it."""

    def __init__(self) -> None:
        self._connection: socket.socket | None = None

    def now(self, connection: socket.socket) -> None:
        self._connection = connection

    def is_gone(self) -> bool:
        """Whether the caller has closed both ways, as one that died has."""
        return self._connection is not None and _is_gone(self._connection)


def serve(
    listener: socket.socket,
    interface: str,
    methods: Mapping[str, Method],
    *,
    idle: float,
    call_limit: float = 10.0,
    caller: Caller | None = None,
) -> None:
    """Serve one connection at a time until nobody connects for `idle` seconds.

    Peers other than root, this uid and the owner of the socket's file are shown out. A connection that sends or takes
    nothing for `call_limit` seconds is closed. `caller` is kept at the one that is served.
    """
    caller = caller or Caller()
    while True:
        listener.settimeout(idle)
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return
        with connection:
            peer = peer_of(connection)
            if not is_feeder(peer, listener):
                log.warning("refused a connection of uid %d", peer.uid)
                continue
            connection.settimeout(call_limit)
            caller.now(connection)
            reader = FrameReader()
            try:
                while data := connection.recv(1 << 16):
                    for message in reader.feed(data):
                        if _is_gone(connection):
                            # A caller that died may have a successor at work already: too late to change anything.
                            break
                        connection.sendall(pack(answer(interface, methods, message, failed=log.exception)))
            except (OSError, ProtocolError) as error:
                log.info("closed a connection of uid %d: %s", peer.uid, error)


def _is_gone(connection: socket.socket) -> bool:
    """Whether the peer has closed both ways: nobody waits for what we would do."""
    poller = select.poll()
    poller.register(connection, 0)  # POLLHUP is always told
    return any(events & select.POLLHUP for _, events in poller.poll(0))
