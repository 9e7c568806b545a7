"""The operating system's resolver: whether it still is told of the forwarder, reaches it, and asks nobody else."""

import asyncio
import contextlib
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress
from devlink.core.text import listed
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import Seen, skipped
from devlink.doctor.names.forwarder import domain_of, known_addresses, known_name
from devlink.doctor.serving import NOT_TOLD, gone, served
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
RESTART = "sudo systemctl restart systemd-resolved"


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
    if mode in NOT_TOLD:
        return Seen(text=mode or "none is told", findings=(gone(f"the resolver mode is {mode or 'none'}", why),))
    nameserver = ip_address((await asyncio.to_thread(served))["nameserver"])
    if not splits(mode):
        conf = await asyncio.to_thread(read_conf, RESOLV_CONF)
        return judge_file(nameserver, conf.nameservers)
    if mode != RESOLVED:
        return await _look_at_local(mode, nameserver, subjects)
    if not await asyncio.to_thread(_runs):
        finding = gone("systemd-resolved does not run", fix=RESTART)
        return Seen(text="systemd-resolved does not run", findings=(finding,))
    known = {name: await known_addresses(nameserver, each) for each in subjects if (name := known_name(each))}
    try:
        seen = await asyncio.to_thread(_ask_resolved, known)
    except HelperError as error:
        if not isinstance(error.__cause__, TimeoutError):  # it is not this user's to ask
            raise
        finding = gone("systemd-resolved does not answer", error.why, fix=RESTART)
        return Seen(text="systemd-resolved does not answer", findings=(finding,))
    return judge_resolved(nameserver, [str(domain_of(subject)) for subject in subjects], seen)


async def _look_at_local(mode: str, nameserver: IPAddress, subjects: Collection[Subject]) -> Seen:
    """Ask a resolver that splits, and is in resolv.conf, for what the forwarder knows."""
    conf = await asyncio.to_thread(read_conf, RESOLV_CONF)
    local = next((each for each in conf.nameservers[:1] if each.is_loopback), None)
    if local is None:
        return skipped(f"{RESOLV_CONF} does not name it")
    asked = (asyncio.gather(known_addresses(nameserver, each), known_addresses(local, each)) for each in subjects)
    return judge_local(mode, local, await asyncio.gather(*asked))


def judge_local(mode: str, local: IPAddress, asked: Iterable[Collection[frozenset[IPAddress]]]) -> Seen:
    """Pure. `asked`: for each cluster what the forwarder says of one name, and what `local` does."""
    if all(not expected or expected & found for expected, found in asked):
        return Seen(text=f"{mode} at {local}")
    finding = gone(f"{mode} at {local} does not say what the forwarder does", fix="restart it, or what runs it")
    return Seen(text=f"{mode} at {local} finds no cluster names", findings=(finding,))


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
        finding = gone(f"link {LINK} of systemd-resolved: {shown}")
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
    finding = gone(f"{RESOLV_CONF} names {listed(named) or 'no server'}")
    return Seen(text=f"{RESOLV_CONF} does not name {nameserver}", findings=(finding,))
