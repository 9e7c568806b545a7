"""What a discovery takes besides the objects, and what it gives."""

from dataclasses import dataclass

from devlink.core.checks import DecodeError
from devlink.core.codec import parse_address
from devlink.core.findings import Finding
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, ClusterDns, DnsServer, Gateway, Metadata, Transport
from devlink.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """What of the API could not be read."""

    path: str
    status: int | None
    """403 forbidden, 404 not there, ...; None where no answer came."""
    why: str
    right: str
    """Which right would show it: `list nodes`, `get configmaps/kubeadm-config in kube-system`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What no API says. Raises UsageError where a profile could not have it."""

    name: str
    """The profile's: a DNS label."""
    revision: str = ""
    """Which edition it shall be: a time, RFC 3339."""
    namespaces: tuple[str, ...] | None = None
    """Only services of these are asked for; None for all."""
    search: tuple[str, ...] | None = None
    """Namespaces whose services are also found as `NAME.NAMESPACE`; None for none."""
    transport: Transport = Transport.AUTO
    """How the cluster's DNS is asked: `tcp` where a firewall stops UDP."""
    gateways: tuple[IPAddress, ...] = ()
    """Who shall forward, the first one first; empty: whom the API shows."""

    def __post_init__(self) -> None:
        try:
            Metadata(name=self.name, revision=self.revision)
            servers = (DnsServer(address=parse_address("192.0.2.1")),)
            ClusterDns(
                domain=DomainName.parse("cluster.local"),
                servers=servers,
                namespaces=self.namespaces,
                search=self.search,
            )
            for address in self.gateways:
                Gateway(address=address)
        except DecodeError as error:
            raise UsageError(
                "The profile cannot be as it is wished for.",
                why="; ".join(map(str, error.faults)),
                next_step="See what can be given: devlink profile discover --help",
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What was found."""

    profile: BridgeProfile | None
    """None where nothing was found that a profile could be for."""
    findings: tuple[Finding, ...]
    unread: tuple[Unread, ...]
