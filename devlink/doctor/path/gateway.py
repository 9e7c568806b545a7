"""Who takes the packets first: the next hops, on their links."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from devlink.core.findings import Finding, Severity
from devlink.core.network import Path
from devlink.core.plan import Plan
from devlink.core.prefixes import IPAddress, PrefixTable
from devlink.core.profile import BridgeProfile, RoutingMode
from devlink.core.text import listed
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import LinkCheck, Seen, skipped
from devlink.errors import DevlinkError
from devlink.helper.client import SOCKET
from devlink.kernel.neighbours import link_address_toward
from devlink.kernel.observe import observe
from devlink.rpc.connection import Connection

ASK_LIMIT = 4.0
"""Seconds for the helper to say whether one answers; the kernel gives up after three."""
TRIES = 5
"""Of 0.3 s each: while the kernel asks for a neighbour already, it asks again once a second only."""
MAX_ASKED = 16
"""Next hops that are asked, all at once: in per-node routing each node is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One next hop, and what it did."""

    address: IPAddress
    oif: str
    carries: bool
    """Packets go by it now; else it could take another's place."""
    is_gateway: bool
    """It takes more than what is for its own pods."""
    answers: bool | None = None
    """None where that cannot be told, or was not asked."""


async def _look(case: Case, subject: Subject) -> Seen:
    plan, session = subject.plan, subject.session
    if plan is None:
        return skipped("nothing can be planned")
    if plan.mode is RoutingMode.ROUTER:
        return skipped("none: the network carries the packets")
    if plan.mode is RoutingMode.RELAY:
        return skipped("none: it is relayed through the API server")
    if session is not None and not subject.is_installed:
        return skipped(f"it is {session['state']}")
    hops = tuple(hops_of(subject.profile, plan))[:MAX_ASKED]
    held = session is not None and case.helper.told is not None
    outcomes = await _ask_all(hops, subject.name if held else "")
    asked = tuple(replace(hop, answers=outcomes[hop.address]) for hop in hops)
    if subject.is_installed and any(hop.carries and hop.answers is False for hop in asked):
        asked = _as_they_carry_now(asked)
    return Seen(text=told(asked), findings=gateway_findings(asked, dns_nodes(subject.profile)))


def hops_of(profile: BridgeProfile, plan: Plan) -> Iterator[Asked]:
    """Whom packets go by now, the gateways first; then the gateways that the profile names and that could take over.

    A preferred one that has a detour carries nothing, and why it does not is told with the detour.
    """
    desired = plan.desired
    owners = PrefixTable((block, node.address) for node in profile.spec.nodes or () for block in node.pods)
    detours = {detour.next_hop: (detour.via, detour.oif) for detour in desired.detours}
    carrying: dict[IPAddress, Asked] = {}
    for route in desired.routes:
        if route.next_hop is None:
            continue
        via, oif = detours.get(route.next_hop, (route.next_hop, route.oif))
        before = carrying.get(via)
        is_gateway = owners.holding(route.destination) != via or (before is not None and before.is_gateway)
        carrying[via] = Asked(address=via, oif=oif, carries=True, is_gateway=is_gateway)
    yield from sorted(carrying.values(), key=lambda hop: not hop.is_gateway)
    named = {gateway.address for gateway in profile.spec.gateways or ()}
    standing_by = {hop: oif for hops in plan.alternatives.values() for hop, oif in hops if hop in named}
    for address, oif in standing_by.items():
        if address not in carrying and address not in detours:
            yield Asked(address=address, oif=oif, carries=False, is_gateway=True)


def dns_nodes(profile: BridgeProfile) -> frozenset[IPAddress]:
    """The nodes that the known pods of the cluster's DNS are on; nobody where that is not known of all."""
    owners = PrefixTable((block, node.address) for node in profile.spec.nodes or () for block in node.pods)
    endpoints = (profile.spec.dns.endpoints if profile.spec.dns else None) or ()
    found = [owners.longest(address) for address in endpoints]
    known = frozenset(node for node in found if node is not None)
    return known if None not in found else frozenset()


def told(asked: Iterable[Asked]) -> str:
    """The line of the check."""
    asked = tuple(asked)
    carrying = [hop for hop in asked if hop.carries]
    silent = [hop.address for hop in carrying if hop.answers is False]
    if silent:
        return f"no answer of {listed(silent)}"
    if not carrying:
        return "another one has taken over at this moment"
    where = listed(hop.oif for hop in carrying)
    if len(carrying) == 1:
        hop = carrying[0]
        return f"{hop.address} answers on {where}" if hop.answers else f"{hop.address} on {where} cannot be asked"
    return f"{len(carrying)} next hops answer on {where}"


