"""The operating system's resolver: whether it still is told of the forwarder, reaches it, and asks nobody else."""

import asyncio
import contextlib
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress
from devlink.core.text import listed
from devlink.doctor.case import Case
from devlink.doctor.check import Seen, skipped
from devlink.doctor.names.forwarder import domain_of, known_addresses, known_name
from devlink.doctor.serving import served
from devlink.errors import HelperError, reason
from devlink.kernel.tun import NAME as LINK
from devlink.resolvers.managers import resolve1
from devlink.resolvers.managers.bus import SystemBus
from devlink.resolvers.modes import splits
from devlink.resolvers.reading import RESOLV_CONF, read_conf
from devlink.resolvers.resolv_conf import MAX_NAMESERVERS, MORE, OWN

VARLINK = str(resolve1.FOLDER / "io.systemd.Resolve")
"""Where libc's `resolve` asks it, with or without a bus."""
RUN_LIMIT = 1.0
"""Seconds to see whether it is there."""
RESOLVED = "systemd-resolved"
"""The mode's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """One name that was asked of resolved."""

    name: DomainName
    expected: frozenset[IPAddress]
    """What the forwarder says of it."""
    found: frozenset[IPAddress] = frozenset()
    error: str = ""
    """What it says in place of addresses."""

    @property
    def is_well(self) -> bool:
        return bool(self.expected & self.found)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSeen:
    """What systemd-resolved is told, and says."""

    servers: tuple[IPAddress, ...] | None = None
    """Of our link; None where it knows of no such link."""
    domains: frozenset[str] = frozenset()
    """Of our link."""
    elsewhere: tuple[tuple[str, str], ...] = ()
    """The other links, by name, and their domains; the name is empty for resolved's own configuration."""
    lookups: tuple[Lookup, ...] = ()


async def look(case: Case) -> Seen:
    """Ask the helper which one it is, and that one what it knows."""
    subjects = [subject for subject in case.subjects if domain_of(subject) is not None]
    if not subjects:
        return skipped("no names are up")
    if case.helper.told is None:
        return skipped("the helper does not say which one it is")
    mode, why = case.resolver, case.helper.told["resolver_reason"]
    if mode in ("", "overwritten"):
        return Seen(text=mode or "none is told", findings=(_gone(f"the resolver mode is {mode or 'none'}", why),))
    nameserver = ip_address((await asyncio.to_thread(served))["nameserver"])
    if not splits(mode):
        conf = await asyncio.to_thread(read_conf, RESOLV_CONF)
        return judge_file(nameserver, conf.nameservers)
    if mode != RESOLVED:
        return skipped(f"{mode} is asked by libc, which shows what it says")
    if not await asyncio.to_thread(_runs):
        finding = _gone("systemd-resolved does not run", "", fix="sudo systemctl restart systemd-resolved")
        return Seen(text="systemd-resolved does not run", findings=(finding,))
    known = {name: await known_addresses(nameserver, each) for each in subjects if (name := known_name(each))}
    seen = await asyncio.to_thread(_ask_resolved, known)
    return judge_resolved(nameserver, [str(domain_of(subject)) for subject in subjects], seen)


def _runs() -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(RUN_LIMIT)
        try:
            line.connect(VARLINK)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:  # it is not this user's to see
            return True
    return True


def _ask_resolved(known: Mapping[DomainName, frozenset[IPAddress]]) -> ResolvedSeen:
    """Over D-Bus, which goes the same way as libc's `resolve` and as the stub. Raises HelperError."""
    try:
        index = socket.if_nametoindex(LINK)
    except OSError:
        index = 0
    with SystemBus() as bus:
        shown = resolve1.read_link(bus, index) if index else None
        listed_domains = bus.read(resolve1.SERVICE, resolve1.PATH, resolve1.MANAGER, "Domains") or ()
        lookups = [_look_up(bus, name, expected) for name, expected in known.items() if expected]
    elsewhere = [(_link(number), domain) for number, domain, *_ in listed_domains if number != index]
    return ResolvedSeen(
        servers=tuple(ip_address(bytes(octets)) for _, octets in shown.get("DNS", ())) if shown else None,
        domains=frozenset(domain for domain, _ in shown.get("Domains", ())) if shown else frozenset(),
        elsewhere=tuple(elsewhere),
        lookups=tuple(lookups),
    )


