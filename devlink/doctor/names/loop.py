"""Whether a resolver of this very machine, asked for ordinary names, asks the forwarder back: a loop."""

import asyncio
from collections.abc import Mapping
from typing import Any

from devlink.core.codec import decode
from devlink.core.plan import ProofRecord, Upstream
from devlink.dns.client import ask
from devlink.errors import VerificationError

LIMIT = 1.0
"""Seconds for an upstream to answer. A loop is quick: the forwarder answers the probe itself."""


async def check_loops(applied: Mapping[str, Any]) -> None:
    """Raise VerificationError if an upstream answers what only the forwarder knows. `applied`: the reply to Apply.

    Only a local cache can take its servers from our resolv.conf, so nobody else is asked; and such caches do not speak
    TLS, which `ask` does not either.
    """
    probe = decode(ProofRecord, applied["loop_probe"]) if applied.get("loop_probe") else None
    if probe is None:
        return
    upstreams: tuple[Upstream, ...] = decode(tuple[Upstream, ...], applied["upstreams"])
    local = [upstream for upstream in upstreams if upstream.address.is_loopback and not upstream.tls_name]
    for upstream, loops in zip(local, await asyncio.gather(*(_loops(u, probe) for u in local)), strict=True):
        if loops:
            raise VerificationError(
                f"The resolver at {upstream.address}#{upstream.port} asks devlink's forwarder, which asks it: a loop.",
                why="It takes its servers from /etc/resolv.conf, where devlink had to write itself.",
                next_step="Give that resolver servers of its own (dnsmasq: server=), or: devlink up --no-dns",
            )


async def _loops(upstream: Upstream, probe: ProofRecord) -> bool:
    qtype = "A" if probe.address.version == 4 else "AAAA"
    try:
        answer = await asyncio.to_thread(ask, upstream.address, probe.name, qtype, port=upstream.port, timeout=LIMIT)
    except OSError:
        return False  # silent or unreachable: another trouble, and not this one
    return probe.address in answer.addresses
