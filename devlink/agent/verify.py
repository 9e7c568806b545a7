"""What must be true before a session counts as up: the kernel's choice of way, the cluster's DNS, and libc."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Literal

from devlink.core.diagnosis import EXPLAIN_SILENCE, diagnose
from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.network import Path
from devlink.core.plan import Plan, Upstream, Zone
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, RoutingMode, Transport
from devlink.core.samples import check_paths, choose_samples
from devlink.core.ways import Ways
from devlink.dns.client import Answer, ask
from devlink.doctor.names.libc import check_libc
from devlink.doctor.path.exchange import look
from devlink.doctor.path.identity import Connect, Proof, prove
from devlink.doctor.path.questions import KNOWN, address_types, check_known
from devlink.errors import DevlinkError, IdentityError, VerificationError
from devlink.kernel.observe import observe, observe_ways
from devlink.rpc.tasks import spawn

DNS_TRY_LIMIT = 2.0
"""Seconds for one server of the cluster's DNS to answer."""
RELAYED_TRY_LIMIT = 10.0
"""The same through a relay, which may have to sign in first, look up who answers, and open its first connection."""


async def verify(
    profile: BridgeProfile,
    plan: Plan,
    *,
    gateways: Iterable[IPAddress] = (),
    connect: Connect | None = None,
    learn: Callable[[Proof], None] | None = None,
    attest: Callable[[], Awaitable[Finding | bool]] | None = None,
) -> tuple[Finding, ...]:
    """What is worth telling of a session that carries what it promises; else VerificationError, with evidence.

    What it promises are names and ClusterIPs: where the cluster's DNS does not answer, it fails, and core.diagnosis
    says why. Where that answers, and pods or some services do not, the session stays with a warning: its user has more
    with it than without. A session without zones promises no names: trouble with the cluster's DNS is then a finding,
    unless its answer is all that could show that the network carries the prefixes. Another cluster than the profile's
    is always an error. `gateways` and `connect` are identity.prove's; `learn` is told what came of that, also where
    something else fails then. Where a relay's API is not the profile's by its certificate, `attest` says whether it is
    all the same, or what is to be told of that.
    """
    desired = plan.desired
    if desired.routes:
        samples = choose_samples(desired.routes, await asyncio.to_thread(observe), uid=os.getuid())
        observed = await asyncio.to_thread(observe, samples.values())
        check_paths(samples, desired, observed)
    # Side by side: where something is silent, one wait is enough.
    proof = spawn(prove(profile, plan, gateways=gateways, connect=connect), name="verify identity")
    verdict = spawn(_diagnose(profile, plan, proof), name="verify data")
    names = spawn(_verify_names(profile, plan, verdict), name="verify names")
    try:
        # Whose network this is comes first: a stranger's DNS may be silent, and that would not be the reason to tell.
        try:
            proven = await proof
        except IdentityError:
            if attest is None:
                raise
            told = await attest()
            if told is False:
                raise
            proven = Proof(answered=True) if told is True else Proof(findings=(told,))
        if learn is not None:
            learn(proven)
        return (*proven.findings, *await names, *await verdict)
    finally:
        for each in (proof, names, verdict):
            each.cancel()


async def _diagnose(profile: BridgeProfile, plan: Plan, proof: "asyncio.Task[Proof]") -> tuple[Finding, ...]:
    if plan.mode is RoutingMode.RELAY:
        return ()  # packets are what it is about
    seen = await look(profile, plan)
    try:
        api = (await asyncio.shield(proof)).answered
    except DevlinkError:
        return ()  # another cluster's: its behaviour is of no interest
    found = (finding for each in seen for finding in diagnose(replace(each, api=api)))
    return tuple(dict.fromkeys(found))


async def _verify_names(
    profile: BridgeProfile, plan: Plan, verdict: "asyncio.Task[tuple[Finding, ...]]"
) -> tuple[Finding, ...]:
    desired = plan.desired
    dns = profile.spec.dns
    if dns is None:
        return ()
    name = dns.domain.child(KNOWN)
    is_relayed = plan.mode is RoutingMode.RELAY
    servers = tuple(
        Upstream(address=s.address, transport=Transport.TCP if is_relayed else s.transport) for s in dns.servers
    )
    code = "DL-DNS-SILENT"
    try:
        answers = await _ask_any(servers, name, address_types(profile.spec.services), plan)
        code = "DL-DNS-DOMAIN"
        check_known(name, answers)
    except VerificationError as error:
        if desired.zones or (not desired.routes and code == "DL-DNS-SILENT"):
            if code == "DL-DNS-SILENT":
                _explain(error, await asyncio.shield(verdict))
            raise
        return (
            Finding(code=code, severity=Severity.WARNING, title=error.what, evidence=error.why, fix=error.next_step),
        )
    if desired.zones and _is_allowed(desired.zones[0], "default"):
        await check_libc(str(name), {address for answer in answers for address in answer.addresses})
    return ()


