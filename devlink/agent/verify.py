"""What must be true before a session counts as up: the kernel's choice of way, the cluster's DNS, and libc."""

import asyncio
import logging
import subprocess
from collections.abc import Iterable
from typing import Literal

from devlink.core.names import DomainName
from devlink.core.network import ObservedNetwork, Path, Route
from devlink.core.plan import Desired, Upstream, Zone
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.core.profile import BridgeProfile, RoutingMode, Transport
from devlink.dns.client import Answer, ask
from devlink.errors import VerificationError
from devlink.kernel.observe import observe

log = logging.getLogger(__name__)

DNS_TRY_LIMIT = 1.0
"""Seconds for one question to cluster DNS over UDP; TCP gets twice that."""
LIBC_LIMIT = 5.0
"""Seconds for a look-up through libc."""


async def verify(profile: BridgeProfile, desired: Desired, mode: RoutingMode) -> None:
    """Raise VerificationError, with evidence, unless the session carries what it promises."""
    samples = {route: _sample(route.destination) for route in desired.routes}
    if samples:
        observed = await asyncio.to_thread(observe, samples.values())
        check_paths(samples, desired.routes, observed)
    dns = profile.spec.dns
    if dns is None:
        return
    name = dns.domain.child("kubernetes.default.svc")
    servers = tuple(Upstream(address=s.address, transport=s.transport) for s in dns.servers)
    answer = await _ask_any(servers, name, mode)
    if desired.zones and _is_allowed(desired.zones[0], "default"):
        await _check_libc(str(name), answer)


def check_paths(samples: dict[Route, IPAddress], routes: Iterable[Route], observed: ObservedNetwork) -> None:
    """Raise VerificationError where the kernel would send a sample address another way than our routes say."""
    ours = list(routes)
    for route, address in samples.items():
        fitting = [r for r in ours if address in r.destination]
        wanted = max(fitting, key=lambda r: r.destination.prefixlen)
        path = observed.paths.get(address, Path())
        if (path.oif, path.next_hop) != (wanted.oif, wanted.next_hop):
            taken = f"via {path.next_hop} dev {path.oif}" if path.next_hop else f"dev {path.oif}"
            raise VerificationError(
                f"The route to {route.destination} is installed, but the kernel does not use it.",
                why=f"For {address} it chooses {taken if path.oif else 'no way at all'}: "
                "another route or a policy rule (ip rule) comes first, often a VPN's.",
                next_step=f"See: ip route get {address}; ip rule",
            )


def _sample(prefix: IPNetwork) -> IPAddress:
    """One address to try a prefix with: the first that a host can have."""
    return prefix.network_address if prefix.num_addresses <= 2 else prefix.network_address + 1


async def _ask_any(servers: tuple[Upstream, ...], name: DomainName, mode: RoutingMode) -> Answer:
    evidence = []
    for server in servers:
        for transport, limit in _attempts(server.transport):
            try:
                answer = await asyncio.to_thread(ask, server.address, name, "A", transport=transport, timeout=limit)
            except OSError as error:
                evidence.append(f"{server.address} over {transport.upper()}: {_words(error)}")
                continue
            if answer.rcode in ("NOERROR", "NXDOMAIN"):
                return answer
            evidence.append(f"{server.address} over {transport.upper()}: {answer.rcode}")
    carried = "the network" if mode is RoutingMode.ROUTER else "the gateway"
    raise VerificationError(
        f"The cluster's DNS does not answer for {name}.",
        why="; ".join(evidence) + ".",
        next_step=f"Does {carried} forward to the service network, and does a firewall let DNS pass? "
        "(`transport: tcp` in the profile where only TCP passes.)",
    )


def _attempts(transport: Transport) -> list[tuple[Literal["udp", "tcp"], float]]:
    """In which order a server is tried, and for how many seconds."""
    if transport is Transport.TCP:
        return [("tcp", 2 * DNS_TRY_LIMIT)]
    if transport is Transport.UDP:
        return [("udp", DNS_TRY_LIMIT), ("udp", DNS_TRY_LIMIT)]
    return [("udp", DNS_TRY_LIMIT), ("tcp", 2 * DNS_TRY_LIMIT)]


async def _check_libc(name: str, expected: Answer) -> None:
    """What any program gets: getent uses libc's resolver exactly as they do."""
    found = await asyncio.to_thread(_getent, name)
    wanted = {str(address) for address in expected.addresses}
    if wanted and not wanted & found:
        raise VerificationError(
            f"Programs on this laptop do not find {name}, although the cluster's DNS knows it.",
            why=f"libc says {', '.join(sorted(found)) or 'that there is no such name'}, the cluster says "
            f"{', '.join(sorted(wanted))}.",
            next_step="Look at `hosts:` in /etc/nsswitch.conf, and at /etc/resolv.conf.",
        )


def _getent(name: str) -> set[str]:
    try:
        done = subprocess.run(
            ["getent", "ahosts", name], capture_output=True, text=True, timeout=LIBC_LIMIT, check=False
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        log.warning("getent ahosts %s: %s", name, error)
        return set()
    return {line.split()[0] for line in done.stdout.splitlines() if line.strip()}


def _is_allowed(zone: Zone, namespace: str) -> bool:
    return zone.namespaces is None or namespace in zone.namespaces


def _words(error: OSError) -> str:
    return "no answer" if isinstance(error, TimeoutError) else str(error.strerror or error)
