"""What comes back from the cluster: whose it is, its services, its pods, and how large a packet may be."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from devlink.core.diagnosis import EXPLAIN_SILENCE, Outcome, Seen, diagnose
from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.profile import RoutingMode
from devlink.dns.client import Answer, ask
from devlink.doctor import check
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import LinkCheck, skipped
from devlink.doctor.path import mtu
from devlink.doctor.path.questions import KNOWN, address_types, check_known
from devlink.doctor.path.shared import exchange, meet, why_not_carried, with_api
from devlink.errors import VerificationError

ASK_LIMIT = 1.5
"""Seconds for one question about a name."""
NOT_SEEN = "DL-NO-ENDPOINT-ELSEWHERE"
OF_PODS = frozenset(("DL-POD-HANGS", "DL-POD-SILENT", NOT_SEEN))
"""What `diagnose` says of pods; the rest is about services."""
BEFORE = ("links", "routes", "rules", "rp_filter", "gateway")
"""The checks of this laptop's own part of the way."""


async def _identity(case: Case, subject: Subject) -> check.Seen:
    if why := why_not_carried(subject):
        return skipped(why)
    address = subject.profile.spec.api
    if subject.profile.spec.identity is None or address is None:
        return skipped("the profile does not say how to tell")
    met, seen = await asyncio.gather(meet(case, subject), exchange(case, subject))
    if met.stranger is not None:
        return check.Seen(text=f"{address} is another cluster's", findings=(_stranger(met.stranger),))
    if met.is_behind_proxy:
        said = "not known" if met.proof.findings else "the cluster says that it has the profile's CA"
        return check.Seen(text=f"{address} shows a proxy's certificate; {said}", findings=met.proof.findings)
    if met.proof.answered:
        return check.Seen(text=f"{address} shows the cluster's certificate")
    if seen and not any(each.something_came for each in seen):
        return skipped("nothing comes back")
    return check.Seen(text=f"{address} does not answer", findings=met.proof.findings)


def _stranger(error: VerificationError) -> Finding:
    return Finding(
        code="DL-IDENTITY", severity=Severity.ERROR, title=error.what, evidence=error.why, fix=error.next_step
    )


async def _services(case: Case, subject: Subject) -> check.Seen:
    dns = subject.profile.spec.dns
    if why := why_not_carried(subject):
        return skipped(why)
    if dns is None:
        return skipped("the profile names no DNS to ask")
    met, seen = await asyncio.gather(meet(case, subject), exchange(case, subject))
    if not seen:
        return skipped("nothing leads to the cluster's DNS")
    findings = services_findings(with_api(seen, met))
    if any(each.server.answers for each in seen):
        name = dns.domain.child(KNOWN)
        findings += await _ask_for(name, subject, seen)
    text = ", ".join(_told(each) for each in seen)
    return check.Seen(text=text, findings=findings)


def services_findings(seen: tuple[Seen, ...]) -> tuple[Finding, ...]:
    """What is wrong with the way to services; an error where nobody of the cluster's DNS answers, which a session
    promises."""
    if seen and all(each.mode is RoutingMode.RELAY for each in seen):
        return () if any(each.server.answers for each in seen) else (_silent_by_relay(seen),)
    found = (finding for each in seen for finding in diagnose(each) if finding.code not in OF_PODS)
    if any(each.server.answers for each in seen):
        return tuple(dict.fromkeys(found))
    broken = (replace(f, severity=Severity.ERROR) if f.code in EXPLAIN_SILENCE else f for f in found)
    return tuple(dict.fromkeys(broken))


def _silent_by_relay(seen: tuple[Seen, ...]) -> Finding:
    return Finding(
        code="DL-DNS-SILENT",
        severity=Severity.ERROR,
        title="The cluster's DNS does not answer through the relay.",
        evidence="; ".join(f"{each.server.address}: TCP {each.server.tcp.value}" for each in seen),
        fix="see what the relay refuses, and why: devlink status; does its API answer: kubectl get --raw /readyz; are "
        "the pods of its DNS ready: kubectl -n kube-system get pods",
    )


