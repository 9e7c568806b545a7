"""What Calico's objects say, alike for projectcalico.org/v3 and crd.projectcalico.org/v1. Nothing here chooses."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from devlink.cluster.discovery.objects import (
    CALICO,
    Declared,
    Object,
    Objects,
    dig,
    flag,
    mappings,
    name_of,
    number,
    resource_of,
    source_of,
    text,
    texts,
)
from devlink.cluster.discovery.selectors import Selector, parse_selector
from devlink.core.prefixes import Cover, IPAddress, IPNetwork, is_within, overlap

DEFAULT_AS = 64512
"""BGPConfiguration `asNumber`, where none is given."""
MANAGED_BY = "app.kubernetes.io/managed-by"
SERVED, STORED = "projectcalico.org/v3", "crd.projectcalico.org/v1"
"""What Calico's own API server and calicoctl speak, and its storage."""
WORKLOAD = "Workload"
"""The use of an IPPool that gives addresses to pods."""
MTU_KEYS = ("ipipMTU", "vxlanMTU", "vxlanMTUV6", "wireguardMTU", "wireguardMTUV6")
"""Of FelixConfiguration; 0 leaves it to Calico."""
WIREGUARD = {4: "wireguardEnabled", 6: "wireguardEnabledV6"}
"""Of FelixConfiguration, by IP version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """An IPPool out of which pods get addresses."""

    name: str
    prefix: IPNetwork
    ipip: str
    """Always, CrossSubnet or Never."""
    vxlan: str
    nat_outgoing: bool
    is_operators: bool
    """The Tigera operator keeps it as its Installation says, and takes changes of others back."""
    is_disabled: bool
    """No new address is given out of it; those that were stay in use."""
    source: str
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of pod addresses, and the node that owns it."""

    prefix: IPNetwork
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A BGPPeer: which nodes speak BGP with whom."""

    nodes: Selector
    """Which nodes have this peer, by labels; `node` narrows it to one."""
    node: str
    peers: Selector | None
    """The nodes that are the peers; None where the peer is an address."""
    address: IPAddress | None
    as_number: str
    api_version: str
    """By which this cluster's Calico is served."""
    filters: tuple[str, ...]
    """BGPFilters, by name."""
    keeps_next_hop: bool
    """The routes that it is told keep the owning node as next hop."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One of a BGPFilter, for routes that a peer is told."""

    version: int
    accepts: bool
    operator: str
    """In, NotIn, Equal or NotEqual: what a route has to do with `prefix`."""
    prefix: IPNetwork | None
    has_others: bool
    """It has conditions besides, such as an interface or a community, or one that cannot be read."""

    def is_for_blocks_of(self, network: IPNetwork) -> bool:
        """Whether it decides of every block of a pod network, as far as can be told."""
        if network.version != self.version or (self.has_others and not self.accepts):
            return False
        if self.prefix is None:
            return True
        match self.operator:
            case "In":
                return is_within(network, self.prefix)
            case "NotIn":
                return not overlap(network, self.prefix)
            case _:
                return self.operator == "NotEqual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calico:
    """Calico, as far as it is configured; of nothing at all where it is not there."""

    pools: tuple[Pool, ...]
    blocks: tuple[Block, ...]
    blocks_source: str
    peers: tuple[Peer, ...]
    filters: Mapping[str, tuple[Rule, ...]]
    """What the BGPFilters let out, by name: their rules for both IP versions, in order."""
    has_mesh: bool
    """Every node speaks BGP with every other."""
    as_number: str
    configuration: str
    """The BGPConfiguration `default`; empty where none is there, and Calico's defaults hold."""
    services: Declared
    """`serviceClusterIPs`: what BGP tells the network's routers."""
    overlay_mtus: dict[str, int]
    """Octets, by FelixConfiguration's key."""
    wireguard: frozenset[int]
    """IP versions between whose addresses of nodes WireGuard is on."""
    has_ebpf: bool
    external_nodes: tuple[str, ...]
    """Prefixes of hosts outside that may send IPIP and VXLAN (`externalNodesList`)."""


