"""Addresses that devlink never routes and never uses, whoever asks for them."""

import ipaddress

from devlink.core.prefixes import IPAddress, IPNetwork, overlap

SHORTEST = {4: 8, 6: 16}
"""Prefix lengths below which a route is a part of the default route, by IP version."""
RESERVED: tuple[tuple[IPNetwork, str], ...] = tuple(
    (ipaddress.ip_network(text), what)
    for text, what in (
        ("0.0.0.0/8", '"this network" (RFC 791)'),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved (RFC 1112)"),
        ("::/128", "the unspecified address"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4 in IPv6 clothes (RFC 4291), never on a wire"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)
"""From the IANA special-purpose registries (RFC 6890): what no pod, service, node or DNS server can have."""


TOP_LEVEL = frozenset(("com", "net", "org", "edu", "gov", "mil", "int", "arpa", "local", "localhost", "onion"))
"""Top-level domains of RFC 1591, and those with a meaning of their own (RFC 6761, RFC 6762, RFC 7686), that are full of
names of two labels, or that other programs answer."""


def objection_to_search(namespace: str) -> str:
    """Why names of two labels cannot end in a namespace; empty where they can."""
    return "is a top-level domain of its own: its names are others'" if namespace in TOP_LEVEL else ""


def objection_to_prefix(prefix: IPNetwork) -> str:
    """Why a prefix can be nobody's pods or services; empty where it can."""
    if prefix.prefixlen < SHORTEST[prefix.version]:
        return f"is shorter than /{SHORTEST[prefix.version]}: the default route or a part of it"
    for space, what in RESERVED:
        if overlap(prefix, space):
            return f"overlaps {space}, which is {what}"
    return ""


def objection_to_address(address: IPAddress) -> str:
    """Why an address can be no node, gateway or DNS server; empty where it can."""
    number = int(address)
    for mask, first, space, what in _MASKED[address.version]:
        if number & mask == first:
            return f"lies in {space}, which is {what}"
    return ""


_MASKED = {
    version: [
        (int(space.netmask), int(space.network_address), space, what)
        for space, what in RESERVED
        if space.version == version
    ]
    for version in (4, 6)
}
