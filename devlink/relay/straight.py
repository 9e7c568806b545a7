"""A way that no pod is at the end of: TCP to the API server itself."""

import asyncio

from devlink.relay.sessions import WRITE_HIGH, Sink


class Straight(asyncio.Protocol):
    """A `Way` with a connection of its own."""

    has_neighbours = False

    def __init__(self, sink: Sink) -> None:
        self._sink: Sink | None = sink
        self._transport: asyncio.Transport | None = None
        self.is_writable = True

    def send(self, octets: bytes) -> None:
        if self._transport is not None:
            self._transport.write(octets)

    def end(self) -> None:
        if self._transport is not None and self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def drop(self, *, reset: bool) -> None:
        self._sink = None
        if self._transport is not None:
            self._transport.abort() if reset else self._transport.close()

    def hold(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def release(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    # asyncio's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is ours from here on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH)

    def data_received(self, data: bytes) -> None:
        """Octets came."""
        if self._sink is not None:
            self._sink.received((data,))

    def eof_received(self) -> bool:
        """The server sends no more, and may still hear."""
        if self._sink is not None:
            self._sink.ended()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        if self._sink is not None:
            self._sink.cut(str(exc or "The API server closed the connection."))

    def pause_writing(self) -> None:
        """The server takes what we send too slowly."""
        self.is_writable = False
        if self._sink is not None:
            self._sink.writable(False)

    def resume_writing(self) -> None:
        """It does again."""
        self.is_writable = True
        if self._sink is not None:
            self._sink.writable(True)