def _explain(error: VerificationError, findings: tuple[Finding, ...]) -> None:
    """Say with it what the exchange of data showed of the reason, and what cures that."""
    causes = [finding for finding in findings if finding.code in EXPLAIN_SILENCE]
    if causes:
        told = " ".join(f"{cause.title} ({cause.code}: {cause.evidence})" for cause in causes)
        error.why = f"{error.why} {told}"
        error.next_step = causes[0].fix


async def _ask_any(
    servers: tuple[Upstream, ...], name: DomainName, types: tuple[str, ...], plan: Plan
) -> tuple[Answer, ...]:
    """The first server's answers, whichever transport brings them first: a firewall may swallow one of them."""
    evidence: list[str] = []
    limit = RELAYED_TRY_LIMIT if plan.mode is RoutingMode.RELAY else DNS_TRY_LIMIT
    for server in servers:
        found = await asyncio.gather(*(_first_answer(server, name, qtype, evidence, limit) for qtype in types))
        answers = tuple(answer for answer in found if answer is not None)
        # One type may be lost on the way, but then the other one must have brought an address.
        if len(answers) == len(types) or any(answer.addresses for answer in answers):
            return answers
    # A router on the way can say "unreachable" as well, so it is the kernel that is asked.
    paths = (await asyncio.to_thread(observe_ways, [server.address for server in servers])).paths
    ways = Ways(plan.desired)
    others = [s.address for s in servers if ways.is_lost(s.address, paths.get(s.address, Path()))]
    if all(paths.get(server.address, Path()).oif is None for server in servers):
        asked = "This laptop has no way there at all. Is it on a network now? See: ip route; ip -br link"
    elif plan.mode is RoutingMode.RELAY:
        asked = "Are the pods of the cluster's DNS ready? See: kubectl get pods -n kube-system; devlink status"
    elif others:
        asked = f"Another route or a policy rule (ip rule) takes packets to {others[0]}: ip route get {others[0]}"
    elif plan.mode is RoutingMode.ROUTER:
        asked = (
            "Does the network's router have routes to the pod and service networks, and does a firewall let DNS pass?"
        )
    else:
        asked = "Does the gateway forward to the service network, and does a firewall let DNS pass?"
    raise VerificationError(
        f"The cluster's DNS does not answer for {name}.",
        why=f"{'; '.join(dict.fromkeys(evidence))}. Routing is {plan.mode.value}: {plan.reason}.",
        next_step=asked,
    )


async def _first_answer(
    server: Upstream, name: DomainName, qtype: str, evidence: list[str], limit: float
) -> Answer | None:
    async def one(transport: Literal["udp", "tcp"]) -> Answer | None:
        try:
            answer = await asyncio.to_thread(
                ask, server.address, name, qtype, port=server.port, transport=transport, timeout=limit
            )
        except OSError as error:
            evidence.append(f"{server.address} over {transport.upper()}: {_words(error)}")
            return None
        if answer.rcode not in ("NOERROR", "NXDOMAIN"):
            evidence.append(f"{server.address} over {transport.upper()}: {answer.rcode}")
            return None
        return answer

    for done in asyncio.as_completed([one(transport) for transport in _TRANSPORTS[server.transport]]):
        answer = await done
        if answer is not None:
            return answer
    return None


_TRANSPORTS: dict[Transport, tuple[Literal["udp", "tcp"], ...]] = {
    Transport.UDP: ("udp",),
    Transport.TCP: ("tcp",),
    Transport.AUTO: ("udp", "tcp"),
}


def _is_allowed(zone: Zone, namespace: str) -> bool:
    return zone.namespaces is None or namespace in zone.namespaces


def _words(error: OSError) -> str:
    return "no answer" if isinstance(error, TimeoutError) else str(error.strerror or error)
