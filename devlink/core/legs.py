"""The path from the laptop to the cluster leg by leg: what was seen of each is judged here. No clock, no socket.

The next hop leg says that a machine answers on its link, the gateway leg that what is sent by way of it comes back: the
same machine may do the one and not the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from devlink.core.health_records import HopState
from devlink.core.network import Link
from devlink.core.relay import RelayChain
from devlink.core.relay_words import why_refused

LAPTOP, NEXT_HOP, GATEWAY, CLUSTER = "laptop", "next hop", "gateway", "cluster"
API_SERVER, NODE, POD = "API server", "node", "pod"
"""Of what is relayed, after the laptop."""
SLOW = 0.25
"""Seconds that are slow whatever is usual: a person notices them."""
TIMES_SLOWER = 5
"""Than the median of what it took lately, and then it is slow too, where it was so before already: one packet alone may
have waited anywhere;"""
NEVER_SLOW = 0.11
"""unless it took no more than so many seconds: so long a Wi-Fi that saves power keeps a packet, from one beacon to the
next (102.4 ms, IEEE 802.11), and nobody feels it."""
TEXT = 40
"""Characters of what is said of a leg, at most."""
REMEMBERED = 20
"""Looks whose times tell what is usual."""
ENOUGH = 5
"""Looks before which nothing is usual yet."""


class LegState(StrEnum):
    """What became of a leg; the value is what `FollowPath` calls it."""

    OK = "ok"
    SLOW = "slow"
    """It answers, and takes far longer than is usual."""
    SILENT = "silent"
    """It was asked and did not answer."""
    DOWN = "down"
    """Nothing can be sent there."""
    UNKNOWN = "unknown"
    """It was not asked, or that it is silent would say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One leg, as it was seen at one moment."""

    name: str
    about: str
    """The link's or the machine's name and address."""
    state: LegState
    text: str
    """What was seen, for a person: at most 40 characters."""
    rtt: float | None = None
    """From the laptop to there and back, seconds."""

    @property
    def shown(self) -> Mapping[str, Any]:
        """As `io.devlink.Agent.FollowPath` gives it."""
        return {
            "name": self.name,
            "about": self.about,
            "state": self.state.value,
            "rtt_ms": in_ms(self.rtt),
            "text": self.text,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a question."""

    rtt: float | None = None
    """Seconds; None where nothing came back that can be timed."""
    is_there: bool | None = None
    """Whether there is anybody, or anything comes back, all the same; None where that cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What is said of a leg."""

    ok: str
    mute: str = ""
    """It is there, and has answered nothing that can be timed."""
    silent: str
    unknown: str = "cannot be asked now"


ON_LINK = Words(
    ok="answers on its link",
    mute="is on its link, answers no ping",
    silent="does not answer on its link",
    unknown="cannot be asked on its link",
)
FORWARDING = Words(ok="forwards", mute="forwards, answers no ping", silent="")
"""Of a machine that is seen by nothing but that."""
FORWARDS = Words(ok="forwards to the cluster", silent="nothing comes back by way of it")
REACHED = Words(ok="answers", silent="does not answer any more")
"""Of a gateway beyond the network's router."""
DNS_ANSWERS = Words(ok="its DNS answers", silent="its DNS does not answer")
API_ANSWERS = Words(ok="its API takes connections", silent="its API takes no connection")
API_SERVER_TAKES = Words(ok="takes connections", silent="takes no connection")
RELAYS = "dials the pod"
NOT_RELAYED = "the relay has told nothing yet"
NOT_RESOLVED = "the relay does not say who is behind it"
NOT_OURS = "other routes take its packets"
NO_ROUTE = "no route"
NOTHING_TO_ASK = "its profile names nothing to ask"
TUNNEL = "a tunnel: nobody to ask"
NOT_ASKED = "not asked meanwhile"
STRANGER = "another cluster answers behind it"