def read_calico(objects: Objects) -> Calico:
    """All that Calico's objects say."""
    bgp = _named_default(objects, "BGPConfiguration")
    felix = _named_default(objects, "FelixConfiguration")
    pools = objects.of("IPPool", *CALICO)
    affinities = objects.of("BlockAffinity", *CALICO) or objects.of("IPAMBlock", *CALICO)
    for_others = Cover(
        prefix for item in pools if not _is_for_pods(item) for prefix in objects.prefixes(item, _cidr(item))
    )
    ranges = [text(item, "cidr") for item in mappings(bgp, "spec", "serviceClusterIPs")]
    mtus = {key: number(felix, "spec", key) for key in MTU_KEYS}
    return Calico(
        pools=tuple(pool for item in pools if _is_for_pods(item) for pool in _pool(objects, item)),
        blocks=tuple(b for item in affinities for b in _block(objects, item) if for_others.find(b.prefix) is None),
        blocks_source=resource_of(affinities[0]) if affinities else "",
        peers=tuple(peer for item in objects.of("BGPPeer", *CALICO) for peer in _peer(objects, item)),
        filters={name_of(item): tuple(_rules(objects, item)) for item in objects.of("BGPFilter", *CALICO)},
        has_mesh=flag(bgp, "spec", "nodeToNodeMeshEnabled") is not False,
        as_number=_as_number(bgp, "spec", "asNumber") or str(DEFAULT_AS),
        configuration=source_of(bgp) if bgp else "",
        services=objects.declared(bgp, ranges),
        overlay_mtus={key: value for key, value in mtus.items() if value},
        wireguard=frozenset(version for version, key in WIREGUARD.items() if flag(felix, "spec", key)),
        has_ebpf=bool(flag(felix, "spec", "bpfEnabled")),
        external_nodes=texts(felix, "spec", "externalNodesList"),
    )


def _named_default(objects: Objects, kind: str) -> Object:
    """The configuration of all nodes; others are for single nodes, by name."""
    return next((item for item in objects.of(kind, *CALICO) if name_of(item) == "default"), {})


def _is_for_pods(item: Object) -> bool:
    """Others have the addresses of tunnels, or of Services of type LoadBalancer."""
    uses = texts(item, "spec", "allowedUses")
    return not uses or WORKLOAD in uses


def _pool(objects: Objects, item: Object) -> list[Pool]:
    source = source_of(item)
    return [
        Pool(
            name=name_of(item),
            prefix=prefix,
            ipip=text(item, "spec", "ipipMode") or "Never",
            vxlan=text(item, "spec", "vxlanMode") or "Never",
            nat_outgoing=bool(flag(item, "spec", "natOutgoing")),
            is_operators=text(item, "metadata", "labels", MANAGED_BY) == "tigera-operator",
            is_disabled=bool(flag(item, "spec", "disabled") or dig(item, "metadata", "deletionTimestamp")),
            source=source,
            resource=resource_of(item),
        )
        for prefix in objects.prefixes(item, _cidr(item))
    ]


def _block(objects: Objects, item: Object) -> list[Block]:
    if text(item, "spec", "state") not in ("confirmed", "") or flag(item, "spec", "deleted"):
        return []
    # An IPAMBlock, which some dumps have instead, says `host:NODE`.
    node = text(item, "spec", "node") or text(item, "spec", "affinity").removeprefix("host:")
    return [Block(prefix=prefix, node=node) for prefix in objects.prefixes(item, _cidr(item))]


def _cidr(item: Object) -> list[str]:
    found = text(item, "spec", "cidr")
    return [found] if found else []


def _peer(objects: Objects, item: Object) -> list[Peer]:
    source = source_of(item)
    chosen, peering = text(item, "spec", "nodeSelector"), text(item, "spec", "peerSelector")
    try:
        nodes, peers = parse_selector(chosen or "all()"), parse_selector(peering) if peering else None
    except ValueError as error:
        objects.refuse(source, str(error))
        return []
    address = text(item, "spec", "peerIP")
    keeps = flag(item, "spec", "keepOriginalNextHop") or text(item, "spec", "nextHopMode") == "Keep"
    return [
        Peer(
            nodes=nodes,
            node=text(item, "spec", "node"),
            peers=peers,
            address=objects.address(item, _without_port(address)) if address else None,
            as_number=_as_number(item, "spec", "asNumber"),
            api_version=STORED if text(item, "apiVersion") == STORED else SERVED,
            filters=texts(item, "spec", "filters"),
            keeps_next_hop=bool(keeps),
            source=source,
        )
    ]


def _rules(objects: Objects, item: Object) -> Iterator[Rule]:
    for version in (4, 6):
        for rule in mappings(item, "spec", f"exportV{version}"):
            found = text(rule, "cidr")
            prefix = next(iter(objects.prefixes(item, [found])), None) if found else None
            given = {key for key, value in rule.items() if value}
            yield Rule(
                version=version,
                accepts=text(rule, "action") != "Reject",
                operator=text(rule, "matchOperator"),
                prefix=prefix,
                has_others=not given <= {"action", "matchOperator", "cidr"} or bool(found and prefix is None),
            )


def _without_port(address: str) -> str:
    """`192.0.2.1:179` and `[2001:db8::1]:179` less the port."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def _as_number(tree: object, *path: str) -> str:
    """An AS number in plain digits: also `1.10`, as RFC 5396 allows (asdot); empty for none."""
    plain = number(tree, *path)
    high, dot, low = text(tree, *path).partition(".")
    if dot and all(part.isascii() and part.isdigit() and len(part) < 6 for part in (high, low)):
        plain = (int(high) << 16) + int(low)
    return "" if plain is None else str(plain)
