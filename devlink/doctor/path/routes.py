"""What the kernel has of a session's routes, and who takes packets from them. PURE."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from devlink.core.detours import carrier
from devlink.core.findings import Finding, Severity
from devlink.core.neighbours import Neighbours
from devlink.core.network import (
    DROPPING,
    MAIN_TABLE,
    OVERRIDE_PREFERENCE,
    OVERRIDE_TABLE,
    ObservedNetwork,
    ObservedRoute,
    Path,
    Route,
)
from devlink.core.overlaps import conflicts
from devlink.core.plan import Desired
from devlink.core.policy_routing import WaysOfOthers, rivals_of
from devlink.core.prefixes import IPAddress, PrefixTable, key_of
from devlink.core.relay_routes import LINK
from devlink.core.text import listed
from devlink.core.ways import Ways


def links_of(desired: Desired) -> tuple[str, ...]:
    """The links that its packets leave by now."""
    detours = {detour.next_hop: detour.oif for detour in desired.detours}
    found = (detours.get(r.next_hop, r.oif) if r.next_hop is not None else r.oif for r in desired.routes if r.oif)
    return tuple(dict.fromkeys(found))


def down_links(desired: Desired, observed: ObservedNetwork) -> tuple[Finding, ...]:
    """Of the links that its packets leave by, those that carry none. Our own is the helper's to keep."""
    links = {link.name: link for link in observed.links}
    broken = [
        name for name in links_of(desired) if name != LINK and (name not in links or not links[name].up)
    ]  # fmt: skip
    if not broken:
        return ()
    seen = listed(f"{name} {'is down or has no carrier' if name in links else 'is not there'}" for name in broken)
    return (
        Finding(
            code="DL-LINK-DOWN",
            severity=Severity.ERROR,
            title=f"The link to the cluster is down: {listed(broken)}.",
            evidence=f"{seen} (ip -br link)",
            fix=f"plug it in, or switch it on: sudo ip link set {broken[0]} up",
        ),
    )


def off_link(desired: Desired, observed: ObservedNetwork) -> tuple[Finding, ...]:
    """Whom packets go by and who is on no link any more (R1): `observed` knows the ways to them."""
    link_to = Neighbours(observed).link_to
    lost = [via for via in dict.fromkeys(carrier(desired, hop) for hop in desired.next_hops) if link_to(via) is None]
    if not lost:
        return ()
    return (
        Finding(
            code="DL-R1-OFFLINK",
            severity=Severity.ERROR,
            title="Gateways of this session are on no link of this laptop any more.",
            evidence=f"not on a link: {listed(lost)} (ip route get {lost[0]}; ip -br address)",
            fix=f"join the network that {lost[0]} is on; or have this network's router route the pod and service "
            f"networks by way of {lost[0]}, then: devlink up {desired.session}",
        ),
    )


def missing_routes(desired: Desired, observed: ObservedNetwork) -> tuple[Route, ...]:
    """Its routes that the kernel has not, whatever their next hop is there."""
    there = {(key_of(r.destination), r.metric, r.table) for r in observed.routes if r.is_ours}
    return tuple(r for r in desired.routes if (key_of(r.destination), r.metric, r.table) not in there)


def missing_rules(desired: Desired, observed: ObservedNetwork) -> tuple[int, ...]:
    """The IP versions for which nothing has the table asked that is to win."""
    wanted = {r.destination.version for r in desired.routes if r.table == OVERRIDE_TABLE}
    there = {rule.version for rule in observed.rules if rule.is_ours and rule.table == OVERRIDE_TABLE}
    return tuple(sorted(wanted - there))


