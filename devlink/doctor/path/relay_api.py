"""Whether the API server lets its user relay, and whether an upgrade gets through, by the user's own kubeconfig."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devlink.core import relay_words as words
from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import IPAddress
from devlink.doctor.case import Case, Resolve, Subject
from devlink.doctor.check import LinkCheck, Seen, skipped
from devlink.doctor.path.shared import is_relayed
from devlink.errors import ClusterError, DevlinkError, reason

if TYPE_CHECKING:
    from devlink.cluster.access import Access

DNS_PORT = 53
ROUTED = "it is not relayed"
LIMIT = 6.0
"""Seconds for all that one of these asks: a program that signs in may take long."""
TRY_LIMIT = 3.0
"""Seconds for one upgrade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """How one upgrade went."""

    form: str = ""
    """By which it got through; empty where none did."""
    wanted: str = ""
    """By which the relay speaks now; empty where it has not spoken yet."""
    error: ClusterError | None = None
    """Why none did."""


async def _rights(case: Case, subject: Subject) -> Seen:
    if not is_relayed(subject):
        return skipped(ROUTED)
    from devlink.cluster.api import Api
    from devlink.relay.rights import check_rights

    dns = subject.profile.spec.dns
    access = await asyncio.to_thread(_access, subject, case.environ)
    async with Api(access, environ=case.environ) as api:
        rights = await check_rights(api, (dns.namespaces or ()) if dns is not None else ())
    if (finding := rights.finding()) is not None:
        return Seen(text="you may not do all that it takes", findings=(finding,))
    where = f"in {', '.join(rights.reached)}" if rights.reached else "in all namespaces"
    return Seen(text=f"you may relay {where}")


async def _upgrade(case: Case, subject: Subject) -> Seen:
    if not is_relayed(subject) or subject.session is None:
        return skipped(ROUTED)
    told: Mapping[str, Any] = subject.session.get("relay") or {}
    pod = await _some_pod(case, subject, told)
    if pod is None:
        return skipped("no pod is known that could be asked for")
    tried = await _try(case, subject, *pod, str(told.get("form") or ""))
    found = judge_upgrade(tried)
    said = words.FORMS.get(tried.form, tried.form)
    return Seen(text=f"gets through: {said}" if tried.form else "does not get through", findings=found)


async def _try(case: Case, subject: Subject, namespace: str, pod: str, wanted: str) -> Upgraded:
    """In the form that the relay uses, then in the others. Raises DevlinkError for what no upgrade is to blame for."""
    from devlink.relay.dial import UPGRADE_REFUSED, Dialler

    access = await asyncio.to_thread(_access, subject, case.environ)
    dialler = Dialler(access, environ=case.environ, timeout=TRY_LIMIT)
    dialler.form = wanted
    try:
        made = await dialler.dial(namespace, pod, DNS_PORT)
    except ClusterError as error:
        if error.status != UPGRADE_REFUSED:
            raise
        return Upgraded(wanted=wanted, error=error)
    made.opening.abort()
    return Upgraded(form=made.form, wanted=wanted)


def judge_upgrade(tried: Upgraded) -> tuple[Finding, ...]:
    """An error where no form gets through; a hint where it is another one than the relay began with. Pure."""
    if tried.error is not None:
        return (
            Finding(
                code="DL-RELAY-UPGRADE",
                severity=Severity.ERROR,
                title="No port-forward gets through to the API server.",
                evidence=reason(tried.error),
                fix=tried.error.next_step,
            ),
        )
    if tried.wanted and tried.form != tried.wanted:
        return (
            Finding(
                code="DL-RELAY-UPGRADE",
                severity=Severity.WARNING,
                title="The way in which the relay speaks with the API server does not get through any more.",
                evidence=f"{tried.wanted} is refused, and {tried.form} gets through",
                fix="a proxy before the API server breaks it: it must let upgrades through, as for kubectl",
            ),
        )
    return ()


async def _some_pod(case: Case, subject: Subject, told: Mapping[str, Any]) -> tuple[str, str] | None:
    """One that the relay speaks with, else one behind the cluster's DNS."""
    for pod in told.get("pods") or ():
        return str(pod["namespace"]), str(pod["name"])
    dns = subject.profile.spec.dns
    if case.resolve is None or dns is None:
        return None
    found = [await _resolved(case.resolve, subject.name, server.address) for server in dns.servers]
    return next((pod for pod in found if pod is not None), None)


async def _resolved(resolve: Resolve, session: str, address: IPAddress) -> tuple[str, str] | None:
    try:
        chain = await resolve(session, address, DNS_PORT)
    except (DevlinkError, TimeoutError):
        return None
    return (chain.pod.namespace, chain.pod.name) if chain.pod is not None else None


def _access(subject: Subject, environ: Mapping[str, str]) -> "Access":
    """That of the cluster that gave the profile, else the current one. Raises DevlinkError."""
    from devlink.cluster.contexts import choose_access

    context = str(subject.session["context"]) if subject.session is not None else ""
    return choose_access(context or None, environ)


CHECKS = (
    LinkCheck(name="relay rights", look=_rights, limit=LIMIT, after=("clock",)),
    LinkCheck(name="relay upgrade", look=_upgrade, limit=LIMIT, after=("clock", "relay rights")),
)
