"""How a name becomes addresses: the file of hosts, devlink's rule, the forwarder, and libc as programs ask it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from devlink.core.codec import encode
from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName, reverse_prefix
from devlink.core.plan import Zone
from devlink.core.prefixes import IPAddress
from devlink.core.text import listed, printable
from devlink.dns import wire
from devlink.dns.client import Answer, ask
from devlink.dns.config import read_config
from devlink.dns.rules import ORDINARY, Alias, Destination, Rules, Verdict
from devlink.doctor.names.forwarder import intercepted, silent
from devlink.doctor.names.libc import Found
from devlink.doctor.serving import NOT_TOLD, gone
from devlink.errors import reason

LIMIT = 2.2
"""Seconds for the forwarder, and for libc: a little more than until the forwarder serves what it has kept too long."""
PORT = 53
ANSWERED_AT_ONCE = "AXFR"
"""What the forwarder refuses by itself: it waits longer for servers than anybody here, and is not to blame then."""
_SOMEBODY = [{"address": "192.0.2.1"}]
"""Stands for whoever is asked for ordinary names (RFC 5737): who that is makes no difference to the rule."""
SOURCES = {
    "upstream": "asked just now",
    "cache": "kept from before",
    "stale": "kept from before, too old",
    "local": "the forwarder itself",
    "failed": "nobody answered",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What devlink does with a name."""

    zone: str = ORDINARY
    """The suffix that it goes by; `.` for ordinary names."""
    session: str = ""
    """Whose zone that is."""
    servers: tuple[IPAddress, ...] = ()
    """Whom the zone's names are asked from."""
    long: DomainName | None = None
    """The whole name, where what was asked for is short for it (`redis.default`)."""
    finding: Finding | None = None
    """Why it is answered without asking anybody."""

    @property
    def is_ordinary(self) -> bool:
        return self.zone == ORDINARY


def rule_for(name: DomainName, zones: Iterable[tuple[str, Zone]]) -> Rule:
    """What the forwarder decides for a name, by its own code. `zones`: each with the name of its session. Pure."""
    of = {str(zone.suffix): (session, zone) for session, zone in reversed(tuple(zones))}
    trees = [encode(zone) for _, zone in of.values()]
    rules = Rules(read_config({"zones": trees, "upstreams": _SOMEBODY}))
    octets = name.wire
    decision = rules.decide(wire.Query(octets, tuple(wire.offsets_in(octets)), wire.A, wire.IN, 0, b"", None))
    long = None
    if isinstance(decision, Alias):
        long, decision = _read(decision.octets), decision.destination
    session, zone = of.get(decision.zone, ("", None))
    servers = tuple(server.address for server in zone.servers) if zone is not None else ()
    finding = _refusal(name, decision, session, zone) if isinstance(decision, Verdict) else None
    assert isinstance(decision, Destination | Verdict)
    return Rule(zone=decision.zone, session=session, servers=servers, long=long, finding=finding)


def _read(octets: bytes) -> DomainName:
    return DomainName(tuple(octets[at + 1 : at + 1 + octets[at]] for at in wire.offsets_in(octets)))


def _refusal(name: DomainName, verdict: Verdict, session: str, zone: Zone | None) -> Finding:
    if verdict.rcode == wire.Rcode.REFUSED and zone is not None:
        return Finding(
            code="DL-NAME-EXCLUDED",
            severity=Severity.ERROR,
            title=f"{name} is in a namespace that profile {session} leaves out: devlink refuses it.",
            evidence=f"its namespaces are {listed(zone.namespaces or ())}",
            fix="have the namespace added to dns.namespaces, by whoever publishes the profile: devlink profile show",
        )
    return Finding(
        code="DL-NAME-EXPANDED",
        severity=Severity.ERROR,
        title=f"{name} is a cluster's name with another domain behind it; devlink says that there is no such name.",
        evidence=verdict.text,
        fix="ask for the name without what is behind the cluster's domain: a search list (resolv.conf) puts it there",
    )


