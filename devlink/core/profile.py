"""The bridge profile: what a cluster tells laptops about its networks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress, IPNetwork


class RoutingMode(StrEnum):
    """Who carries packets for pods and services (DESIGN.md, routing choices)."""

    AUTO = "auto"
    PER_NODE = "per-node"
    GATEWAY = "gateway"
    ROUTER = "router"
    RELAY = "relay"


class Transport(StrEnum):
    """How a DNS server is asked."""

    UDP = "udp"
    TCP = "tcp"
    AUTO = "auto"
    """UDP, and TCP when UDP stays silent or the answer is truncated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A node that forwards for the whole pod and service networks."""

    address: IPAddress
    role: str = "gateway"
    """For people: `route-reflector`, `gateway`."""
    priority: int = 10
    """The lowest that is healthy carries the traffic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node and the pod blocks that it owns."""

    address: IPAddress
    pods: tuple[IPNetwork, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsServer:
    """One server of the cluster's DNS."""

    address: IPAddress
    transport: Transport = Transport.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDns:
    """The cluster's names and who answers for them."""

    domain: DomainName
    """`cluster.local` nearly everywhere; kubelet's `clusterDomain`."""
    servers: tuple[DnsServer, ...]
    namespaces: tuple[str, ...] | None = None
    """Only services of these are asked for; None for all."""
    reverse: bool = True
    """Whether PTR questions for pods and services go to the cluster too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """How the cluster proves that it is itself."""

    ca: str
    """The cluster's CA certificates, PEM: what `kubernetes.default.svc` is checked with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What the profile says of the networks. None means "none" for pods and services, "no limit" elsewhere."""

    pods: tuple[IPNetwork, ...] | None = None
    services: tuple[IPNetwork, ...] | None = None
    routing: RoutingMode = RoutingMode.AUTO
    gateways: tuple[Gateway, ...] | None = None
    nodes: tuple[Node, ...] | None = None
    mtu: int | None = None
    dns: ClusterDns | None = None
    identity: Identity | None = None

    @property
    def prefixes(self) -> tuple[IPNetwork, ...]:
        """Pods and services."""
        return (self.pods or ()) + (self.services or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The profile's name, and which edition of it this is."""

    name: str
    """A DNS label (RFC 1123): trust records match by it."""
    revision: str = ""
    """When it was made, RFC 3339; only shown and compared for equality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeProfile:
    """One cluster, as a laptop needs to know it. Canonical and checked on creation."""

    api_version: str = field(metadata={"key": "apiVersion"})
    kind: str
    metadata: Metadata
    spec: Spec
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where each fact came from, by the path in `spec`."""
