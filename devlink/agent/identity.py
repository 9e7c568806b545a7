"""Whether the cluster behind the routes is the one that the profile means: a TLS handshake with its API (DESIGN.md)."""

import asyncio
import json
import logging
import os
import ssl
from pathlib import Path

import platformdirs

from devlink.core.findings import Finding, Severity
from devlink.core.plan import Plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, Identity
from devlink.errors import IdentityError
from devlink.kernel.observe import link_address, observe
from devlink.private_files import write_private

log = logging.getLogger(__name__)

NAME = "kubernetes.default.svc"
"""What every API server's certificate is valid for (kubeadm, k3s and the API server itself name it)."""
PORT = 443
LIMIT = 2.0
"""Seconds for the handshake."""
MAX_GATEWAYS = 64
"""Link addresses that are remembered for one cluster: the offices and homes from which it was seen."""


async def check_identity(profile: BridgeProfile, plan: Plan) -> tuple[Finding, ...]:
    """Nothing where the `kubernetes` ClusterIP shows the profile's CA; a finding where it does not answer.

    Raises IdentityError where another one answers. Where nobody does, the link address of the gateway toward it
    speaks for the network, if the cluster was seen through it before.
    """
    spec = profile.spec
    if spec.identity is None or not spec.services:
        return ()  # the plan says so
    address = spec.services[0].network_address + 1
    try:
        await _shake_hands(address, spec.identity)
    except ssl.SSLError as error:
        raise _another(profile, address, error) from error
    except OSError as error:  # TimeoutError too
        gateway = await asyncio.to_thread(_gateway_toward, address)
        if gateway and gateway in _remembered(spec.identity):
            log.info("%s does not answer; the cluster was seen through gateway %s before", address, gateway)
            return ()
        return (_unanswered(plan, address, error),)
    # Only now: before the first packet the kernel had no reason to learn it.
    gateway = await asyncio.to_thread(_gateway_toward, address)
    if gateway:
        await asyncio.to_thread(_remember, spec.identity, gateway)
    return ()


async def _shake_hands(address: IPAddress, identity: Identity) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
    context.load_verify_locations(cadata=identity.ca)
    async with asyncio.timeout(LIMIT):
        # To an address, never a name: whether names work is what `up` is about to prove.
        _, writer = await asyncio.open_connection(str(address), PORT, ssl=context, server_hostname=NAME)
    writer.transport.abort()  # nothing was asked, so there is nothing to close in good order


def _another(profile: BridgeProfile, address: IPAddress, error: ssl.SSLError) -> IdentityError:
    said = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else f"no TLS: {error.reason}"
    return IdentityError(
        f"What answers here is not the cluster of profile {profile.metadata.name}.",
        why=f"{address}, where its API must be, does not show a certificate of the profile's CA for {NAME}: {said}. "
        "This network has the cluster's numbers, and is another one; or the cluster was built anew.",
        next_step="If the cluster was built anew, fetch its profile and trust it again: devlink profile fetch",
    )


def _unanswered(plan: Plan, address: IPAddress, error: OSError) -> Finding:
    said = os.strerror(error.errno) if error.errno else f"silent for {LIMIT:g} s"
    return Finding(
        code="DL-UNAUTHENTICATED",
        severity=Severity.WARNING,
        title="Nothing proves at this moment that this is the cluster that the profile means.",
        evidence=f"its API at {address} does not answer ({said}); routing is {plan.mode.value}: {plan.reason}",
        fix="when the API is back: devlink up",
    )


def _gateway_toward(address: IPAddress) -> str:
    """The link address of the next hop toward `address`, or empty."""
    path = observe((address,)).paths[address]
    if path.oif is None or path.kind != "unicast":
        return ""
    return link_address(path.next_hop or address, path.oif)


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
