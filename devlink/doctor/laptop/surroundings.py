"""What is around the link: a network at all, a captive portal, the environment's proxies, the clock."""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from devlink.cluster.kubeconfig import access_of, read
from devlink.core.findings import Finding, Severity
from devlink.core.network import Link, ObservedNetwork
from devlink.core.plan import addresses_of_interest
from devlink.core.text import listed, printable
from devlink.core.trust import PRIVATE
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import Check, LaptopCheck, LinkCheck, Seen, skipped
from devlink.doctor.laptop import proxies
from devlink.doctor.laptop.web import Reply, get, resolve
from devlink.doctor.names.ordinary import NAME
from devlink.errors import DevlinkError
from devlink.kernel.observe import observe

NAME_LIMIT, WEB_LIMIT = 2.0, 2.0
"""Seconds for an address, and for the first lines of an answer."""
TOLERANCE = 300.0
"""Seconds that a clock may be wrong: what Kerberos tolerates, and no certificate minds."""
NEARLY_ALL = 3
"""Prefix length up to which a route stands for a default one: a VPN's two halves, and 2000::/3, all of the Internet."""
OWN_LINK = "devlink"
"""How links of ours begin."""


# A network


async def _look_for_network(case: Case) -> Seen:
    addresses = [address for subject in case.subjects for address in addresses_of_interest(subject.profile)]
    observed = await asyncio.to_thread(observe, addresses)
    found = judge_network(observed)
    return Seen(text=describe(observed) if not found else "this laptop is on no network", findings=found)


def _links(observed: ObservedNetwork) -> list[Link]:
    """Those that lead to others and could carry packets."""
    return [link for link in observed.links if link.name != "lo" and not link.name.startswith(OWN_LINK)]


def _usable(link: Link) -> bool:
    return link.up and any(not (address.is_link_local or address.is_loopback) for address, _ in link.addresses)


def describe(observed: ObservedNetwork) -> str:
    """Which links have addresses, and by whom the rest of the world is reached."""
    links = listed(link.name for link in _links(observed) if _usable(link))
    return f"{links}, by {listed(observed.default_gateways)}" if observed.default_gateways else f"{links}, no router"


def _leads_out(observed: ObservedNetwork) -> bool:
    """Whether somebody's default route, or a part that stands for it, leads out of a link that is up, in any table."""
    down = {link.name for link in observed.links if not link.up}
    return any(
        route.destination.prefixlen <= NEARLY_ALL and route.kind == "unicast" and route.oif not in down
        for route in observed.foreign
    )


def judge_network(observed: ObservedNetwork) -> tuple[Finding, ...]:
    """An error where no packet of this laptop can reach anybody; `observed.paths` are those to the clusters' nodes.

    A laptop on a LAN without a router is on a network all the same, where the cluster is on it; and so is one whose
    routes lead to the cluster alone.
    """
    links = _links(observed)
    usable = [link.name for link in links if _usable(link)]
    up = [link.name for link in links if link.up]
    if usable and (
        _leads_out(observed) or any(path.oif in up and path.oif != "lo" for path in observed.paths.values())
    ):
        return ()
    if usable:
        evidence = f"there is no default route, though {listed(usable)} is up and has an address"
    elif up:
        evidence = f"{listed(up)} is up and has no address"
    else:
        evidence = f"no link is up ({listed(link.name for link in links) or 'there is none'})"
    return (
        Finding(
            code="DL-NO-NETWORK",
            severity=Severity.ERROR,
            title="This laptop is on no network.",
            evidence=evidence,
            fix="plug it in or join a wireless network; `ip address` and `ip route` show what there is",
        ),
    )


# A captive portal


async def _look_for_portal(case: Case) -> Seen:
    reply = await _ordinary_reply()
    if reply is None:
        return skipped(f"{NAME} does not answer: nobody else in its place")
    found = judge_portal(reply, works=case.is_up)
    return Seen(text="this network asks you to sign in" if found else f"{NAME} answers itself", findings=found)


async def _ordinary_reply() -> Reply | None:
    addresses = await resolve(str(NAME), NAME_LIMIT)
    return await get(str(NAME), addresses[0], WEB_LIMIT) if addresses else None


