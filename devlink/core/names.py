"""Domain names as wire labels: compared without case, matched by whole labels (RFC 1035, RFC 4343)."""

import ipaddress
from dataclasses import dataclass
from typing import Self

from devlink.core.prefixes import IPNetwork

MAX_LABEL = 63
MAX_NAME = 255
"""RFC 1035 section 2.3.4, in octets; the name's limit counts length octets and the root."""


@dataclass(frozen=True, slots=True)
class DomainName:
    """An absolute domain name, lower-cased (ASCII only, as RFC 4343 says). The root has no labels."""

    labels: tuple[bytes, ...]
    """Leftmost label first, without the root's empty label; each of 1 to 63 octets."""

    def __post_init__(self) -> None:
        if any(not 1 <= len(label) <= MAX_LABEL for label in self.labels):
            raise ValueError(f"a label has 1 to {MAX_LABEL} characters")
        if sum(len(label) + 1 for label in self.labels) + 1 > MAX_NAME:
            raise ValueError(f"a name has at most {MAX_NAME - 2} characters")
        object.__setattr__(self, "labels", tuple(label.lower() for label in self.labels))

    @classmethod
    def parse(cls, text: str) -> Self:
        """A host or zone name as people write it, with or without the last dot. Raises ValueError with the reason.

        Only letters, digits, hyphens and underscores are taken: this is for names that people configure. Names from
        the wire may hold any octet and are matched as bytes.
        """
        stripped = text.removesuffix(".")
        if not stripped:
            return cls(())
        for label in stripped.split("."):
            if not label:
                raise ValueError(f"{text!r} has an empty label")
            if not all(c.isascii() and (c.isalnum() or c in "-_") for c in label):
                raise ValueError(f"{label!r} has a character that a domain name cannot have")
            if label.startswith("-") or label.endswith("-"):
                raise ValueError(f"{label!r} begins or ends with a hyphen")
        return cls(tuple(label.encode("ascii") for label in stripped.split(".")))

    @property
    def wire(self) -> bytes:
        """The name uncompressed, with the root's octet (RFC 1035 section 3.1)."""
        return b"".join(bytes((len(label),)) + label for label in self.labels) + b"\0"

    def is_within(self, other: "DomainName") -> bool:
        """Whether this name is `other` or below it."""
        count = len(other.labels)
        return len(self.labels) >= count and (count == 0 or self.labels[-count:] == other.labels)

    def child(self, text: str) -> "DomainName":
        """The name with the labels of `text` put before it."""
        return DomainName(DomainName.parse(text).labels + self.labels)

    def __str__(self) -> str:
        return ".".join(label.decode("ascii", "backslashreplace") for label in self.labels) or "."


IN_ADDR_ARPA = DomainName((b"in-addr", b"arpa"))
IP6_ARPA = DomainName((b"ip6", b"arpa"))


def reverse_zones(prefix: IPNetwork) -> tuple[DomainName, ...]:
    """The reverse zones that together hold exactly the addresses of `prefix` (RFC 1035 section 3.5, RFC 3596 2.5).

    A prefix that ends between two octets (IPv4) or nibbles (IPv6) needs up to 128 or 8 zones.
    """
    step = 8 if prefix.version == 4 else 4
    new_length = -(-prefix.prefixlen // step) * step
    zones = []
    for network in prefix.subnets(new_prefix=new_length):
        count = new_length // step
        if network.version == 4:
            parts = [str(octet) for octet in network.network_address.packed[:count]]
            suffix = IN_ADDR_ARPA
        else:
            parts = list(network.network_address.packed.hex()[:count])
            suffix = IP6_ARPA
        zones.append(DomainName(tuple(part.encode() for part in reversed(parts)) + suffix.labels))
    return tuple(zones)


def reverse_prefix(name: DomainName) -> IPNetwork | None:
    """The prefix whose reverse zone `name` is, or None if it is no reverse zone of whole octets or nibbles."""
    try:
        if name.is_within(IN_ADDR_ARPA):
            octets = [int(label) for label in reversed(name.labels[:-2])]
            if len(octets) > 4:
                return None
            return ipaddress.IPv4Network((bytes(octets + [0] * (4 - len(octets))), 8 * len(octets)))
        if name.is_within(IP6_ARPA):
            nibbles = [label.decode() for label in reversed(name.labels[:-2])]
            if len(nibbles) > 32 or any(len(nibble) != 1 for nibble in nibbles):
                return None
            packed = bytes.fromhex("".join(nibbles).ljust(32, "0"))
            return ipaddress.IPv6Network((packed, 4 * len(nibbles)))
    except ValueError:
        return None
    return None
