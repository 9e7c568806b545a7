"""Programs that read resolv.conf themselves, and never ask libc: Go's resolver, musl, c-ares, dig."""

import asyncio
from collections.abc import Sequence

from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import IPAddress
from devlink.core.text import listed
from devlink.doctor.case import Case
from devlink.doctor.check import Seen, skipped
from devlink.doctor.names.forwarder import has_names
from devlink.doctor.names.resolver import RESOLVED
from devlink.resolvers.managers.resolve1 import STUB_FILE, STUBS
from devlink.resolvers.modes import splits
from devlink.resolvers.reading import RESOLV_CONF, read_conf


async def look(case: Case) -> Seen:
    """Whether its first server is one by which cluster names come to the forwarder. Nobody is asked: an ordinary server
    shall not hear of them."""
    if not has_names(case):
        return skipped("no names are up")
    if not splits(case.resolver):
        return skipped("the resolver check has looked at resolv.conf")
    conf = await asyncio.to_thread(read_conf, RESOLV_CONF)
    return judge(case.resolver, conf.nameservers)


def judge(mode: str, named: Sequence[IPAddress]) -> Seen:
    """Pure. `mode` is the resolver mode in force, one that splits; `named` are the servers of resolv.conf."""
    first = named[0] if named else None
    if first is not None and (first in STUBS if mode == RESOLVED else first.is_loopback):
        return Seen(text=f"{RESOLV_CONF} names {first}")
    if mode == RESOLVED:
        fix = f"link it to systemd-resolved's own: sudo ln -sf {STUB_FILE} {RESOLV_CONF}"
    else:
        fix = f"have whoever writes {RESOLV_CONF} name the local resolver that the cluster's names are told to"
    finding = Finding(
        code="DL-RESOLV-CONF-BYPASSED",
        severity=Severity.WARNING,
        title="Programs that read resolv.conf themselves, as those in Go, dig and Alpine's do, find no cluster names.",
        evidence=f"{RESOLV_CONF} names {listed(named) or 'no server'}; the resolver mode is {mode}",
        fix=fix,
    )
    return Seen(text=f"{RESOLV_CONF} names {first or 'nobody'}, who knows no cluster", findings=(finding,))
