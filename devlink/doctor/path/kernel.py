"""This laptop's kernel: links, routes, rules, and the filter of reverse paths."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from devlink.core.codec import decode
from devlink.core.diagnosis import Outcome
from devlink.core.diagnosis import Seen as Came
from devlink.core.findings import Finding, Severity
from devlink.core.network import ObservedNetwork, ObservedRoute, Route
from devlink.core.overrides import parse_exclude, parse_override
from devlink.core.plan import Plan, addresses_of_interest, make_plan
from devlink.core.prefixes import IPAddress
from devlink.core.samples import check_paths, choose_samples
from devlink.core.text import LISTED, listed
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import LinkCheck, Seen, skipped
from devlink.doctor.path.routes import (
    down_links,
    links_of,
    missing_routes,
    obstacles,
    off_link,
    protected,
    routed_away,
    rules_gone,
    takers,
)
from devlink.doctor.path.shared import Shared, exchange, is_relayed, why_not_carried
from devlink.doctor.serving import served, upstreams_of
from devlink.errors import DevlinkError, VerificationError
from devlink.kernel.observe import observe, observe_ways
from devlink.kernel.owners import as_ip_route, owner_of

HELPER_LIMIT = 2.0
"""Seconds for the helper to say whom the forwarder asks."""
REASONS = ("DL-NOT-INSTALLED", "DL-ROUTES-FOUGHT", "DL-ROUTES-HELD")
"""Why routes are missing, as the agent tells; each says more than that they are."""
OF_RULES = frozenset(("DL-POLICY-WINS",))
OF_ROUTES = frozenset(("DL-ROUTE-TAKEN", "DL-ROUTE-KEPT", "DL-ROUTE-MISSING"))
"""What a plan says of routes of others and of its own."""
CONF = FilePath("/proc/sys/net/ipv4/conf")
NETSTAT = FilePath("/proc/net/netstat")
STRICT = 1
"""`rp_filter`: what comes in by another link than answers would leave by is dropped (ip-sysctl.rst)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The kernel beside what a session wants."""

    observed: ObservedNetwork
    """With the ways to the samples, to next hops, and to what keeps its way."""
    samples: dict[Route, IPAddress]
    upstreams: tuple[IPAddress, ...]
    anew: Plan | None
    """What would be planned now; None where that fails."""


async def _look_at_kernel(case: Case, subject: Subject) -> Looked:
    return await asyncio.to_thread(_look_blocking, case, subject)


def _look_blocking(case: Case, subject: Subject) -> Looked:
    assert subject.plan is not None
    desired = subject.plan.desired
    upstreams = _upstreams() if desired.zones and subject.is_installed else ()
    first = observe()
    samples = choose_samples(desired.routes, first, uid=case.uid)
    others = (*upstreams, *first.default_gateways, *desired.pins, *desired.all_next_hops)
    observed = observe((*samples.values(), *others, *addresses_of_interest(subject.profile)))
    anew = None
    with contextlib.suppress(DevlinkError):  # the plan that is installed is judged all the same
        anew = _plan_anew(case, subject, observed)
    return Looked(observed=observed, samples=samples, upstreams=upstreams, anew=anew)


def _plan_anew(case: Case, subject: Subject, observed: ObservedNetwork) -> Plan:
    session, plan = subject.session, subject.plan
    assert plan is not None
    return make_plan(
        subject.profile,
        observed,
        with_routes=bool(plan.desired.routes),
        with_dns=False,
        pins=plan.desired.pins,
        exclude=parse_exclude(session["exclude"]) if session is not None else (),
        override=parse_override(session["override"]) if session is not None else (),
        uid=case.uid,
    )


def _upstreams() -> tuple[IPAddress, ...]:
    """Whom the forwarder asks for ordinary names; nobody where the helper does not say."""
    try:
        return tuple(each.address for each in upstreams_of(served(HELPER_LIMIT)))
    except (DevlinkError, OSError):  # another check tells
        return ()


_kernel = Shared(_look_at_kernel)


def _not_routed(subject: Subject) -> str:
    """Why there are no routes to look at; empty where there are, or would be."""
    plan, session = subject.plan, subject.session
    if plan is None:
        return "nothing can be planned"
    if session is not None and not subject.is_installed:
        return f"it is {session['state']}"
    return "" if plan.desired.routes else "none: the network carries the packets"


async def _links(_: Case, subject: Subject) -> Seen:
    if subject.plan is None or not subject.plan.desired.routes:
        return skipped(_not_routed(subject))
    desired = subject.plan.desired
    observed = await asyncio.to_thread(observe, desired.all_next_hops)
    names = listed(links_of(desired))
    if found := down_links(desired, observed):
        if not subject.is_installed:  # suspended: the laptop may be elsewhere, and its user have pulled the plug
            found = tuple(replace(each, severity=Severity.WARNING) for each in found)
        return Seen(text=f"{names}: down", findings=found)
    if why := _not_routed(subject):
        return skipped(why)
    if found := off_link(desired, observed):
        return Seen(text=f"{names}: up, and its gateways are elsewhere", findings=found)
    return Seen(text=f"{names}: up")


async def _routes(case: Case, subject: Subject) -> Seen:
    if why := _not_routed(subject):
        return skipped(why)
    assert subject.plan is not None
    desired = subject.plan.desired
    looked = await _kernel(case, subject)
    observed = looked.observed
    others = takers(desired.routes, observed, case.uid)
    count = f"{len(desired.routes)} route{'s' * (len(desired.routes) != 1)}"
    if not subject.is_installed:
        found = [_with_owners(each, others.same) for each in obstacles(others.same)]
        text = f"{count} would be installed"
    else:
        text = f"{count}, all in the kernel"
        # That it goes astray is worse than that its route is missing, and says why that matters.
        kept = protected(desired, looked.upstreams, observed)
        found = [*routed_away(desired, kept, observed, case.uid)]
        if missing := missing_routes(desired, observed):
            found = [_gone(subject, missing, others.same)]
            text = f"{len(missing)} of {count} missing"
        elif not found and (told := _told_by_agent(subject)):  # pins, of which the plan does not tell
            found, text = [told], f"{count}; some of what belongs to them is missing"
    planned = looked.anew.findings if looked.anew is not None else subject.plan.findings
    found += [_with_owners(each, others.of(each.code)) for each in _serious(planned, OF_ROUTES)]
    return Seen(text=text, findings=_once(found))


def _serious(findings: Iterable[Finding], codes: frozenset[str]) -> Iterator[Finding]:
    return (each for each in findings if each.code in codes and each.severity is not Severity.INFO)


def _once(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The first of each code."""
    found: dict[str, Finding] = {}
    for each in findings:
        found.setdefault(each.code, each)
    return tuple(found.values())


