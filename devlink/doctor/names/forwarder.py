"""The forwarder itself, asked where it listens: by no resolver, by no libc."""

import asyncio
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress
from devlink.dns.client import Answer, ask
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import Seen, skipped
from devlink.doctor.path.questions import KNOWN, PORT, address_types
from devlink.doctor.serving import away, served
from devlink.errors import DevlinkError, reason

OWN_LIMIT = 1.5
"""Seconds for what the forwarder answers by itself."""
CLUSTER_LIMIT = 2.0
"""Seconds for what the cluster's DNS must answer."""

Transport = Literal["udp", "tcp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What came of one question that only the forwarder can answer."""

    transport: Transport
    is_ours: bool = False
    """The forwarder answered, and said how."""
    said: str = ""
    """What came in its place, for people: `no answer within 1.5 s`, or another's answer."""
    is_anothers: bool = False
    """Somebody answered, and it was not the forwarder."""


def domain_of(subject: Subject) -> DomainName | None:
    """The cluster's domain, where its names are to be answered on this laptop now."""
    dns = subject.profile.spec.dns
    is_served = subject.is_installed and subject.plan is not None and bool(subject.plan.desired.zones)
    return dns.domain if is_served and dns is not None else None


def known_name(subject: Subject) -> DomainName | None:
    """A name that every cluster has, where this one is to be answered now; None too where the profile leaves out its
    namespace."""
    domain = domain_of(subject)
    if domain is None or subject.plan is None:
        return None
    zones = [zone for zone in subject.plan.desired.zones if zone.suffix == domain]
    is_allowed = all(zone.namespaces is None or "default" in zone.namespaces for zone in zones)
    return domain.child(KNOWN) if is_allowed else None


def has_names(case: Case) -> bool:
    """Whether the names of any cluster are to be answered on this laptop now."""
    return any(domain_of(subject) is not None for subject in case.subjects)


async def known_addresses(nameserver: IPAddress, subject: Subject) -> frozenset[IPAddress]:
    """What the forwarder says of `known_name`; nothing where it, or the cluster's DNS, gives no address."""
    name = known_name(subject)
    return await ask_addresses(nameserver, name, subject) if name is not None else frozenset()


async def ask_addresses(nameserver: IPAddress, name: DomainName, subject: Subject) -> frozenset[IPAddress]:
    """What the forwarder says of a name, of the families that the cluster has; nothing where it gives no address."""
    types = address_types(subject.profile.spec.services)
    answers = await asyncio.gather(*(_ask(nameserver, name, qtype) for qtype in types))
    return frozenset(address for answer in answers if answer is not None for address in answer.addresses)


async def _ask(nameserver: IPAddress, name: DomainName, qtype: str) -> Answer | None:
    try:
        return await asyncio.to_thread(ask, nameserver, name, qtype, port=PORT, timeout=CLUSTER_LIMIT)
    except OSError:
        return None


async def look(case: Case, subject: Subject) -> Seen:
    """Whether it answers at all: by a name that it answers itself, whatever the cluster's DNS does."""
    domain = domain_of(subject)
    if domain is None:
        return skipped("no names are up")
    if case.helper.told is None:
        return skipped("the helper does not say where it is")
    try:
        told = await asyncio.to_thread(served)
    except DevlinkError as error:
        return Seen(text=reason(error), findings=(away(error),))
    nameserver = ip_address(told["nameserver"])
    asked = await asyncio.gather(*(_ask_own(nameserver, domain, transport) for transport in ("udp", "tcp")))
    return judge(nameserver, asked)


async def _ask_own(nameserver: IPAddress, domain: DomainName, transport: Transport) -> Asked:
    """A cluster's name with a search domain behind it, which goes to nobody."""
    name = DomainName.parse(f"doctor.{domain}.invalid")
    try:
        answer = await asyncio.to_thread(
            ask, nameserver, name, "A", port=PORT, transport=transport, trace=True, timeout=OWN_LIMIT
        )
    except TimeoutError:
        return Asked(transport=transport, said=f"no answer within {OWN_LIMIT:g} s")
    except OSError as error:
        return Asked(transport=transport, said=str(error.strerror or error))
    if answer.trace is None:
        said = ", ".join([answer.rcode, *map(str, answer.addresses)])
        return Asked(transport=transport, said=said, is_anothers=True)
    return Asked(transport=transport, is_ours=True)


def judge(nameserver: IPAddress, asked: list[Asked]) -> Seen:
    """Pure."""
    findings = []
    for each in asked:
        if each.is_ours:
            continue
        tell = intercepted if each.is_anothers else silent
        findings.append(tell(nameserver, each.transport, each.said))
    good = " and ".join(each.transport.upper() for each in asked if each.is_ours)
    text = f"{nameserver} answers over {good}" if good else f"{nameserver} does not answer"
    return Seen(text=text, findings=tuple(findings))


def intercepted(nameserver: IPAddress, transport: Transport, said: str) -> Finding:
    """Somebody answers there, and it is not the forwarder. `said`: what came."""
    return Finding(
        code="DL-DNS-INTERCEPTED",
        severity=_gravity(transport),
        title="Another program on this laptop answers questions that go to devlink's forwarder.",
        evidence=f"{nameserver} over {transport.upper()}, which is not the forwarder, says: {said}",
        fix=f"find who redirects port 53, often a VPN or a filter, and have it leave {nameserver} alone: "
        "sudo nft list ruleset",
    )


def silent(nameserver: IPAddress, transport: Transport, said: str) -> Finding:
    """Nobody answers there. `said`: what came instead."""
    over = transport.upper()
    return Finding(
        code="DL-FORWARDER-SILENT",
        severity=_gravity(transport),
        title=f"The forwarder runs, and cannot be asked over {over}.",
        evidence=f"{nameserver}, port {PORT}, over {over}: {said}",
        fix="does a firewall of this laptop drop what goes to it? sudo nft list ruleset",
    )


def _gravity(transport: Transport) -> Severity:
    """Without UDP nothing works, without TCP only what is long does not."""
    return Severity.ERROR if transport == "udp" else Severity.WARNING
