"""What a program gets that looks a name up as most do: through libc, with all that this asks on the way."""

import asyncio
import ipaddress
import logging
import subprocess
from collections.abc import Mapping, Set
from dataclasses import dataclass

from devlink.core.prefixes import IPAddress
from devlink.errors import VerificationError, reason

log = logging.getLogger(__name__)

LIMIT = 5.0
"""Seconds for a look-up: libc's own time for one server that is silent (resolv.conf(5), `timeout`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of one look-up."""

    addresses: frozenset[IPAddress] = frozenset()
    is_late: bool = False
    """There was no answer in time."""

    def __str__(self) -> str:
        if self.is_late:
            return "nothing in time"
        return ", ".join(map(str, sorted(self.addresses, key=str))) or "that there is no such name"


async def look_up(
    name: str, *, service: str = "", limit: float = LIMIT, environ: Mapping[str, str] | None = None
) -> Found:
    """Ask libc, in a program of its own: it reads its configuration once in a process.

    With `service` only this one of nsswitch.conf(5). `limit` in seconds. `environ`: the user's, some of which libc
    heeds (resolv.conf(5): RES_OPTIONS, LOCALDOMAIN); this process's where there is none. Raises VerificationError
    where getent, which asks as all programs do, does not start.
    """
    return await asyncio.to_thread(_getent, name, service, limit, environ)


def _getent(name: str, service: str, limit: float, environ: Mapping[str, str] | None) -> Found:
    command = ["getent", *([f"--service=hosts:{service}"] if service else []), "ahosts", "--", name]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, check=False, env=dict(environ) if environ else None
        )
    except subprocess.TimeoutExpired:
        log.warning("%s: no answer in %g s", " ".join(command), limit)
        return Found(is_late=True)
    except OSError as error:
        raise VerificationError(
            "It could not be seen whether programs find the cluster's names.",
            why=f"The program getent did not start: {reason(error)}",
            next_step="Install getent (package libc-bin), then try again.",
        ) from error
    words = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    return Found(addresses=frozenset(ipaddress.ip_address(word) for word in words))


async def check_libc(name: str, expected: Set[IPAddress]) -> None:
    """Raise VerificationError where libc finds none of the addresses that the cluster says."""
    found = await look_up(name)
    if not expected & found.addresses:
        raise VerificationError(
            f"Programs on this laptop do not find {name}, although the cluster's DNS knows it.",
            why=f"libc says {found}, the cluster says {', '.join(sorted(map(str, expected)))}.",
            next_step="Look at `hosts:` in /etc/nsswitch.conf, and at /etc/resolv.conf.",
        )
