"""What libc finds, and where on its way a name is lost that the forwarder answers: nsswitch.conf(5), hosts(5)."""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress
from devlink.core.text import listed
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import Seen, skipped
from devlink.doctor.names.forwarder import ask_addresses, domain_of, known_addresses, known_name
from devlink.doctor.names.hosts import HOSTS, addresses_in_file
from devlink.doctor.names.libc import Found, look_up
from devlink.doctor.serving import served
from devlink.resolvers.modes import splits
from devlink.resolvers.observe import observe
from devlink.resolvers.reading import NSSWITCH_CONF, RESOLV_CONF, read_conf

MAX_ENTRIES = 5
"""Names of the hosts file that the forwarder is asked for."""
LIMIT = 2.5
"""Seconds for libc: twice of it are below the check's own."""
ASKING = ("dns", "resolve")
"""The services of nsswitch.conf that ask a DNS server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A cluster's name in the hosts file."""

    name: str
    listed: frozenset[IPAddress]
    """What the file says."""
    known: frozenset[IPAddress] = frozenset()
    """What the forwarder says; nothing where it was not asked, or knows no such name."""

    @property
    def hides(self) -> bool:
        return bool(self.known) and not self.known & self.listed


@dataclass(frozen=True, slots=True, kw_only=True)
class LibcSeen:
    """One look-up, and what decides over it."""

    name: str
    expected: frozenset[IPAddress]
    """What the forwarder says; nothing where it, or the cluster's DNS, says nothing."""
    found: Found = field(default_factory=Found)
    by_dns: Found = field(default_factory=Found)
    """By nsswitch's `dns` alone; only where `found` is not as expected."""
    hosts: tuple[str, ...] = ("files", "dns")
    """The words of nsswitch.conf's `hosts:` line."""
    entries: tuple[Entry, ...] = ()
    search: tuple[str, ...] = ()
    """The search list, where the OS splits: what stands behind a name then goes to the ordinary servers."""
    servers: tuple[IPAddress, ...] = ()
    """Of resolv.conf."""


async def look(case: Case, subject: Subject) -> Seen:
    """Look a name up as every program does, that the forwarder has an answer for."""
    domain, name = domain_of(subject), known_name(subject)
    if domain is None:
        return skipped("no names are up")
    if name is None:
        return skipped("the profile leaves out the namespace default")
    nameserver = ip_address((await asyncio.to_thread(served))["nameserver"])
    facts, conf = await asyncio.to_thread(observe, ()), await asyncio.to_thread(read_conf, RESOLV_CONF)
    entries = entries_of(await asyncio.to_thread(addresses_in_file, _is_in(domain)), str(name))
    asking = (ask_addresses(nameserver, DomainName.parse(entry.name), subject) for entry in entries)
    found, expected, known = await asyncio.gather(
        look_up(str(name), limit=LIMIT, environ=case.environ),
        known_addresses(nameserver, subject),
        asyncio.gather(*asking),
    )
    seen = LibcSeen(
        name=str(name),
        expected=expected,
        found=found,
        hosts=facts.hosts,
        entries=tuple(replace(entry, known=each) for entry, each in zip(entries, known, strict=True)),
        search=tuple(each for each in conf.search if each.strip("."))
        if splits(case.resolver)
        else (),  # resolved writes `.`
        servers=conf.nameservers,
    )
    # No ordinary server shall hear of the name only because doctor asks.
    if not expected & found.addresses and not found.is_late and all(each.is_loopback for each in conf.nameservers[:1]):
        seen = replace(seen, by_dns=await look_up(str(name), service="dns", limit=LIMIT, environ=case.environ))
    return judge(seen, domain)


def _is_in(domain: DomainName) -> Callable[[str], bool]:
    def is_in(name: str) -> bool:
        if not f".{name}".endswith(f".{domain}"):  # as nearly all that such a file has
            return False
        try:
            DomainName.parse(name)
        except ValueError:  # who could ask for it?
            return False
        return True

    return is_in


def entries_of(named: Mapping[str, frozenset[IPAddress]], first: str) -> tuple[Entry, ...]:
    """Those that are asked for, `first` before all others, where it is among them."""
    entries = [Entry(name=name, listed=addresses) for name, addresses in named.items()]
    return tuple(sorted(entries, key=lambda entry: entry.name != first)[:MAX_ENTRIES])


