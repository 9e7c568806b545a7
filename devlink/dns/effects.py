"""What the engine wants done by those who have the sockets."""

from typing import NamedTuple

from devlink.dns.questions import Attempt, Client


class Answer(NamedTuple):
    """Send `packet` to the client. Each question gets at most one."""

    client: Client
    packet: bytes


class Drop(NamedTuple):
    """No answer: what the client sent is no question at all."""

    client: Client


class Ask(NamedTuple):
    """Send the attempt's packet to its server, under a random id; what comes back under that id belongs to it."""

    attempt: Attempt


class Forget(NamedTuple):
    """No reply to this attempt is wanted any more. Not told of the attempt whose own reply ended it: the edge sees that
    it has no transaction any more."""

    attempt: Attempt


Effect = Answer | Drop | Ask | Forget
