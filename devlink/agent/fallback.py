"""Going over to a relay: whether that is thinkable, and whether the API lets its user."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace

from devlink.agent.probes import ProbeLine
from devlink.agent.session import Session, Wish
from devlink.agent.sources import addresses_of
from devlink.agent.strangers import connect_by
from devlink.core.findings import Finding
from devlink.core.plan import Plan
from devlink.core.policy_routing import WaysOfOthers
from devlink.core.profile import RoutingMode
from devlink.doctor.path.identity import prove_gateway
from devlink.errors import ClusterError, DevlinkError, VerificationError
from devlink.kernel.observe import observe

RIGHTS_LIMIT = 20.0
"""Seconds to find out what the API allows: a program that signs in may take long."""


def may_fall_to_relay(wish: Wish, plan: Plan) -> bool:
    """Whether a relay is what is left where the network does not carry what this plan leaves to it."""
    is_left = wish.is_auto and plan.mode is RoutingMode.ROUTER
    return is_left and wish.routes and bool(wish.profile.spec.prefixes)


async def permitted(wish: Wish, environ: Mapping[str, str]) -> Wish:
    """The wish as it is where it is relayed: by which API, what must be let through, in what environment.

    Raises DevlinkError where there is no API for it, where that does not answer, or does not allow it.
    """
    from devlink.cluster.api import Api
    from devlink.cluster.contexts import choose_access, name_meant
    from devlink.cluster.proxies import proxy_for
    from devlink.relay.rights import check_rights

    context = wish.reached_by or await asyncio.to_thread(name_meant, None, environ)
    dns = wish.profile.spec.dns
    try:
        async with asyncio.timeout(RIGHTS_LIMIT):
            access = await asyncio.to_thread(choose_access, context or None, environ)
            async with Api(access, environ=environ) as api:
                rights = await check_rights(api, (dns.namespaces or ()) if dns is not None else ())
    except TimeoutError:
        raise ClusterError(
            f"The API of {context or 'the cluster'} did not say within {RIGHTS_LIMIT:g} s what it allows.",
            next_step="See whether this works: kubectl auth can-i create pods --subresource=portforward",
        ) from None
    if not rights.is_enough:
        raise _not_permitted(rights.finding())
    proxy = proxy_for(access, environ)
    pins = dict.fromkeys((*wish.pins, *await addresses_of(access.server, *([proxy] if proxy else []))))
    return replace(
        wish,
        pins=tuple(pins),
        context="" if wish.origin is not None else context,
        relayed=True,
    )


async def is_carried(session: Session) -> bool:
    """Whether the network that a relayed session is in carries its cluster's networks: the API is seen by the way that
    packets would go, with a certificate of the profile's CA. What cannot prove itself stays relayed.

    Packets of the user's own would come to the relay, so it is a socket of the helper's that goes by the router.
    """
    api = session.wish.profile.spec.api
    if api is None or not may_leave_relay(session.wish):
        return False
    way = WaysOfOthers(await asyncio.to_thread(observe), os.getuid()).of(api)
    if way is None or way.next_hop is None:
        return False
    line = ProbeLine(session.name)
    try:
        proof = await prove_gateway(session.wish.profile, way.next_hop, connect_by(line))
    finally:
        line.close()
    return way.next_hop in proof.proven


def may_leave_relay(wish: Wish) -> bool:
    """Whether it is relayed for want of anything better."""
    return wish.is_auto and wish.relayed


def _not_permitted(finding: Finding | None) -> VerificationError:
    assert finding is not None  # what is not enough lacks something
    return VerificationError(
        finding.title, why=finding.evidence, next_step=f"{finding.fix[:1].upper()}{finding.fix[1:]}"
    )


def nor_by_relay(error: VerificationError, obstacle: DevlinkError) -> VerificationError:
    """What failed, with why it could not be relayed either."""
    told = " ".join(part for part in (obstacle.what, obstacle.why) if part)
    return VerificationError(
        error.what,
        why=f"{error.why} Nor can it be relayed through the cluster's API server: {told}".strip(),
        next_step=f"{_sentence(error.next_step)} To have it relayed: {obstacle.next_step}".strip(),
    )


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "?")) else f"{text}."
