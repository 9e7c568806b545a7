"""Gateways behind which another cluster answers: whoever may carry packets is looked behind before it does."""

import logging
import time
from itertools import islice

from devlink.agent.probes import ProbeLine
from devlink.agent.session import Session
from devlink.core.plan import Plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile
from devlink.doctor.path.identity import Connect, Proof, prove_gateway
from devlink.errors import IdentityError

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Half of those whom the helper lets one user ask at once (helper.probes.MAX_WAYS_OF_ONE). In a big cluster every node
could be a gateway: who is left over, or was not reached within identity.OPENING, is looked behind when packets are
about to go by it."""
FRUITLESS = 10.0
"""Seconds for which nobody's answer is believed: what many next hops carry may all go over to one at once."""


def to_prove(profile: BridgeProfile, plan: Plan) -> tuple[IPAddress, ...]:
    """Gateways that carry something already, and whoever may take the place of another one, best first; of the family
    of the API's address."""
    spec, hops = profile.spec, plan.desired.next_hops
    named = {gateway.address for gateway in spec.gateways or ()}
    able = [*(hop for hop in hops if hop in named), *(via for hop in hops for via, _ in plan.candidates(hop))]
    families = {prefix.version for prefix in (spec.services or ())[:1]}
    return tuple(islice((each for each in dict.fromkeys(able) if each.version in families), AT_ONCE))


def connect_by(line: ProbeLine) -> Connect:
    return lambda via, target: line.open(via, target, "tcp")


def learn(session: Session, proof: Proof) -> None:
    """Who was once a stranger stays one until it is proven well: silence is no proof."""
    session.proven = session.proven.union(proof.proven).difference(proof.strangers)
    left = {gateway: finding for gateway, finding in session.strangers.items() if gateway not in proof.proven}
    session.strangers = {**left, **proof.strangers}


async def look_behind(session: Session, gateway: IPAddress) -> None:
    """Before packets go by it. Raises IdentityError where another cluster answers behind it, or did when one last did.

    One behind which nobody was ever seen may carry them, as one may where a session comes up: the API may be down.
    """
    if gateway in session.proven:
        return
    now = time.monotonic()
    if now - session.unanswered.get(gateway, -FRUITLESS) >= FRUITLESS:
        line = ProbeLine(session.name)
        try:
            proof = await prove_gateway(session.wish.profile, gateway, connect_by(line))
        finally:
            line.close()
        learn(session, proof)
        for finding in proof.strangers.values():
            log.error("%s: %s", session.name, finding.title)
        if not proof.proven and not proof.strangers:
            session.unanswered[gateway] = time.monotonic()
    if gateway in session.strangers:
        raise refusal(session, gateway)


def refusal(session: Session, gateway: IPAddress) -> IdentityError:
    return IdentityError(
        f"Nothing goes by {gateway}: behind it another cluster answered than the one of {session.name}.",
        why="Since then nobody has shown a certificate of the profile's CA by way of it.",
        next_step="Find out whose machine that is. When it leads to the cluster: devlink up",
    )
