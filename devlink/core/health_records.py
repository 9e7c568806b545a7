"""What `health` remembers: of each gateway and node what was seen of it, of each next hop who carries its packets."""

from dataclasses import dataclass, field
from enum import StrEnum

from devlink.core.prefixes import IPAddress


class HopState(StrEnum):
    """What is known of one gateway or node; the value is what `status` calls it."""

    UNKNOWN = "unknown"
    """Nobody has asked it yet; or neither it nor another one has ever answered, and its neighbour entry says that it is
    there."""
    HEALTHY = "healthy"
    SUSPECT = "suspect"
    """It missed one question; the next ones are on their way."""
    DEAD = "silent"
    """It missed all questions in a row; where it has never answered any, while another one did."""
    RETURNING = "returning"
    """It was dead and answers again, but not for long enough to be trusted."""


@dataclass(slots=True)
class Hop:
    """One gateway or node, and what was seen of it."""

    address: IPAddress
    state: HopState = HopState.UNKNOWN
    since: float = 0.0
    """When it came to this state."""
    round: int = -1
    """Which question of a round is on its way; -1 between two rounds."""
    deadline: float = 0.0
    """For that question's answer."""
    began: float = -1e9
    """When its last round began."""
    again_at: float | None = None
    """When it is asked once more for the packets that were sent since. A program that waits for its answer is silent:
    its next packet is a retransmission, and would be the first to tell."""
    heard: float | None = None
    """When it last answered a question."""
    seen: float | None = None
    """When it was last seen on the link, as a neighbour."""
    is_gone: bool = False
    """When it was last looked for there, it was not seen."""
    has_missed: bool = False
    """It has not answered since a whole round of questions."""
    is_outdone: bool = False
    """It missed that round while another one answered: then it is not the DNS that is ill."""
    answering_since: float | None = None
    """The first answer after which it has missed no whole round."""
    rtt: float | None = None
    """Of the last answer, seconds."""
    slow: float = 0.0
    """The slowest answer of late, seconds: the older, the less it counts."""

    def enter(self, state: HopState, now: float) -> None:
        if state is not self.state:
            self.state, self.since = state, now


@dataclass(slots=True)
class Way:
    """One preferred next hop of the routes, and who may take its place."""

    candidates: tuple[IPAddress, ...]
    """In order; the preferred one first."""
    via: IPAddress
    """Who carries it now."""
    since: float = 0.0
    """Since when; 0 from the beginning on."""
    by_hand: bool = False
    """The user chose it: better ones are not gone back to."""
    hold: float = 0.0
    back_at: float | None = None
    """When packets last went back to a better one."""
    suspected: float | None = None
    """When `via` missed its first question."""
    silent: bool = False
    """Nobody answers."""
    retry_at: float = 0.0
    back_off: float = 0.0
    reason: str = ""
    """Why packets do not go by the preferred one."""
    refused: dict[IPAddress, float] = field(default_factory=dict)
    """Who could not take over when they were to, and when that was: they are left out for a while."""
    before: "Way | None" = None
    """As it was before the last move."""

    @property
    def preferred(self) -> IPAddress:
        return self.candidates[0]

    @property
    def next(self) -> IPAddress:
        """The candidate after the one that carries it now; after the last comes the first."""
        return self.candidates[(self.candidates.index(self.via) + 1) % len(self.candidates)]

    @property
    def better(self) -> tuple[IPAddress, ...]:
        """Those before the one that carries it now."""
        return self.candidates[: self.candidates.index(self.via)]