def _told(seen: Seen) -> str:
    server = seen.server
    if server.answers:
        over = [word for word, out in (("TCP", server.tcp), ("UDP", server.udp)) if out is Outcome.ANSWERED]
        return f"{server.address} answers over {' and '.join(over)}"
    return f"{server.address}: TCP {server.tcp.value}, UDP {server.udp.value}"


async def _ask_for(name: DomainName, subject: Subject, seen: tuple[Seen, ...]) -> tuple[Finding, ...]:
    """Whether the server that answers knows a name that every cluster has."""
    server = next(each.server for each in seen if each.server.answers)
    over: Literal["tcp", "udp"] = "tcp" if server.tcp is Outcome.ANSWERED else "udp"
    types = address_types(subject.profile.spec.services)
    try:
        answers = await asyncio.gather(
            *(asyncio.to_thread(ask, server.address, name, qtype, transport=over, timeout=ASK_LIMIT) for qtype in types)
        )
    except OSError:
        return ()  # it has answered a moment ago: what is lost now says nothing of the domain
    return name_findings(name, answers, str(server.address))


def name_findings(name: DomainName, answers: Iterable[Answer], server: str) -> tuple[Finding, ...]:
    """What the answers for a name that every cluster has say of the profile's domain, or of the server itself."""
    answers = tuple(answers)
    failed = [answer.rcode for answer in answers if answer.rcode == "SERVFAIL"]
    if failed and not any(answer.addresses for answer in answers):
        return (
            Finding(
                code="DL-DNS-SILENT",
                severity=Severity.ERROR,
                title=f"The cluster's DNS does not answer for {name}.",
                evidence=f"{server}: {failed[0]}",
                fix="it has lost its API server, perhaps: kubectl -n kube-system logs -l k8s-app=kube-dns",
            ),
        )
    try:
        check_known(name, answers)
    except VerificationError as error:
        return (
            Finding(
                code="DL-DNS-DOMAIN", severity=Severity.ERROR, title=error.what, evidence=error.why, fix=error.next_step
            ),
        )
    return ()


async def _pods(case: Case, subject: Subject) -> check.Seen:
    if why := why_not_carried(subject):
        return skipped(why)
    met, seen = await asyncio.gather(meet(case, subject), exchange(case, subject))
    if subject.profile.spec.dns is not None and not seen:
        return skipped("nothing leads to the cluster's DNS")
    pods = [pod for each in seen for pod in each.pods]
    if not pods:
        return skipped("the profile names no pod of the cluster's DNS that could be asked")
    if not any(each.something_came for each in seen):
        return skipped("nothing comes back")
    if {pod.tcp for pod in pods} <= {Outcome.NOT_OURS, Outcome.NO_WAY}:
        return skipped("routes of others lead to them")
    return check.Seen(text=_pods_told(with_api(seen, met)), findings=pods_findings(with_api(seen, met)))


def pods_findings(seen: tuple[Seen, ...]) -> tuple[Finding, ...]:
    """What is wrong with the way to pods. That none could be asked is in the line of the check, and no finding; nor is
    the silence of one beside others that answer: it is gone."""
    answering = any(pod.tcp is Outcome.ANSWERED for each in seen for pod in each.pods)
    found = (finding for each in seen for finding in diagnose(each) if finding.code in OF_PODS - {NOT_SEEN})
    return tuple(dict.fromkeys(f for f in found if f.severity is not Severity.INFO or not answering))


def _pods_told(seen: tuple[Seen, ...]) -> str:
    pods = [pod for each in seen for pod in each.pods]
    answering = [pod for pod in pods if pod.tcp is Outcome.ANSWERED]
    text = f"{len(answering)} of {len(pods)} answer{'s' * (len(answering) == 1)} over TCP"
    unseen = any(f.code == NOT_SEEN for each in seen for f in diagnose(each))
    return f"{text}; none is known on another node" if unseen and answering else text


CHECKS = (
    LinkCheck(name="identity", look=_identity, after=("clock", *BEFORE)),
    LinkCheck(name="services", look=_services, limit=6.0, after=(*BEFORE, "relay", "identity")),
    LinkCheck(name="pods", look=_pods, after=(*BEFORE, "relay", "identity")),
    LinkCheck(name="mtu", look=mtu.look, limit=6.0, after=(*BEFORE, "identity", "services")),
)
