"""The bridge profile: what a cluster tells laptops about its networks."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, ClassVar

from devlink.core import profile_checks as checks
from devlink.core.checks import Rule, check
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress, IPNetwork

API_VERSION = "devlink/v1alpha1"
KIND = "BridgeProfile"
LABEL = {"pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", "title": "a DNS label (RFC 1123): a-z, 0-9 and hyphens"}
SOME = {"minItems": 1}
FEW = {"minItems": 1, "maxItems": 4096}
"""For lists that grow with the cluster's plan, not with its nodes."""
NONE_HINT = "leave the key out to say none"


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


def _limited(schema: Mapping[str, Any], hint: str = "") -> dict[str, Any]:
    return {"schema": schema, "hint": hint}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A node that forwards for the whole pod and service networks."""

    RULES: ClassVar = (Rule(("address",), checks.address_is_usable),)

    address: IPAddress
    """On a link of the laptop's, or devlink cannot use it (the kernel asks that of a next hop)."""
    role: str = field(default="gateway", metadata=_limited(LABEL, "such as gateway or route-reflector"))
    """For people: `route-reflector`, `gateway`."""
    priority: int = field(default=10, metadata=_limited({"minimum": 0, "maximum": 65535}, "lower goes first"))
    """The lowest that is healthy carries the traffic."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node and the pod blocks that it owns. A dual-stack node stands twice, by the address of either family."""

    RULES: ClassVar = (
        Rule(("address",), checks.address_is_usable),
        Rule(("address", "pods"), checks.blocks_are_of_the_nodes_family),
    )

    address: IPAddress
    """The node's own, where the laptop reaches it."""
    pods: tuple[IPNetwork, ...] = field(metadata=_limited(SOME, "a node without blocks needs no entry"))
    """The blocks, each within the pod networks."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsServer:
    """One server of the cluster's DNS."""

    RULES: ClassVar = (Rule(("address",), checks.address_is_usable),)

    address: IPAddress
    """A ClusterIP, a pod's or a node's address."""
    transport: Transport = Transport.AUTO
    """`tcp` where a firewall stops UDP."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDns:
    """The cluster's names and who answers for them."""

    RULES: ClassVar = (
        Rule(("domain",), checks.domain_can_be_split),
        Rule(("servers",), checks.servers_are_distinct),
        Rule(("endpoints",), checks.endpoints_are_usable),
        Rule(("namespaces",), checks.namespaces_are_distinct),
        Rule(("search", "namespaces"), checks.search_is_possible),
    )

    domain: DomainName
    """`cluster.local` nearly everywhere; kubelet's `clusterDomain`."""
    servers: tuple[DnsServer, ...] = field(metadata=_limited(FEW, "name at least one address of the cluster's DNS"))
    """In order of preference."""
    namespaces: tuple[str, ...] | None = field(
        default=None, metadata=_limited({**FEW, "items": LABEL}, "namespaces as in the cluster; left out: all")
    )
    """Only services of these are asked for; left out, of all."""
    search: tuple[str, ...] | None = field(
        default=None, metadata=_limited({**FEW, "items": LABEL}, "namespaces as in the cluster; left out: none")
    )
    """Namespaces whose services are also found as `NAME.NAMESPACE`, as in a pod. One that is a top-level domain too
    hides that domain's names of two labels."""
    reverse: bool = True
    """Whether PTR questions for pods and services go to the cluster too."""
    endpoints: tuple[IPAddress, ...] | None = field(
        default=None, metadata=_limited({"minItems": 1, "maxItems": 16}, NONE_HINT)
    )
    """Pods behind these servers, for verification only: with them it tells whether pods on other nodes answer. They
    are within the pod networks, claim nothing, and one that has gone meanwhile harms nothing. Kept in order."""

    def __post_init__(self) -> None:
        check(self)
        if self.endpoints is not None:
            in_order = sorted(self.endpoints, key=lambda address: (address.version, int(address)))
            object.__setattr__(self, "endpoints", tuple(in_order))


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """How the cluster proves that it is itself."""

    RULES: ClassVar = (Rule(("ca",), checks.ca_is_certificates),)

    ca: str = field(metadata=_limited({"maxLength": 262144}))
    """The cluster's CA certificates, PEM: what `kubernetes.default.svc` is checked with. Never a key."""

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "ca", checks.canonical_pem(self.ca))

    @property
    def ca_hash(self) -> str:
        """SHA-256 of the canonical PEM text, hex: how a trust record remembers a cluster."""
        return hashlib.sha256(self.ca.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What the profile says of the networks. None means "none" for pods and services, "no limit" elsewhere."""

    RULES: ClassVar = (
        Rule(("pods",), partial(checks.prefixes_can_be_routed, "pods")),
        Rule(("services",), partial(checks.prefixes_can_be_routed, "services")),
        Rule(("pods", "services"), checks.networks_are_apart),
        Rule(("gateways", "pods", "services"), checks.gateways_are_outside),
        Rule(("nodes", "pods", "services"), checks.nodes_are_outside),
        Rule(("nodes", "pods"), checks.blocks_are_pods),
        Rule(("routing", "gateways", "nodes", "pods", "services"), checks.routing_has_its_next_hops),
        Rule(("gateways",), checks.gateways_are_distinct),
        Rule(("dns", "pods"), checks.endpoints_are_pods),
        Rule(("nodes",), checks.nodes_are_distinct),
        Rule(("nodes",), checks.blocks_are_apart),
        Rule(("mtu", "pods", "services"), checks.mtu_fits_ipv6),
        Rule(("pods", "services", "dns"), checks.something_is_claimed),
    )

    pods: tuple[IPNetwork, ...] | None = field(default=None, metadata=_limited(FEW, NONE_HINT))
    """The networks of the cluster's pods; left out where pods need no route."""
    services: tuple[IPNetwork, ...] | None = field(default=None, metadata=_limited(FEW, NONE_HINT))
    """The ClusterIP ranges. The first address of the first one is the `kubernetes` service."""
    routing: RoutingMode = RoutingMode.AUTO
    """Who carries the packets; `auto` chooses by what the laptop sees."""
    gateways: tuple[Gateway, ...] | None = field(default=None, metadata=_limited(FEW, NONE_HINT))
    """Nodes that forward for all pods and services."""
    nodes: tuple[Node, ...] | None = field(default=None, metadata=_limited(SOME, NONE_HINT))
    """Pod blocks by owner, for per-node routing. Kept in the order of their addresses."""
    mtu: int | None = field(
        default=None, metadata=_limited({"minimum": 576, "maximum": 65535}, "the path's MTU in octets, such as 1480")
    )
    """Of routes to pods and services, in octets: IPIP takes 20, VXLAN 50."""
    dns: ClusterDns | None = None
    """Left out: no names."""
    identity: Identity | None = None
    """Left out: the cluster is not told from one that poses as it."""

    def __post_init__(self) -> None:
        check(self)
        if self.nodes is not None:
            in_order = sorted(self.nodes, key=lambda node: (node.address.version, int(node.address)))
            object.__setattr__(self, "nodes", tuple(in_order))

    @property
    def prefixes(self) -> tuple[IPNetwork, ...]:
        """Pods and services."""
        return (self.pods or ()) + (self.services or ())

    @property
    def api(self) -> IPAddress | None:
        """The ClusterIP of the cluster's API, which is the `kubernetes` service; None without services."""
        return self.services[0].network_address + 1 if self.services else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The profile's name, and which edition of it this is."""

    name: str = field(metadata=_limited(LABEL, "such as qa; trust records match by it"))
    """A DNS label (RFC 1123): trust records match by it."""
    revision: str = field(
        default="",
        metadata=_limited(
            {"maxLength": 64, "pattern": checks.PRINTABLE, "title": "one line of text"},
            'a time, as in "2026-11-20T09:00:00Z"',
        ),
    )
    """When it was made, RFC 3339; only shown and compared for equality."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeProfile:
    """One cluster, as a laptop needs to know it. Canonical and checked on creation: DecodeError names every fault."""

    RULES: ClassVar = (Rule(("provenance",), checks.provenance_is_bounded),)

    api_version: str = field(
        metadata={"key": "apiVersion", **_limited({"const": API_VERSION}, "another devlink may know other versions")}
    )
    """`devlink/v1alpha1`."""
    kind: str = field(metadata=_limited({"const": KIND}))
    """`BridgeProfile`."""
    metadata: Metadata
    spec: Spec
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where each fact came from, by the path in `spec`."""

    def __post_init__(self) -> None:
        check(self)