def _told_by_agent(subject: Subject) -> Finding | None:
    told: Iterable[Any] = subject.session["findings"] if subject.session is not None else ()
    return next((decode(Finding, each) for each in told if each["code"] in REASONS), None)


def _gone(subject: Subject, missing: tuple[Route, ...], same: tuple[ObservedRoute, ...]) -> Finding:
    told = _told_by_agent(subject)
    if told is not None:
        return _with_owners(told, same)
    return Finding(
        code="DL-ROUTES-GONE",
        severity=Severity.ERROR,
        title="Routes of this session are no longer in the kernel.",
        evidence=listed(missing),
        fix=f"`devlink up` with {subject.name} puts them back",
    )


def _with_owners(finding: Finding, routes: Iterable[ObservedRoute]) -> Finding:
    """The finding, with whom the routes belong to that it is about."""
    routes = tuple(routes)
    if not routes:
        return finding
    owners: dict[str, list[ObservedRoute]] = {}
    for route in routes[:LISTED]:
        owners.setdefault(owner_of(route), []).append(route)
    said = "; ".join(f"{listed(map(as_ip_route, each))} belongs to {who}" for who, each in owners.items())
    is_all = finding.code == "DL-ROUTE-TAKEN"  # the evidence is the same routes, and no more
    return replace(finding, evidence=said if is_all else f"{finding.evidence}; {said}")


async def _rules(case: Case, subject: Subject) -> Seen:
    if why := _not_routed(subject):
        return skipped(why)
    assert subject.plan is not None
    desired = subject.plan.desired
    looked = await _kernel(case, subject)
    others = takers(desired.routes, looked.observed, case.uid)
    planned = looked.anew.findings if looked.anew is not None else subject.plan.findings
    found = [_with_owners(each, others.by_rule) for each in _serious(planned, OF_RULES)]
    if subject.is_installed:
        found = [*rules_gone(desired, looked.observed), *found]
        if not found and not missing_routes(desired, looked.observed):
            found = [*_unused(looked, subject.plan)]
    return Seen(text="another table is asked first" if found else "nothing is asked before ours", findings=_once(found))


