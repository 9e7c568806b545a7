"""What the helper asks of a plan before it touches anything: trusted, allowed, possible, nobody else's."""

import re
from collections.abc import Callable, Iterable, Sequence

from devlink.core.checks import show
from devlink.core.names import DomainName, reverse_prefix
from devlink.core.neighbours import Neighbours
from devlink.core.network import (
    MAIN_TABLE,
    METRIC,
    OVERRIDE_TABLE,
    RELAY_TABLES,
    ObservedNetwork,
    ObservedRoute,
    Route,
    relay_table,
)
from devlink.core.overlaps import conflicts, seized
from devlink.core.plan import Desired
from devlink.core.policy_routing import Rival, rivals_of
from devlink.core.prefixes import Cover, IPAddress, collapse, contains, is_within, overlap
from devlink.core.profile import LABEL
from devlink.core.text import listed
from devlink.core.trust import PRIVATE, Claim, TrustRecord, claim_of_plan, forbidden, uncovered
from devlink.errors import ConflictError, NotTrustedError, UsageError, VerificationError
from devlink.helper.access import user_name
from devlink.helper.policy import TrustPolicy
from devlink.helper.relayed import is_relayed
from devlink.kernel.owners import owner_of
from devlink.kernel.tun import NAME as LINK

MAX_ROUTES = 50_000
MAX_ZONES = 4096
MAX_PINS = 256
"""Each costs a search through all routes, and a plan names an API server, a proxy and the like."""
MAX_BRIDGES = 8
DNS_PORT = 53


def check_trust(desired: Desired, record: TrustRecord | None, policy: TrustPolicy) -> None:
    """Raise NotTrustedError unless a record (or the policy) covers all that `desired` asks for."""
    claim = claim_of_plan(
        desired.session,
        [route.destination for route in desired.routes if route.kind == "unicast"],
        desired.all_next_hops,
        desired.zones,
        desired.ca,
    )
    _check_claim(claim, record, policy)


def _check_claim(claim: Claim, record: TrustRecord | None, policy: TrustPolicy) -> None:
    refused = forbidden(claim)
    if refused:
        raise NotTrustedError(
            f"Profile {claim.name} claims what no profile may have: {listed(refused)}.",
            why="devlink never takes these over, whatever is trusted.",
            next_step="Tell the profile's publisher.",
        )
    if record is None:
        if policy is TrustPolicy.GROUP and not _beyond_group(claim):
            return
        raise NotTrustedError(
            f"Profile {claim.name} is not trusted on this machine.",
            why="It may change routes and names only after the machine's owner has seen what it claims.",
            next_step="Run: devlink trust PROFILE",
        )
    wants = uncovered(record, claim)
    if wants:
        raise NotTrustedError(
            f"Profile {claim.name} claims more than was trusted: {listed(wants)}.",
            why="Nothing was changed: a profile that grew must be looked at again.",
            next_step="If that is right, run: devlink trust PROFILE",
        )


def _beyond_group(claim: Claim) -> bool:
    """Whether a claim needs a record even where the policy trusts the group (DESIGN.md, trust)."""
    shortest = {4: 12, 6: 48}
    return (
        any(
            p.prefixlen < shortest[p.version] or not any(is_within(p, space) for space in PRIVATE)
            for p in claim.prefixes
        )
        or any(str(domain) != "cluster.local" for domain in claim.domains)
        or bool(claim.search)
        or not all(contains(PRIVATE, server) for server in claim.dns_servers)
    )


def check_name(name: str) -> None:
    """Raise UsageError unless `name` can be a profile's: it becomes the name of a file."""
    if not re.fullmatch(LABEL["pattern"], name):
        raise UsageError(f"{show(name)} is not the name of a profile.", why=f"It must be {LABEL['title']}.")


