"""The file of hosts, hosts(5), which libc asks before any server."""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path

from devlink.core.prefixes import IPAddress
from devlink.resolvers.reading import read

HOSTS = Path("/etc/hosts")
MAX_SIZE = 16 << 20
"""Octets that are read: lists of advertisers have millions, and who adds a line adds it at the end."""


def addresses_in_file(belongs: Callable[[str], bool]) -> Mapping[str, frozenset[IPAddress]]:
    """As `addresses_in`, of this laptop's file; nothing where it cannot be read."""
    try:
        text = read(None, str(HOSTS), follow=True, size=MAX_SIZE)
    except OSError:
        return {}
    return addresses_in(text or "", belongs)


def addresses_in(text: str, belongs: Callable[[str], bool]) -> Mapping[str, frozenset[IPAddress]]:
    """By each name that `belongs`: in lower case, without a last dot."""
    found: dict[str, set[IPAddress]] = {}
    for line in text.split("\n"):
        first, *words = line.partition("#")[0].split() or [""]
        names = [name for word in words if belongs(name := word.removesuffix(".").lower())]
        if not names:
            continue
        try:
            address = ip_address(first)
        except ValueError:
            continue
        for name in names:
            found.setdefault(name, set()).add(address)
    return {name: frozenset(addresses) for name, addresses in found.items()}
