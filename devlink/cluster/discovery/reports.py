"""What a discovery could not find, had to guess, to refuse, or was not let see, as findings."""

from collections.abc import Iterable, Mapping
from typing import Any

from devlink.cluster.discovery.facts import Fact
from devlink.cluster.discovery.objects import Refused
from devlink.cluster.discovery.result import Unread
from devlink.core.findings import Finding, Severity
from devlink.core.text import listed

WANTED = {
    "pods": ("No pod network was found: pods will have no route.", "list ippools.crd.projectcalico.org, or nodes"),
    "services": (
        "No network of ClusterIPs was found: services will have no route.",
        "list servicecidrs.networking.k8s.io",
    ),
    "dns.servers": (
        "No server of the cluster's DNS was found: there will be no names.",
        "list services in kube-system",
    ),
    "gateways": ("No gateway was found: only a network that routes to the cluster itself can carry it.", "list nodes"),
    "identity.ca": (
        "No CA of the cluster was found: nothing will tell it from one that poses as it.",
        "get configmaps/kube-root-ca.crt in kube-public",
    ),
}
"""Facts that a profile should have: what it means without, and the right that usually shows it."""


def missing(facts: Mapping[str, Fact[Any]]) -> Iterable[Finding]:
    """What is not known at all."""
    for key, (title, right) in WANTED.items():
        if key not in facts:
            severity = Severity.INFO if key == "identity.ca" else Severity.WARNING
            fix = f"write {key} into the profile by hand, or let the account {right}"
            yield Finding(code="DL-NOT-FOUND", severity=severity, title=title, evidence=f"no {key}", fix=fix)


def guesses(facts: Mapping[str, Fact[Any]]) -> Iterable[Finding]:
    """What was worked out, not read."""
    for key, fact in facts.items():
        if fact.is_guess and fact.value:
            value = listed(fact.value) if isinstance(fact.value, tuple) else str(fact.value)
            yield Finding(
                code="DL-GUESS",
                severity=Severity.WARNING,
                title=f"{key} is a guess: look at it before you publish it.",
                evidence=f"{value}, from {fact.source}",
                fix="correct it in the profile where it is wrong; then its provenance too",
            )


def refusals(refused: Iterable[Refused]) -> Iterable[Finding]:
    """Values of the API that are none."""
    found = [f"{one.source}: {one.problem}" for one in refused]
    if found:
        yield Finding(
            code="DL-API-VALUE",
            severity=Severity.WARNING,
            title="Objects of the cluster have values that cannot be right; they were passed over.",
            evidence=listed(found),
            fix="correct them in the cluster",
        )


def unread_parts(unread: Iterable[Unread]) -> Iterable[Finding]:
    """What could not be read, and which right would show it; by whether a right would help."""
    everything = list(unread)
    forbidden = [one for one in everything if one.status == 403]
    absent = [one for one in everything if one.status == 404]
    failed = [one for one in everything if one.status not in (403, 404)]
    if forbidden:
        yield Finding(
            code="DL-NOT-READ",
            severity=Severity.WARNING,
            title="Parts of the API may not be read by this account; what they say is not in the profile.",
            evidence=_all(one.path for one in forbidden),
            fix=f"let the account: {_all(one.right for one in forbidden)}",
        )
    if failed:
        yield Finding(
            code="DL-NOT-READ",
            severity=Severity.WARNING,
            title="Parts of the API could not be read; what they say is not in the profile.",
            evidence=_all(f"{one.path}: {one.why}" for one in failed),
            fix=f"try again, with an account that may: {_all(one.right for one in failed)}",
        )
    if absent:
        yield Finding(
            code="DL-NOT-THERE",
            severity=Severity.INFO,
            title="The cluster does not have everything that discovery looks for.",
            evidence=_all(one.path for one in absent),
            fix=f"nothing, if it is of another kind; to see them one must be let: {_all(one.right for one in absent)}",
        )


def _all(items: Iterable[str]) -> str:
    """Each once: the table of what is read bounds them."""
    return "; ".join(dict.fromkeys(items))
