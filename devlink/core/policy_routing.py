"""Policy rules: which table is asked before ours, and what of our prefixes it takes (ip-rule(8), net/core/fib_rules.c).

Judged for an ordinary packet of the laptop's own: without mark, TOS and bound source, and from the loopback interface,
as the kernel says of what no interface has brought.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace

from devlink.core.findings import Finding, Severity
from devlink.core.network import (
    FAILING,
    LOCAL_TABLE,
    MAIN_TABLE,
    OVERRIDE_PREFERENCE,
    OVERRIDE_TABLE,
    RELAY_PREFERENCE,
    RELAY_TABLES,
    ObservedNetwork,
    ObservedRoute,
    Route,
    Rule,
)
from devlink.core.prefixes import (
    IPAddress,
    IPNetwork,
    PrefixTable,
    Remainder,
    collapse,
    is_within,
    outermost,
    overlap,
    span,
)
from devlink.core.text import LISTED, listed

_FIRST = {OVERRIDE_TABLE: OVERRIDE_PREFERENCE, RELAY_TABLES: RELAY_PREFERENCE}
"""Those of our tables that rules of ours have asked, with the rules' priority. That of relayed prefixes is each user's
own; all are judged alike."""
ORDINARY_UID = 1000
"""Of a program whose user is not known: the first that a distribution gives to a person (login.defs)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A rule before ours that takes packets for one of our prefixes."""

    prefix: IPNetwork
    """Ours."""
    rule: Rule
    route: ObservedRoute | None
    """What the rule's table says; None where the rule itself drops the packets."""
    is_whole: bool
    """Whether it takes all of the prefix, not a part."""

    @property
    def part(self) -> IPNetwork:
        """What of our prefix it takes, as far as one prefix says it: what to override, or to exclude."""
        parts = (self.route.destination if self.route is not None else None, self.rule.destination)
        return max(
            (
                self.prefix,
                *(p for p in parts if p is not None and not self.rule.inverted and is_within(p, self.prefix)),
            ),
            key=lambda part: part.prefixlen,
        )

    @property
    def can_be_overridden(self) -> bool:
        """Whether our own rule is asked before this one."""
        return self.rule.priority > OVERRIDE_PREFERENCE

    def __str__(self) -> str:
        """As evidence: which rule, which table, which route."""
        if self.route is None:
            return f"{self.prefix} by rule {self.rule.priority} ({self.rule.action})"
        dev = f" dev {self.route.oif}" if self.route.oif is not None else ""
        kind = "" if self.route.kind == "unicast" else f"{self.route.kind} "
        destination = "default" if self.route.destination.prefixlen == 0 else str(self.route.destination)
        return f"{self.prefix} by rule {self.rule.priority}, table {self.rule.table}: {kind}{destination}{dev}"


def rivals_of(routes: Iterable[Route], observed: ObservedNetwork, uid: int = ORDINARY_UID) -> tuple[Rival, ...]:
    """What wins over `routes`, in whatever table of ours they are, for programs of user `uid`."""
    by_table: dict[int, list[IPNetwork]] = {MAIN_TABLE: [], OVERRIDE_TABLE: [], RELAY_TABLES: []}
    for route in routes:
        if route.kind == "unicast":
            by_table[min(route.table, RELAY_TABLES)].append(route.destination)
    found = [each for table in _FIRST for each in rivals(by_table[table], observed, table=table, uid=uid)]
    # What the table that wins has, it is asked for: of the main table's routes only the rest is judged.
    winning = Remainder(by_table[OVERRIDE_TABLE])
    untouched: list[IPNetwork] = []
    for prefix in outermost(by_table[MAIN_TABLE]):
        parts = tuple(winning.of(prefix))
        if parts == (prefix,):
            untouched.append(prefix)
            continue
        taking = rivals(parts, observed, uid=uid)
        is_whole = {rival.prefix for rival in taking if rival.is_whole} == set(parts)
        found += (rival if is_whole else replace(rival, is_whole=False) for rival in taking)
    return (*rivals(untouched, observed, uid=uid), *found)


