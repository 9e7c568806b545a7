"""What the ways of speaking port-forward with an API server have in common. No clock, no socket.

A dialect is one upgraded connection to one pod: octets in, events out; calls in, octets out. Three exist: SPDY/3.1
inside websocket messages (Kubernetes 1.30 and later), SPDY/3.1 on the upgraded connection itself, and the older
channels inside websocket messages, which carry a single TCP connection.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Data:
    """Octets from the pod."""

    stream: int
    octets: bytes | memoryview
    """Valid until the next `receive`."""


@dataclass(frozen=True, slots=True)
class End:
    """The pod sends no more on this stream: its FIN."""

    stream: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A stream is over, with what the node said: nobody listens on that port, the pod is gone, a reset."""

    stream: int
    why: str


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping of ours: the connection lives."""


@dataclass(frozen=True, slots=True)
class Closed:
    """No new stream can be opened on this connection, and no more comes on those that there are."""

    why: str


Event = Data | End | Failed | Pong | Closed


class Dialect(Protocol):
    """One upgraded connection, its client's end. What is to be sent waits in `take`."""

    streams_limit: int
    """How many streams it can carry in its life: 1 for the older channels."""

    def open(self, port: int) -> int:
        """A new stream to `port` of the pod; its number. The opening is to be sent."""
        ...

    def send(self, stream: int, octets: bytes | bytearray | memoryview) -> None:
        """Octets for the pod. Nothing for a stream that is over."""
        ...

    def end(self, stream: int) -> None:
        """We send no more on it: our FIN, where the dialect has one."""
        ...

    def reset(self, stream: int) -> None:
        """Give a stream up, both ways; no event of it follows."""
        ...

    def ping(self) -> None:
        """Ask whether the connection lives."""
        ...

    def receive(self, octets: bytes | memoryview) -> Sequence[Event]:
        """What the octets that have come mean. What breaks the protocol is a Closed; so is the other side's end."""
        ...

    def take(self) -> list[bytes | bytearray | memoryview]:
        """What is to be sent now, in order (for `writelines`); it is asked once for each."""
        ...