# The forwarder


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the forwarder said."""

    text: str
    addresses: tuple[IPAddress, ...] = ()
    finding: Finding | None = None
    is_failure: bool = False
    """Nobody could say, so that programs cannot know either."""
    is_asked: bool = True
    """False where nobody knows where it is: programs may be answered all the same."""


async def ask_forwarder(nameserver: IPAddress, name: DomainName, rule: Rule) -> Told:
    """Its own story of a name: rule, server, answer, time."""
    asked = (asyncio.to_thread(_ask, nameserver, name, qtype) for qtype in (*types_of(name), ANSWERED_AT_ONCE))
    *answers, alive = await asyncio.gather(*asked)
    heard = [answer for answer in answers if isinstance(answer, Answer)]
    if heard and all(answer.trace is None for answer in heard):
        said = ", ".join([heard[0].rcode, *map(str, heard[0].addresses)])
        finding = intercepted(nameserver, "udp", said)
        return Told(text=f"{nameserver}: another answers: {said}", finding=finding, is_failure=True)
    if heard:
        return judge_answers(name, rule, heard)
    why = next(answer for answer in answers if isinstance(answer, str))
    if isinstance(alive, Answer):
        finding = rule.finding or _failed(name, rule, f"no answer within {LIMIT:g} s, and the forwarder is well")
        return Told(text=f"still waits for the servers after {LIMIT:g} s", finding=finding, is_failure=True)
    return Told(text=f"{nameserver}: {why}", finding=silent(nameserver, "udp", why), is_failure=True)


def types_of(name: DomainName) -> tuple[str, ...]:
    """Which records a name is asked for: of one in a reverse zone PTR, of a service's port SRV (RFC 2782)."""
    if reverse_prefix(name) is not None:
        return ("PTR",)
    return ("SRV",) if name.labels and name.labels[0].startswith(b"_") else ("A", "AAAA")


def has_addresses(name: DomainName) -> bool:
    """Whether programs look it up for its addresses."""
    return "A" in types_of(name)


def _ask(nameserver: IPAddress, name: DomainName, qtype: str) -> Answer | str:
    try:
        return ask(nameserver, name, qtype, port=PORT, trace=True, timeout=LIMIT)
    except TimeoutError:
        return f"no answer within {LIMIT:g} s"
    except OSError as error:
        return reason(error).rstrip(".")


def judge_answers(name: DomainName, rule: Rule, answers: Iterable[Answer]) -> Told:
    """What the forwarder's answers for a name mean, of all types together. Pure."""
    answers = tuple(answers)
    best = next((a for a in answers if a.addresses), next((a for a in answers if a.rcode == "NOERROR"), answers[0]))
    addresses = tuple(dict.fromkeys(address for answer in answers for address in answer.addresses))
    said = [str(address) for address in addresses] or [" ".join(record.split()) for record in best.records]
    shown = listed(said) if said else "no address" if best.rcode == "NOERROR" else best.rcode
    text = f"{shown}; {_story(best)}"
    if (addresses or (said and not has_addresses(name))) and best.rcode == "NOERROR":
        return Told(text=text, addresses=addresses)
    if best.rcode in ("NOERROR", "NXDOMAIN") and not any(a.rcode == "SERVFAIL" for a in answers):
        return Told(text=text, finding=rule.finding or _unknown(name, rule, best))
    return Told(text=text, finding=rule.finding or _failed(name, rule, _words(best, text)), is_failure=True)


def _story(answer: Answer) -> str:
    trace = answer.trace
    if trace is None:
        return f"{answer.took * 1000:.1f} ms"
    server = f" {trace['server']}" if trace["server"] else ""
    transport = f" over {trace['transport'].upper()}" if trace["server"] and trace["transport"] else ""
    return printable(f"{SOURCES.get(trace['source'], trace['source'])}{server}{transport}, {trace['ms']:.1f} ms")


