"""What a name, an address or a URL is: how it is read, and whose it is of the sessions that are up. PURE."""

import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from devlink.core.names import DomainName
from devlink.core.plan import Plan
from devlink.core.prefixes import IPAddress, IPNetwork, PrefixTable, contains
from devlink.core.profile import BridgeProfile
from devlink.core.text import printable
from devlink.errors import UsageError

PORTS = {
    "http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21, "ssh": 22, "ldap": 389, "ldaps": 636, "mysql": 3306,
    "postgres": 5432, "postgresql": 5432, "amqp": 5672, "redis": 6379, "mongodb": 27017,
}  # fmt: skip
"""Where a scheme's servers are, if the URL says nothing else."""
PROTOCOLS = {"http": "http", "ws": "http", "https": "https", "wss": "https", "ldaps": "https",
             "udp": "udp"}  # fmt: skip
"""Which question a scheme's servers answer: `https` stands for a TLS handshake, and `udp` for none that is asked."""
BY_PORT = {53: "dns", 80: "http", 443: "https"}
"""What is spoken at a port of which nothing else is known."""
BROADCAST = ipaddress.IPv4Address("255.255.255.255")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What was asked for."""

    text: str
    """As it was written, without what signs in."""
    host: str
    """The name without its last dot, or the address."""
    address: IPAddress | None = None
    """Where the host is one."""
    scheme: str = ""
    """Of a URL."""
    port: int | None = None
    """None where none is meant: of a name or an address alone."""

    @property
    def name(self) -> DomainName | None:
        """Where the host is no address."""
        return DomainName.parse(self.host) if self.address is None else None

    @property
    def protocol(self) -> str:
        """What is spoken there: `http`, `https` (TLS), `dns`, `udp`; empty where nobody knows."""
        return PROTOCOLS.get(self.scheme, "") if self.scheme else BY_PORT.get(self.port or 0, "")


def parse_target(text: str) -> Target:
    """NAME, IP, HOST:PORT, [IPv6]:PORT or a URL. Raises UsageError."""
    stripped = text.strip()
    has_scheme = "://" in stripped.partition("?")[0]
    is_url = has_scheme or "/" in stripped
    url = stripped if has_scheme else f"http://{stripped}" if is_url else f"//{_bracketed(stripped)}"
    try:
        if is_url and _is_network(stripped):
            raise ValueError(f"{stripped} is many addresses")
        parts = urlsplit(url)
        host, port = parts.hostname or "", _port(parts)
        address = _address(host)
        if address is not None and (address.is_multicast or address.is_unspecified or address == BROADCAST):
            raise ValueError(f"{address} is no single host's")
        if isinstance(address, ipaddress.IPv6Address) and address.is_link_local:
            raise ValueError(f"{address} is of one link only, where no route decides")
        if address is None:
            host = str(DomainName.parse(host))
            if host == ".":
                raise ValueError("it names no host")
    except ValueError as error:
        raise UsageError(
            f"That is no name, address or URL: {printable(str(error))}.",
            next_step="Such as web.default.svc.cluster.local, 10.20.73.67, [fd00::1]:8080 or http://web.default/; or a "
            "finding's code, as DL-POD-HANGS: devlink explain --list",
        ) from None
    scheme = parts.scheme.lower()
    place = parts.netloc.rpartition("@")[2]
    return Target(
        text=f"{scheme}://{place}{parts.path}" if is_url else place if parts.username is not None else stripped,
        host=host if address is None else str(address),
        address=address,
        scheme=scheme,
        port=port if port is not None else PORTS.get(scheme),
    )


def _port(parts: SplitResult) -> int | None:
    """Raises ValueError in words of ours: `urlsplit` would speak of casts."""
    with suppress(ValueError):
        if parts.port != 0:
            return parts.port
    raise ValueError("a port is a number from 1 to 65535")


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _bracketed(text: str) -> str:
    """An IPv6 address alone as a URL has it."""
    return f"[{text}]" if _address(text) is not None and ":" in text else text


def _address(text: str) -> IPAddress | None:
    """Also one of IPv4 that is written as IPv6 (RFC 4291 section 2.5.5.2): packets for it are of IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None) or address


# Whose an address is


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a session has to do with addresses."""

    profile: BridgeProfile
    plan: Plan
    exclude: tuple[IPNetwork, ...] = ()
    """What its user wants no routes to."""

    @property
    def session(self) -> str:
        return self.profile.metadata.name


class Kind(StrEnum):
    """What an address is."""

    SERVICE = "service"
    POD = "pod"
    NODE = "node"
    OWN = "own"
    """The laptop's own."""
    OTHER = "other"
    """No session's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose an address is."""

    kind: Kind
    claim: Claim | None = None
    network: IPNetwork | None = None
    """The prefix of the profile that holds it."""
    node: IPAddress | None = None
    """The owner of the pod's block."""
    is_excluded: bool = False

    @property
    def is_routed(self) -> bool:
        """Whether the session is to have a way to it."""
        return self.network is not None and not self.is_excluded

    def __str__(self) -> str:
        if self.claim is None:
            return "the laptop's own address" if self.kind is Kind.OWN else "no session's: an ordinary address"
        session = self.claim.session
        if self.kind is Kind.NODE:
            return f"a node of {session}, or one of its gateways or DNS servers: no route of its own"
        what = "a ClusterIP of" if self.kind is Kind.SERVICE else "in the pod network of"
        of = f", on node {self.node}" if self.node is not None else ""
        return f"{what} {session} ({self.network}){of}" + (", excluded by you" if self.is_excluded else "")


def place_of(address: IPAddress, claims: Iterable[Claim], *, is_own: bool = False) -> Place:
    """Whose an address is: of the session that claims the narrowest prefix around it. `is_own`: the laptop has it."""
    if is_own:
        return Place(kind=Kind.OWN)
    claims = tuple(claims)
    around = PrefixTable((prefix, (prefix, claim)) for claim in claims for prefix in claim.profile.spec.prefixes)
    found = around.longest(address)
    if found is None:
        holder = next((claim for claim in claims if address in _machines(claim.profile)), None)
        return Place(kind=Kind.NODE if holder is not None else Kind.OTHER, claim=holder)
    prefix, claim = found
    is_service = contains(claim.profile.spec.services or (), address)
    owners = PrefixTable((block, node.address) for node in claim.profile.spec.nodes or () for block in node.pods)
    return Place(
        kind=Kind.SERVICE if is_service else Kind.POD, claim=claim, network=prefix,
        node=None if is_service else owners.longest(address), is_excluded=contains(claim.exclude, address),
    )  # fmt: skip


def _machines(profile: BridgeProfile) -> set[IPAddress]:
    spec = profile.spec
    servers = spec.dns.servers if spec.dns is not None else ()
    return {each.address for group in (spec.gateways or (), spec.nodes or (), servers) for each in group}
