"""The older way of port-forward: v4.channel.k8s.io, a websocket for one TCP connection (kubelet's wsstream), no I/O.

Each message begins with its channel: 0 is data, 1 what the node says of an error. The first message on each holds the
port, two octets, little-endian. There is no half-close: to end means to end both ways.
"""

from collections.abc import Callable, Sequence

from devlink.relay.dialect import Closed, Data, End, Event, Failed, Pong
from devlink.relay.spdy import MAX_WORDS, words
from devlink.relay.websocket import Piece, Websocket

DATA, ERROR = 0, 1
STREAM = 1
"""The number of the one stream."""


class Channels:
    """A `Dialect`. The port stands in the request already; `port` is that one."""

    streams_limit = 1

    def __init__(self, port: int, *, mask: Callable[[], bytes] | None = None) -> None:
        self._websocket = Websocket(mask=mask)
        self._ports = {DATA: bytearray(), ERROR: bytearray()}  # what has come of the port, on each channel
        self._port = port.to_bytes(2, "little")
        self._channel = DATA
        self._said = bytearray()
        self._is_opened = self._is_over = self._is_closed = False

    def open(self, port: int) -> int:
        if self._is_opened or self._is_closed or port != int.from_bytes(self._port, "little"):
            raise ConnectionError("no new stream can be opened on it")
        self._is_opened = True
        return STREAM

    def send(self, stream: int, octets: bytes | bytearray | memoryview) -> None:
        if not self._is_over and octets:
            self._websocket.message((b"\0", octets))

    def end(self, stream: int) -> None:
        """Nothing can be said: whoever wants the rest of the answer waits, then resets."""

    def reset(self, stream: int) -> None:
        self._is_over = True

    def ping(self) -> None:
        self._websocket.ping()

    def take(self) -> list[bytes | bytearray | memoryview]:
        return self._websocket.take()

    def receive(self, octets: bytes | memoryview) -> Sequence[Event]:
        """As the dialect's. No octets at all: the connection has ended."""
        events: list[Event] = []
        for event in self._websocket.receive(octets) if not self._is_closed else ():
            if isinstance(event, Pong):
                events.append(event)
                continue
            why = self._piece(event, events) if isinstance(event, Piece) else event.why
            if why:
                if isinstance(event, Closed) and not self._is_over:
                    events.append(End(STREAM))  # a node ends the connection with the stream
                self._is_over = self._is_closed = True
                events.append(Closed(why))
                break
        return events

    def _piece(self, piece: Piece, events: list[Event]) -> str:
        """Gives what it breaks, or nothing."""
        octets = piece.octets
        if piece.begins:
            if not octets:
                return "a message without a channel came"
            self._channel = octets[0]
            octets = octets[1:]
        port = self._ports.get(self._channel)
        if port is None:
            return f"a message for channel {self._channel} came"
        if len(port) < 2:
            port += octets[:2]
            if len(octets) > 2 or (piece.ends and port != self._port):
                return "another port than the one asked for came"
        elif self._channel == DATA:
            if octets and not self._is_over:
                events.append(Data(STREAM, octets))
        else:
            self._said += octets[: MAX_WORDS - len(self._said)]
            if piece.ends and self._said and not self._is_over:
                self._is_over = True
                events.append(Failed(STREAM, words(self._said)))
        return ""