def check_form(desired: Desired) -> None:
    """Raise UsageError for a plan that no agent of ours makes."""
    check_name(desired.session)
    if len(desired.pins) > MAX_PINS:
        raise UsageError(f"A plan has at most {MAX_PINS} pins.")
    if len(desired.routes) > MAX_ROUTES or len(desired.zones) > MAX_ZONES:
        raise UsageError(f"A plan has at most {MAX_ROUTES} routes and {MAX_ZONES} zones.")
    keys = [route.key for route in desired.routes]
    if len(set(keys)) != len(keys) or len({zone.suffix for zone in desired.zones}) != len(desired.zones):
        raise UsageError("A plan names a destination or a zone twice.")
    winning = Cover(r.destination for r in desired.routes if r.table == OVERRIDE_TABLE and r.kind == "unicast")
    if not is_relayed(desired):
        for route in desired.routes:
            _check_route(route, winning)
    _check_detours(desired)
    for zone in desired.zones:
        if not zone.servers or any(server.port != DNS_PORT for server in zone.servers):
            raise UsageError(f"Zone {zone.suffix}: it needs servers, on port {DNS_PORT}.")
        if any(server.tls_name for server in zone.servers):
            raise UsageError(f"Zone {zone.suffix}: a cluster's servers are not asked over TLS.")
        if not all(re.fullmatch(LABEL["pattern"], namespace) for namespace in zone.search):
            raise UsageError(f"Zone {zone.suffix}: a namespace in `search` is {LABEL['title']}.")
    searched = [namespace for zone in desired.zones for namespace in zone.search]
    if len(set(searched)) != len(searched) or len(searched) > MAX_ZONES:
        raise UsageError(f"A plan searches a namespace once, and at most {MAX_ZONES} of them.")


def check_relay(
    desired: Desired, uid: int, kind_of: Callable[[str], str], ways_off: Callable[[str], Sequence[str]]
) -> None:
    """Raise UsageError for a relayed plan of user `uid` that no agent of ours makes, or whose containers are on no
    bridge, or not they alone; `kind_of` is asked for the kind of a link, `ways_off` for ports to other machines."""
    if desired.relay is None:
        return
    for route in desired.routes if is_relayed(desired) else ():
        ours = Route(destination=route.destination, oif=LINK, table=relay_table(uid))
        if route != ours or uid >= RELAY_TABLES:
            raise UsageError(f"Route {route}: what is relayed for user {uid} is {ours}.")
    if len(desired.relay.containers) > MAX_BRIDGES:
        raise UsageError(f"A plan lets containers of at most {MAX_BRIDGES} bridges in.")
    for bridge in desired.relay.containers:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", bridge) or kind_of(bridge) != "bridge":
            raise UsageError(
                f"{show(bridge)} is no bridge, so no containers are on it.",
                why="Only packets of containers of this very machine are relayed: no other link's.",
                next_step="See: ip link show type bridge",
            )
        if ports := ways_off(bridge):
            raise UsageError(
                f"Not only containers are on {bridge}: it leads off this machine by {', '.join(ports)}.",
                why="Whoever is on that network would reach the cluster by your rights.",
                next_step=f"Let the containers have a bridge of their own. See: ip link show master {bridge}",
            )


def _check_route(route: Route, winning: Cover) -> None:
    if route.metric != METRIC or route.table not in (MAIN_TABLE, OVERRIDE_TABLE):
        raise UsageError(f"Route {route}: only metric {METRIC} and the tables main and {OVERRIDE_TABLE} are used.")
    if route.nexthop_id:
        raise UsageError(f"Route {route}: which nexthop object it has is this helper's affair.")
    if route.kind == "throw":
        if route.table != OVERRIDE_TABLE or winning.find(route.destination) is None:
            raise UsageError(f"Route {route}: a throw is only used within routes of table {OVERRIDE_TABLE}.")
        if route.oif or (route.next_hop, route.source, route.mtu) != (None, None, None):
            raise UsageError(f"Route {route}: a throw leads nowhere by itself.")
        return
    if route.kind != "unicast" or route.next_hop is None or route.next_hop.version != route.destination.version:
        raise UsageError(f"Route {route}: it needs a next hop of its own family.")
    if route.source is not None and route.source.version != route.destination.version:
        raise UsageError(f"Route {route}: it needs a source of its own family.")
    if route.mtu is not None and not 576 <= route.mtu <= 65535:
        raise UsageError(f"Route {route}: this helper sets MTUs from 576 to 65535.")


def _check_detours(desired: Desired) -> None:
    hops = set(desired.next_hops)
    if len({detour.next_hop for detour in desired.detours}) != len(desired.detours):
        raise UsageError("A plan names two detours for one next hop.")
    for detour in desired.detours:
        if detour.next_hop not in hops:
            raise UsageError(f"No route goes by {detour.next_hop}, so there is no detour for it.")
        check_stand_in(detour.next_hop, detour.via)


def check_stand_in(next_hop: IPAddress, via: IPAddress) -> None:
    """Raise UsageError unless one next hop can take the place of the other."""
    if via.version != next_hop.version or via == next_hop:
        raise UsageError(
            f"{via} cannot take the place of {next_hop}.",
            why="It must be another one, of the same family.",
            next_step="See: devlink status",
        )


