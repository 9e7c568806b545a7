"""A fact with its source, and how one is chosen: the first source of a table that knows it; the others are compared."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from devlink.cluster.discovery.cluster import Cluster
from devlink.cluster.discovery.objects import Declared
from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import Cover, IPAddress, IPNetwork, PrefixTable
from devlink.core.reserved import objection_to_prefix
from devlink.core.text import listed

T = TypeVar("T")
CUT = ", ..."
"""At the end of a source that names more than it can."""
MAX_SOURCE = 900
"""Characters; a profile's provenance takes 1,024."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact(Generic[T]):
    """One thing that goes into the profile."""

    value: T
    source: str
    is_guess: bool = False
    """Worked out from what is in use, not said by anyone."""
    is_sum: bool = False
    """What nodes have now, one by one: a new node will have more."""

    @property
    def provenance(self) -> str:
        """What the profile says of where this came from."""
        source = self.source
        if len(source) > MAX_SOURCE:
            source = source[:MAX_SOURCE].rpartition(", ")[0] + CUT
        return ("guess: " if self.is_guess else "") + source


Prefixes = Fact[tuple[IPNetwork, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One place that may know a network's prefixes."""

    find: Callable[[Cluster], Prefixes | None]
    is_only_declared: bool = False
    """It says what somebody once configured, which the network need not keep to: live addresses may disprove it."""


def declared(found: Declared) -> Prefixes | None:
    """A declaration as a fact; None where it declares nothing."""
    return Fact(value=found.prefixes, source=found.source) if found.prefixes else None


def choose(
    what: str,
    sources: Sequence[Source],
    cluster: Cluster,
    is_disproved: Callable[[Sequence[IPNetwork]], bool],
) -> tuple[Prefixes | None, tuple[Finding, ...]]:
    """The first fact of a table, and findings where a lower source says otherwise or live addresses disprove one."""
    chosen: Prefixes | None = None
    disproved: list[Prefixes] = []
    others: list[Prefixes] = []
    refused: list[str] = []
    for source in sources:
        fact = source.find(cluster)
        if fact is None:
            continue
        objections = {prefix: objection for prefix in fact.value if (objection := objection_to_prefix(prefix))}
        if objections:
            refused += (f"{prefix} by {fact.source} {objection}" for prefix, objection in objections.items())
            fact = replace(fact, value=tuple(prefix for prefix in fact.value if prefix not in objections))
            if not fact.value:
                continue
        if source.is_only_declared and is_disproved(fact.value):
            disproved.append(fact)
        elif chosen is None:
            chosen = fact
        elif not fact.is_guess:
            others.append(fact)
    findings = [_disproved(what, disproved, chosen)] if disproved else []
    findings += [_refused(what, refused)] if refused else []
    if chosen is not None and chosen.value:
        findings += (_disagrees(what, chosen, other) for other in others if not _agree(chosen.value, other.value))
    return chosen, tuple(findings)


def _agree(chosen: Iterable[IPNetwork], other: Sequence[IPNetwork]) -> bool:
    """Whether the other says nothing new: each of its prefixes is within the chosen ones, or holds one of them."""
    mine = tuple(chosen)
    cover, table = Cover(mine), PrefixTable((prefix, prefix) for prefix in other)
    around = {theirs for prefix in mine for theirs in table.around(prefix)}
    return all(theirs in around or cover.find(theirs) is not None for theirs in other)


def _disproved(what: str, facts: Iterable[Prefixes], chosen: Prefixes | None) -> Finding:
    return Finding(
        code="DL-FOUND-DISPROVED",
        severity=Severity.INFO,
        title=f"What the cluster's {what} were configured to be is not what is in use; it was passed over.",
        evidence="; ".join(f"{listed(fact.value)} by {fact.source}" for fact in facts)
        + (f"; in use: {listed(chosen.value) or 'none'} by {chosen.provenance}" if chosen else ""),
    )


def _refused(what: str, refused: Iterable[str]) -> Finding:
    return Finding(
        code="DL-FOUND-REFUSED",
        severity=Severity.WARNING,
        title=f"A network of the cluster's {what} is one that devlink never routes, and was left out.",
        evidence=listed(refused),
        fix="correct it in the cluster",
    )


def _disagrees(what: str, chosen: Prefixes, other: Prefixes) -> Finding:
    return Finding(
        code="DL-FOUND-DISAGREE",
        severity=Severity.INFO,
        title=f"Two sources disagree on the cluster's {what}; the better one was taken.",
        evidence=f"{listed(chosen.value)} by {chosen.source}; {listed(other.value)} by {other.source}",
        fix="nothing, if the first one is right; else correct it in the profile",
    )


def without_nested(prefixes: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """The prefixes that lie in no other one, each once, in their order; neighbours stay apart, as people know them."""
    given = tuple(dict.fromkeys(prefixes))
    table = PrefixTable((prefix, prefix) for prefix in given)
    return tuple(prefix for prefix in given if all(outer == prefix for outer in table.around(prefix)))


def by_version(addresses: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
    """Addresses each once, IPv4 first, in order."""
    return tuple(sorted(set(addresses), key=lambda address: (address.version, int(address))))
