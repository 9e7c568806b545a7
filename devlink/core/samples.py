"""One address for each route to try it with, and whether the kernel would send it the way that the route says. PURE."""

from bisect import bisect_left

from devlink.core.network import MAIN_TABLE, OVERRIDE_TABLE, RELAY_TABLES, ObservedNetwork, Path, Route
from devlink.core.plan import Desired
from devlink.core.policy_routing import ORDINARY_UID, Rival, rivals
from devlink.core.prefixes import Cover, IPAddress, IPNetwork, span
from devlink.core.ways import Ways
from devlink.errors import VerificationError


def choose_samples(
    routes: tuple[Route, ...], observed: ObservedNetwork, uid: int = ORDINARY_UID
) -> dict[Route, IPAddress]:
    """One address to try each route with: the first that a host can have and that no narrower route takes out of it.

    Narrower routes of others are kept and reported (DESIGN.md, overlaps), in whatever table they are, and pinned
    addresses keep their way, so neither says anything of ours. Out of a route in OVERRIDE_TABLE only that table takes
    something, by `throw` too; out of a relayed one that table and its own. Nor does an address say anything that a rule
    before ours takes out of a network of ours for programs of `uid`: the plan warns of that. One that takes a whole
    network is a conflict, so it is tried.
    A route that is wholly taken out has no sample, and a `throw` needs none.
    """
    samples = {}
    for table in dict.fromkeys(route.table for route in routes):
        ours = [route for route in routes if route.table == table and route.kind != "throw"]
        found = rivals([route.destination for route in ours], observed, table=min(table, RELAY_TABLES), uid=uid)
        lost = [_taken_by(rival) for rival in found if not rival.is_whole]
        # The local table, with the laptop's own addresses, comes before all others.
        others = [r.destination for r in observed.routes if r.kind == "local"]
        if table != MAIN_TABLE:
            others += [r.destination for r in observed.routes if r.table in (table, OVERRIDE_TABLE)]
        else:
            others += [r.destination for r in observed.routes if r.kind == "unicast"]
        is_lost = Cover(lost)
        taken = sorted({span(prefix) for prefix in (*others, *lost)})
        for route in ours:
            number = _first_free(route.destination, taken) if is_lost.find(route.destination) is None else None
            if number is not None:
                samples[route] = type(route.destination.network_address)(number)
    return samples


def check_paths(samples: dict[Route, IPAddress], desired: Desired, observed: ObservedNetwork) -> None:
    """Raise VerificationError where the kernel would send a sample address another way than our routes say."""
    ways = Ways(desired)
    for route, address in samples.items():
        path = observed.paths.get(address, Path())
        if ways.is_lost(address, path):
            taken = f"via {path.next_hop} dev {path.oif}" if path.next_hop else f"dev {path.oif}"
            raise VerificationError(
                f"The route to {route.destination} is installed, but the kernel does not use it.",
                why=f"For {address} it chooses {taken if path.oif else 'no way at all'}: "
                "another route or a policy rule (ip rule) comes first, often a VPN's.",
                next_step=f"See: ip route get {address}; ip rule",
            )


def _taken_by(rival: Rival) -> IPNetwork:
    """What is another's of a network of ours: prefixes nest, so the narrowest of those that select the packets."""
    narrowest = [rival.prefix]
    if rival.route is not None:
        narrowest.append(rival.route.destination)
    if rival.rule.destination is not None and not rival.rule.inverted:
        narrowest.append(rival.rule.destination)
    return max(narrowest, key=lambda prefix: prefix.prefixlen)


def _first_free(prefix: IPNetwork, taken: list[tuple[int, int, int]]) -> int | None:
    """The first address of `prefix` that can be a host's and is in none of the narrower spans, which are sorted."""
    version, first, last = span(prefix)
    number = first + (last - first > 1)
    # A prefix lies in at most as many others as an address has bits, so these walks are short in sum.
    for index in range(bisect_left(taken, (version, first, first)), len(taken)):
        other_version, other_first, other_last = taken[index]
        if other_version != version or other_first > number:
            break
        if other_last - other_first < last - first:
            number = max(number, other_last + 1)
    return number if number <= last else None