def _unused(looked: Looked, plan: Plan) -> Iterator[Finding]:
    """The kernel's own word, where nothing that we know of rules explains it."""
    if looked.anew is not None and looked.anew.loses_routes:
        return  # a route of another, which is told
    try:
        check_paths(looked.samples, plan.desired, looked.observed)
    except VerificationError as error:
        yield Finding(
            code="DL-POLICY-WINS", severity=Severity.ERROR, title=error.what, evidence=error.why, fix=error.next_step
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """What the filter of reverse paths did while the cluster was asked."""

    strict: tuple[str, ...]
    """Links, besides those that packets to the cluster leave by, where it is strict."""
    dropped: int
    """Packets of anybody that it dropped meanwhile, on any link."""
    silent: tuple[IPAddress, ...]
    """Addresses of the cluster that answered nothing over TCP."""


async def _rp_filter(case: Case, subject: Subject) -> Seen:
    if why := why_not_carried(subject):
        return skipped(why)
    if subject.profile.spec.dns is None:
        return skipped("the profile names no DNS to ask")
    if is_relayed(subject):
        return skipped("it is relayed: no answer comes in by a link")
    assert subject.plan is not None
    servers = [server.address for server in subject.profile.spec.dns.servers]
    links, ways = await asyncio.gather(asyncio.to_thread(_strict_links), asyncio.to_thread(observe_ways, servers))
    ours = {*links_of(subject.plan.desired), *(path.oif for path in ways.paths.values())}
    strict = tuple(name for name in links if name not in ours)
    if not strict:
        return Seen(text="strict where it does no harm" if links else "answers may come in by any link")
    before = _dropped()
    seen = await exchange(case, subject)
    facts = Filtered(strict=strict, dropped=_dropped() - before, silent=silent_ones(seen))
    if found := filtered(facts):
        return Seen(text=f"strict on {listed(strict)}, where answers come in", findings=found)
    return Seen(text=f"strict on {listed(strict)}, where no answers come in")


def silent_ones(seen: tuple[Came, ...]) -> tuple[IPAddress, ...]:
    """IPv4 addresses that were asked over TCP in vain: IPv6 has no such filter in the kernel's settings."""
    asked = [(each.server.address, each.server.tcp) for each in seen]
    asked += [(pod.address, pod.tcp) for each in seen for pod in each.pods]
    return tuple(address for address, tcp in asked if tcp is Outcome.SILENT and address.version == 4)


def filtered(facts: Filtered) -> tuple[Finding, ...]:
    """An error where answers come in by a link that drops them: silence alone, or a strict link alone, is none."""
    if not (facts.strict and facts.dropped > 0 and facts.silent):
        return ()
    return (
        Finding(
            code="DL-RP-FILTER",
            severity=Severity.ERROR,
            title="The cluster's answers come in by another link than this laptop sends by, and are dropped there.",
            evidence=f"rp_filter is {STRICT} on {listed(facts.strict)}; no answer of {listed(facts.silent)}, and "
            f"{facts.dropped} packets dropped meanwhile (nstat -az TcpExtIPReversePathFilter)",
            fix=f"let them in: sudo sysctl -w net.ipv4.conf.{facts.strict[0]}.rp_filter=2 (keep it in /etc/sysctl.d); "
            "or leave one of the two networks",
        ),
    )


def _strict_links() -> tuple[str, ...]:
    """Links that are up and where the filter is strict: the larger of `all` and their own counts."""
    of_all = _setting("all")
    up = [link.name for link in observe().links if link.up and link.name != "lo"]
    return tuple(name for name in up if max(of_all, _setting(name)) == STRICT)


def _setting(link: str) -> int:
    try:
        return int((CONF / link / "rp_filter").read_text())
    except (OSError, ValueError):
        return 0


def _dropped() -> int:
    """`TcpExtIPReversePathFilter`, of this network namespace; 0 where it is not told."""
    try:
        lines = [line.split() for line in NETSTAT.read_text().splitlines() if line.startswith("TcpExt:")]
    except OSError:
        return 0
    names, values = lines[:2] if len(lines) >= 2 else ([], [])
    return int(dict(zip(names, values, strict=False)).get("IPReversePathFilter", 0))


CHECKS = (
    LinkCheck(name="links", look=_links, after=("remains", "helper", "access", "agent", "network", "plan")),
    LinkCheck(name="routes", look=_routes, after=("links",)),
    LinkCheck(name="rules", look=_rules, after=("links", "routes")),
    LinkCheck(name="rp_filter", look=_rp_filter, after=("links", "routes", "rules")),
)
