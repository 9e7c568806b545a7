"""One address followed: whose it is, the way that the kernel takes, whether next hop and data are there."""

import asyncio

from devlink.core.diagnosis import Outcome
from devlink.core.explain import Claim, Kind, Place, place_of
from devlink.core.judging import Reached, Winner, judge_data, judge_next_hop, judge_way
from devlink.core.network import MAIN_TABLE, OVERRIDE_TABLE, ObservedNetwork, ObservedRoute, Path, relay_table
from devlink.core.policy_routing import WaysOfOthers
from devlink.core.prefixes import IPAddress, PrefixTable, host_prefix
from devlink.core.profile import RoutingMode
from devlink.core.ways import Ways
from devlink.doctor.case import Case
from devlink.doctor.explain.chain import Link
from devlink.doctor.explain.reaching import reach, reach_any
from devlink.doctor.explain.relaying import follow_relayed
from devlink.kernel.neighbours import link_address_toward
from devlink.kernel.owners import as_ip_route, owner_of

COMES_BACK = (Outcome.ANSWERED, Outcome.REFUSED, Outcome.HANGS)
"""Something of the far end was heard."""


async def follow(
    address: IPAddress,
    port: int | None,
    protocol: str,
    host: str,
    claims: tuple[Claim, ...],
    observed: ObservedNetwork,
    case: Case,
) -> list[Link]:
    """The links of one address, up to the first that is broken. `observed` has the way to it; `port`, `protocol` and
    `host` as of `reaching.reach`, without a port the common ones are tried."""
    path = observed.paths.get(address, Path())
    place = place_of(address, claims, is_own=path.kind == "local")
    way = _way(address, place, path, observed, case.uid)
    links = [Link(name="address", text=str(place), about=str(address)), way]
    if path.oif is None or way.is_broken:
        return links  # what comes back from there would be another's
    if place.claim is not None and place.is_routed and place.claim.plan.mode is RoutingMode.RELAY:
        return [*links, *await follow_relayed(address, port, protocol, host, place.claim.session, case)]
    tried = reach_any(address, host) if port is None else _only(address, port, protocol, host)
    reached, link_address = await asyncio.gather(tried, asyncio.to_thread(link_address_toward, address, path, ask=True))
    comes_back = any(each.outcome in COMES_BACK for each in reached)
    if path.kind != "local":
        links.append(_next_hop(path.next_hop or address, path, link_address, place, observed, case, comes_back))
    if links[-1].is_broken:
        return links
    return [*links, _data(address, place, reached, path.next_hop, comes_back, is_asked=port is not None)]


async def _only(address: IPAddress, port: int, protocol: str, host: str) -> tuple[Reached, ...]:
    return (await reach(address, port, protocol, host),)


def _way(address: IPAddress, place: Place, path: Path, observed: ObservedNetwork, uid: int) -> Link:
    if path.kind == "local":
        return Link(name="way", text="stays on this laptop", about=str(address))
    winner = winner_of(address, path, observed, uid)
    is_pinned = winner is not None and winner.route.is_ours and not _is_planned(winner.route, place)
    is_lost = False
    if place.claim is not None and place.is_routed and not is_pinned:
        is_lost = Ways(place.claim.plan.desired).is_lost(address, path)
    finding = judge_way(address, place, winner, is_lost=is_lost)
    if winner is None:
        return Link(name="way", text="none: no route leads there, or one drops it", about=str(address), finding=finding)
    text = f"{winner.shown}; made by {winner.owner}"
    if is_pinned:
        text += " to keep the way that it has"
    elif place.claim is not None and place.is_routed and place.claim.plan.mode is RoutingMode.RELAY:
        text += "; for you alone, and only so that packets meet the redirect"
    elif place.claim is not None and place.is_routed and place.claim.plan.mode is RoutingMode.ROUTER:
        text += "; the network's router carries it on"
    return Link(name="way", text=text, about=str(address), finding=finding)


def _is_planned(route: ObservedRoute, place: Place) -> bool:
    """Whether a route of ours is one of the session's own: the helper adds routes for single hosts, which keep the way
    of the API server, the ordinary DNS servers and the like."""
    if place.claim is None or route.destination.prefixlen < route.destination.max_prefixlen:
        return True
    return route.destination in {each.destination for each in place.claim.plan.desired.routes}


def winner_of(address: IPAddress, path: Path, observed: ObservedNetwork, uid: int) -> Winner | None:
    """The route by which the kernel sends to an address, by what it said of `path`; None where nothing is sent."""
    if path.oif is None:
        return None
    candidates = [WaysOfOthers(observed, uid).of(address)]
    for table in (OVERRIDE_TABLE, relay_table(uid), MAIN_TABLE):
        ours = PrefixTable((r.destination, r) for r in observed.routes if r.is_ours and r.table == table)
        candidates.append(ours.longest(address))
    fitting = [r for r in candidates if r is not None and (r.oif, r.next_hop) == (path.oif, path.next_hop)]
    if fitting:
        route = max(fitting, key=lambda each: (each.table == OVERRIDE_TABLE, each.destination.prefixlen, each.is_ours))
        return Winner(route=route, shown=as_ip_route(route), owner=owner_of(route))
    # A rule for something that is not known of these packets, or a route with several hops.
    everything = host_prefix(address).supernet(new_prefix=0)
    route = ObservedRoute(destination=everything, next_hop=path.next_hop, oif=path.oif, protocol=0)
    via = f"via {path.next_hop} " if path.next_hop is not None else ""
    return Winner(route=route, shown=f"{via}dev {path.oif}", owner=owner_of(route))


def _next_hop(
    neighbour: IPAddress, path: Path, link_address: str, place: Place, observed: ObservedNetwork, case: Case,
    comes_back: bool,
) -> Link:  # fmt: skip
    assert path.oif is not None
    about = str(neighbour)
    if any(each.name == path.oif and each.noarp for each in observed.links):
        return Link(name="next hop", text=f"{path.oif} is a tunnel: nobody to ask there", about=about, is_known=False)
    is_silent = _is_silent(neighbour, place, case)
    finding = None
    if not comes_back:
        finding = judge_next_hop(
            neighbour, path.oif, link_address, is_silent=is_silent, is_target=path.next_hop is None
        )
    if not link_address:
        text = f"{neighbour} on {path.oif}: " + ("packets come back by it" if comes_back else "nobody answers there")
    else:
        text = f"{neighbour} on {path.oif} is {link_address}"
    return Link(name="next hop", text=text, about=about, finding=finding)


def _is_silent(neighbour: IPAddress, place: Place, case: Case) -> bool:
    """Whether the agent, which asks by way of that gateway, hears nothing."""
    if place.claim is None or place.kind not in (Kind.SERVICE, Kind.POD):
        return False
    return any(
        gateway["address"] == str(neighbour) and gateway["state"] == "silent"
        for subject in case.subjects
        if subject.name == place.claim.session and subject.session is not None
        for gateway in subject.session["gateways"]
    )


def _data(
    address: IPAddress, place: Place, reached: tuple[Reached, ...], by: IPAddress | None, comes_back: bool, *,
    is_asked: bool,
) -> Link:  # fmt: skip
    finding = judge_data(address, place, reached, by=by, is_asked=is_asked)
    text = "; ".join(map(str, reached))
    if finding is None and not comes_back:
        text += ". That proves nothing: only a service's own ports answer. Name one, as in HOST:PORT"
    elif finding is None and not is_asked:
        text += ". Packets come back"
    return Link(name="data", text=text, about=str(address), finding=finding, is_known=comes_back or finding is not None)