def is_slow(rtt: float, past: Sequence[float]) -> bool:
    """Whether `rtt` is far above what is usual by the times of the `past` looks, all in seconds."""
    if rtt > SLOW:
        return True
    if len(past) < ENOUGH or rtt <= NEVER_SLOW:
        return False
    return min(rtt, past[-1]) > TIMES_SLOWER * sorted(past)[len(past) // 2]


def asked(name: str, about: str, answer: Answer, words: Words, past: Sequence[float] = ()) -> Leg:
    """The leg that was asked, and has taken the `past` times before, in seconds."""
    if answer.rtt is not None:
        slow = is_slow(answer.rtt, past)
        state, text = (LegState.SLOW, f"{words.ok}, slowly") if slow else (LegState.OK, words.ok)
    elif answer.is_there:
        state, text = LegState.OK, words.mute or words.ok
    elif answer.is_there is False:
        state, text = LegState.SILENT, words.silent
    else:
        state, text = LegState.UNKNOWN, words.unknown
    return Leg(name=name, about=about, state=state, text=text, rtt=answer.rtt)


def laptop(oif: str | None, link: Link | None, source: object, why: str = "") -> Leg:
    """The link that packets leave by, and our address there; `link` is None where there is none of that name.

    `why` nothing is sent, where nothing is.
    """
    about = " ".join(str(part) for part in (oif, source) if part)
    if oif is None:
        return Leg(name=LAPTOP, about="", state=LegState.DOWN, text=why or "no route: no link leads there")
    if link is None:
        return Leg(name=LAPTOP, about=about, state=LegState.DOWN, text=why or "no route: the link is gone")
    if not link.up:
        return Leg(name=LAPTOP, about=about, state=LegState.DOWN, text="no carrier")
    if source is None:
        return Leg(name=LAPTOP, about=about, state=LegState.DOWN, text=why or "no route: it has no address there")
    return Leg(name=LAPTOP, about=about, state=LegState.OK, text=why or "link is up")


def about(chain: RelayChain) -> str:
    """Who is behind an address that is relayed."""
    return f"{chain.pod.namespace}/{chain.pod.name}" if chain.pod is not None else chain.direct


def relayed(chain: RelayChain, answer: Answer, past: Sequence[float] = ()) -> tuple[Leg, Leg]:
    """The node and the pod behind which the cluster's DNS is, as a relay finds them, and what that has answered."""
    if chain.refused:
        text = why_refused(chain.refused)
        return not_asked(NODE, "", NOT_ASKED), not_asked(POD, chain.service, text[:TEXT], LegState.DOWN)
    pod = chain.pod
    last = asked(POD, about(chain), answer, DNS_ANSWERS, past)
    state = LegState.OK if last.rtt is not None else LegState.UNKNOWN
    return Leg(name=NODE, about=pod.node if pod is not None else "", state=state, text=RELAYS), last


def not_asked(name: str, about: str, text: str, state: LegState = LegState.UNKNOWN) -> Leg:
    """A leg that nothing was sent to, and why."""
    return Leg(name=name, about=about, state=state, text=text)


def seen_state(known: HopState, misses: int, *, other_answers: bool) -> HopState:
    """How a gateway is shown that missed the last so many looks, and of which `core.health` says `known`.

    That asks a gateway only when packets need it, so what it says of one that stands by may be hours old. Where no
    gateway answers it may be the cluster's DNS that is ill, which says nothing of any of them.
    """
    if not misses:
        return {HopState.DEAD: HopState.RETURNING, HopState.RETURNING: HopState.RETURNING}.get(known, HopState.HEALTHY)
    if not other_answers:
        return known
    if misses > 1:
        return HopState.DEAD
    return HopState.SUSPECT if known is HopState.HEALTHY else known


def in_ms(seconds: float | None) -> float | None:
    """As replies give times."""
    return round(seconds * 1000, 2) if seconds is not None else None
