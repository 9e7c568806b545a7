"""Whether the cluster behind the routes is the one that the profile means: a TLS handshake with its API (DESIGN.md)."""

import asyncio
import json
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from devlink.core.findings import Finding, Severity
from devlink.core.plan import Plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, Identity
from devlink.core.text import listed
from devlink.core.ways import Ways
from devlink.errors import DevlinkError, IdentityError
from devlink.kernel.neighbours import link_address_toward
from devlink.kernel.observe import observe
from devlink.private_files import write_private
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

NAME = "kubernetes.default.svc"
"""What every API server's certificate is valid for (kubeadm, k3s and the API server itself name it)."""
PORT = 443
LIMIT = 2.0
"""Seconds for the handshake."""
OPENING = 0.3
"""Seconds in which sockets by way of other gateways are asked for, one after another: whoever waits for a session to
come up does not wait for more."""
MAX_GATEWAYS = 64
"""Link addresses that are remembered for one cluster: the offices and homes from which it was seen."""


Connect = Callable[[IPAddress, IPAddress], Awaitable[socket.socket]]
"""Gateway and address: a TCP socket, not connected yet, whose packets to the address go by the gateway whatever the
routes say. May raise DevlinkError and OSError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What is known of whose network this is."""

    findings: tuple[Finding, ...] = ()
    answered: bool | None = None
    """Whether the API answered, and is the profile's; None where the profile does not say how to ask."""
    proven: tuple[IPAddress, ...] = ()
    """Next hops that lead to the profile's cluster."""
    strangers: Mapping[IPAddress, Finding] = field(default_factory=dict)
    """Gateways behind which another cluster answers, so that nothing shall go by them; and what is to be told of each,
    which is none of `findings`."""


async def prove(
    profile: BridgeProfile,
    plan: Plan,
    *,
    gateways: Iterable[IPAddress] = (),
    connect: Connect | None = None,
    remember: bool = True,
) -> Proof:
    """Shake hands with the `kubernetes` ClusterIP by the way that packets go, and by each other gateway.

    Raises IdentityError where another cluster answers by the way that packets go. Where nobody does, the link address
    of the gateway toward it speaks for the network, if the cluster was seen through it before; else it is a finding.
    `gateways` may take over, and are asked by `connect`, as many as OPENING leaves time for: one that leads to another
    cluster is a stranger, one that the profile calls a gateway and is silent while the first answers is a
    finding. `remember`: note by which gateway the cluster was seen, for a day when its API is silent.
    """
    spec = profile.spec
    identity, address = spec.identity, spec.api
    if identity is None or address is None:
        return Proof()  # the plan says so
    path = Ways(plan.desired).to(address)
    used = path.next_hop if path is not None else None
    others = [each for each in dict.fromkeys(gateways) if each != used and each.version == address.version]
    tries = spawn(_try_others(others, connect, address, identity), name="shake hands by other gateways")
    try:
        answered, findings = await _prove_by_routes(profile, plan, address, identity, remember=remember)
        outcomes = await tries
    finally:
        tries.cancel()
    by_others = _seen_behind(outcomes, address)
    named = {gateway.address for gateway in profile.spec.gateways or ()}  # any node that is down is not worth a word
    silent = {g: e for g, e in outcomes.items() if e is not None and g in named and g not in by_others.strangers}
    if answered and silent:  # else it is the API that is silent
        findings += (_silent_gateways(silent, address),)
    proven = (used, *by_others.proven) if answered and used is not None else by_others.proven
    return Proof(findings=findings, answered=answered, proven=proven, strangers=by_others.strangers)


async def prove_gateway(profile: BridgeProfile, gateway: IPAddress, connect: Connect) -> Proof:
    """The same of one gateway, by way of which nothing goes yet. Its silence is no finding."""
    identity, address = profile.spec.identity, profile.spec.api
    if identity is None or address is None or address.version != gateway.version:
        return Proof()
    return _seen_behind(await _try_others([gateway], connect, address, identity), address)


def _seen_behind(outcomes: Mapping[IPAddress, OSError | None], address: IPAddress) -> Proof:
    """What shaking hands by several gateways says of each."""
    return Proof(
        proven=tuple(gateway for gateway, error in outcomes.items() if error is None),
        strangers={
            gateway: _stranger(gateway, address, error)
            for gateway, error in outcomes.items()
            if isinstance(error, ssl.SSLError)
        },
    )


async def _prove_by_routes(
    profile: BridgeProfile, plan: Plan, address: IPAddress, identity: Identity, *, remember: bool
) -> tuple[bool, tuple[Finding, ...]]:
    """Whether the API answered, and what is to be told where it did not."""
    try:
        await _shake_hands(address, identity, _new_socket(address))
    except ssl.SSLError as error:
        raise _another(profile, address, error) from error
    except OSError as error:  # TimeoutError too
        gateway = await asyncio.to_thread(_gateway_toward, address)
        if gateway and gateway in _remembered(identity):
            log.info("%s does not answer; the cluster was seen through gateway %s before", address, gateway)
            return False, ()
        return False, (_unanswered(plan, address, error),)
    if not remember:
        return True, ()
    # Only now: before the first packet the kernel had no reason to learn it.
    gateway = await asyncio.to_thread(_gateway_toward, address)
    if gateway:
        await asyncio.to_thread(_remember, identity, gateway)
    return True, ()


