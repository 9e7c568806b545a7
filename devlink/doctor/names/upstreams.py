"""The servers for all other names: whether they answer, and whether one of them asks the forwarder back."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from devlink.core.findings import Finding, Severity
from devlink.core.plan import Upstream
from devlink.core.text import listed
from devlink.dns.client import ask
from devlink.doctor.case import Case
from devlink.doctor.check import Seen, skipped
from devlink.doctor.names.forwarder import has_names
from devlink.doctor.names.loop import check_loops
from devlink.doctor.names.ordinary import NAME, ask_ordinary, unanswered
from devlink.doctor.serving import served, upstreams_of
from devlink.errors import VerificationError
from devlink.helper.client import ORDINARY

TRIES = 2
LIMIT = 0.8
"""Seconds for each try: one packet may get lost."""


async def look(case: Case) -> Seen:
    """Ask each of them, and the forwarder for a name that nobody has asked for yet."""
    if not has_names(case):
        return skipped("no names are up")
    told = await asyncio.to_thread(served)
    try:
        await check_loops(told)
    except VerificationError as error:
        return Seen(text="one of them asks back: a loop", findings=(looping(error),))
    upstreams = upstreams_of(told)
    if not upstreams:
        return skipped("nobody is named who knows other names")
    fresh = NAME.child(f"doctor-{secrets.token_hex(4)}")  # what is kept says nothing of them
    silent, failure = await asyncio.gather(
        _silent(upstreams, told["stats"]), ask_ordinary(ip_address(told["nameserver"]), fresh)
    )
    return judge(upstreams, silent, failure)


async def _silent(upstreams: Sequence[Upstream], stats: Mapping[str, Any]) -> tuple[Upstream, ...]:
    """Those that do not answer; of one that is asked over TLS the forwarder knows."""
    states = {each["server"]: each["state"] for each in stats["servers"] if ORDINARY in each["zones"]}
    over_tls = {each for each in upstreams if each.tls_name}
    plain = [each for each in upstreams if each not in over_tls]
    answered = dict(zip(plain, await asyncio.gather(*map(_answers, plain)), strict=True))
    return tuple(
        each
        for each in upstreams
        if (states.get(f"{each.address}#{each.port} tls") == "silent" if each in over_tls else not answered[each])
    )


async def _answers(upstream: Upstream) -> bool:
    for _ in range(TRIES):
        try:
            await asyncio.to_thread(ask, upstream.address, NAME, "SOA", port=upstream.port, timeout=LIMIT)
        except TimeoutError:
            continue
        except OSError:
            return False
        return True
    return False


def judge(upstreams: Sequence[Upstream], silent: Sequence[Upstream], failure: str) -> Seen:
    """Pure. `failure`: what came in place of an answer through the forwarder; empty where there was one."""
    dumb = listed(f"{each.address}#{each.port}" for each in silent)
    count = f"{len(upstreams)} server{'s' * (len(upstreams) != 1)}"
    if failure:
        finding = unanswered("Names outside the cluster are not answered.", failure)
        return Seen(text=f"{count}, and no answer", findings=(finding,))
    if not silent:
        return Seen(text=f"{listed(each.address for each in upstreams)} answer{'s' * (len(upstreams) == 1)}")
    finding = Finding(
        code="DL-UPSTREAM-SILENT",
        severity=Severity.WARNING,
        title="A DNS server that this laptop is told to ask does not answer, which costs time at its turn.",
        evidence=f"{dumb}: no answer for {NAME}",
        fix="have it removed where it is named (DHCP, /etc/resolv.conf, upstreams in /etc/devlink/policy.toml), or see "
        "why it is not reached",
    )
    return Seen(text=f"{len(silent)} of {count} silent", findings=(finding,))


def looping(error: VerificationError) -> Finding:
    """A loop began after `up` had seen that there was none."""
    return Finding(
        code="DL-DNS-LOOP", severity=Severity.ERROR, title=error.what, evidence=error.why, fix=error.next_step
    )
