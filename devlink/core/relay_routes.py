"""What of a cluster's networks is relayed: routes to our own link, in a table that is asked for their user alone.

That table is asked before the main one, so what others shall keep of the networks is cut out of them: a `throw` would
say as much to the kernel, but nothing to the redirect, which is made of the very same destinations.
"""

from collections.abc import Iterable

from devlink.core.findings import Finding, Severity
from devlink.core.network import ObservedNetwork, Route, relay_table
from devlink.core.overlaps import conflicts, others_inside, overlap_findings
from devlink.core.overrides import ALL, override_routes
from devlink.core.policy_routing import Rival, rivals
from devlink.core.prefixes import Cover, IPAddress, IPNetwork, collapse, host_prefix, outermost, subtract
from devlink.core.text import listed
from devlink.errors import ConflictError, VerificationError

LINK = "devlink0"
"""Our own link: what is routed to it and not redirected leaves the laptop never."""
CANNOT = (
    "TCP alone, and names: no ping, no UDP, no calls from pods to this laptop; pods see 127.0.0.1 as the peer, and "
    "what goes through the API server is for debugging, not for bulk"
)


def relayed_routes(
    prefixes: Iterable[IPNetwork],
    observed: ObservedNetwork,
    *,
    uid: int,
    keep: Iterable[IPAddress] = (),
    exclude: Iterable[IPNetwork] = (),
    override: tuple[IPNetwork, ...] = (),
) -> tuple[tuple[Route, ...], tuple[Finding, ...]]:
    """The routes by which user `uid`'s packets for `prefixes` come to our own link, and what is to be said of others'.

    Cut out of them is what is in `exclude`, what `keep` and the default gateways need (the API server, a proxy), and
    what others route inside of them, unless `override` takes it. Raises ConflictError where somebody routes one of them
    whole, VerificationError where nothing is left.
    """
    excluded = tuple(exclude)
    possible = [prefix for prefix in outermost(prefixes) if prefix.version == 4 or _has_ipv6(observed)]
    planned = tuple(Route(destination=prefix, oif=LINK) for prefix in subtract(possible, excluded))
    wanted = override_routes(planned, override, excluded, observed)
    _check_free(wanted, observed)
    others = others_inside(wanted, observed)
    wins = Cover(override)
    by_rules = [
        rival
        for rival in rivals((route.destination for route in planned), observed, uid=uid)
        if wins.find(rival.part) is None and _is_of_it(rival)
    ]
    _check_rules(by_rules)
    named = [prefix for prefix in override if prefix not in ALL]
    theirs = [*(route.destination for route, _ in others.kept), *(rival.part for rival in by_rules)]
    theirs += [route.destination for route in wanted if route.kind == "throw"]
    own = [host_prefix(address) for address in (*keep, *observed.default_gateways)]
    left = subtract((route.destination for route in planned), (*subtract(theirs, named), *own))
    if not left:
        raise VerificationError(
            "There is nothing to relay: no network of the profile is left.",
            why="What is excluded, and what others on this laptop route, is all of them.",
            next_step="Exclude less, or see who routes them: ip route; ip rule",
        )
    findings, _ = overlap_findings(wanted, observed)
    table = relay_table(uid)
    # What is around ours in the main table says nothing of a table that is asked before it.
    told = tuple(finding for finding in findings if finding.code in ("DL-ROUTE-KEPT", "DL-ROUTE-OVERRIDDEN"))
    return tuple(Route(destination=prefix, oif=LINK, table=table) for prefix in left), told


def _has_ipv6(observed: ObservedNetwork) -> bool:
    """Whether the laptop has any: where an administrator switched it off, not even `lo` has its address, nobody could
    listen on that, and programs take the other family by themselves."""
    loopback = [link for link in observed.links if link.name == "lo"]
    return not loopback or any(address.version == 6 for link in loopback for address, _ in link.addresses)


def _is_of_it(rival: Rival) -> bool:
    """Whether the other table is asked for a part of ours: what is wider, as a VPN's default route, is none."""
    if rival.route is not None:
        return rival.route.destination.prefixlen >= rival.prefix.prefixlen
    return rival.part != rival.prefix or rival.rule.destination == rival.prefix


def _check_free(wanted: Iterable[Route], observed: ObservedNetwork) -> None:
    found = conflicts(wanted, observed)
    if found:
        taken = found[0][1]
        raise ConflictError(
            f"{taken.destination} is routed already, {f'dev {taken.oif}' if taken.oif else taken.kind}.",
            why="Another program has a route to that very network, so it may well carry it.",
            next_step=f"Remove that route (ip route del {taken.destination}), or disconnect what made it. To leave it "
            f"where it is: devlink up --exclude {taken.destination}. To relay it all the same: devlink up --override "
            f"{taken.destination}",
        )


def _check_rules(found: Iterable[Rival]) -> None:
    whole = [rival for rival in found if rival.part == rival.prefix]
    if whole:
        raise ConflictError(
            f"{whole[0].prefix} is routed already, in a table that is asked before ours.",
            why=f"{listed(whole)}.",
            next_step=f"To relay it all the same: devlink up --override {whole[0].prefix}. To do without: devlink up "
            f"--exclude {whole[0].prefix}. Or disconnect what made the rule (ip rule).",
        )


def relayed(reason: str, destinations: Iterable[IPNetwork], *, is_chosen: bool) -> Finding:
    """That it is relayed, and what that cannot do. `is_chosen`: somebody wants it so, whatever else there is."""
    way_back = "have it routed: devlink up --routing auto"
    if not is_chosen:
        way_back = "or the network carries them, it is routed again by itself"
    return Finding(
        code="DL-RELAYED",
        severity=Severity.INFO,
        title="The cluster's networks are relayed through its API server, for you alone.",
        evidence=f"{listed(collapse(destinations))}: {reason}. {CANNOT}",
        fix=f"where a next hop of the profile is on the link, {way_back}",
    )