def rivals(
    destinations: Iterable[IPNetwork], observed: ObservedNetwork, *, table: int = MAIN_TABLE, uid: int = ORDINARY_UID
) -> tuple[Rival, ...]:
    """What wins over our routes to `destinations` in `table`; the outermost ones tell for all.

    More specific routes in the main table itself are none: they are `overlaps`' affair.
    """
    walks = {version: _Walk(version, observed, table, uid) for version in (4, 6)}
    if not any(walk.can_lose for walk in walks.values()):
        return ()
    ours = outermost(destinations)
    found: list[Rival] = []
    for prefix in ours:
        if walks[prefix.version].can_lose:
            found += walks[prefix.version].of(prefix)
    return tuple(found)


class WaysOfOthers:
    """The way to an address as it is without us: by the routes of others, through the rules of others."""

    def __init__(self, observed: ObservedNetwork, uid: int = ORDINARY_UID) -> None:
        self._tables = _Tables(observed.foreign)
        self._rules = {
            version: [r for r in observed.rules if r.version == version and not r.is_ours]
            # Where the rules are not known, the usual ones hold.
            or [Rule(version=version, priority=n, table=t) for n, t in ((0, LOCAL_TABLE), (32766, MAIN_TABLE))]
            for version in (4, 6)
        }
        self._selecting = {id(r): _selects(r, uid) for rules in self._rules.values() for r in rules}

    def of(self, address: IPAddress) -> ObservedRoute | None:
        """The route that an ordinary packet takes; None where it is dropped or there is none."""
        passed = -1
        for rule in self._rules[address.version]:
            is_selected = self._selecting[id(rule)] and (rule.destination is None or address in rule.destination)
            if rule.priority < passed or is_selected is rule.inverted or rule.action == "nop":
                continue
            if rule.action == "goto":
                if any(each.priority == rule.table for each in self._rules[address.version]):
                    passed = rule.table
                continue
            if rule.action in FAILING:
                return None
            suppressed = -1 if rule.suppress_prefix_length is None else rule.suppress_prefix_length
            route = self._tables[rule.table].longest(address)
            if route is not None and route.kind != "throw" and route.destination.prefixlen > suppressed:
                return None if route.kind in FAILING else route
        return None


def policy_findings(found: Iterable[Rival]) -> Iterable[Finding]:
    """What `rivals` has found, in words."""
    rivals_ = tuple(found)
    for is_whole, title in (
        (True, "Networks of the cluster are routed by another table, which is asked before ours."),
        (False, "Parts of the cluster's networks are routed by another table, which is asked before ours."),
    ):
        those = [rival for rival in rivals_ if rival.is_whole is is_whole]
        if those:
            yield Finding(
                code="DL-POLICY-WINS",
                severity=Severity.ERROR if is_whole else Severity.WARNING,
                title=title,
                evidence=listed(those),
                fix="; ".join(_cures(those)),
            )


def _cures(those: Iterable[Rival]) -> Iterable[str]:
    """What helps against each of them, whose rule may come too early for ours."""
    weak: list[IPNetwork] = []
    strong: list[IPNetwork] = []
    for rival in those:
        (weak if rival.can_be_overridden else strong).append(rival.part)
    if weak:
        without = options("--exclude", weak)
        yield f"to win over it: devlink up {options('--override', weak)}; to do without: devlink up {without}"
    if strong:
        without = options("--exclude", strong)
        yield f"disconnect what made the rule (ip rule), or do without: devlink up {without}"


def options(option: str, networks: Iterable[IPNetwork]) -> str:
    """What to type of an option that takes a network, for these."""
    return " ".join(f"{option} {network}" for network in collapse(networks)[:LISTED])