def judge_portal(reply: Reply, *, works: bool = False) -> tuple[Finding, ...]:
    """Whether somebody else answers in the place of a name that is everybody's; a warning where a link is up all the
    same (`works`).

    Status 511 is for portals (RFC 6585 section 6); most redirect to their own host, some answer from their own address.
    """
    host = (urlsplit(_location(reply)).hostname or "").rstrip(".")
    elsewhere = 300 <= reply.status < 400 and host and host != str(NAME) and not host.endswith(f".{NAME}")
    if reply.status == 511:
        evidence = f"http://{NAME} was answered with status 511, Network Authentication Required"
    elif elsewhere:
        evidence = f"http://{NAME} was answered with status {reply.status}: go to {printable(_location(reply))[:120]}"
    elif any(reply.address in prefix for prefix in PRIVATE):
        evidence = f"{NAME} is {reply.address} here, an address of this network, and that one answers"
    else:
        return ()
    return (
        Finding(
            code="DL-CAPTIVE-PORTAL",
            severity=Severity.WARNING if works else Severity.ERROR,
            title="This network lets nobody out before they have signed in at its web page (a captive portal).",
            evidence=evidence,
            fix=f"open http://{NAME} in a browser and sign in",
        ),
    )


def _location(reply: Reply) -> str:
    location = reply.headers.get("location", "")
    try:
        urlsplit(location).hostname  # noqa: B018  # it is this that fails
    except ValueError:
        return ""
    return location


# Proxies


async def _look_at_proxies(case: Case, subject: Subject) -> Seen:
    used = proxies.proxies_of(case.environ)
    if not used:
        return Seen(text="no program is told of a proxy")
    caught = proxies.caught(subject.profile, case.environ)
    if not caught:
        return Seen(text="NO_PROXY keeps the cluster's URLs from the proxy")
    return Seen(text="programs take a proxy to the cluster", findings=(proxies.finding(caught, case.environ),))


# The clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Whose clock says what."""

    who: str
    ahead: float
    """Seconds by which this laptop's clock is ahead of it."""


async def _look_at_clock(case: Case) -> Seen:
    asked = await asyncio.gather(_witness(str(NAME), _ordinary_reply()), _api_witness(case.environ))
    witnesses = [witness for witness in asked if witness is not None]
    if not witnesses:
        return skipped("nobody tells the time here")
    found = judge_clock(witnesses)
    return Seen(text="this laptop's clock is wrong" if found else f"as that of {witnesses[0].who}", findings=found)


async def _witness(who: str, asking: Awaitable[Reply | None]) -> Witness | None:
    reply = await asking
    told = reply.time if reply is not None else None
    return Witness(who=who, ahead=time.time() - told) if told is not None else None


async def _api_witness(environ: Mapping[str, str]) -> Witness | None:
    """The API server of the kubeconfig's current context, asked as nobody: its Date is for everyone."""
    try:
        server = urlsplit(await asyncio.to_thread(lambda: access_of(read(environ), None).server))
    except DevlinkError:
        return None
    host, tls = server.hostname or "", server.scheme == "https"
    addresses = await resolve(host, NAME_LIMIT)
    if not addresses:
        return None
    asking = get(host, addresses[0], WEB_LIMIT, port=server.port or (443 if tls else 80), path="/version", tls=tls)
    return await _witness(host, asking)


def judge_clock(witnesses: Iterable[Witness]) -> tuple[Finding, ...]:
    """An error where all of them say that it is wrong, and in the same direction: one may be wrong itself."""
    witnesses = tuple(witnesses)
    ahead = all(witness.ahead > TOLERANCE for witness in witnesses)
    behind = all(witness.ahead < -TOLERANCE for witness in witnesses)
    if not witnesses or not (ahead or behind):
        return ()
    least = min(witnesses, key=lambda witness: abs(witness.ahead))
    return (
        Finding(
            code="DL-CLOCK",
            severity=Severity.ERROR,
            title=f"This laptop's clock is {'ahead' if ahead else 'behind'} by {_span(abs(least.ahead))}.",
            evidence=f"by the clock of {listed(witness.who for witness in witnesses)}; certificates will be taken for "
            + ("expired" if ahead else "not valid yet"),
            fix="have it set by the network: sudo timedatectl set-ntp true (or by hand: sudo date --set=...)",
        ),
    )


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 2880 else f"{minutes // 1440} days"


CHECKS: tuple[Check, ...] = (
    LaptopCheck(name="network", look=_look_for_network),
    LaptopCheck(name="portal", look=_look_for_portal, after=("network",)),
    LinkCheck(name="proxy", look=_look_at_proxies),
    LaptopCheck(name="clock", look=_look_at_clock, after=("network", "portal")),
)