async def _try_others(
    gateways: list[IPAddress], connect: Connect | None, address: IPAddress, identity: Identity
) -> dict[IPAddress, OSError | None]:
    """What kept each gateway from leading to the profile's cluster; None where it does. SSLError: to another one.

    A gateway for which there is no socket, or none in time, is left out: nothing is known of it.
    """
    until = asyncio.get_running_loop().time() + OPENING
    opening = asyncio.Lock()

    async def one(gateway: IPAddress) -> tuple[IPAddress, OSError | None] | None:
        assert connect is not None
        async with opening:
            if asyncio.get_running_loop().time() > until:
                return None
            try:
                sock = await connect(gateway, address)
            except (DevlinkError, OSError) as error:
                log.info("gateway %s could not be tried: %s", gateway, error)
                return None
        try:
            await _shake_hands(address, identity, sock)
        except OSError as error:
            return gateway, error
        return gateway, None

    tried = await asyncio.gather(*(one(gateway) for gateway in gateways)) if connect is not None else []
    return dict(each for each in tried if each is not None)


def _new_socket(address: IPAddress) -> socket.socket:
    return socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)


async def _shake_hands(address: IPAddress, identity: Identity, sock: socket.socket) -> None:
    """Over `sock`, which is closed then. Raises ssl.SSLError where another one answers, OSError where nobody does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
    context.load_verify_locations(cadata=identity.ca)
    sock.setblocking(False)
    async with asyncio.timeout(LIMIT):
        try:
            # To an address, never a name: whether names work is what `up` is about to prove.
            await asyncio.get_running_loop().sock_connect(sock, (str(address), PORT))
        except BaseException:
            sock.close()
            raise
        _, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=NAME)  # its own from here on
    writer.transport.abort()  # nothing was asked, so there is nothing to close in good order


def _another(profile: BridgeProfile, address: IPAddress, error: ssl.SSLError) -> IdentityError:
    return IdentityError(
        f"What answers here is not the cluster of profile {profile.metadata.name}.",
        why=f"{address}, where its API must be, {_said(error)}. "
        "This network has the cluster's numbers, and is another one; or the cluster was built anew.",
        next_step="If the cluster was built anew, fetch its profile and trust it again: devlink profile fetch",
    )


def _unanswered(plan: Plan, address: IPAddress, error: OSError) -> Finding:
    said = _why_silent(error)
    return Finding(
        code="DL-UNAUTHENTICATED",
        severity=Severity.WARNING,
        title="Nothing proves at this moment that this is the cluster that the profile means.",
        evidence=f"its API at {address} does not answer ({said}); routing is {plan.mode.value}: {plan.reason}",
        fix="when the API is back: devlink up",
    )


def _stranger(gateway: IPAddress, address: IPAddress, error: ssl.SSLError) -> Finding:
    return Finding(
        code="DL-GATEWAY-IDENTITY",
        severity=Severity.ERROR,
        title=f"Behind gateway {gateway} another cluster answers than the profile's: nothing will go by it.",
        evidence=f"by way of it, {address} {_said(error)}",
        fix="find out whose machine that is; if it is no gateway of the cluster any more, publish the profile anew",
    )


def _silent_gateways(silent: Mapping[IPAddress, OSError], address: IPAddress) -> Finding:
    said = (f"by way of {gateway}: {_why_silent(error)}" for gateway, error in silent.items())
    return Finding(
        code="DL-GATEWAY-SILENT",
        severity=Severity.WARNING,
        title="Gateways that should take over when another fails do not lead to the cluster at this moment.",
        evidence=f"{address}, {listed(said)}",
        fix="see whether these nodes are up, and whether they forward: sysctl net.ipv4.ip_forward",
    )


def _said(error: ssl.SSLError) -> str:
    why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else f"no TLS: {error.reason}"
    return f"does not show a certificate of the profile's CA for {NAME}: {why}"


def _why_silent(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else f"silent for {LIMIT:g} s"


def _gateway_toward(address: IPAddress) -> str:
    """The link address of the next hop toward `address`, or empty."""
    return link_address_toward(address, observe((address,)).paths[address])


def _file() -> Path:
    return Path(platformdirs.user_state_dir("devlink")) / "seen-through.json"


def _remembered(identity: Identity) -> list[str]:
    return _read().get(identity.ca_hash, [])


def _read() -> dict[str, list[str]]:
    """Link addresses of gateways by the hash of the CA that was seen through them, the latest last."""
    try:
        tree = json.loads(_file().read_text("utf-8"))
        return {str(ca): [str(each) for each in seen] for ca, seen in tree.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # none yet; or damaged, and then the next handshake begins it anew


def _remember(identity: Identity, gateway: str) -> None:
    seen = _read()
    mine = [each for each in seen.get(identity.ca_hash, []) if each != gateway]
    if seen.get(identity.ca_hash, [])[-1:] == [gateway]:
        return
    seen[identity.ca_hash] = [*mine, gateway][-MAX_GATEWAYS:]
    path = _file()
    try:
        write_private(path, json.dumps(seen))
    except OSError as error:  # then it is proven again each time, or said that it is not
        log.warning("it cannot be remembered through which gateway the cluster was seen: %s", error)
