"""Detours as they change a plan: who carries its packets now, whatever next hop the routes prefer."""

from dataclasses import replace

from devlink.core.neighbours import Neighbours
from devlink.core.network import ObservedNetwork
from devlink.core.plan import Desired, Detour, Plan
from devlink.core.prefixes import IPAddress


def with_detour(desired: Desired, next_hop: IPAddress, detour: Detour | None) -> Desired:
    """The same, with `detour` for that next hop, or with none."""
    others = tuple(each for each in desired.detours if each.next_hop != next_hop)
    return replace(desired, detours=(*others, detour) if detour is not None else others)


def carrier(desired: Desired, next_hop: IPAddress) -> IPAddress:
    """By whom goes what the routes send to `next_hop`."""
    return next((detour.via for detour in desired.detours if detour.next_hop == next_hop), next_hop)


def pairs(desired: Desired) -> frozenset[tuple[IPAddress, IPAddress]]:
    """Each next hop that does not carry its packets itself, and who does."""
    return frozenset((detour.next_hop, detour.via) for detour in desired.detours)


def kept(plan: Plan, before: Plan, observed: ObservedNetwork) -> Plan:
    """A new plan with those detours of the one before that can still be in the network as it is `observed` now.

    What was silent is no less so by a new edition of the profile: to go back to it for every change would cost each
    time what the failover cost.
    """
    link_to = Neighbours(observed).link_to
    hops = {route.next_hop for route in plan.desired.routes}
    still = tuple(
        detour
        for detour in before.desired.detours
        if detour.next_hop in hops
        and detour.via in {via for via, _ in plan.candidates(detour.next_hop)}
        and link_to(detour.via) == detour.oif
    )
    return replace(plan, desired=replace(plan.desired, detours=still)) if still else plan
