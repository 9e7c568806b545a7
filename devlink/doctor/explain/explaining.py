"""`devlink explain NAME|IP|URL`: the chain from what was asked to the data that come back, each link looked at."""

import asyncio
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from devlink.core.explain import Claim, Target, place_of
from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.network import ObservedNetwork
from devlink.core.plan import Zone
from devlink.core.prefixes import IPAddress
from devlink.core.profile import RoutingMode
from devlink.core.proxies import Proxy, line_to_type, proxy_for
from devlink.core.text import listed
from devlink.doctor.case import Case, Subject
from devlink.doctor.explain.chain import Chain, Link
from devlink.doctor.explain.following import follow
from devlink.doctor.explain.naming import LIMIT, Rule, Told, ask_forwarder, has_addresses, judge_libc, rule_for
from devlink.doctor.names.hosts import HOSTS, addresses_in_file
from devlink.doctor.names.libc import Found, look_up
from devlink.doctor.serving import away, served
from devlink.errors import DevlinkError
from devlink.kernel.observe import observe
from devlink.resolvers.modes import splits
from devlink.rpc.tasks import spawn

MAX_ADDRESSES = 4
HEAD_START = 0.3
"""Seconds until libc is asked beside the forwarder: what it is told is kept there, and whose answer it was is lost."""
LOOPBACK = ("127.0.0.1", "::1")
HELPER_LIMIT = 1.0
"""Seconds for the helper to say where the forwarder answers."""


async def explain(target: Target, case: Case) -> Chain:
    """Look at the whole way. Changes nothing; takes a few round trips, 5 s at most."""
    subjects = [subject for subject in case.subjects if subject.is_installed and subject.plan is not None]
    claims = tuple(_claim(subject) for subject in subjects)
    links = [Link(name="asked", text=_asked(target))]
    if case.agent.error is not None:
        links.append(Link(name="sessions", text=f"not known: {case.agent.error.what}", is_known=False))
    if target.scheme in ("http", "https"):
        proxy, link = _proxy(target, claims, case)
        links.append(link)
        if proxy is not None and link.finding is None:
            return Chain(target=target, links=tuple(links))
    addresses: tuple[IPAddress, ...] = (target.address,) if target.address is not None else ()
    port, protocol = target.port, target.protocol
    if target.name is not None:
        named = await _name(target.name, target.host, claims, case)
        links += named.links
        addresses = named.addresses
        if named.servers:
            addresses, port, protocol = named.servers, 53, "dns"
    if addresses:
        shown = addresses[:MAX_ADDRESSES]
        observed = await asyncio.to_thread(observe, shown)
        passed = passed_over(shown, observed, claims)
        links += (Link(name="address", text="no route: others are taken", about=str(each)) for each in passed)
        shown = tuple(each for each in shown if each not in passed)
        asked = (follow(each, port, protocol, target.host, claims, observed, case) for each in shown)
        for found in await asyncio.gather(*asked):
            links += found
    return Chain(target=target, links=tuple(links))


def passed_over(
    addresses: Iterable[IPAddress], observed: ObservedNetwork, claims: Iterable[Claim]
) -> tuple[IPAddress, ...]:
    """Which addresses of a name programs do not try: no route leads to them, as to IPv6 where there is none, and one
    does to others. Those of a session are to have one. Pure."""
    claims, ways = tuple(claims), {address: observed.paths[address].oif for address in addresses}
    if not any(ways.values()):
        return ()
    return tuple(address for address, oif in ways.items() if oif is None and place_of(address, claims).claim is None)


def _claim(subject: Subject) -> Claim:
    assert subject.plan is not None
    assert subject.session is not None
    exclude = tuple(ipaddress.ip_network(prefix) for prefix in subject.session["exclude"])
    return Claim(profile=subject.profile, plan=subject.plan, exclude=exclude)


def _asked(target: Target) -> str:
    what = "address" if target.address is not None else "name"
    spoken = f"{target.scheme} to " if target.scheme else ""
    return f"{spoken}{what} {target.host}" + (f", port {target.port}" if target.port is not None else "")


def _proxy(target: Target, claims: Iterable[Claim], case: Case) -> tuple[Proxy | None, Link]:
    proxy = proxy_for(target.host, target.scheme, case.environ)
    if proxy is None:
        return None, Link(name="proxy", text="none is set for it: programs go there themselves")
    text = f"curl and others ask the proxy {proxy.server} instead ({proxy.variable})"
    rule = rule_for(target.name, _zones(claims)) if target.name is not None else None
    session = rule.session if rule is not None else ""
    if target.address is not None:
        claim = place_of(target.address, claims).claim
        session = claim.session if claim is not None else ""
    if not session:
        return proxy, Link(name="proxy", text=f"{text}; what it does cannot be seen from here", is_known=False)
    named = rule.zone if rule is not None and not rule.is_ordinary else target.host
    finding = Finding(
        code="DL-PROXY-CATCHES",
        severity=Severity.ERROR,
        title=f"Programs send requests for {session} to a proxy, which has no way to the cluster.",
        evidence=f"{proxy.variable} is set, and NO_PROXY does not name {target.host}",
        fix=line_to_type([named], case.environ),
    )
    return proxy, Link(name="proxy", text=text, finding=finding)


