"""What is relayed through the API server: by whom, what was refused, and whether the cluster's DNS is in pods."""

import asyncio
import ctypes
from collections.abc import Mapping

from devlink.core import relay_words as words
from devlink.core.codec import decode
from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import IPAddress
from devlink.core.relay import RelayChain, RelayState
from devlink.core.relay_judging import dns_without_pods, judge_refusals
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import LinkCheck, Seen, skipped
from devlink.doctor.path.questions import PORT
from devlink.doctor.path.shared import is_relayed
from devlink.errors import DevlinkError

LIBRARY = "libnftables.so.1"


async def _look(case: Case, subject: Subject) -> Seen:
    if not is_relayed(subject):
        return skipped("it is not relayed")
    if not subject.is_installed or subject.session is None:
        library = await asyncio.to_thread(library_finding)
        return Seen(text="it would be relayed", findings=library) if library else skipped("it is not up")
    told, found = subject.session.get("relay"), dns_without_pods(await _to_dns(case, subject))
    if told is None:
        return Seen(text="its relay has not said anything yet", findings=found)
    state = decode(RelayState, told)
    through = f"through {state.server or 'the API server'}: {words.traffic(state)}"
    return Seen(text=through, findings=(*state.findings, *judge_refusals(state), *found))


async def _to_dns(case: Case, subject: Subject) -> Mapping[IPAddress, RelayChain]:
    """Where questions to the cluster's DNS end; nothing where the relay does not say."""
    dns = subject.profile.spec.dns
    if case.resolve is None or dns is None:
        return {}
    try:
        return {each.address: await case.resolve(subject.name, each.address, PORT) for each in dns.servers}
    except (DevlinkError, TimeoutError):
        return {}


def library_finding(name: str = LIBRARY) -> tuple[Finding, ...]:
    """Whether what redirects can be loaded: the helper loads the same, where it is the system's."""
    try:
        ctypes.CDLL(name)
    except OSError as error:
        return (
            Finding(
                code="DL-RELAY-NFTABLES",
                severity=Severity.ERROR,
                title="Nothing can be relayed: the library that redirects connections is not installed.",
                evidence=str(error),
                fix="sudo apt install libnftables1 (Fedora: nftables-libs; Arch, Alpine: nftables)",
            ),
        )
    return ()


CHECKS = (LinkCheck(name="relay", look=_look, after=("links", "routes", "rules")),)