def rules_gone(desired: Desired, observed: ObservedNetwork) -> tuple[Finding, ...]:
    """Without its rule the table that is to win is asked by nobody."""
    lacking = missing_rules(desired, observed)
    if not lacking:
        return ()
    named = " and ".join(f"IPv{version}" for version in lacking)
    return (
        Finding(
            code="DL-ROUTES-GONE",
            severity=Severity.ERROR,
            title="The policy rule of this session is no longer in the kernel.",
            evidence=f"no rule {OVERRIDE_PREFERENCE} has table {OVERRIDE_TABLE} asked ({named})",
            fix=f"`devlink up` with {desired.session} puts it back; whatever deletes rules on this machine would do it "
            "again",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Takers:
    """Routes of others that take packets for the networks of a session."""

    by_rule: tuple[ObservedRoute, ...] = ()
    """In tables that are asked before ours."""
    same: tuple[ObservedRoute, ...] = ()
    """To the same destination as ours, or in the table that is to win."""
    inside: tuple[ObservedRoute, ...] = ()
    """To a part of ours."""

    def of(self, code: str) -> tuple[ObservedRoute, ...]:
        """Those that a finding of the plan is about."""
        return {"DL-POLICY-WINS": self.by_rule, "DL-ROUTE-TAKEN": self.same, "DL-ROUTE-KEPT": self.inside}.get(code, ())


def takers(routes: Sequence[Route], observed: ObservedNetwork, uid: int) -> Takers:
    """Who takes packets from `routes`; `uid` is the user's, whom policy rules may tell from others."""
    ours = PrefixTable((r.destination, r) for r in routes if r.table == MAIN_TABLE)
    others = (
        r
        for r in observed.foreign
        if r.table == MAIN_TABLE and r.destination.prefixlen and (r.kind == "unicast" or r.kind in DROPPING)
    )
    found = rivals_of(routes, observed, uid)
    return Takers(
        by_rule=tuple(dict.fromkeys(rival.route for rival in found if rival.route is not None)),
        same=tuple(theirs for _, theirs in conflicts(routes, observed)),
        inside=tuple(r for r in others if ours.holding(r.destination, strictly=True) is not None),
    )


def obstacles(same: Iterable[ObservedRoute]) -> tuple[Finding, ...]:
    """What would keep `up` from installing anything: routes to the very destinations that ours would have. The evidence
    is theirs to give who know the owners."""
    first = next((route.destination for route in same), None)
    if first is None:
        return ()
    return (
        Finding(
            code="DL-ROUTE-TAKEN",
            severity=Severity.ERROR,
            title="Another program has routes to networks of the cluster already: `devlink up` would be refused.",
            fix=f"remove these routes, or disconnect what made them. To win over them: devlink up --override {first}; "
            f"to do without: devlink up --exclude {first}",
        ),
    )


def protected(desired: Desired, others: Iterable[IPAddress], observed: ObservedNetwork) -> dict[IPAddress, str]:
    """Addresses that keep the way they have whatever is routed (DESIGN.md, promise 5), and what each is."""
    found = dict.fromkeys(observed.default_gateways, "the default gateway")
    found |= dict.fromkeys(others, "a server that this laptop asks for ordinary names")
    found |= dict.fromkeys(desired.pins, "an address that the session needs, such as its API server's")
    found |= dict.fromkeys(desired.all_next_hops, "a gateway of the cluster")
    return found


def routed_away(
    desired: Desired, kept: dict[IPAddress, str], observed: ObservedNetwork, uid: int
) -> tuple[Finding, ...]:
    """Addresses of `kept` that the kernel sends into the cluster's routes, while others' routes lead elsewhere.

    `observed` knows the ways to them. Tunnels over themselves, and laptops without names, come of it.
    """
    ways, without = Ways(desired), WaysOfOthers(observed, uid)
    away = []
    for address, what in kept.items():
        path, wanted, present = observed.paths.get(address, Path()), ways.to(address), without.of(address)
        if wanted is None or present is None or present.kind != "unicast" or path.oif is None:
            continue
        taken = (path.oif, path.next_hop)
        if taken == (wanted.oif, wanted.next_hop) != (present.oif, present.next_hop):
            away.append(f"{address} ({what}) goes via {path.next_hop} dev {path.oif}")
    if not away:
        return ()
    return (
        Finding(
            code="DL-ROUTED-AWAY",
            severity=Severity.ERROR,
            title="An address that the laptop needs outside of the cluster is sent into the cluster.",
            evidence=listed(away),
            fix=f"put its own route back: devlink up {desired.session}. If it goes away again, whatever deletes routes "
            f"on this machine must leave those of protocol 231 alone; or do without that part: devlink up "
            f"{desired.session} --exclude PREFIX",
        ),
    )