def gateway_findings(asked: Iterable[Asked], dns: frozenset[IPAddress] = frozenset()) -> tuple[Finding, ...]:
    """An error for a gateway that carries and is silent; a warning for a node that only takes what is for its own pods,
    unless all pods of the cluster's DNS are on such, and for one that is to take over. `dns` is of `dns_nodes`."""
    asked = tuple(asked)
    silent = [hop for hop in asked if hop.answers is False]
    gateways = [hop for hop in silent if hop.carries and hop.is_gateway]
    nodes = [hop for hop in silent if hop.carries and not hop.is_gateway]
    waiting = [hop for hop in silent if not hop.carries]
    found = []
    if gateways:
        can_take_over = any(not hop.carries and hop.answers for hop in asked)
        title = "The gateway that packets to the cluster go by does not answer on its link."
        again = "another one takes over within seconds: run devlink doctor again; else " if can_take_over else ""
        found.append(_down(gateways, Severity.ERROR, title, again))
    elif nodes:
        has_dns = bool(dns) and dns <= {hop.address for hop in nodes}
        title = "A node does not answer on its link, so its pods cannot either."
        if has_dns:
            title = "The node that has the cluster's DNS does not answer on its link."
        found.append(_down(nodes, Severity.ERROR if has_dns else Severity.WARNING, title))
    if waiting:
        found.append(
            Finding(
                code="DL-GATEWAY-SILENT",
                severity=Severity.WARNING,
                title="Gateways that should take over when another fails do not answer on their link.",
                evidence=_silence(waiting),
                fix="see whether these nodes are up. If they are no gateways any more: devlink profile fetch",
            )
        )
    return tuple(found)


def _down(hops: list[Asked], severity: Severity, title: str, again: str = "") -> Finding:
    return Finding(
        code="DL-GATEWAY-DOWN",
        severity=severity,
        title=title,
        evidence=_silence(hops),
        fix=f"{again}see whether it is up, and in the same network as this laptop. If it is no node of the cluster any "
        "more: devlink profile fetch",
    )


def _silence(hops: list[Asked]) -> str:
    return f"no answer: {listed(f'{hop.address} on {hop.oif}' for hop in hops)} (ip neighbour)"


def _as_they_carry_now(asked: tuple[Asked, ...]) -> tuple[Asked, ...]:
    """Silence takes seconds to be sure of, and meanwhile another may have taken over."""
    carrying = {route.next_hop for route in observe().routes if route.is_ours}
    return tuple(replace(hop, carries=hop.carries and hop.address in carrying) for hop in asked)


async def _ask_all(hops: Iterable[Asked], session: str) -> Mapping[IPAddress, bool | None]:
    """Whether each answers on its link: the helper can have the kernel ask anew, for a session that is up; without a
    session it is what the kernel knows, or learns now."""

    async def one(hop: Asked) -> tuple[IPAddress, bool | None]:
        answer = await _ask_helper(hop.address, session) if session else None
        if answer is None:
            answer = await asyncio.to_thread(_ask_kernel, hop.address, hop.oif)
        return hop.address, answer

    return dict(await asyncio.gather(*map(one, hops)))


async def _ask_helper(address: IPAddress, session: str) -> bool | None:
    """None where it cannot tell."""
    try:
        line = await Connection.connect(SOCKET)
        try:
            parameters = {"session": session, "via": str(address)}
            reply = await line.call("io.devlink.Helper.AskNeighbour", parameters, limit=ASK_LIMIT)
            return bool(reply["answers"])
        finally:
            line.close()
    except (DevlinkError, OSError):  # TimeoutError too
        return None


def _ask_kernel(address: IPAddress, oif: str) -> bool | None:
    """None on a link that has no link addresses, or none to a person: a tunnel."""
    link = next((link for link in observe().links if link.name == oif), None)
    if link is None or link.noarp:
        return None
    return any(link_address_toward(address, Path(oif=oif), ask=True) for _ in range(TRIES))


CHECKS = (LinkCheck(name="gateway", look=_look, limit=6.0, after=("links", "routes", "rules")),)