def check_via(
    via: IPAddress, oif: str, desired: Desired, record: TrustRecord | None, policy: TrustPolicy,
    observed: ObservedNetwork,
) -> None:  # fmt: skip
    """Whether packets of an admitted plan may go by one more next hop: what the other checks ask, without a look at
    every route.

    Raises NotTrustedError and VerificationError. Of `observed` the path to `via` is needed.
    """
    _check_claim(Claim(name=desired.session, next_hops=(via,), ca=desired.ca), record, policy)
    _check_on_link(via, oif, Neighbours(observed))


def check_next_hops(desired: Desired, observed: ObservedNetwork) -> None:
    """Raise VerificationError unless each next hop is on the link that its route names (facts: R1).

    So must the one be that a detour goes by, and a source must be an address of its route's link.
    """
    neighbours = Neighbours(observed)
    checked: set[tuple[IPAddress, str]] = set()
    sources: dict[str, set[IPAddress]] = {
        link.name: {address for address, _ in link.addresses} for link in observed.links
    }
    for route in desired.routes:
        if route.kind != "unicast" or is_relayed(desired):
            continue
        assert route.next_hop is not None
        if (route.next_hop, route.oif) not in checked:
            _check_on_link(route.next_hop, route.oif, neighbours)
            checked.add((route.next_hop, route.oif))
        if route.source is not None and route.source not in sources.get(route.oif, ()):
            raise VerificationError(
                f"{route.source} cannot be a source: it is no address of link {route.oif}.",
                why="The laptop's addresses may have changed at this moment.",
                next_step="Try again.",
            )
    for detour in desired.detours:
        _check_on_link(detour.via, detour.oif, neighbours)


def _check_on_link(hop: IPAddress, oif: str, neighbours: Neighbours) -> None:
    if neighbours.link_to(hop) != oif:
        raise VerificationError(
            f"{hop} cannot be a next hop: it is not on link {oif}.",
            why="The kernel sends a packet to a next hop only out of a link, never through another router.",
            next_step="Join the nodes' network, or have the network's router carry the prefixes.",
        )


def check_foreign(routes: Iterable[Route], observed: ObservedNetwork, *, uid: int) -> None:
    """Raise ConflictError where somebody else routes one of our destinations already, in whatever table.

    Policy rules are judged for programs of user `uid`.
    """
    routes = tuple(routes)
    found = conflicts(routes, observed)
    if found:
        taken = found[0][1].destination
        if found[0][1].table == OVERRIDE_TABLE:
            raise ConflictError(
                f"Table {OVERRIDE_TABLE}, which has what is overridden, is used already, by {owner_of(found[0][1])}.",
                why="; ".join(_belonging(theirs) for _, theirs in found[:4])
                + f". With a rule that has table {OVERRIDE_TABLE} asked first, these would win over everybody's.",
                next_step=f"Disconnect what made them (ip route show table {OVERRIDE_TABLE}), or leave out --override.",
            )
        raise ConflictError(
            f"{taken} is routed already, by {owner_of(found[0][1])}.",
            why="; ".join(_belonging(theirs) for _, theirs in found[:4]) + ".",
            next_step=f"Remove that route (ip route del {taken}), or disconnect what made it. To leave it where it is: "
            f"devlink up --exclude {taken}. To have yours win: devlink up --override {taken}",
        )
    whole = [rival for rival in rivals_of(routes, observed, uid) if rival.is_whole]
    if whole:
        first = whole[0]
        by = owner_of(first.route) if first.route is not None else f"a rule that says {first.rule.action}"
        raise ConflictError(
            f"{first.prefix} is routed already, by {by}, in a table that is asked before ours.",
            why="; ".join(_by_rule(rival) for rival in whole[:4]) + ".",
            next_step=_beside_rule(first),
        )


def check_protected(desired: Desired, others: Iterable[IPAddress], observed: ObservedNetwork) -> None:
    """Raise ConflictError for a route to just one of the addresses that keep their way (`core.plan.protect`)."""
    found = seized(desired.routes, (*observed.default_gateways, *desired.pins, *others, *desired.all_next_hops))
    if found:
        taken = found[0].destination
        raise ConflictError(
            f"{taken.network_address} must keep the way that it has, and session {desired.session} has a route to it.",
            why="Default gateways, ordinary DNS servers, next hops and the cluster's API are never taken over.",
            next_step=f"Do without: devlink up --exclude {taken}",
        )