def judge(seen: LibcSeen, domain: DomainName) -> Seen:
    """Pure."""
    hiding = [entry for entry in seen.entries if entry.hides]
    fails = bool(seen.expected) and not seen.expected & seen.found.addresses
    findings: list[Finding] = []
    if hiding:
        is_lost = any(entry.name == seen.name for entry in hiding)
        findings.append(_hidden(hiding, Severity.ERROR if fails and is_lost else Severity.WARNING))
        fails = fails and not is_lost
    if fails:
        findings.append(_lost(seen, domain))
    leaks = seen.search and next((word for word in seen.hosts if word in ASKING), "") == "dns"
    if leaks and not fails:
        findings.append(_leak(seen, domain))
    if not seen.expected:
        return Seen(
            text=f"not asked: the cluster's DNS has no answer for {seen.name}",
            findings=tuple(findings),
            skipped=not findings,
        )
    text = f"finds {seen.name}" if seen.expected & seen.found.addresses else f"does not find {seen.name}"
    return Seen(text=text, findings=tuple(findings))


def _lost(seen: LibcSeen, domain: DomainName) -> Finding:
    line = f"{NSSWITCH_CONF}: hosts: {' '.join(seen.hosts)}"
    said = f"getent says {seen.found}, the forwarder {listed(sorted(map(str, seen.expected)))}"
    if not any(word in ASKING for word in seen.hosts):
        return Finding(
            code="DL-NSS-NO-DNS",
            severity=Severity.ERROR,
            title="Programs on this laptop ask no DNS server for names.",
            evidence=f"{line}; {said}",
            fix=f"put `dns` (or `resolve`) at the end of the line `hosts:` in {NSSWITCH_CONF}",
        )
    stop = first_stop(seen.hosts)
    by_line = bool(stop) and bool(seen.expected & seen.by_dns.addresses)
    if by_line and stop[0].startswith("mdns") and domain.labels[-1:] == (b"local",):
        return Finding(
            code="DL-NSS-MDNS",
            severity=Severity.ERROR,
            title="Names in .local are taken for multicast DNS, and asked nowhere else.",
            evidence=f"{line}; {said}",
            fix=f"in {NSSWITCH_CONF} put `dns` (or `resolve`) before `{stop[0]}`, or remove {stop[1]} behind it. "
            "A new mdns4_minimal leaves names of three labels and more alone, and so does mdns4 with a /etc/mdns.allow "
            "that lacks .local",
        )
    if by_line:
        cause = f"{line}: at {' '.join(stop)} it ends; by dns alone the name is found; {said}"
        fix = f"in {NSSWITCH_CONF} put `dns` (or `resolve`) before `{' '.join(stop)}`"
    else:
        cause = f"{said}; {line}; {RESOLV_CONF}: {listed(seen.servers) or 'no nameserver'}"
        fix = f"see who answers in between: getent -s dns ahosts {seen.name}; getent -s files ahosts {seen.name}; is a "
        fix += "cache of names (nscd, sssd) to be restarted?"
    return Finding(
        code="DL-LIBC-NAMES",
        severity=Severity.ERROR,
        title="Programs on this laptop do not find the cluster's names, though the forwarder answers them.",
        evidence=cause,
        fix=fix,
    )


def first_stop(hosts: Iterable[str]) -> tuple[str, ...]:
    """The service before those that ask a DNS server after which libc looks no further for what that one does not find,
    with the action that says so; empty where there is none."""
    service = ""
    for word in hosts:
        if not word.startswith("["):
            if service in ASKING:
                return ()
            service = word
        elif service not in ASKING and _ends_where_not_found(word):
            return service, word
    return ()


def _ends_where_not_found(action: str) -> bool:
    """Whether `[STATUS=ACTION ...]` says so; `!` stands for every status but this one."""
    for negated, status, deed in re.findall(r"(!?)(\w+)=(\w+)", action.lower()):
        if deed == "return" and (status == "notfound") != bool(negated):
            return True
    return False


def _hidden(entries: list[Entry], severity: Severity) -> Finding:
    told = "; ".join(
        f"{entry.name} is {listed(sorted(map(str, entry.listed)))}, in the cluster it is "
        f"{listed(sorted(map(str, entry.known)))}"
        for entry in entries
    )
    return Finding(
        code="DL-HOSTS-FILE",
        severity=severity,
        title="The hosts file of this laptop has a name of the cluster, with another address.",
        evidence=f"{HOSTS}: {told}",
        fix=f"remove these lines from {HOSTS}; they may be of a port-forwarder that was killed",
    )


def _leak(seen: LibcSeen, domain: DomainName) -> Finding:
    return Finding(
        code="DL-SEARCH-LEAK",
        severity=Severity.INFO,
        title="A cluster name that is not there goes to the ordinary DNS server, with the search domain behind it.",
        evidence=f"{RESOLV_CONF}: search {' '.join(seen.search)}; {NSSWITCH_CONF}: hosts: {' '.join(seen.hosts)}",
        fix=f"put `resolve` before `dns` in {NSSWITCH_CONF}, or end such a name with a dot: nope.default.svc.{domain}.",
    )
