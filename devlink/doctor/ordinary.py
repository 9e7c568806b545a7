"""Whether the forwarder, which all names of the machine go through from now on, answers ordinary ones."""

import asyncio
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.dns.client import ask

NAME = DomainName.parse("example.com")
"""Nobody's (RFC 2606), and known to every resolver that knows anything."""
PORT = 53
LIMIT = 2.0
"""Seconds: somebody waits for `up`."""


async def check_ordinary(applied: Mapping[str, Any]) -> tuple[Finding, ...]:
    """A warning where ordinary names get no answer; a laptop that is offline comes up all the same.

    `applied`: the helper's reply to Apply. Nothing is asked where there is no forwarder, or nobody whom it could ask.
    """
    if not applied.get("nameserver") or not applied["upstreams"]:
        return ()
    nameserver = ip_address(applied["nameserver"])
    try:
        answer = await asyncio.to_thread(ask, nameserver, NAME, "SOA", port=PORT, timeout=LIMIT)
    except TimeoutError:
        evidence = f"No answer for {NAME} within {LIMIT:g} s."
    except OSError as error:
        evidence = f"No answer for {NAME}: {error.strerror or error}."
    else:
        if answer.rcode != "SERVFAIL":
            return ()
        said = "; ".join(text for _, text in answer.extended_errors if text)
        evidence = f"{NAME}: {answer.rcode}{f', {said}' if said else ''}."
    return (
        Finding(
            code="DL-DNS-ORDINARY",
            severity=Severity.WARNING,
            title="When this came up, names outside the cluster were not answered.",
            evidence=evidence,
            fix="See which server is silent or fails, and why: devlink dns stats",
        ),
    )
