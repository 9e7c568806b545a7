"""Questions in flight: who waits for what, and what was tried for it."""

from typing import Protocol

from devlink.dns.cache import Entry, Key
from devlink.dns.replies import Digest
from devlink.dns.rules import Destination
from devlink.dns.servers import ServerState, Step
from devlink.dns.wire import Query


class Client(Protocol):
    """Whom an answer goes to; the edge knows the way."""

    stream: bool
    """Whether it asked over TCP."""


class Waiter:
    """A client's question that waits."""

    __slots__ = ("began", "client", "is_alias", "packet", "query")

    def __init__(self, client: Client, packet: bytes, query: Query, began: float, is_alias: bool = False) -> None:
        self.client = client
        self.packet = packet
        self.query = query
        self.began = began
        self.is_alias = is_alias
        """It asked for a short name; the transaction asks for the long one."""


class Attempt:
    """One question on its way to one server."""

    __slots__ = ("packet", "sent", "step", "transaction", "way")

    def __init__(self, transaction: "Transaction", step: Step, packet: bytes, sent: float) -> None:
        self.transaction: Transaction | None = transaction
        """None once the engine has let go of it."""
        self.step = step
        self.packet = packet
        """Without the id, which is the edge's to choose and to check: unpredictable, and free on its socket."""
        self.sent = sent
        self.way: object = None
        """For the edge; means nothing to the engine."""


class Transaction:
    """One question to a destination's servers, for all who asked it."""

    __slots__ = (
        "attempts",
        "destination",
        "dnssec_ok",
        "due",
        "fallback",
        "gave_stale",
        "is_kept",
        "is_probe",
        "key",
        "place",
        "silent",
        "stale",
        "started",
        "step_due",
        "steps",
        "tried",
        "trouble",
        "waiters",
        "went_plain",
    )

    def __init__(
        self,
        key: bytes,
        place: Key,
        destination: Destination,
        stale: Entry | None,
        waiters: list[Waiter],
        now: float,
    ) -> None:
        self.key = key
        """What is asked, `wire.Query.key`."""
        self.place = place
        """The key as the cache has it; equal ones are asked once."""
        self.dnssec_ok = place is not key
        self.is_probe = False
        """It only finds out whether a server is back."""
        self.destination = destination
        self.stale = stale
        """What was true before, for those who wait if no server answers."""
        self.waiters = waiters
        """None of them where an answer is fetched before its predecessor ends."""
        self.started = now
        self.steps: tuple[Step, ...] = ()
        """Still to be taken."""
        self.attempts: list[Attempt] = []
        """Open ones, oldest first; a late answer of an older one is as good."""
        self.tried: tuple[ServerState, ...] = ()
        self.step_due = now
        """When the next step is taken, or the answer is given up."""
        self.due = now
        """The same, or when those who wait get a stale answer, whichever comes first."""
        self.fallback: tuple[Digest, Attempt] | None = None
        """A failure that a server answered with; the clients get it if no other server does better."""
        self.silent = False
        """Whether some step ended in silence."""
        self.trouble = ""
        """Why a step failed, if none ended in silence."""
        self.went_plain = False
        """A server did not understand OPT, and is asked without."""
        self.gave_stale = False
        self.is_kept = True
        """Whether the answer may go into the cache: not where that was flushed meanwhile."""
