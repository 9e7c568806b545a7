"""How large a packet may be: a question to the cluster's DNS that fills several, where a small one is answered."""

import asyncio
import socket

from devlink.core.diagnosis import Outcome
from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import IPAddress
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import Seen, skipped
from devlink.doctor.path.exchange import over_tcp_to
from devlink.doctor.path.questions import padded, question_for
from devlink.doctor.path.shared import exchange, is_relayed, why_not_carried

LIMIT = 1.5
"""Seconds for the large question, and then for those in smaller packets, which are sent all at once: two seconds may
have gone to the small ones before."""
LENGTH = 6000
"""Octets of the large question: four packets of 1500."""
SIZES = (1492, 1480, 1460, 1450, 1440, 1430, 1420, 1400, 1380, 1350, 1320, 1300, 1280, 1200, 1000, 576)
"""Octets of the packets that are tried then: what PPPoE, IPIP, VXLAN and WireGuard leave of 1500, and what is left of
that when they are nested."""
HEADERS = {4: 40, 6: 60}
"""Octets of IP and TCP headers by IP version; a segment's size counts TCP's options with the data (RFC 6691)."""
_MTU = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}
"""IP_MTU (ip(7)) and IPV6_MTU (ipv6(7)), which Python has no names for."""


async def look(case: Case, subject: Subject) -> Seen:
    """Nothing is said where small questions over TCP go unanswered: others say why."""
    dns = subject.profile.spec.dns
    if why := why_not_carried(subject):
        return skipped(why)
    if dns is None:
        return skipped("the profile names no DNS to ask")
    if is_relayed(subject):
        return skipped("it is relayed: no packet of the cluster's is on this laptop's links")
    seen = await exchange(case, subject)
    asked = [each.server.address for each in seen if each.server.tcp is Outcome.ANSWERED]
    asked += [pod.address for each in seen for pod in each.pods if pod.tcp is Outcome.ANSWERED]
    if not asked:
        return skipped("nobody answers over TCP")
    question = padded(question_for(dns), LENGTH)
    outcomes = await asyncio.gather(*(over_tcp_to(address, question, limit=LIMIT) for address in asked))
    hanging = [address for address, outcome in zip(asked, outcomes, strict=True) if outcome is Outcome.HANGS]
    if not hanging:
        return Seen(text=f"packets of {present_mtu(asked[0])} octets arrive")
    address, mtu = hanging[0], present_mtu(hanging[0])
    tried = [size for size in SIZES if size < mtu]
    smaller = await asyncio.gather(
        *(over_tcp_to(address, question, segment=size - HEADERS[address.version], limit=LIMIT) for size in tried)
    )
    largest = max((s for s, outcome in zip(tried, smaller, strict=True) if outcome is Outcome.ANSWERED), default=None)
    if largest is None:  # then it is not their size: this server takes no long questions
        return skipped(f"{address} takes no long questions")
    return Seen(text=f"packets of {mtu} octets are lost", findings=(too_large(address, mtu, largest),))


def too_large(address: IPAddress, mtu: int, largest: int) -> Finding:
    """Both in octets: what this laptop sends, and the largest of the sizes tried that arrives."""
    return Finding(
        code="DL-MTU",
        severity=Severity.ERROR,
        title="Large transfers hang: a link on the way takes smaller packets only, and does not say so.",
        evidence=f"to {address}, packets of {mtu} octets are lost, and those of {largest} arrive",
        fix=f"say mtu: {largest} in the profile, and publish it or bring it up anew; or have firewalls on the way let "
        "ICMP pass (fragmentation needed; IPv6: packet too big)",
    )


def present_mtu(address: IPAddress) -> int:
    """Octets that a packet to `address` may have, as far as this laptop knows; 1500 where there is no way there."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((str(address), 9))  # sends nothing
            return sock.getsockopt(*_MTU[address.version])
    except OSError:
        return 1500