class _Walk:
    """The rules of one family as an ordinary packet meets them, up to the one that has our table asked."""

    def __init__(self, version: int, observed: ObservedNetwork, table: int, uid: int) -> None:
        self._table = table
        rules = [rule for rule in observed.rules if rule.version == version]
        targets = {rule.priority for rule in rules}
        self._rules = [
            rule
            for rule in rules
            if not rule.is_ours
            and rule.priority <= _FIRST.get(table, rule.priority)
            and (rule.inverted or _selects(rule, uid))
            and (rule.action != "goto" or rule.table in targets)  # else the kernel passes it over
            and not (rule.action == "lookup" and rule.table in (0, LOCAL_TABLE))  # the laptop's own addresses
        ]
        self._selecting = {id(rule): _selects(rule, uid) for rule in self._rules}
        self._tables = _Tables(observed.foreign)

    @property
    def can_lose(self) -> bool:
        """Whether a rule comes before ours at all; on most laptops none does."""
        if not self._rules:
            return False
        first = self._rules[0]
        asks_ours = first.action == "lookup" and first.table == self._table and first.suppress_prefix_length is None
        return not (asks_ours and not first.inverted and first.destination is None)

    def of(self, prefix: IPNetwork) -> list[Rival]:
        """What takes `prefix`, up to the first that takes all of it."""
        found: list[Rival] = []
        index = 0
        while index < len(self._rules):
            rule = self._rules[index]
            index += 1
            part, is_whole = self._matched(rule, prefix)
            if part is None or rule.action == "nop":
                continue
            if rule.action == "goto":
                if is_whole:
                    index = next((i for i, r in enumerate(self._rules) if r.priority >= rule.table), len(self._rules))
                continue
            if rule.action in FAILING:
                found.append(Rival(prefix=prefix, rule=rule, route=None, is_whole=is_whole))
                if is_whole:
                    return found
                continue
            suppressed = -1 if rule.suppress_prefix_length is None else rule.suppress_prefix_length
            if rule.table == self._table:
                # Ours is found, or a more specific one; `suppress_prefixlength 0` hides default routes only.
                if is_whole and prefix.prefixlen > suppressed:
                    return found
                continue
            routes, takes_all = self._tables[rule.table].taking(part, suppressed)
            is_whole = is_whole and takes_all
            found += (Rival(prefix=prefix, rule=rule, route=route, is_whole=is_whole) for route in routes)
            if is_whole:
                return found
        return found

    def _matched(self, rule: Rule, prefix: IPNetwork) -> tuple[IPNetwork | None, bool]:
        """The part of `prefix` for which a rule holds, None for nothing, and whether that is all of it."""
        destination = rule.destination
        if not self._selecting[id(rule)]:  # then it is inverted
            return prefix, True
        if destination is None or is_within(prefix, destination):
            return (None, False) if rule.inverted else (prefix, True)
        if not overlap(prefix, destination):
            return (prefix, True) if rule.inverted else (None, False)
        return (prefix if rule.inverted else destination), False


def _selects(rule: Rule, uid: int) -> bool:
    """Whether all selectors but the destination select an ordinary packet, `not` left aside."""
    return not (
        rule.other_selectors
        or (rule.source is not None and rule.source.prefixlen > 0)
        or rule.iif not in (None, "lo")
        or rule.oif is not None
        or (rule.mark is not None and rule.mark & rule.mask)
        or (rule.uids is not None and not rule.uids[0] <= uid <= rule.uids[1])
    )


class _Tables(dict[int, "_Table"]):
    """The tables by number, each made when it is asked for."""

    def __init__(self, routes: tuple[ObservedRoute, ...]) -> None:
        super().__init__()
        self._routes = routes

    def __missing__(self, number: int) -> "_Table":
        self[number] = _Table(route for route in self._routes if route.table == number)
        return self[number]


class _Table:
    """The foreign routes of one table."""

    def __init__(self, routes: Iterable[ObservedRoute]) -> None:
        by_metric = sorted(routes, key=lambda route: route.metric)
        self._around = PrefixTable((route.destination, route) for route in by_metric)
        self._in_order = sorted(by_metric, key=lambda route: span(route.destination))
        self._starts = [span(route.destination)[:2] for route in self._in_order]

    def longest(self, address: IPAddress) -> ObservedRoute | None:
        """The route that decides for an address."""
        return self._around.longest(address)

    def taking(self, prefix: IPNetwork, suppressed: int) -> tuple[list[ObservedRoute], bool]:
        """The routes that decide for addresses in `prefix`, and whether they do for all of it: then it is one.

        What is as short as `suppressed` counts as not found.
        """
        version, first, last = span(prefix)
        low, high = bisect_left(self._starts, (version, first)), bisect_left(self._starts, (version, last + 1))
        inner = [r for r in self._in_order[low:high] if r.destination.prefixlen > prefix.prefixlen]
        around = next(self._around.around(prefix), None)
        if around is not None and around.kind != "throw" and around.destination.prefixlen > suppressed:
            return [around], not any(r.kind == "throw" for r in inner)
        return [r for r in inner if r.kind != "throw" and r.destination.prefixlen > suppressed], False