def _unknown(name: DomainName, rule: Rule, answer: Answer) -> Finding:
    there = answer.rcode == "NOERROR"
    what = "address" if has_addresses(name) else "such record"
    labels = [label.decode(errors="replace") for label in (rule.long or name).labels]
    if not rule.is_ordinary and "svc" in labels[2:]:
        at = labels.index("svc", 2)
        service, namespace = labels[at - 2 : at]
        fix = f"kubectl -n {namespace} get service,endpointslices: is there one of the name {service}, "
        fix += "and has it pods that are ready?" if there else "and in this namespace?"
    else:
        fix = "is it spelled as it should be? A service of a cluster is NAME.NAMESPACE.svc.DOMAIN: devlink status"
    return Finding(
        code="DL-NAME-UNKNOWN",
        severity=Severity.ERROR,
        title=f"{name} is there, and has no {what}." if there else f"There is no such name: {name}.",
        evidence=f"{listed(answer.records) or 'NODATA' if there else answer.rcode}; {_story(answer)}",
        fix=printable(fix),
    )


def _words(answer: Answer, text: str) -> str:
    return "; ".join([text, *(f"{words} (extended error {code})" for code, words in answer.extended_errors)])


def _failed(name: DomainName, rule: Rule, evidence: str) -> Finding:
    who = "The servers for ordinary names give" if rule.is_ordinary else "The cluster's DNS gives"
    return Finding(
        code="DL-DNS-ORDINARY" if rule.is_ordinary else "DL-DNS-SILENT",
        severity=Severity.ERROR,
        title=f"{who} no answer for {name}.",
        evidence=evidence,
        fix="see which server is silent or fails, and why: devlink dns stats",
    )


# libc


def judge_libc(
    name: DomainName, rule: Rule, libc: Found, told: Told | None, in_file: tuple[IPAddress, ...], *, mode: str
) -> Finding | None:
    """What is wrong where libc and the forwarder do not say the same. Pure.

    Of ordinary names with many addresses each look-up may get others, so only that libc finds none is wrong there.
    """
    if told is None:
        return None if libc.addresses else _nobody_says(name, libc)
    if told.finding is not None:
        return None  # what is wrong has been told
    if not libc.addresses and not rule.is_ordinary and mode in NOT_TOLD:
        return gone(f"the resolver mode is {mode or 'none'}; libc says {libc}")
    if not libc.addresses:
        return Finding(
            code="DL-LIBC-NAMES",
            severity=Severity.ERROR,
            title=f"Programs on this laptop do not find {name}, although the forwarder knows it.",
            evidence=f"libc says {libc}; the forwarder: {listed(told.addresses)}; resolver mode {mode}",
            fix="devlink doctor looks at each part of that way; see `hosts:` in /etc/nsswitch.conf, /etc/resolv.conf",
        )
    if rule.is_ordinary or libc.addresses & set(told.addresses):
        return None
    seen = f"libc: {libc}; the cluster: {listed(told.addresses)}"
    if libc.addresses & set(in_file):
        return Finding(
            code="DL-HOSTS-FILE",
            severity=Severity.ERROR,
            title=f"A line of /etc/hosts hides what the cluster says of {name}.",
            evidence=seen,
            fix=f"remove or correct it: grep -n {name} /etc/hosts",
        )
    return Finding(
        code="DL-LIBC-DIFFERS",
        severity=Severity.ERROR,
        title=f"Programs get another address for {name} than the cluster gives.",
        evidence=seen,
        fix="whom does libc ask first? See `hosts:` in /etc/nsswitch.conf, the servers and the search list in "
        "/etc/resolv.conf, and whether a VPN claims the same domain",
    )


def _nobody_says(name: DomainName, libc: Found) -> Finding:
    """Of a name that is none of devlink's affairs."""
    if libc.is_late:
        return Finding(
            code="DL-DNS-ORDINARY",
            severity=Severity.ERROR,
            title=f"Programs get no answer for {name} within {LIMIT:g} s.",
            evidence=f"getent ahosts {name}: {libc}",
            fix="do the servers answer that this machine asks? See /etc/resolv.conf, or: resolvectl status",
        )
    return Finding(
        code="DL-NAME-UNKNOWN",
        severity=Severity.ERROR,
        title=f"There is no such name: {name}; or nobody who knows it is reached.",
        evidence=f"getent ahosts {name}: libc says {libc}",
        fix="is it spelled as it should be? If it is a cluster's: devlink up",
    )