def _link(index: int) -> str:
    with contextlib.suppress(OSError):  # gone meanwhile
        return socket.if_indextoname(index) if index else ""
    return f"link {index}"


def _look_up(bus: SystemBus, name: DomainName, expected: frozenset[IPAddress]) -> Lookup:
    try:
        said = resolve1.call(bus, "ResolveHostname", "isit", 0, str(name), socket.AF_UNSPEC, 0)
    except HelperError as error:
        return Lookup(name=name, expected=expected, error=reason(error))
    addresses: Any = said[0] if said else ()
    return Lookup(
        name=name, expected=expected, found=frozenset(ip_address(bytes(octets)) for _, _, octets in addresses)
    )


def judge_resolved(nameserver: IPAddress, domains: Collection[str], seen: ResolvedSeen) -> Seen:
    """Pure. `domains` are the clusters'."""
    own = OWN | {nameserver}
    told = seen.servers is not None and bool(own.intersection(seen.servers)) and seen.domains.issuperset(domains)
    if not told:
        shown = f"it has the servers {listed(seen.servers) or 'none'}" if seen.servers is not None else "there is none"
        lacking = listed(sorted(set(domains) - seen.domains))
        shown += f"; it lacks {lacking}" if seen.servers is not None and lacking else ""
        finding = _gone(f"link {LINK} of systemd-resolved: {shown}", "")
        return Seen(text="systemd-resolved is not told", findings=(finding,))
    failed = [lookup for lookup in seen.lookups if not lookup.is_well]
    shared = [
        (link, other)
        for link, other in seen.elsewhere
        if any(_is_within(other, domain) for domain in domains)  # ~. and shorter ones lose to ours
    ]
    if shared:
        where = "; ".join(f"{link or 'its configuration (resolved.conf)'} has {domain}" for link, domain in shared)
        finding = Finding(
            code="DL-DOMAIN-SHARED",
            severity=Severity.ERROR if failed else Severity.WARNING,
            title="Another link of systemd-resolved has a domain of the cluster too: either's server may answer.",
            evidence=where + "".join(f"; {_words(lookup)}" for lookup in failed),
            fix="take the domain from the other link, often a VPN's: resolvectl domain LINK shows and sets it",
        )
        return Seen(
            text=f"systemd-resolved; {shared[0][1]} is on {shared[0][0] or 'all links'} too", findings=(finding,)
        )
    if failed:
        finding = Finding(
            code="DL-RESOLVED-ASTRAY",
            severity=Severity.ERROR,
            title="systemd-resolved is told of devlink's forwarder, and gets no answer from it.",
            evidence="; ".join(map(_words, failed)),
            fix=f"does a firewall of this laptop keep systemd-resolved from {listed(seen.servers or ())}? "
            "sudo nft list ruleset; resolvectl status",
        )
        return Seen(text="systemd-resolved does not find cluster names", findings=(finding,))
    return Seen(text=f"systemd-resolved asks {listed(seen.servers or ())} for {listed(sorted(domains))}")


def _words(lookup: Lookup) -> str:
    said = listed(sorted(map(str, lookup.found))) or lookup.error
    return f"for {lookup.name} it says {said}, the forwarder {listed(sorted(map(str, lookup.expected)))}"


def _is_within(name: str, domain: str) -> bool:
    one, other = (f".{each.strip('.').lower()}" for each in (name, domain))
    return one.endswith(other)


def judge_file(nameserver: IPAddress, named: tuple[IPAddress, ...]) -> Seen:
    """Pure. `named` are the servers of resolv.conf."""
    if named[:1] == (nameserver,) and {nameserver, *MORE}.issuperset(named[:MAX_NAMESERVERS]):
        return Seen(text=f"{RESOLV_CONF} names {nameserver}")
    finding = _gone(f"{RESOLV_CONF} names {listed(named) or 'no server'}", "")
    return Seen(text=f"{RESOLV_CONF} does not name {nameserver}", findings=(finding,))


def _gone(shown: str, why: str, fix: str = "") -> Finding:
    return Finding(
        code="DL-RESOLVER-GONE",
        severity=Severity.ERROR,
        title="Programs no longer ask devlink for names.",
        evidence=f"{shown}: {why}" if why else shown,
        fix=fix or "stop the program that takes it, then: devlink up, which puts it back",
    )
