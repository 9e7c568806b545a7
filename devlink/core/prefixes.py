"""IP prefixes as sets of addresses: what covers what, what overlaps, what is left."""

import ipaddress
from collections.abc import Iterable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def host_prefix(address: IPAddress) -> IPNetwork:
    """The /32 or /128 of one address."""
    return ipaddress.ip_network(address)


def is_within(inner: IPNetwork, outer: IPNetwork) -> bool:
    """Whether every address of `inner` is in `outer`."""
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)


def overlap(a: IPNetwork, b: IPNetwork) -> bool:
    """Whether the two share an address; never across families."""
    return is_within(a, b) or is_within(b, a)


def collapse(prefixes: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """The fewest prefixes that hold the same addresses, IPv4 first, in order."""
    given = tuple(prefixes)
    v4 = ipaddress.collapse_addresses(p for p in given if isinstance(p, ipaddress.IPv4Network))
    v6 = ipaddress.collapse_addresses(p for p in given if isinstance(p, ipaddress.IPv6Network))
    return (*v4, *v6)


def covered(prefix: IPNetwork, by: Iterable[IPNetwork]) -> bool:
    """Whether every address of `prefix` is in some prefix of `by`, alone or together."""
    return any(is_within(prefix, outer) for outer in collapse(by))


def contains(prefixes: Iterable[IPNetwork], address: IPAddress) -> bool:
    """Whether some prefix holds `address`."""
    return any(address in prefix for prefix in prefixes)