def _belonging(theirs: ObservedRoute) -> str:
    kind = "" if theirs.kind == "unicast" else f"{theirs.kind} "
    via = f" via {theirs.next_hop}" if theirs.next_hop else ""
    where = f" dev {theirs.oif or 'of several'}" if theirs.kind == "unicast" else ""
    return f"{kind}{theirs.destination}{via}{where} belongs to {owner_of(theirs)}"


def _by_rule(rival: Rival) -> str:
    owner = f", which belongs to {owner_of(rival.route)}" if rival.route is not None else ""
    return f"{rival}{owner}"


def _beside_rule(rival: Rival) -> str:
    if not rival.can_be_overridden:
        return f"Disconnect what made the rule (ip rule), or do without: devlink up --exclude {rival.prefix}"
    return (
        f"To have yours win: devlink up --override {rival.prefix}. To do without: devlink up --exclude {rival.prefix}. "
        "Or disconnect what made it."
    )


def check_others(desired: Desired, uid: int, others: Iterable[tuple[Desired, int]]) -> None:
    """Raise ConflictError where another session, given with its uid, has what this one of user `uid` wants.

    Among one user's sessions the longest prefix and the longest suffix win, so only equal ones collide; but in a table
    of its own a wide one wins over the narrow ones of the main table. Nobody takes a part of what is another user's:
    what is relayed is its own user's alone, so of another's only names and containers are in its way.
    """
    suffixes = {zone.suffix for zone in desired.zones}
    for other, other_uid in others:
        is_apart = other_uid != uid and (is_relayed(desired) or is_relayed(other))
        destinations = {route.destination for route in desired.routes if route.kind == "unicast" and not is_apart}
        theirs = {route.destination for route in other.routes if route.kind == "unicast" and not is_apart}
        their_suffixes = {zone.suffix for zone in other.zones}
        taken = [str(prefix) for prefix in theirs & destinations]
        if not is_apart:
            taken += [*_overridden(desired, other), *_overridden(other, desired)]
        taken += [f"the containers on {bridge}" for bridge in _bridges(other) & _bridges(desired)]
        taken += [str(reverse_prefix(suffix) or suffix) for suffix in their_suffixes & suffixes]
        taken += [f"NAME.{namespace}" for namespace in _searched(other) & _searched(desired)]
        if other_uid != uid:
            # a few prefixes each, once neighbours are put together
            wide, their_wide = collapse(destinations), collapse(theirs)
            taken += [str(b) for a in wide for b in their_wide if overlap(a, b)]
            taken += [str(b) for a in suffixes for b in their_suffixes if a.is_within(b) or b.is_within(a)]
            taken += [str(suffix) for suffix in their_suffixes if _is_searched(suffix, _searched(desired))]
            taken += [
                f"NAME.{suffix.labels[1].decode()}" for suffix in suffixes if _is_searched(suffix, _searched(other))
            ]
        if taken:
            raise ConflictError(
                f"Session {other.session} of user {user_name(other_uid)} has {listed(sorted(set(taken)))} already.",
                why=f"Session {desired.session} wants the same, or a part of it, and only one of them can have it.",
                next_step=f"Run: devlink down {other.session}, or: devlink up PROFILE --replace"
                if other_uid == uid
                else "Ask that user to take it down.",
            )


def _overridden(winner: Desired, loser: Desired) -> list[str]:
    """What of a session's routes another one's would win over though they are wider, in a table that is asked first."""
    found: list[str] = []
    for table, weaker in ((OVERRIDE_TABLE, (MAIN_TABLE, RELAY_TABLES)), (RELAY_TABLES, (MAIN_TABLE,))):
        winning = Cover(r.destination for r in winner.routes if _kind_of(r.table) == table and r.kind == "unicast")
        found += (
            str(r.destination) for r in loser.routes if _kind_of(r.table) in weaker and winning.find(r.destination)
        )
    return found


def _kind_of(table: int) -> int:
    """All users' tables of relayed prefixes are of one kind."""
    return min(table, RELAY_TABLES)


def _bridges(desired: Desired) -> set[str]:
    """Whose containers are let in."""
    return set(desired.relay.containers) if desired.relay is not None and is_relayed(desired) else set()


def _searched(desired: Desired) -> set[str]:
    """The namespaces that names of two labels may end in."""
    return {namespace for zone in desired.zones for namespace in zone.search}


def _is_searched(suffix: DomainName, namespaces: set[str]) -> bool:
    """Whether a zone's own name is such a name of two labels."""
    return len(suffix.labels) == 2 and suffix.labels[1].decode() in namespaces
