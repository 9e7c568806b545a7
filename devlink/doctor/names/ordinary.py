"""Whether the forwarder, which all names of the machine go through from now on, answers ordinary ones."""

import asyncio
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress
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
    failure = await ask_ordinary(ip_address(applied["nameserver"]), NAME)
    if not failure:
        return ()
    return (unanswered("When this came up, names outside the cluster were not answered.", failure),)


async def ask_ordinary(nameserver: IPAddress, name: DomainName) -> str:
    """What came in place of an answer, as evidence; empty where some server has said something."""
    try:
        answer = await asyncio.to_thread(ask, nameserver, name, "SOA", port=PORT, timeout=LIMIT)
    except TimeoutError:
        return f"No answer for {name} within {LIMIT:g} s."
    except OSError as error:
        return f"No answer for {name}: {error.strerror or error}."
    if answer.rcode != "SERVFAIL":
        return ""
    said = "; ".join(text for _, text in answer.extended_errors if text)
    return f"{name}: {answer.rcode}{f', {said}' if said else ''}."


def unanswered(title: str, evidence: str) -> Finding:
    """A warning: a laptop that is offline has no such names without devlink either."""
    return Finding(
        code="DL-DNS-ORDINARY",
        severity=Severity.WARNING,
        title=title,
        evidence=evidence,
        fix="See which server is silent or fails, and why: devlink dns stats",
    )