def _zones(claims: Iterable[Claim]) -> list[tuple[str, Zone]]:
    return [(claim.session, zone) for claim in claims for zone in claim.plan.desired.zones]


# The name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    links: tuple[Link, ...]
    addresses: tuple[IPAddress, ...] = ()
    servers: tuple[IPAddress, ...] = ()
    """Of the cluster's DNS, where they gave no answer: then it is their way that matters."""


async def _name(name: DomainName, written: str, claims: tuple[Claim, ...], case: Case) -> _Named:
    in_file = tuple(sorted(await asyncio.to_thread(_in_hosts_file, str(name)), key=str))
    rule = rule_for(name, _zones(claims))
    mode = case.resolver
    asks = bool(_zones(claims)) and not (rule.is_ordinary and splits(mode))
    asking: asyncio.Task[Told | None] = spawn(_forwarder(name, rule) if asks else _nobody(), name="ask the forwarder")
    await asyncio.wait([asking], timeout=HEAD_START)
    told, libc = await asyncio.gather(asking, _libc(name, written, case))
    found = tuple(sorted(libc.addresses, key=str)) if libc is not None else ()
    # Where programs have an address all the same, as of localhost or by the file of hosts, nothing is broken.
    refused = rule.finding if not found else None
    links = [Link(name="hosts file", text=f"{HOSTS} has it: {listed(in_file)}")] if in_file else []
    if claims or case.agent.error is None:
        links.append(Link(name="rule", text=_rule(rule, claims), finding=refused))
    if told is not None:
        is_moot = rule.finding is not None or (bool(found) and not (told.is_failure and told.is_asked))
        by = ", the relay's listener for names" if _is_by_relay(told, rule, claims) else ""
        links.append(Link(name="forwarder", text=f"{told.text}{by}", finding=None if is_moot else told.finding))
    elif claims and splits(mode):
        text = f"not asked: {mode} sends it only the clusters' names"
        links.append(Link(name="forwarder", text=text, is_known=False))
    if libc is not None:
        wrong = judge_libc(name, rule, libc, told, in_file, mode=mode)
        by = f"; resolver mode {mode}" if mode else ""
        links.append(Link(name="libc", text=f"says {libc}{by}", finding=wrong))
    is_dead = told is not None and told.is_failure and rule.finding is None and not rule.is_ordinary and not found
    return _Named(
        links=tuple(links),
        addresses=found or (told.addresses if told is not None else ()),
        servers=rule.servers if is_dead else (),
    )


def _rule(rule: Rule, claims: tuple[Claim, ...]) -> str:
    if rule.is_ordinary:
        if not claims:
            return "nothing is up: an ordinary name"
        if not _zones(claims):
            return "what is up has no names: an ordinary name"
        return "refused by devlink" if rule.finding is not None else "in no zone of what is up: an ordinary name"
    short = f"short for {rule.long}, " if rule.long is not None else ""
    if rule.finding is not None:
        return f"{short}zone {rule.zone} of {rule.session}, and refused there"
    return f"{short}zone {rule.zone} of {rule.session}: asked from {listed(rule.servers)}"


def _is_by_relay(told: Told, rule: Rule, claims: tuple[Claim, ...]) -> bool:
    """Whether the server that it names is none of the cluster's, but who leads to them."""
    relayed = {claim.session for claim in claims if claim.plan.mode is RoutingMode.RELAY}
    return rule.session in relayed and any(f"{host}#" in told.text for host in LOOPBACK)


async def _nobody() -> None:
    return None


async def _forwarder(name: DomainName, rule: Rule) -> Told:
    try:
        told = await asyncio.to_thread(served, HELPER_LIMIT)
    except DevlinkError as error:
        return Told(text=error.what, finding=away(error), is_failure=True, is_asked=False)
    return await ask_forwarder(ipaddress.ip_address(told["nameserver"]), name, rule)


async def _libc(name: DomainName, written: str, case: Case) -> Found | None:
    """None for what programs do not look up, and where it cannot be asked."""
    if not has_addresses(name):
        return None
    try:
        return await look_up(written, limit=LIMIT, environ=case.environ)
    except DevlinkError:
        return None


def _in_hosts_file(name: str) -> frozenset[IPAddress]:
    return addresses_in_file(name.__eq__).get(name, frozenset())
