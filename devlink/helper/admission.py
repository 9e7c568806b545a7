"""What the helper asks of a plan before it touches anything: trusted, allowed, possible, nobody else's."""

import re
from collections.abc import Iterable

from devlink.core.checks import show
from devlink.core.names import DomainName, reverse_prefix
from devlink.core.network import MAIN_TABLE, METRIC, ObservedNetwork, Route
from devlink.core.overlaps import conflicts
from devlink.core.plan import Desired
from devlink.core.prefixes import collapse, contains, is_within, overlap
from devlink.core.profile import LABEL
from devlink.core.text import listed
from devlink.core.trust import PRIVATE, Claim, TrustRecord, claim_of_plan, forbidden, uncovered
from devlink.errors import ConflictError, NotTrustedError, UsageError, VerificationError
from devlink.helper.access import user_name
from devlink.helper.policy import TrustPolicy
from devlink.kernel.owners import owner_of

MAX_ROUTES = 50_000
MAX_ZONES = 4096
MAX_PINS = 256
"""Each costs a search through all routes, and a plan names an API server, a proxy and the like."""
DNS_PORT = 53


def check_trust(desired: Desired, record: TrustRecord | None, policy: TrustPolicy) -> None:
    """Raise NotTrustedError unless a record (or the policy) covers all that `desired` asks for."""
    claim = claim_of_plan(
        desired.session,
        [route.destination for route in desired.routes],
        [route.next_hop for route in desired.routes if route.next_hop is not None],
        desired.zones,
        desired.ca,
    )
    refused = forbidden(claim)
    if refused:
        raise NotTrustedError(
            f"Profile {desired.session} claims what no profile may have: {listed(refused)}.",
            why="devlink never takes these over, whatever is trusted.",
            next_step="Tell the profile's publisher.",
        )
    if record is None:
        if policy is TrustPolicy.GROUP and not _beyond_group(claim):
            return
        raise NotTrustedError(
            f"Profile {desired.session} is not trusted on this machine.",
            why="It may change routes and names only after the machine's owner has seen what it claims.",
            next_step="Run: devlink trust PROFILE",
        )
    wants = uncovered(record, claim)
    if wants:
        raise NotTrustedError(
            f"Profile {desired.session} claims more than was trusted: {listed(wants)}.",
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
    for route in desired.routes:
        if route.table != MAIN_TABLE or route.metric != METRIC:
            raise UsageError(f"Route {route}: only the main table and metric {METRIC} are used.")
        if route.next_hop is None or route.next_hop.version != route.destination.version:
            raise UsageError(f"Route {route}: it needs a next hop of its own family.")
        if route.source is not None or (route.mtu is not None and not 576 <= route.mtu <= 65535):
            raise UsageError(f"Route {route}: this helper sets no source, and MTUs from 576 to 65535.")
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


def check_next_hops(routes: Iterable[Route], observed: ObservedNetwork) -> None:
    """Raise VerificationError unless each next hop is on the link that its route names (facts: R1)."""
    for route in routes:
        assert route.next_hop is not None
        path = observed.paths.get(route.next_hop)
        if path is None or not path.is_on_link or path.oif != route.oif:
            raise VerificationError(
                f"{route.next_hop} cannot be a next hop: it is not on link {route.oif}.",
                why="The kernel sends a packet to a next hop only out of a link, never through another router.",
                next_step="Join the nodes' network, or have the network's router carry the prefixes.",
            )


def check_foreign(routes: Iterable[Route], observed: ObservedNetwork) -> None:
    """Raise ConflictError where somebody else routes one of our destinations already."""
    found = conflicts(routes, observed)
    if found:
        shown = []
        for _, theirs in found[:4]:
            via = f" via {theirs.next_hop}" if theirs.next_hop else ""
            shown.append(f"{theirs.destination}{via} dev {theirs.oif or 'of several'} belongs to {owner_of(theirs)}")
        raise ConflictError(
            f"{found[0][1].destination} is routed already, by {owner_of(found[0][1])}.",
            why="; ".join(shown) + ".",
            next_step=f"Remove that route (ip route del {found[0][1].destination}), or disconnect what made it.",
        )


def check_others(desired: Desired, uid: int, others: Iterable[tuple[Desired, int]]) -> None:
    """Raise ConflictError where another session, given with its uid, has what this one of user `uid` wants.

    Among one user's sessions the longest prefix and the longest suffix win, so only equal ones collide. Nobody takes a
    part of what is another user's.
    """
    destinations = {route.destination for route in desired.routes}
    suffixes = {zone.suffix for zone in desired.zones}
    for other, other_uid in others:
        theirs = {route.destination for route in other.routes}
        their_suffixes = {zone.suffix for zone in other.zones}
        taken = [str(prefix) for prefix in theirs & destinations]
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


def _searched(desired: Desired) -> set[str]:
    """The namespaces that names of two labels may end in."""
    return {namespace for zone in desired.zones for namespace in zone.search}


def _is_searched(suffix: DomainName, namespaces: set[str]) -> bool:
    """Whether a zone's own name is such a name of two labels."""
    return len(suffix.labels) == 2 and suffix.labels[1].decode() in namespaces
