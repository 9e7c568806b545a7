"""What the machine's owner lays down in /etc/devlink/policy.toml, and where the helper keeps its things."""

import ipaddress
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from devlink.core.codec import DecodeError, decode
from devlink.core.names import DomainName
from devlink.core.plan import ForwarderConfig, Upstream
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.helper.client import SOCKET


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The helper's folders and sockets. Not configurable: a world that wants others brings its own root."""

    run: Path = Path(SOCKET).parent
    state: Path = Path("/var/lib/devlink")
    config: Path = Path("/etc/devlink")

    @property
    def socket(self) -> Path:
        return self.run / Path(SOCKET).name

    @property
    def lock(self) -> Path:
        """Held (flock(2)) by whoever may change the machine's network: the helper, or `helper restore`."""
        return self.run / "lock"

    @property
    def journal(self) -> Path:
        return self.state / "journal.json"

    @property
    def trust(self) -> Path:
        return self.state / "trust"

    @property
    def trust_config(self) -> Path:
        """Records that configuration management drops; only read."""
        return self.config / "trust.d"

    @property
    def policy(self) -> Path:
        return self.config / "policy.toml"


class TrustPolicy(StrEnum):
    """Who may bring a profile up."""

    RECORDS = "records"
    """Only what a trust record covers."""
    GROUP = "group"
    """For lab machines: also what stays in private space and below cluster.local, without a record."""


class QueryLogPolicy(StrEnum):
    """Who may see which names are asked (`devlink dns log`). Root sees all of them, whatever this says."""

    OWN = "own"
    """A user those in the zones of their own sessions. Ordinary names nobody: any user of the machine asks them."""
    ALL = "all"
    """Everyone who may use the helper all of them: for a laptop with one user."""
    OFF = "off"
    """Nobody any."""


MAX_UPSTREAMS = 8
MAX_CACHE = 1 << 30
"""Octets."""
TLS_PORT = 853
"""RFC 7858 section 3.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedUpstream:
    """A server for ordinary names that the machine's owner names."""

    address: IPAddress
    """Of one link only it names that link too: `fe80::1%eth0`."""
    port: int | None = None
    """Left out: 53, or 853 with a `tls_name`."""
    tls_name: str = ""
    """If given, it is asked over TLS alone (RFC 7858), and its certificate must be valid for this name or address.

    Kept without a final dot: it is compared with the certificate's, which has none.
    """

    def __post_init__(self) -> None:
        if self.address.is_unspecified or self.address.is_multicast:
            raise ValueError(f"address: {self.address} is not the address of a server")
        mapped = self.address.ipv4_mapped if self.address.version == 6 else None
        if mapped is not None:  # the forwarder's own address would not be known in this form
            raise ValueError(f"address: {self.address} is an IPv4 address in the form of IPv6: write {mapped}")
        if self.address.version == 6 and self.address.is_link_local and self.address.scope_id is None:
            raise ValueError(f"address: {self.address} is of one link only, which must be named: {self.address}%eth0")
        if self.port is not None and not 1 <= self.port <= 65535:
            raise ValueError("port is a number from 1 to 65535")
        if self.tls_name and not _can_be_certified(self.tls_name):
            raise ValueError("tls_name is the name, or the address, that the server's certificate is for")
        object.__setattr__(self, "tls_name", self.tls_name.removesuffix("."))

    @property
    def upstream(self) -> Upstream:
        port = self.port or (TLS_PORT if self.tls_name else Upstream(address=self.address).port)
        return Upstream(address=self.address, port=port, tls_name=self.tls_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsPolicy:
    """The table `[dns]`: how names are answered on this machine, for all users."""

    query_log: QueryLogPolicy = QueryLogPolicy.OWN
    rebinding_protection: bool = False
    """Whether an ordinary name that points into the networks of a session is refused (extended error 15)."""
    case_randomization: bool = False
    """Whether ordinary upstreams are asked in mixed case (0x20). A few old servers answer such questions wrongly."""
    upstreams: tuple[NamedUpstream, ...] | None = None
    """Who is asked for ordinary names, in order; left out, those that the operating system names."""
    tls_ca: str = ""
    """The file with the certificates, PEM, that vouch for upstreams with a `tls_name`; left out, the system's."""
    cache_bytes: int = ForwarderConfig().cache_bytes
    """How much the answers that are kept may take, in octets; 0 keeps none."""

    def __post_init__(self) -> None:
        if self.upstreams is not None and not 1 <= len(self.upstreams) <= MAX_UPSTREAMS:
            raise ValueError(f"upstreams: 1 to {MAX_UPSTREAMS} servers; left out: the operating system's")
        if self.tls_ca and not Path(self.tls_ca).is_absolute():
            raise ValueError("tls_ca is the absolute path of a file")
        if not 0 <= self.cache_bytes <= MAX_CACHE:
            raise ValueError(f"cache_bytes is a number of octets from 0 to {MAX_CACHE}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutesPolicy:
    """The table `[routes]`: how routes are held in this machine's kernel."""

    nexthop_objects: bool = True
    """Whether routes that share a next hop share a nexthop object (`ip nexthop`), so that one message turns them all.
    Kernels before 5.3 have none, and plain routes are used as with false."""


def _can_be_certified(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        try:
            return len(DomainName.parse(name).labels) > 0
        except ValueError:
            return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings, each with its default."""

    lease_grace: float = 10.0
    """Seconds that a session outlives its agent, from 0 to 3600."""
    trust: TrustPolicy = TrustPolicy.RECORDS
    group: str = "devlink"
    """Whose members may use the helper."""
    nameserver: IPAddress = field(default_factory=lambda: ipaddress.ip_address("127.0.0.231"))
    """Where the forwarder listens (port 53) in resolver modes that cannot split: loopback, and nobody else's habit."""
    dns: DnsPolicy = DnsPolicy()
    routes: RoutesPolicy = RoutesPolicy()

    def __post_init__(self) -> None:
        if not 0 <= self.lease_grace <= 3600:
            raise ValueError("lease_grace is a number of seconds from 0 to 3600")
        if not self.nameserver.is_loopback:
            raise ValueError("nameserver must be a loopback address")
        if any(named.address == self.nameserver for named in self.dns.upstreams or ()):
            raise ValueError(f"dns.upstreams: {self.nameserver} is the forwarder itself")


def read_policy(path: Path) -> Policy:
    """The policy file, or the defaults where there is none. Raises HelperError with what is wrong in it."""
    try:
        return decode(Policy, tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return Policy()
    except (OSError, ValueError) as error:  # TOMLDecodeError, UnicodeDecodeError and DecodeError are ValueErrors
        faults = "; ".join(str(f) for f in error.faults) if isinstance(error, DecodeError) else str(error)
        raise HelperError(
            f"{path} cannot be used.", why=f"{faults}.", next_step="Correct the file, then restart the helper."
        ) from error
