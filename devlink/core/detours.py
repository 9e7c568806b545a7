"""Detours as they change a plan: who carries its packets now, whatever next hop the routes prefer."""

from dataclasses import replace

from devlink.core.plan import Desired, Detour, Plan
from devlink.core.prefixes import IPAddress


def with_detour(desired: Desired, next_hop: IPAddress, detour: Detour | None) -> Desired:
    """The same, with `detour` for that next hop, or with none."""
    others = tuple(each for each in desired.detours if each.next_hop != next_hop)
    return replace(desired, detours=(*others, detour) if detour is not None else others)


def kept(plan: Plan, before: Plan) -> Plan:
    """A new plan with those detours of the one before that can still be: what was silent is no less so by a new edition
    of the profile, and to go back to it for every change would cost each time what the failover cost."""
    links = {route.next_hop: route.oif for route in plan.desired.routes}
    still = tuple(detour for detour in before.desired.detours if links.get(detour.next_hop) == detour.oif != "")
    return replace(plan, desired=replace(plan.desired, detours=still)) if still else plan
